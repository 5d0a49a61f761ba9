"""Writes and reads what travels between stores: a header, history, and contents, as one compressed stream."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from autosync.backends.git.pack import shrinks, stored_blocks
from autosync.backends.hgext.contents import SMALL
from autosync.errors import Unsafe

MAGIC = b"autosync-hg\0\1"
"""A stream is this and one zlib stream of records, each a kind, a size in 8 bytes and so many bytes.

In this order: one header, at most one history (or a thin one, :mod:`~autosync.backends.hg.thinning`), contents
and deltas, and the end: the SHA-256 of
everything before.
"""
HEADER, HISTORY, THIN, CONTENT, DELTA, _END = b"h", b"y", b"t", b"c", b"d", b"e"
_RANKS = {HEADER: 0, HISTORY: 1, THIN: 1, CONTENT: 2, DELTA: 2, _END: 3}
_IDS = {CONTENT: 32, DELTA: 64}
"""Bytes of ids before the content: its own, and that of what a delta applies to."""
_RECORD = struct.Struct(">cQ")
_ZLIB = b"\x78\x9c"
_CHUNK = 1 << 16
_PART = 1 << 20
_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."


class TooLarge(Exception):
    """What was to be written takes more than it may."""


class Sink(Protocol):
    """Where a stream goes."""

    def write(self, part: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a stream from outside may cost us, in bytes; ``unpacked`` counts what deltas make as well."""

    packed: int
    unpacked: int
    header: int
    history: int
    content: int


LARGEST_DELTA = 4 << 20
"""Bytes of a content of which changes are sent; a larger one is sent whole."""
INLINE = Bounds(packed=4 << 20, unpacked=24 << 20, header=4 << 20, history=8 << 20, content=16 << 20)
STREAM = Bounds(packed=16 << 30, unpacked=64 << 30, header=128 << 20, history=1 << 30, content=(1 << 31) - 1)
"""No content is larger than hg itself can have (revlog: 31 bits)."""


class Record(NamedTuple):
    """The start of a record: kind, bytes of its content, its raw id, and that of what a delta applies to."""

    kind: bytes
    size: int
    oid: bytes
    base: bytes


class Writer:
    """Writes a stream; raises :class:`TooLarge` before it writes more than ``limit`` bytes, if one is given."""

    def __init__(self, out: Sink, *, limit: int | None = None) -> None:
        self._out = out
        self._left = limit
        # The zlib stream (RFC 1950) is put together here, so that what does not shrink is in it as it is.
        self._packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._adler = zlib.adler32(b"")
        self._digest = hashlib.sha256(MAGIC)
        self._send(MAGIC + _ZLIB)

    def write(self, kind: bytes, content: bytes, *, oid: bytes = b"", base: bytes = b"") -> None:
        """Write a record."""
        self._add(_RECORD.pack(kind, len(oid) + len(base) + len(content)) + oid + base)
        self._add(content)

    def copy(self, kind: bytes, parts: Iterable[bytes], size: int, *, oid: bytes = b"") -> None:
        """Write a record of the ``size`` bytes that ``parts`` make."""
        self._add(_RECORD.pack(kind, len(oid) + size) + oid)
        as_it_is: bool | None = None if size > SMALL else False
        for part in parts:
            size -= len(part)
            if as_it_is is None:
                as_it_is = not shrinks(part)
            self._add(part, as_it_is=as_it_is)
        if size:
            raise EOFError("the file is not as large as it was")

    def end(self) -> None:
        """Write the end."""
        self.write(_END, self._digest.digest())
        self._send(self._packer.flush() + struct.pack(">I", self._adler))

    def _add(self, content: bytes, *, as_it_is: bool = False) -> None:
        self._digest.update(content)
        self._adler = zlib.adler32(content, self._adler)
        if as_it_is:
            # After a full flush nothing refers to what was before it, so blocks of ours may come in between.
            self._send(self._packer.flush(zlib.Z_FULL_FLUSH) + stored_blocks(content))
            return
        view = memoryview(content)
        for start in range(0, len(view), _PART):
            self._send(self._packer.compress(view[start : start + _PART]))

    def _send(self, packed: bytes) -> None:
        if self._left is not None:
            self._left -= len(packed)
            if self._left < 0:
                raise TooLarge
        if packed:
            self._out.write(packed)


