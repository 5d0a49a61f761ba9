"""Writes git packs with their index, without starting git (gitformat-pack(5), versions 2)."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Protocol

from autosync.durable import sync_directory

_TYPES = {b"commit": 1, b"tree": 2, b"blob": 3}
_CHUNK = 1 << 20
_MANY = 256
"""Objects whose compression is worth threads."""
_PORTION = 64
"""Objects that one thread compresses at a time."""
_THREADS = min(4, os.cpu_count() or 1)
_INCOMPRESSIBLE = 0.97
"""A big file whose start does not shrink below this share is stored as it is."""
_BLOCK = 65535
"""Bytes of a stored block at most (RFC 1951, 3.2.4)."""


class PackWriter:
    """One new pack in ``directory`` (``objects/pack``), visible to others only when finished.

    Used as a context manager; leaving it without :meth:`finish` takes it away again.
    """

    def __init__(self, directory: bytes, hash_name: str, count: int) -> None:
        self._directory = directory
        self._hash_name = hash_name
        self._sum = hashlib.new(hash_name, usedforsecurity=False)
        handle, self._path = tempfile.mkstemp(prefix=b"tmp_pack_", dir=directory)
        self._file: BinaryIO = os.fdopen(handle, "wb", buffering=1 << 16)
        self._offset = 0
        self._index: list[tuple[bytes, int, int]] = []
        self._crc = 0
        self._write(b"PACK" + struct.pack(">II", 2, count))

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()  # which writes what is left, or tries to: the disk may be full
        finally:
            if self._path:
                os.unlink(self._path)

    def add(self, oid: bytes, kind: bytes, size: int, packed: bytes) -> None:
        """Append an object of ``size`` bytes that is in memory, as :func:`deflate` made it."""
        self._begin(oid, kind, size)
        self._write(packed)

    def add_stream(self, oid: bytes, source: BinaryIO, size: int) -> bytes:
        """Append a blob of ``size`` bytes read from ``source``; return the id of what was read.

        Memory stays at a few MB.  If the id returned is not ``oid`` the pack is spoiled and
        must not be finished.
        """
        self._begin(oid, b"blob", size)
        digest = hashlib.new(self._hash_name, b"blob %d\0" % size, usedforsecurity=False)
        left = size
        packer: Packer | None = None
        while left and (chunk := source.read(min(_CHUNK, left))):
            left -= len(chunk)
            digest.update(chunk)
            if packer is None:
                packer = packer_for(chunk)
            self._write(packer.compress(chunk))
        self._write((packer or zlib.compressobj(1)).flush())
        return digest.digest() if not left else b""

    def finish(self) -> bytes:
        """Make the pack and its index durable and visible; return the pack's path."""
        self._index_last()
        checksum = self._sum.digest()
        self._file.write(checksum)
        _sync(self._file)
        pack = os.path.join(self._directory, b"pack-" + checksum.hex().encode() + b".pack")
        handle, index = tempfile.mkstemp(prefix=b"tmp_idx_", dir=self._directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(index_bytes(self._index, checksum, self._hash_name))
                os.fchmod(file.fileno(), 0o444)
                _sync(file)
            os.fchmod(self._file.fileno(), 0o444)
            # git looks for *.idx and expects the pack beside it.
            os.rename(self._path, pack)
            self._path = b""
            os.rename(index, pack.removesuffix(b".pack") + b".idx")
            # A pin that survives a power cut must not name what does not.
            sync_directory(self._directory)
        except BaseException:
            if os.path.exists(index):
                os.unlink(index)
            raise
        return pack

    def _begin(self, oid: bytes, kind: bytes, size: int) -> None:
        self._index_last()
        self._index.append((oid, 0, self._offset))
        self._crc = 0
        self._write(_object_header(_TYPES[kind], size))

    def _index_last(self) -> None:
        if self._index:
            oid, _, offset = self._index[-1]
            self._index[-1] = (oid, self._crc, offset)

    def _write(self, part: bytes) -> None:
        self._file.write(part)
        self._sum.update(part)
        self._crc = zlib.crc32(part, self._crc)
        self._offset += len(part)


class Packer(Protocol):
    """Makes a zlib stream."""

    def compress(self, content: bytes | memoryview, /) -> bytes:
        """Return the next part of the stream."""

    def flush(self) -> bytes:
        """Return its end."""


def packer_for(start: bytes | memoryview) -> Packer:
    """Return what makes a zlib stream of a big content that begins so, quickly."""
    return zlib.compressobj(1) if shrinks(start) else Stored()


def shrinks(start: bytes | memoryview) -> bool:
    """Return whether it is worth the time to compress a big content that begins so."""
    return len(zlib.compress(start, 1)) < _INCOMPRESSIBLE * len(start)


def stored_blocks(content: bytes | memoryview) -> bytes:
    """Return content as it is, in blocks of a deflate stream (RFC 1951, 3.2.4) that are not the last."""
    view, parts = memoryview(content), list[bytes | memoryview]()
    for start in range(0, len(view), _BLOCK):
        block = view[start : start + _BLOCK]
        parts += (struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block)
    return b"".join(parts)


class Stored:
    """Makes a zlib stream (RFC 1950) of content as it is, in a quarter of the time that zlib's level 0 takes."""

    def __init__(self) -> None:
        self._adler = 1
        self._head = b"\x78\x01"

    def compress(self, content: bytes | memoryview, /) -> bytes:
        """Return the next part of the stream."""
        self._adler = zlib.adler32(content, self._adler)
        head, self._head = self._head, b""
        return head + stored_blocks(content)

    def flush(self) -> bytes:
        """Return its end: an empty last block and the checksum."""
        return self._head + b"\x01\0\0\xff\xff" + struct.pack(">I", self._adler)


def write_pack(directory: bytes, hash_name: str, objects: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Write (raw id, kind, content) triples as one pack; return its path."""
    items = list(objects)
    with PackWriter(directory, hash_name, len(items)) as writer:
        for (oid, kind, content), packed in zip(items, _deflated([item[2] for item in items]), strict=True):
            writer.add(oid, kind, len(content), packed)
        return writer.finish()


def deflate(content: bytes) -> bytes:
    """Return content as it stands in a pack (zlib's format, RFC 1950)."""
    return zlib.compress(content, 1)


def _deflated(contents: Sequence[bytes]) -> Iterator[bytes]:
    """Yield each content deflated; many by all processors, for zlib lets other threads run meanwhile."""
    if len(contents) < _MANY:
        yield from map(deflate, contents)
        return
    portions = [contents[start : start + _PORTION] for start in range(0, len(contents), _PORTION)]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="deflate") as threads:
        for start in range(0, len(portions), _THREADS * 2):  # so little waits to be written
            for packed in threads.map(lambda some: [*map(deflate, some)], portions[start : start + _THREADS * 2]):
                yield from packed


def index_bytes(entries: Iterable[tuple[bytes, int, int]], checksum: bytes, hash_name: str) -> bytes:
    """Return the index (version 2) of a pack that holds (raw id, CRC-32, offset) entries."""
    entries = sorted(entries)
    fanout = [0] * 256
    for oid, _, _ in entries:
        fanout[oid[0]] += 1
    for i in range(1, 256):
        fanout[i] += fanout[i - 1]
    small: list[int] = []
    large: list[int] = []
    for _, _, offset in entries:
        if offset < 1 << 31:
            small.append(offset)
        else:
            small.append(1 << 31 | len(large))
            large.append(offset)
    count = len(entries)
    body = b"".join(
        (
            b"\377tOc",
            struct.pack(">I256I", 2, *fanout),
            b"".join(oid for oid, _, _ in entries),
            struct.pack(f">{count}I", *(crc for _, crc, _ in entries)),
            struct.pack(f">{count}I", *small),
            struct.pack(f">{len(large)}Q", *large),
            checksum,
        )
    )
    return body + hashlib.new(hash_name, body, usedforsecurity=False).digest()


def _object_header(kind: int, size: int) -> bytes:
    """Return type and size as git packs them: 4 bits of size, then 7 per byte."""
    byte = kind << 4 | size & 15
    size >>= 4
    header = bytearray()
    while size:
        header.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    header.append(byte)
    return bytes(header)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
