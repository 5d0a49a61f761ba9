"""Keeps what is too large for a row of a database as files of their own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Container, Iterable

from autosync.durable import sync_directory

_PREFIX = b"tmp-"


class LargeFiles:
    """The directory ``large`` in ``metadata``: each file is named by the hex id of its content."""

    def __init__(self, metadata: bytes) -> None:
        self.directory = os.path.join(metadata, b"large")
        self._making: set[bytes] = set()

    def write(self, oid: bytes, body: bytes) -> None:
        """Make a file, which is on the disk, under its name, when this returns."""
        made = self.make([body])
        try:
            self.name(made, oid)
        finally:
            self.discard(made)

    def make(self, parts: Iterable[bytes]) -> bytes:
        """Make a file that has no name yet, but is on the disk; return where, for :meth:`name` and :meth:`discard`."""
        if not os.path.isdir(self.directory):
            os.mkdir(self.directory, 0o700)
            sync_directory(os.path.dirname(self.directory))
        handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=self.directory)
        self._making.add(os.path.basename(name))
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.discard(name)
            raise
        return name

    def name(self, made: bytes, oid: bytes) -> None:
        """Give a file its name, which is on the disk when this returns."""
        os.rename(made, self._path(oid))
        sync_directory(self.directory)

    def discard(self, made: bytes) -> None:
        """Take away what was made, unless it has its name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)
        self._making.discard(os.path.basename(made))

    def open(self, oid: bytes) -> int:
        """Return a descriptor of a file.  Raises :class:`FileNotFoundError`."""
        return os.open(self._path(oid), os.O_RDONLY | os.O_CLOEXEC)

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
        """Delete all other files, and what killed processes have left of some; nobody may be naming one."""
        for entry in self._files():
            if entry.name in self._making:
                continue
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
