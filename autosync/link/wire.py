"""The frames that two agents exchange on a link, as bytes."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from autosync.core.model import SnapshotId
from autosync.link.prefix import NOTHING, Prefix

CHUNK = 64 * 1024
"""Bytes of a fetched pack in one frame."""
WINDOW = 2 * 1024 * 1024
"""Bytes of one fetch that may be under way or waiting to be written."""
MAX_FRAME = 128 * 1024
MAX_HAVE = 1024
"""Ids that a fetch offers; the best ones come first, so the rest is cut off."""
_HEAD = struct.Struct(">IB")
_NUMBER = struct.Struct(">I")
_OUTCOME = struct.Struct(">IB")
_TWO_NUMBERS = struct.Struct(">II")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class WireError(Exception):
    """The other side sent what no agent sends."""


class Kind(IntEnum):
    """What a frame is.  A reader passes over kinds that it does not know."""

    READY = 0
    """First frame of the listening side: TLS and all checks are done."""
    ANNOUNCE = 1
    """A sealed announcement."""
    FETCH = 2
    """Request number, then JSON ``{"want": id, "have": [id, …]}``; of an answer that is there in
    part also ``"from"``, the bytes that are there, and ``"sha256"``, theirs in hex."""
    DATA = 3
    """Request number, then at most :data:`CHUNK` bytes of the answer."""
    END = 4
    """Request number, :class:`Outcome`, reason."""
    CREDIT = 5
    """Request number, bytes of DATA that the fetching side is ready for, added to what is left."""
    CANCEL = 6
    """Request number: the fetching side wants no more."""
    PING = 7
    """Eight bytes to be sent back."""
    PONG = 8
    """The bytes of a PING."""


class Outcome(IntEnum):
    """How a fetch ended."""

    COMPLETE = 0
    MISSING = 1
    REFUSED = 2
    FAILED = 3
    """May go better another time; also for outcomes of a later release."""
    BUSY = 4
    """It is there, but others are served first."""
    OTHER_BYTES = 5
    """The answer does not begin with what the fetching side has of it."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """Return length of the payload (4 bytes, big-endian), kind (1 byte) and payload."""
    return _HEAD.pack(len(payload), kind) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return kind and payload of the next frame.

    Raises :class:`WireError` for one that is too large, :class:`asyncio.IncompleteReadError`
    at the end.
    """
    length, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if length > MAX_FRAME:
        raise WireError(f"a frame of {length} bytes")
    return kind, await reader.readexactly(length)


def fetch(request: int, want: SnapshotId, have: Sequence[str], begun: Prefix = NOTHING) -> bytes:
    """Return a FETCH frame."""
    fields = {"want": want, "have": list(have[:MAX_HAVE])}
    part = {"from": begun.size, "sha256": begun.sha256.hex()} if begun.size else {}
    wish = json.dumps(fields | part, separators=(",", ":"))
    return frame(Kind.FETCH, _NUMBER.pack(request) + wish.encode("ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a FETCH frame asks for."""

    want: SnapshotId
    have: tuple[str, ...]
    begun: Prefix = NOTHING


def parse_fetch(payload: bytes) -> tuple[int, Wish]:
    """Return request number and what is asked for.  Raises :class:`WireError`."""
    request, rest = split_number(payload)
    try:
        wish = json.loads(rest.decode("utf-8"))
        want, have = wish["want"], wish["have"]
        size, sha256 = wish.get("from", 0), bytes.fromhex(wish.get("sha256", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"a fetch that cannot be read ({type(error).__name__})") from None
    if not isinstance(have, list) or len(have) > MAX_HAVE:
        raise WireError(f"a fetch whose haves are no list of at most {MAX_HAVE}")
    # The ids end up on the command line or the input of a version control system.
    for oid in (want, *have):
        if not isinstance(oid, str) or not _OBJECT_ID.fullmatch(oid):
            raise WireError("a fetch with something that is no id")
    if type(size) is not int or not 0 <= size < 2**63 or len(sha256) != (32 if size else 0):
        raise WireError("a fetch that goes on with something that is no part")
    begun = Prefix(size=size, sha256=sha256) if size else NOTHING
    return request, Wish(want=SnapshotId(want), have=tuple(have), begun=begun)


def chunk(request: int, content: bytes) -> bytes:
    """Return a DATA frame."""
    return frame(Kind.DATA, _NUMBER.pack(request) + content)


def split_number(payload: bytes) -> tuple[int, bytes]:
    """Return the request number and what follows it.  Raises :class:`WireError`."""
    if len(payload) < _NUMBER.size:
        raise WireError("a frame without its request number")
    return _NUMBER.unpack_from(payload)[0], payload[_NUMBER.size :]


def end(request: int, outcome: Outcome, reason: str = "") -> bytes:
    """Return an END frame."""
    return frame(Kind.END, _OUTCOME.pack(request, outcome) + reason.encode("utf-8", "replace")[:1000])


def parse_end(payload: bytes) -> tuple[int, Outcome, str]:
    """Return request number, outcome and reason (printable).  Raises :class:`WireError`."""
    if len(payload) < _OUTCOME.size:
        raise WireError("an end that is cut short")
    request, code = _OUTCOME.unpack_from(payload)
    known = code in Outcome.__members__.values()
    reason = payload[_OUTCOME.size :].decode("utf-8", "replace")
    return request, Outcome(code) if known else Outcome.FAILED, "".join(c if c.isprintable() else " " for c in reason)


def credit(request: int, count: int) -> bytes:
    """Return a CREDIT frame."""
    return frame(Kind.CREDIT, _TWO_NUMBERS.pack(request, count))


def parse_credit(payload: bytes) -> tuple[int, int]:
    """Return request number and bytes.  Raises :class:`WireError`."""
    if len(payload) != _TWO_NUMBERS.size:
        raise WireError("a credit of a wrong size")
    request, count = _TWO_NUMBERS.unpack(payload)
    return request, count


def cancel(request: int) -> bytes:
    """Return a CANCEL frame."""
    return frame(Kind.CANCEL, _NUMBER.pack(request))
