"""Reads contents that are stored as deltas of others."""

from __future__ import annotations

import io
import os
import sqlite3
import zlib
from collections import OrderedDict

from autosync.backends.git import delta
from autosync.backends.hg.large import LargeFiles

_KEPT = 8 << 20
_LARGEST_KEPT = 1 << 20
"""Bytes of contents that are kept for the next one, which mostly is a delta of one of them."""

_PART = 1 << 20

_ROW = (
    "SELECT id, base, body IS NULL, (SELECT body FROM bodies WHERE place = objects.body) FROM objects WHERE number = ?"
)


class Broken(Exception):
    """A content, or one that it is a delta of, is not there or not what was written."""


class Chains:
    """The contents of one store by their number; whoever asks holds the lock of its database."""

    def __init__(self, large: LargeFiles) -> None:
        self._large = large
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def content(self, connection: sqlite3.Connection, number: int) -> bytes:
        """Return a content.  Raises :class:`Broken`."""
        chain: list[tuple[bytes, bytes]] = []
        wanted: int | None = number
        content: bytes | None = None
        try:
            while content is None:
                row = connection.execute(_ROW, (wanted,)).fetchone()
                if row is None:
                    raise Broken("what it is a delta of is gone")
                oid, base, large, body = row
                content = self._kept.get(oid)
                if content is None and base is None:
                    content = self._unpacked(oid) if large else zlib.decompress(body or b"")
                    self._keep(oid, content)
                elif content is None:
                    chain.append((oid, zlib.decompress(body or b"")))
                    wanted = base
            for above, instructions in reversed(chain):
                content = delta.apply(content, instructions)
                self._keep(above, content)
        except (zlib.error, delta.BadDelta, FileNotFoundError) as error:
            raise Broken(str(error)) from error
        return content

    def _unpacked(self, oid: bytes) -> bytes:
        unpacker, out = zlib.decompressobj(), io.BytesIO()
        with os.fdopen(self._large.open(oid), "rb") as file:
            while part := file.read(_PART):
                out.write(unpacker.decompress(part))
        if not unpacker.eof or unpacker.unused_data:
            raise zlib.error("the stream is cut off, or goes on after its end")
        return out.getvalue()

    def _keep(self, oid: bytes, content: bytes) -> None:
        if len(content) > _LARGEST_KEPT or oid in self._kept:
            return
        self._kept[oid] = content
        self._size += len(content)
        while self._size > _KEPT:
            self._size -= len(self._kept.popitem(last=False)[1])
