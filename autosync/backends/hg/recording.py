"""Records snapshots: what differs from their base, its contents, and the id that hg would give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autosync.backends.hg.content import Content
from autosync.backends.hg.histories import KINDS, Histories, TreeOf
from autosync.backends.hg.marks import source_of
from autosync.backends.hg.nodes import Changed, File, Namer, unnamed
from autosync.backends.hg.store import Store
from autosync.core.model import (
    Base,
    Change,
    Entry,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
)
from autosync.errors import Unsafe

Open = Callable[[ObjectId], Content]
"""Gives the content of a file, wherever it is; raises :class:`Missing`."""

_FLAGS = {kind: flags for flags, kind in KINDS.items()}


class Differences:
    """What is named and sent of snapshots; ``open`` gives contents, ``tree_of`` the trees of changesets."""

    def __init__(self, store: Store, open: Open, tree_of: TreeOf) -> None:
        self.store = store
        self.open = open
        self.tree_of = tree_of

    def changes(self, base: TreeId, tree: TreeId) -> list[Change]:
        """Return where ``tree`` differs from ``base``: in content, or because the user told hg of a copy."""
        changes = {change.path: change for change in self.store.changes(base, tree)}
        for path, mark in self.store.marks(tree).items():
            if source_of(mark) is not None and path not in changes:
                entry = self.store.entry(tree, path)
                if entry is not None:
                    changes[path] = Change(path=path, old=entry, new=entry)
        return [changes[path] for path in sorted(changes)]

    def file(self, tree: TreeId, path: RelPath, entry: Entry, content: Content) -> File:
        """Return the file that stands at ``path`` of ``tree``, as hg stores it.

        Raises :class:`Unsafe` for what hg cannot have.
        """
        if entry.kind not in _FLAGS:
            shown = path.decode("utf-8", "backslashreplace")
            raise Unsafe(
                f"{shown} is a nested repository, which no changeset of hg can hold", hint="Nothing was recorded."
            )
        mark = self.store.marks(tree).get(path)
        source = source_of(mark) if mark is not None else None
        return File(flags=_FLAGS[entry.kind], content=content, source=source or b"")


class Recording:
    """The snapshots that are made here; not for several threads at once."""

    def __init__(self, namer: Namer, histories: Histories, differences: Differences) -> None:
        self._namer = namer
        self._histories = histories
        self._differences = differences

    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept contents and the snapshot to the store and return it.

        The same arguments give the same id on every device, by every version of hg.
        """
        nameless = unnamed(tree=tree, base=base, version=version, parents=parents, device=device, time=time)
        with self._histories.ground(base.commit) as over:
            named = self._namer.name(nameless, self._changed(base, tree), over=over)
        self._differences.store.write(named)
        return named

    def _changed(self, base: Base, tree: TreeId) -> Iterator[Changed]:
        found = self._differences
        for change in found.changes(found.tree_of(base.commit), tree):
            new = change.new
            yield change.path, None if new is None else found.file(tree, change.path, new, found.open(new.oid))
