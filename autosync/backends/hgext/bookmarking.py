"""Reads the bookmarks of a working copy, and writes where one of them is: also for shares that share them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mercurial import bookmarks, vfs
from mercurial.node import bin as binary
from mercurial.node import hex as hexadecimal

Place = tuple[Any, bytes]
"""A file: the directory (a vfs of hg) and its name there."""
ACTIVE = b"bookmarks.current"
_FILE = b"bookmarks"


class Bookmarks:
    """The bookmarks that the user of this working copy sees.

    Files are written here as hg writes them, but without its bookmark store: that waits for the lock
    of the source of a share when a transaction ends, holding others (issue 4858 of Mercurial).
    """

    def __init__(self, repo: Any) -> None:
        self._in_store = bool(bookmarks.bookmarksinstore(repo))
        self._repo = repo
        self.source: Any = None
        """The ``.hg`` that has them instead, for `hg share -B` (the share extension does the same)."""
        if repo.shared() and not self._in_store and _FILE in repo.vfs.tryread(b"shared").splitlines():
            self.source = vfs.vfs(repo.sharedpath)
        self._lines = (self.source or self._own()).tryread(_FILE).splitlines()

    def __contains__(self, name: bytes) -> bool:
        return any(found == name for _, found in map(_parts, self._lines))

    def node(self, name: bytes) -> bytes | None:
        """Return where a bookmark is, ``None`` if there is none, or if what it was at is gone."""
        has_node = self._repo.unfiltered().changelog.hasnode
        for node, found in map(_parts, self._lines):
            if found == name:
                with suppress(ValueError):
                    if has_node(binary(node)):
                        return bytes(binary(node))
        return None

    def moved(self, name: bytes, node: bytes) -> bytes:
        """Return the content of the file once the bookmark ``name`` is at ``node``."""
        return self.all_moved({name: node})

    def all_moved(self, nodes: Mapping[bytes, bytes]) -> bytes:
        """Return the content of the file once each of these bookmarks is at its node."""
        lines = [line for line in self._lines if _parts(line)[1] not in nodes]
        lines += [hexadecimal(node) + b" " + name for name, node in nodes.items()]
        lines.sort(key=lambda line: _parts(line)[1])
        return b"".join(line + b"\n" for line in lines)

    def places(self) -> list[Place]:
        """Return the files that hold them: a share has a copy of its own, in case it ever stands alone."""
        return [(where, _FILE) for where in (self._own(), self.source) if where is not None]

    def add_to(self, transaction: Any, content: bytes) -> None:
        """Have ``content`` take its place here when the transaction closes; a source's has to be written after it."""
        transaction.addfilegenerator(
            b"bookmarks",
            (_FILE,),
            lambda file: file.write(content),
            location=b"" if self._in_store else b"plain",
            post_finalize=True,
        )

    def _own(self) -> Any:
        return self._repo.svfs if self._in_store else self._repo.vfs


def active(repo: Any) -> bytes:
    """Return the active bookmark, empty if there is none."""
    name: bytes = repo.vfs.tryread(ACTIVE).partition(b"\n")[0]
    return name if name and name in Bookmarks(repo) else b""


def _parts(line: bytes) -> tuple[bytes, bytes]:
    node, _, name = line.strip().partition(b" ")
    return node, name
