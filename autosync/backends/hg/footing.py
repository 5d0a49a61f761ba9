"""What is known of a working copy before it is read: base, last state and what the user told hg."""

from __future__ import annotations

from collections.abc import Collection

from autosync.backends.git.objects import is_tree
from autosync.backends.hg.store import Store
from autosync.core.model import Entry, Kind, RelPath, TreeId, parent_directories


class Footing:
    """The state that a reading starts from.

    ``base_tree`` is what is committed, ``tree`` the last known state, ``added`` what is tracked and
    not committed; ``moved`` tells that the base has changed since the last state.
    """

    def __init__(
        self, store: Store, *, base_tree: TreeId, tree: TreeId, added: Collection[RelPath], moved: bool
    ) -> None:
        self._store = store
        self.base_tree = base_tree
        self.tree = tree
        self.moved = moved
        self._added = frozenset(added)
        self._above = {above for path in self._added for above in parent_directories(path)}

    def known(self, path: RelPath) -> bool:
        """Return whether something at or below ``path`` is committed, added or was synced: ignore
        rules do not count for it."""
        return (
            path in self._added
            or path in self._above
            or self._store.slot(self.tree, path) is not None
            or self._store.slot(self.base_tree, path) is not None
        )

    def has_file(self, path: RelPath) -> bool:
        """Return whether a file at ``path`` itself is committed, added or was synced."""
        return (
            path in self._added
            or self._store.entry(self.tree, path) is not None
            or self._store.entry(self.base_tree, path) is not None
        )

    def is_gitlink(self, _path: RelPath) -> bool:
        """Return whether the path is a nested repository that is versioned: hg's are refused."""
        return False

    def holds_files(self, path: RelPath) -> bool:
        """Return whether files below ``path`` are known: it is a directory of ours then, even
        if somebody made a repository in it."""
        return path in self._above or any(is_tree(self._store.slot(tree, path)) for tree in self._trees)

    def entries(self, path: RelPath) -> list[Entry]:
        """Return what stood at ``path`` last and in the base."""
        found = (self._store.entry(tree, path) for tree in self._trees)
        return [entry for entry in found if entry is not None]

    def declared(self, path: RelPath) -> Kind | None:
        """Return the kind that the file had last: it decides where the file system cannot tell."""
        return next((entry.kind for entry in self.entries(path)), None)

    @property
    def _trees(self) -> tuple[TreeId, ...]:
        """The last state and the base, the more telling one first."""
        if self.tree == self.base_tree:
            return (self.tree,)
        return (self.base_tree, self.tree) if self.moved else (self.tree, self.base_tree)
