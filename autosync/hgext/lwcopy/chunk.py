"""The bytes of a light-weight copy: what a chunk of a revlog holds in place of the copied text.

A revlog asks the first byte of a chunk how to expand it (``x`` is zlib, ``u`` is plain, ...; see
mercurial/revlog.py, ``decompress``).  Ours is ``L``, and what it is expanded with is a revision of
another file.  Big-endian throughout::

    offset  size
    0       1     b"L"
    1       1     version of this layout: 1
    2       1     level, 1 to 24 (see below)
    3       1     flags; bit 0: the delta is compressed with zlib; the others are 0
    4       2     length of the path, P: 1 to 65535
    6       20    node of the source revision
    26      P     path of the source, as the manifest spells it
    26+P    rest  delta from the source's raw text to this one, as Mercurial writes deltas (hg help internals.revlogs)

The level makes a circle impossible, and bounds how many files a text is put together from: a light
chunk may only need light chunks of a lower level.  Who reads passes the level down, and refuses what
does not get smaller.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

HEADER = b"L"
VERSION = 1
HIGHEST = 24
"""The largest level: so many files are opened at most for one text, beside its own."""

_LAYOUT = struct.Struct(">cBBBH20s")
_ZLIB = 1
_LONGEST_PATH = 0xFFFF


class Malformed(ValueError):
    """These bytes are no light chunk; the words say why."""


@dataclass(frozen=True)
class Light:
    """A light chunk: its level, the path and node of its source, the delta (not compressed)."""

    level: int
    path: bytes
    node: bytes
    delta: bytes


def pack(light: Light) -> bytes | None:
    """Return the bytes, None if the path is too long or too many files deep."""
    if not 0 < len(light.path) <= _LONGEST_PATH or not 0 < light.level <= HIGHEST:
        return None
    packed = zlib.compress(light.delta)
    flags, body = (_ZLIB, packed) if len(packed) < len(light.delta) else (0, light.delta)
    return _LAYOUT.pack(HEADER, VERSION, light.level, flags, len(light.path), light.node) + light.path + body


def level_of(chunk: bytes) -> int:
    """Return the level of a stored chunk: 0 if it is not light."""
    return chunk[2] if chunk[:1] == HEADER and len(chunk) >= _LAYOUT.size else 0


def source_of(chunk: bytes) -> tuple[bytes, bytes]:
    """Return path and node that a light chunk needs; raise :class:`Malformed`."""
    if len(chunk) < _LAYOUT.size:
        raise Malformed("it is cut off")
    header, version, level, flags, length, node = _LAYOUT.unpack_from(chunk)
    if header != HEADER or version != VERSION:
        raise Malformed(f"version {version} of its layout is not known")
    if flags & ~_ZLIB or not 0 < level <= HIGHEST or not length:
        raise Malformed("its header makes no sense")
    path = chunk[_LAYOUT.size : _LAYOUT.size + length]
    if len(path) < length:
        raise Malformed("it is cut off")
    return path, node


def unpack(chunk: bytes) -> Light:
    """Return what the bytes say; raise :class:`Malformed`."""
    path, node = source_of(chunk)
    body = chunk[_LAYOUT.size + len(path) :]
    if chunk[3] & _ZLIB:
        try:
            body = zlib.decompress(body)
        except zlib.error as problem:
            raise Malformed(str(problem)) from None
    return Light(chunk[2], path, node, body)
