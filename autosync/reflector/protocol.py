"""The lines of the reflector's protocol: how they are read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

GREETING = b"debug!connected...\n"
OPENED = b"pipe!open\n"
"""From here on a connection carries the bytes of another one."""
NOBODY = "nobody is there"
"""Why a call is refused that nobody hears, or nobody takes."""
PORT = 1986
"""Of the fanout server that SparkleShare's users ran."""
MAX_FANOUT_LINE = 4096
"""Bytes of a line, its newline included, that a SparkleShare client can take."""
MAX_NAME = 128
MAX_LINE = 88 * 1024 + 2 * MAX_NAME
"""Bytes of the longest line: base64 of 64 KiB, two names, and what is between them."""

_NAME = re.compile(rb"[!-~]{1,%d}" % MAX_NAME)
_PAYLOAD = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_MESSAGE = re.compile(rb"[ -~\x80-\xff]+")


class Verb(Enum):
    """What a client may ask for."""

    SUBSCRIBE = b"subscribe"
    UNSUBSCRIBE = b"unsubscribe"
    ANNOUNCE = b"announce"
    PING = b"ping"
    FOLLOW = b"follow"
    KEEP = b"keep"
    CALL = b"call"
    TAKE = b"take"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of a client: ``name`` is an id or tag, ``payload`` a message or base64."""

    verb: Verb
    name: bytes = b""
    slot: bytes = b""
    payload: bytes = b""


class Malformed(ValueError):
    """A line that is none of the protocol's; says why."""


def is_name(name: bytes) -> bool:
    """Return whether ``name`` can be an id, a tag or a slot."""
    return _NAME.fullmatch(name) is not None and b"!" not in name


def parse(line: bytes) -> Request:
    """Return what ``line``, without its newline, asks for.  Raises :class:`Malformed`."""
    line = line.removesuffix(b"\r")
    word, _, rest = line.partition(b" ")
    try:
        verb = Verb(word)
    except ValueError:
        raise Malformed("no such request") from None
    if verb is Verb.PING:
        return Request(verb=verb)
    name, _, rest = rest.partition(b" ")
    if not is_name(name):
        raise Malformed("no name, or one that is too long")
    if verb is Verb.ANNOUNCE:
        return Request(verb=verb, name=name, payload=_message(name, rest))
    if verb is Verb.KEEP:
        slot, _, payload = rest.partition(b" ")
        if not is_name(slot):
            raise Malformed("no slot, or one that is too long")
        if not _PAYLOAD.fullmatch(payload):
            raise Malformed("the payload is not base64")
        return Request(verb=verb, name=name, slot=slot, payload=payload)
    return Request(verb=verb, name=name)


def _message(name: bytes, message: bytes) -> bytes:
    if not _MESSAGE.fullmatch(message):
        raise Malformed("the message is empty or holds control characters")
    if len(name) + len(message) + 2 > MAX_FANOUT_LINE:
        raise Malformed(f"an announcement of more than {MAX_FANOUT_LINE} bytes")
    return message


def announced(name: bytes, message: bytes) -> bytes:
    """Return the line that passes an announcement on."""
    return b"%b!%b\n" % (name, message)


def kept(tag: bytes, slot: bytes, payload: bytes) -> bytes:
    """Return the line that passes on what is kept in a slot."""
    return b"%b!%b %b\n" % (tag, slot, payload)


def end_of(tag: bytes) -> bytes:
    """Return the line after the last that was kept."""
    return b"%b!end\n" % tag


def called(place: bytes, ticket: str) -> bytes:
    """Return the line that tells who is at a place of a call."""
    return b"%b!%b\n" % (place, ticket.encode("ascii"))


def refused(reason: str) -> bytes:
    """Return the line that says why something was not done."""
    return b"debug!refused %b\n" % reason.encode("ascii", "replace")


class Splitter:
    """Cuts what arrives in pieces into lines of at most ``most`` bytes."""

    __slots__ = ("_held", "_most")

    def __init__(self, most: int = MAX_LINE) -> None:
        self._held = bytearray()
        self._most = most

    @property
    def held(self) -> int:
        """Return how many bytes of a line that has not ended are held."""
        return len(self._held)

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that ``piece`` completes, without their newlines.

        Raises :class:`Malformed` for a line that is too long; all of it is lost.
        """
        if not self._held:
            *lines, rest = piece.split(b"\n")
        else:
            searched = len(self._held)
            self._held += piece
            if self._held.find(b"\n", searched) < 0:
                lines, rest = [], b""
            else:
                *lines, rest = bytes(self._held).split(b"\n")
                self._held = bytearray()
        self._held += rest
        if len(self._held) > self._most or any(len(line) > self._most for line in lines):
            self._held = bytearray()
            raise Malformed("the line is too long")
        return lines
