"""Makes the one state that a merge of two snapshots starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autosync.core.bases import merge_bases
from autosync.core.lineage import nearest_common, with_contained
from autosync.core.model import Base, Snapshot, SnapshotId, TreeId
from autosync.core.plan import labels_of, merge_trees
from autosync.errors import Missing
from autosync.ports import Backend

DEPTH = 4
"""How often ancestors that were merged crosswise are looked for behind such ancestors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Joins the common ancestors of two snapshots.

    Of three devices, two may have merged the same two states each with a different third
    one; then neither of these is the whole common past, and a file that only one device
    ever touched would look changed on both sides.  So the ancestors are merged
    themselves, as git's recursive strategy does (git-merge(1)).
    """

    backend: Backend
    load: Callable[[SnapshotId], Snapshot | None]
    known: Callable[[], list[Snapshot]]

    def join(self, nearest: Sequence[Snapshot], *, depth: int = DEPTH) -> Snapshot | None:
        """Return the state that holds all of ``nearest``, ``None`` if there are none; it is not recorded."""
        joined: Snapshot | None = None
        for number, other in enumerate(nearest if depth else nearest[:1]):
            if joined is None:
                joined = other
                continue
            ancestry = nearest_common(joined, other, self.load)
            origin = self.join(with_contained(ancestry.nearest, joined, other, self.known), depth=depth - 1)
            if origin is not None:
                joined = replace(
                    joined,
                    id=SnapshotId(f"{joined.id}+{other.id}"),
                    tree=self._join_trees(origin.tree, joined, other),
                    base=self._join_bases(origin.base, joined.base, other.base),
                    version=joined.version.join(other.version),
                    parents=tuple(s.id for s in nearest[: number + 1]),
                )
        return joined

    def _join_trees(self, origin: TreeId, one: Snapshot, other: Snapshot) -> TreeId:
        """Return the merge of two trees without the paths that had to be kept twice.

        How such a conflict was resolved cannot be known here.  Without the path, equal
        resolutions stay equal, and different ones are both kept.
        """
        merged = merge_trees(
            self.backend.changes(origin, one.tree),
            self.backend.changes(origin, other.tree),
            merge_text=self.backend.merge_text,
            labels=labels_of(one, other),
        )
        unsure = {path for conflict in merged.conflicts if conflict.copy for path in (conflict.path, conflict.copy)}
        return self.backend.splice(origin, {p: None if p in unsure else entry for p, entry in merged.edits.items()})

    def _join_bases(self, origin: Base, one: Base, other: Base) -> Base:
        try:
            return merge_bases(origin, one, other, self.backend.is_ancestor) or one
        except Missing:  # rewritten since, and gone from here
            return one
