"""A working copy on the disk, and what its user does to the files alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from contract.fleet import rel

from autosync.core.model import Kind, RelPath


class DiskSite:
    """The files below ``root``; ``own`` is the directory of version control (``.git``, ``.hg``)."""

    own: bytes

    def __init__(self, name: str, root: bytes) -> None:
        self.name = name
        self.root = root

    def nested_commit(self, directory: bytes) -> bytes:
        """Return what is checked out in the nested repository at ``directory``."""
        raise NotImplementedError

    def at(self, path: str | bytes) -> bytes:
        return os.path.join(self.root, rel(path))

    def write(self, path: str | bytes, content: bytes) -> None:
        self._make_parents(path)
        with open(self.at(path), "wb") as file:
            file.write(content)

    def chmod(self, path: str | bytes, *, executable: bool) -> None:
        os.chmod(self.at(path), 0o755 if executable else 0o644)

    def symlink(self, path: str | bytes, target: bytes) -> None:
        self._make_parents(path)
        os.symlink(target, self.at(path))

    def remove(self, path: str | bytes) -> None:
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)
        self._prune_parents(path)

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        self._make_parents(new)
        os.rename(self.at(old), self.at(new))
        self._prune_parents(old)

    def files(self) -> dict[RelPath, tuple[Kind, bytes]]:
        return dict(self._walk(b""))

    def _walk(self, directory: bytes) -> Iterator[tuple[RelPath, tuple[Kind, bytes]]]:
        for entry in os.scandir(self.at(directory)):
            path = os.path.join(directory, entry.name)
            if path == self.own:
                continue
            if entry.is_symlink():
                yield RelPath(path), (Kind.SYMLINK, os.readlink(entry.path))
            elif entry.is_dir() and os.path.lexists(os.path.join(entry.path, self.own)):
                yield RelPath(path), (Kind.NESTED, self.nested_commit(entry.path))
            elif entry.is_dir():
                yield from self._walk(path)
            else:
                kind = Kind.EXECUTABLE if entry.stat().st_mode & 0o100 else Kind.FILE
                with open(entry.path, "rb") as file:
                    yield RelPath(path), (kind, file.read())

    def _make_parents(self, path: str | bytes) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)

    def _prune_parents(self, path: str | bytes) -> None:
        directory = os.path.dirname(rel(path))
        while directory and not os.listdir(self.at(directory)):
            os.rmdir(self.at(directory))
            directory = os.path.dirname(directory)