class Reader:
    """Reads a stream; raises :class:`Unsafe` for anything but a whole one within ``bounds``.

    That it is whole is known when :meth:`records` has come to its end.
    """

    def __init__(self, source: BinaryIO, bounds: Bounds) -> None:
        self._source = source
        self._bounds = bounds
        self._packed = self._unpacked = 0
        self._unpacker = zlib.decompressobj()
        self._digest = hashlib.sha256(MAGIC)
        self._unread = 0
        start = b""
        while len(start) < len(MAGIC) and (part := self._more(len(MAGIC) - len(start))):
            start += part
        if start.startswith(b"PACK"):
            raise bad("is of git: that device keeps this workspace in a git repository, this one in Mercurial")
        if start != MAGIC:
            raise bad("is no stream of this version")

    def records(self) -> Iterator[Record]:
        """Yield the start of each record; what is not read of its content is passed over."""
        rank = -1
        while True:
            for _ in self._parts(self._unread):
                pass
            before = self._digest.digest()
            kind, size = _RECORD.unpack(self._exactly(_RECORD.size))
            if kind not in _RANKS or _RANKS[kind] < rank + (rank < _RANKS[CONTENT]) or (rank < 0 and kind != HEADER):
                raise bad(f"holds the record {kind!r} where it cannot be")
            rank = _RANKS[kind]
            if kind == _END:
                self._finish(before, size)
                return
            ids = self._exactly(min(size, _IDS.get(kind, 0)))
            self._unread = size - len(ids)
            self._refuse_size(kind, self._unread, len(ids))
            yield Record(kind, self._unread, ids[:32], ids[32:])

    def parts(self) -> Iterator[bytes]:
        """Yield the content of the record that was met last, in parts."""
        return self._parts(self._unread)

    def content(self) -> bytes:
        """Return the content of the record that was met last."""
        content = io.BytesIO()
        self.copy(content)
        return content.getvalue()

    def copy(self, target: Sink) -> None:
        """Write the content of the record that was met last to ``target``."""
        for part in self._parts(self._unread):
            target.write(part)

    def charge(self, size: int) -> None:
        """Count so many bytes that a delta makes."""
        most = min(self._bounds.content, LARGEST_DELTA)
        if size > most:
            raise bad(f"holds a delta that makes {size} bytes, more than the {most} that are accepted")
        self._count(size)

    def _count(self, size: int) -> None:
        self._unpacked += size
        if self._unpacked > self._bounds.unpacked:
            raise bad(f"unpacks to more than the {self._bounds.unpacked} bytes that are accepted")

    def _refuse_size(self, kind: bytes, size: int, ids: int) -> None:
        most = {HEADER: self._bounds.header, HISTORY: self._bounds.history, THIN: self._bounds.history}.get(
            kind, self._bounds.content
        )
        if ids != _IDS.get(kind, 0) or size > most:
            raise bad(f"holds a record of {size} bytes, more than the {most} that are accepted")

    def _finish(self, digest: bytes, size: int) -> None:
        if size != len(digest) or self._exactly(size) != digest:
            raise bad("is damaged")
        if self._inflate(1) or not self._unpacker.eof or self._unpacker.unused_data or self._source.read(1):
            raise bad("goes on after its end")

    def _exactly(self, size: int) -> bytes:
        return b"".join(self._parts(size))

    def _parts(self, size: int) -> Iterator[bytes]:
        """Yield so many bytes, in pieces."""
        while size:
            part = self._inflate(min(size, _CHUNK))
            if not part:
                raise bad("is cut off")
            size -= len(part)
            self._unread = max(0, self._unread - len(part))
            self._digest.update(part)
            yield part

    def _inflate(self, most: int) -> bytes:
        """Return the next bytes, at least one and at most ``most``; none at the end."""
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._more(_CHUNK)
            if not packed:
                raise bad("is cut off")
            try:
                part = self._unpacker.decompress(packed, most)
            except zlib.error as error:
                raise bad(f"is damaged ({error})") from None
            if part:
                self._count(len(part))
                return part
        return b""

    def _more(self, most: int) -> bytes:
        part = self._source.read(most)
        self._packed += len(part)
        if self._packed > self._bounds.packed:
            raise bad(f"takes more than the {self._bounds.packed} bytes that are accepted")
        return part


def bad(what: str) -> Unsafe:
    """Return the error for a stream that is not as :class:`Writer` writes it."""
    return Unsafe(f"What arrived for a snapshot {what}", hint=_HINT)
