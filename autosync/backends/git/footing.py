"""What is known of a working copy before it is read: base, last state and what the index adds."""

from __future__ import annotations

from collections.abc import Collection

from autosync.backends.git.index import Index
from autosync.backends.git.objects import Slot, entry_of, is_tree
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import Entry, Kind, RelPath, TreeId

_MANY = 32


class Footing:
    """The state that a reading starts from.

    ``base_tree`` is what is committed, ``tree`` the last known state, ``moved`` tells that
    the base has changed since then.
    """

    def __init__(self, trees: Trees[Store], index: Index, *, base_tree: TreeId, tree: TreeId, moved: bool) -> None:
        self._trees = trees
        self._index = index
        self.moved = moved
        self.base_tree = base_tree
        self.tree = tree

    def warm(self, paths: Collection[RelPath]) -> None:
        """Prepare for questions about many paths."""
        if len(paths) >= _MANY:
            self._trees.warm(self.tree, paths)

    def entry(self, path: RelPath) -> Entry | None:
        """Return what stood at ``path`` last."""
        return self._trees.entry(self.tree, path)

    def entries(self, path: RelPath) -> tuple[Entry | None, Entry | None]:
        """Return what stood at ``path`` last and in the base, the more telling one first."""
        last = self._trees.entry(self.tree, path)
        if self.tree == self.base_tree:
            return last, last
        committed = self._trees.entry(self.base_tree, path)
        return (committed, last) if self.moved else (last, committed)

    def known(self, path: RelPath) -> bool:
        """Return whether something at or below ``path`` is committed, staged or was synced: ignore
        rules do not count for it."""
        return (
            self._trees.slot(self.tree, path) is not None
            or self._trees.slot(self.base_tree, path) is not None
            or self._index.holds(path)
        )

    def frozen(self, path: RelPath) -> bool:
        """Return whether the user told git to leave the file alone."""
        return path in self._index.frozen

    def indexed(self, path: RelPath) -> Slot | None:
        """Return what the index holds at ``path``, ``None`` for a directory or nothing."""
        if path in self._index.staged:
            return self._index.staged[path]
        slot = self._trees.slot(self.base_tree, path)
        return None if is_tree(slot) else slot

    def is_gitlink(self, path: RelPath) -> bool:
        """Return whether the path is a submodule to the index, the base or the last state."""
        entries = map(entry_of, (self._index.staged.get(path), *self._slots(path)))
        return any(entry is not None and entry.kind is Kind.NESTED for entry in entries)

    def holds_files(self, path: RelPath) -> bool:
        """Return whether files below ``path`` are known: it is a directory of ours then, even
        if somebody made a repository in it."""
        return any(map(is_tree, self._slots(path))) or (self._index.holds(path) and not self._index.staged.get(path))

    def declared(self, path: RelPath) -> Kind | None:
        """Return the kind that the index gives a file, or the last state did: it decides where
        the file system cannot tell (core.fileMode, core.symlinks)."""
        for entry in (entry_of(self._index.staged.get(path)), *self.entries(path)):
            if entry is not None:
                return entry.kind
        return None

    def _slots(self, path: RelPath) -> tuple[Slot | None, Slot | None]:
        last = self._trees.slot(self.tree, path)
        return last, last if self.tree == self.base_tree else self._trees.slot(self.base_tree, path)
