"""The bytes of an announcement, strict in both directions."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping

from autosync.core import remarks
from autosync.core.candidates import Candidate, from_pairs, to_pairs
from autosync.core.events import Announcement
from autosync.core.model import Base, CommitId, DeviceId, SnapshotId, TreeId, Version
from autosync.core.moments import LAST_MS

FORMAT = 2
MAX_ENCODED = 60 * 1024
"""Bytes of a whole announcement; sealed it still fits into what a channel carries."""
MAX_HEADER = 32 * 1024
MAX_CERTIFICATE = 4 * 1024
MAX_INLINE = 48 * 1024
MAX_CANDIDATES = 32
MAX_DEVICES = 512
"""Counters in one version."""
MAX_VERSION = 24 * 1024
"""Bytes of a version as JSON."""
MAX_BRANCH = 1024
MAX_REMOTE = 1024
_MOST = 2**63 - 1

_LENGTH = struct.Struct(">I")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DEVICE = re.compile(r"\w[\w .+-]{0,127}")
_STATE = re.compile(r"[a-z][a-z -]{0,31}")
_STORE = re.compile(r"(?:[0-9a-f]{32})?")


def encode(announcement: Announcement) -> bytes:
    """Return the announcement as bytes.

    The layout is: length of the header (4 bytes, big-endian), header (JSON), certificate,
    inline pack.  Raises :class:`ValueError` for what :func:`decode` would not take.
    """
    _check(announcement)
    header = json.dumps(
        {
            "v": FORMAT,
            "device": announcement.device,
            "name": announcement.name,
            "seq": announcement.seq,
            "state": announcement.state,
            "snapshot": announcement.snapshot,
            "tree": announcement.tree,
            "commit": announcement.base.commit,
            "branch": announcement.base.branch,
            "version": dict(announcement.version.counters),
            "candidates": to_pairs(announcement.candidates),
            "on-hub": announcement.on_hub,
            "sent-at": announcement.sent_at_ms,
            **({} if announcement.remote is None else {"remote": announcement.remote}),
            **({"store": announcement.store} if announcement.store else {}),
            **({"remarks": said} if (said := remarks.to_object(announcement.remarks)) else {}),
            "certificate": len(announcement.certificate),
            "inline": len(announcement.inline),
        },
        separators=(",", ":"),
    ).encode("ascii")
    encoded = b"".join((_LENGTH.pack(len(header)), header, announcement.certificate, announcement.inline))
    if len(header) > MAX_HEADER or len(encoded) > MAX_ENCODED:
        raise ValueError(f"announcement of {len(encoded)} bytes is too large")
    return encoded


def decode(encoded: bytes) -> Announcement:
    """Return the announcement that these bytes are.

    Unknown keys of the header are ignored: a later release may add some.  Raises
    :class:`ValueError` with the reason for anything else that is not as
    :func:`encode` writes it.
    """
    if len(encoded) > MAX_ENCODED:
        raise ValueError(f"announcement of {len(encoded)} bytes is too large")
    if len(encoded) < _LENGTH.size:
        raise ValueError("announcement is cut short")
    (length,) = _LENGTH.unpack_from(encoded)
    start = _LENGTH.size + length
    if length > MAX_HEADER or start > len(encoded):
        raise ValueError("announcement is cut short or its header is too large")
    header = _parse(encoded[_LENGTH.size : start])
    middle = start + header.count("certificate", MAX_CERTIFICATE)
    if middle + header.count("inline", MAX_INLINE) != len(encoded):
        raise ValueError("announcement is not as long as its header says")
    snapshot, tree, commit = (
        header.optional_text("snapshot"),
        header.optional_text("tree"),
        header.optional_text("commit"),
    )
    announcement = Announcement(
        device=DeviceId(header.text("device")),
        name=header.text("name"),
        seq=header.count("seq", _MOST),
        state=header.text("state"),
        snapshot=None if snapshot is None else SnapshotId(snapshot),
        tree=None if tree is None else TreeId(tree),
        base=Base(commit=None if commit is None else CommitId(commit), branch=header.optional_text("branch")),
        version=header.version(),
        candidates=header.candidates(),
        certificate=encoded[start:middle],
        inline=encoded[middle:],
        on_hub=header.flag("on-hub"),
        remote=header.optional_text("remote"),
        store=header.optional_text("store") or "",
        sent_at_ms=header.count("sent-at", LAST_MS),
        remarks=remarks.from_object(header.value("remarks")),
    )
    _check(announcement)
    return announcement


def fits(version: Version, *, share: float) -> bool:
    """Return whether ``version`` takes at most this share of what an announcement has room for."""
    size = len(json.dumps(dict(version.counters), separators=(",", ":")))
    return len(version.counters) <= share * MAX_DEVICES and size <= share * MAX_VERSION


def is_device_id(text: str) -> bool:
    """Return whether ``text`` can be a device id: safe as part of a ref or a file name."""
    return _DEVICE.fullmatch(text) is not None and ".." not in text


class _Header:
    """A JSON object of unknown shape, read key by key."""

    def __init__(self, fields: Mapping[object, object]) -> None:
        self._fields = fields

    def value(self, key: str) -> object:
        return self._fields.get(key)

    def text(self, key: str) -> str:
        value = self._fields.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key} is not a text")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self._fields.get(key) is None else self.text(key)

    def flag(self, key: str) -> bool:
        value = self._fields.get(key)
        if not isinstance(value, bool):
            raise ValueError(f"{key} is neither true nor false")
        return value

    def count(self, key: str, most: int) -> int:
        return _count(self._fields.get(key), key, most)

    def candidates(self) -> tuple[Candidate, ...]:
        return from_pairs(self._fields.get("candidates"), most=MAX_CANDIDATES)

    def version(self) -> Version:
        value = self._fields.get("version")
        if not isinstance(value, dict):
            raise ValueError("version is not an object")
        return Version.of({DeviceId(str(d)): _count(n, "version", _MOST) for d, n in value.items()})


def _count(value: object, what: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{what} is not a number from 0 to {most}")
    return value


def _parse(header: bytes) -> _Header:
    try:
        fields = json.loads(header.decode("utf-8"))
    except RecursionError:
        raise ValueError("header is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("header is not an object")
    form = _count(fields.get("v"), "format", _MOST)
    if form != FORMAT:
        raise ValueError(f"format {form} is not known here; this is format {FORMAT}")
    return _Header(fields)


def _check(announcement: Announcement) -> None:
    """Raise :class:`ValueError` unless every field is of the size and alphabet it must be."""
    said = announcement
    for device in (said.device, *(d for d, _ in said.version.counters)):
        if not is_device_id(device):
            raise ValueError(f"device {device[:40]!r} is no device id")
    if not said.name.isprintable() or not 1 <= len(said.name) <= 128:
        raise ValueError("name is empty, too long or not printable")
    if not _STATE.fullmatch(said.state):
        raise ValueError(f"state {said.state[:40]!r} is no state")
    for what, oid in (("snapshot", said.snapshot), ("tree", said.tree), ("commit", said.base.commit)):
        if oid is not None and not _OBJECT_ID.fullmatch(oid):
            raise ValueError(f"{what} is not an id of 40 or 64 hex digits")
    if said.base.branch is not None:
        _check_branch(said.base.branch)
    if said.remote is not None and (len(said.remote) > MAX_REMOTE or not said.remote.isprintable()):
        raise ValueError("remote is too long or not printable")
    if len(said.version.counters) > MAX_DEVICES or said.version != Version.of(dict(said.version.counters)):
        raise ValueError("version is too large or not in canonical form")
    _check_ways(said.candidates, said.store)
    remarks.check(said.remarks)
    _count(said.sent_at_ms, "sent-at", LAST_MS)
    for what, number in (("seq", said.seq), *said.version.counters):
        _count(number, what, _MOST)
    if len(said.certificate) > MAX_CERTIFICATE or len(said.inline) > MAX_INLINE:
        raise ValueError("certificate or inline pack is too large")


def _check_ways(candidates: tuple[Candidate, ...], store: str) -> None:
    if not _STORE.fullmatch(store):
        raise ValueError("store is not a tag of 32 hex digits")
    if len(candidates) > MAX_CANDIDATES:
        raise ValueError(f"candidates are not a list of at most {MAX_CANDIDATES}")
    for candidate in candidates:
        if problem := candidate.problem():
            raise ValueError(problem)


def _check_branch(branch: str) -> None:
    # Bytes that are not UTF-8 travel as surrogate escapes (PEP 383); no other surrogate is
    # text.  A leading "-" would be an option to whoever gives the name to a command.
    raw = branch.encode("utf-8", "surrogateescape")
    if not 1 <= len(raw) <= MAX_BRANCH or raw.startswith(b"-") or any(b < 0x20 or b == 0x7F for b in raw):
        raise ValueError("branch is no branch name")


class ReplayGuard:
    """Lets every announcement of a device pass once, and none that is older than one that passed.

    Of more than :data:`MAX_DEVICES` devices the one that has been silent for longest is forgotten.
    """

    def __init__(self, last: Mapping[DeviceId, int] | None = None) -> None:
        self._last = dict(last or {})

    def knows(self, device: DeviceId) -> bool:
        """Return whether anything of this device has passed."""
        return device in self._last

    def is_news(self, device: DeviceId, seq: int) -> bool:
        """Return whether nothing as new of this device has passed."""
        return seq > self._last.get(device, -1)

    def accept(self, device: DeviceId, seq: int) -> bool:
        """Return whether this is news, and remember it."""
        if not self.is_news(device, seq):
            return False
        self._last.pop(device, None)
        self._last[device] = seq  # at the end: a dict remembers the order
        if len(self._last) > MAX_DEVICES:
            del self._last[next(iter(self._last))]
        return True

    def snapshot(self) -> Mapping[DeviceId, int]:
        """Return the highest number of each device; a new guard goes on from there."""
        return dict(self._last)
