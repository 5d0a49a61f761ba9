"""Makes connections to the agent of another machine through a reflector."""

from __future__ import annotations

import asyncio
import secrets
import socket

from autosync.core.candidates import Candidate
from autosync.link.dialling import Unlinked, connect
from autosync.reflector.protocol import NOBODY, OPENED, is_name, refused

PATIENCE = 20.0
"""Seconds until a pipe is there: the other side has to connect too."""
NOBODY_THERE = "nobody waits there"
"""What is told of a place at which no agent is, or to which none comes."""
_PLACE_BYTES = 16
_LONGEST = 200
"""Bytes of the longest line that a reflector answers here."""
_MOST_LINES = 8
_REFUSED = refused("").rstrip(b"\n")


def new_place() -> str:
    """Return a name that nobody guesses."""
    return secrets.token_hex(_PLACE_BYTES)


def place_of(candidate: Candidate) -> str:
    """Return the name of the place of a candidate."""
    return candidate.address.partition("/")[2]


def reflector_of(candidate: Candidate) -> str:
    """Return the reflector of a candidate, as ``host:port``."""
    return candidate.address.partition("/")[0]


async def call(address: str) -> socket.socket:
    """Return a pipe to whoever waits at ``host:port/place``.

    Raises :class:`Unlinked` if nobody does, or :class:`OSError`.
    """
    reflector, _, place = address.partition("/")
    return await _piped(reflector, b"call %b\n" % place.encode("ascii"))


async def take(reflector: str, ticket: bytes) -> socket.socket:
    """Return a pipe to who has called with this ticket.  Raises :class:`Unlinked` or :class:`OSError`."""
    return await _piped(reflector, b"take %b\n" % ticket)


def is_ticket(ticket: bytes) -> bool:
    """Return whether this can be the ticket of a call: it becomes part of a request."""
    return is_name(ticket) and len(ticket) <= _LONGEST // 2


async def _piped(reflector: str, request: bytes) -> socket.socket:
    async with asyncio.timeout(PATIENCE):
        connection = await connect(reflector)
        try:
            await asyncio.get_running_loop().sock_sendall(connection, request)
            await _opened(connection)
        except BaseException:
            connection.close()
            raise
    return connection


async def _opened(connection: socket.socket) -> None:
    for _ in range(_MOST_LINES):
        line = await _line(connection)
        if line == OPENED:
            return
        if line.startswith(_REFUSED):
            reason = line[len(_REFUSED) :].decode("ascii", "replace").strip()
            shown = "".join(c for c in reason if c.isprintable())
            raise Unlinked(NOBODY_THERE if shown == NOBODY else f"the reflector refuses: {shown}")
        if line == b"debug!busy\n":
            raise Unlinked("the reflector has too many connections")
    raise Unlinked("no reflector answers there")


async def _line(connection: socket.socket) -> bytes:
    """Return the next line.  Byte by byte: what follows the last one is not ours to read."""
    loop = asyncio.get_running_loop()
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = await loop.sock_recv(connection, 1)
        if not byte or len(line) >= _LONGEST:
            raise Unlinked("no reflector answers there")
        line += byte
    return bytes(line)
