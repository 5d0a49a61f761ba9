"""A look at an hg working copy as the backend takes it, without the rest of the backend."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autosync.backends.hg.basetree import BaseTrees
from autosync.backends.hg.contents import Contents
from autosync.backends.hg.head import Head
from autosync.backends.hg.ignore import Ignore
from autosync.backends.hg.reading import Reader
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.core.model import Kind, RelPath, TreeId
from autosync.ports import Hold, Reading, hold_nothing

Listing = dict[bytes, tuple[Kind, bytes]]
_ATTEMPTS = 2000


class Looking:
    """The parts that look, joined; ``last`` is what was read last."""

    def __init__(self, root: bytes, by: Sequence[str] | None = None, *, ignore: Sequence[str] = ()) -> None:
        self.root = root
        self.repo = Repository(root, by)
        self.store = Store(os.path.join(root, b".hg", b"autosync"))
        self.trees = BaseTrees(self.repo, self.store)
        self.contents = Contents(self.repo, self.store)
        self.head = Head(root)
        self.ignore = Ignore(root, ignore)
        self.reader = Reader(self.repo, self.store, self.trees, self.ignore, self.head.base)
        self.last: Reading | None = None

    def __enter__(self) -> Looking:
        return self

    def __exit__(self, *_: object) -> None:
        self.repo.close()
        self.store.close()

    def read(self, *paths: str | bytes, hold: Hold = hold_nothing) -> TreeId:
        """Return the state, of everything if nothing is named; looked at until nothing is torn."""
        named = [RelPath(os.fsencode(path)) for path in paths] if paths else None
        previous = None if self.last is None else (self.last.base, self.last.tree)
        for _ in range(_ATTEMPTS):
            self.last = self.reader.read(named, previous, hold)
            if not self.last.torn:
                return self.last.tree
        raise AssertionError(f"always torn: {self.last!r}")

    def base_tree(self) -> TreeId:
        """Return the tree of what is checked out."""
        return self.trees.tree_of(self.head.base().commit)

    def listing(self, tree: TreeId) -> Listing:
        """Return kind and content of everything in ``tree``."""
        entries = dict(self.store.entries(tree))
        found = self.contents.open_many([entry.oid for entry in entries.values()])
        contents = {oid: content.whole() for oid, content in found}
        return {bytes(path): (entry.kind, contents[entry.oid]) for path, entry in entries.items()}

    def content(self, tree: TreeId, path: str | bytes) -> bytes | None:
        """Return what the file at ``path`` holds, ``None`` if there is none."""
        entry = self.store.entry(tree, RelPath(os.fsencode(path)))
        return None if entry is None else self.contents.open(entry.oid).whole()

    def marks(self, tree: TreeId) -> dict[bytes, bytes]:
        """Return the marks of ``tree``."""
        return {bytes(path): mark for path, mark in self.store.marks(tree).items()}

    def unreadable(self) -> set[bytes]:
        """Return what could not be read last."""
        assert self.last is not None
        return {bytes(path) for path in self.last.unreadable}
