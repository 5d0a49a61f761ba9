"""Gives revisions of a revlog other chunks, in an open transaction."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from mercurial import error

from . import versions

_ENTRY = struct.Struct(">Qi52s")
"""An entry of a revlog's index of version 1: offset and flags, length of the chunk, the rest (hg help
internals.revlogs)."""
_HEADER = struct.Struct(">I")
_INLINE = 1 << 16
_FLAGS = 0xFFFF
_LARGEST_INLINE = 131072
"""Bytes up to which hg keeps index and chunks in one file."""
_BLOCK = 1 << 20


def rewrite(opener: Any, transaction: Any, path: bytes, chunks: Mapping[int, bytes]) -> None:
    """Store these chunks for these revisions of a file, each of which has no base in its revlog.

    Everything else stays as it is, byte for byte.  An abort of the transaction, or ``hg recover`` after
    a kill, brings back what was there.
    """
    log = versions.open_log(opener, path, False)
    index, data = log._indexfile, log._datafile
    header, entries, sizes = _entries(log, chunks)
    inline = bool(header & _INLINE) and sum(sizes) + len(sizes) * _ENTRY.size <= _LARGEST_INLINE
    # With no location: `hg recover` of 6.3 knows none but that.
    transaction.addbackup(index)
    if not inline:
        if header & _INLINE:
            transaction.add(data, 0)
            opener.register_file(data)  # writing alone makes a new file known to the store only up to 6.8
        else:
            transaction.addbackup(data)
        with opener(data, b"wb", atomictemp=True) as file:
            for rev in range(len(entries)):
                file.write(chunks[rev] if rev in chunks else versions.raw_chunk(log, rev))
        header &= ~_INLINE
    with opener(index, b"wb", atomictemp=True) as file:
        for rev, entry in enumerate(entries):
            file.write(entry if rev else _HEADER.pack(header) + entry[_HEADER.size :])
            if inline:
                file.write(chunks[rev] if rev in chunks else versions.raw_chunk(log, rev))


def _entries(log: Any, chunks: Mapping[int, bytes]) -> tuple[int, list[bytes], list[int]]:
    """Return the header, all entries of the index with the places that these chunks give them, and all sizes."""
    with log.opener(log._indexfile, b"rb") as file:
        stored = file.read()
    header = _HEADER.unpack_from(stored)[0]
    entries, sizes = [], []
    place = offset = 0
    for rev in range(len(log)):
        word, length, rest = _ENTRY.unpack_from(stored, place)
        place += _ENTRY.size + (length if header & _INLINE else 0)
        if length != log.length(rev):
            raise error.StorageError(b"%s changed while it was read" % log._indexfile)
        size = len(chunks[rev]) if rev in chunks else length
        entries.append(_ENTRY.pack(offset << 16 | word & _FLAGS, size, rest))
        sizes.append(size)
        offset += size
    return header, entries, sizes
