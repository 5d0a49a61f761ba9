"""Keeps what is too large for a row of a database as files of their own."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zlib
from collections.abc import Container

from autosync.durable import sync_directory

_PREFIX = b"tmp-"
_PART = 1 << 20


class LargeFiles:
    """The directory ``large`` in ``metadata``: each file is named by the hex id of its content."""

    def __init__(self, metadata: bytes) -> None:
        self.directory = os.path.join(metadata, b"large")

    def write(self, oid: bytes, body: bytes) -> None:
        """Make a file, which is on the disk, under its name, when this returns."""
        if not os.path.isdir(self.directory):
            os.mkdir(self.directory, 0o700)
            sync_directory(os.path.dirname(self.directory))
        handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.rename(name, self._path(oid))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
        sync_directory(self.directory)

    def unpack(self, oid: bytes) -> bytes:
        """Return what a file holds, which is a zlib stream.

        Raises :class:`FileNotFoundError`, and :class:`zlib.error` for one that is damaged.
        """
        unpacker, out = zlib.decompressobj(), io.BytesIO()
        with open(self._path(oid), "rb") as file:
            while part := file.read(_PART):
                out.write(unpacker.decompress(part))
        if not unpacker.eof or unpacker.unused_data:
            raise zlib.error("the stream is cut off, or goes on after its end")
        return out.getvalue()

    def size_of(self, oid: bytes) -> int:
        """Return the bytes of a file, 0 if there is none."""
        try:
            return os.stat(self._path(oid)).st_size
        except FileNotFoundError:
            return 0

    def delete(self, oid: bytes) -> None:
        """Take a file away; no error if there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(oid))

    def size(self) -> int:
        """Return the bytes that all files take on the disk."""
        total = 0
        for entry in self._files():
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_blocks * 512
        return total

    def keep_only(self, oids: Container[bytes]) -> None:
        """Delete all other files, and what killed processes have left of some; nobody may be writing one."""
        for entry in self._files():
            if entry.name.startswith(_PREFIX) or bytes.fromhex(entry.name.decode("ascii")) not in oids:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)

    def _files(self) -> list[os.DirEntry[bytes]]:
        try:
            return list(os.scandir(self.directory))
        except FileNotFoundError:
            return []

    def _path(self, oid: bytes) -> bytes:
        return os.path.join(self.directory, oid.hex().encode())
