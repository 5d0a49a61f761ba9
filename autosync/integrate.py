"""Brings a working copy to a state that contains a peer's snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time

from autosync.core.bases import merge_bases
from autosync.core.events import AncestorMissing, BranchesDiverged, Integrated
from autosync.core.lineage import latest_contained, nearest_common
from autosync.core.model import (
    Base,
    DeviceId,
    Entry,
    Order,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    relate,
)
from autosync.core.plan import Labels, Side, merge_trees, operations
from autosync.errors import Busy, Diverged
from autosync.ports import Applied, Backend, Tree

ROUNDS = 6
"""How often paths that the user changed meanwhile are merged again before waiting for quiet."""


@dataclass(slots=True, kw_only=True)
class Integrator:
    """Merges, applies and lands snapshots in one working copy.

    ``known`` are the snapshots of the store, for when no chain of parents
    connects two of them.
    """

    backend: Backend
    tree: Tree
    device: DeviceId
    name: str
    load: Callable[[SnapshotId], Snapshot | None]
    known: Callable[[], list[Snapshot]]
    recorded: Callable[[Snapshot], None]
    """Told of every snapshot that was recorded on the way, so that it is kept."""
    clock: Callable[[], float] = field(default=time)

    def integrate(
        self, ours: Snapshot, theirs: Snapshot, *, exact: bool, above: int
    ) -> Integrated | BranchesDiverged | AncestorMissing:
        """Bring the working copy from ``ours`` to a state that contains ``theirs``.

        Paths that the user changes meanwhile are left alone, recorded as a new
        state of ours and merged again.  If that does not end, or the base cannot be
        moved, what stands in the working copy is recorded as our own state and the
        result is incomplete: nothing is lost and a later attempt finds it merged.
        """
        start = ours.base
        standing: dict[RelPath, Entry | None] = {}
        conflicts: tuple[RelPath, ...] = ()
        changed: set[RelPath] = set()
        for _ in range(ROUNDS):
            target = self._target(ours, theirs, exact=exact)
            if not isinstance(target, _Target):
                return target
            conflicts = target.conflicts or conflicts
            blocked = self._blocked(start, target.snapshot.base, theirs)
            if blocked is not None:
                return blocked
            applied = self._apply(self.backend.splice(ours.tree, standing), target.snapshot.tree)
            standing.update(applied.done)
            changed.update(applied.done)
            if not applied.refused:
                return self._land(start, ours, theirs, target.snapshot, standing, conflicts, above)
            edited = self._record_edits(ours, frozenset(applied.refused), above)
            if edited is None:
                break
            ours = edited
        current = self._record_mixture(ours, standing, above)
        again = frozenset(applied.refused)
        return Integrated(
            theirs=theirs.id,
            current=current,
            complete=False,
            again=again,
            conflicts=conflicts,
            changed_paths=len(changed),
            reason="; ".join(sorted({f"{_show(p)}: {why}" for p, why in applied.refused.items()})[:3]),
        )

    # -- where to go -----------------------------------------------------------------------
    def _target(
        self, ours: Snapshot, theirs: Snapshot, *, exact: bool
    ) -> _Target | BranchesDiverged | AncestorMissing:
        if relate(ours, theirs) is Order.BEFORE:
            return _Target(snapshot=theirs)
        ancestry = nearest_common(ours, theirs, self.load)
        if ancestry.missing is not None and exact:
            return AncestorMissing(theirs=theirs.id, ancestor=ancestry.missing)
        ancestor = ancestry.here or latest_contained(ours, theirs, self.known())
        base = merge_bases(ancestor.base if ancestor else None, ours.base, theirs.base, self.backend.is_ancestor)
        if base is None:
            if theirs.base.commit:
                self.backend.bring(theirs.base.commit)
            return _diverged(ours, theirs)
        origin = ancestor.tree if ancestor else self._first_tree(ours.base, theirs.base)
        merged = merge_trees(
            self.backend.changes(origin, ours.tree),
            self.backend.changes(origin, theirs.tree),
            merge_text=self.backend.merge_text,
            labels=Labels(ours=_side(ours), theirs=_side(theirs)),
        )
        snapshot = self.backend.record(
            tree=self.backend.splice(origin, merged.edits),
            base=base,
            version=ours.version.join(theirs.version),
            parents=(min(ours.id, theirs.id), max(ours.id, theirs.id)),
            device="+".join(sorted({*ours.device.split("+"), *theirs.device.split("+")})),
            time=max(ours.time, theirs.time),
        )
        self.recorded(snapshot)
        return _Target(snapshot=snapshot, conflicts=tuple(c.path for c in merged.conflicts))

    def _first_tree(self, ours: Base, theirs: Base) -> TreeId:
        """Return the tree that two devices without common snapshots have in common: the older base's."""
        if ours.commit and theirs.commit:
            if self.backend.is_ancestor(ours.commit, theirs.commit):
                return self.backend.tree_of(ours.commit)
            if self.backend.is_ancestor(theirs.commit, ours.commit):
                return self.backend.tree_of(theirs.commit)
        return self.backend.tree_of(None)

    def _blocked(self, old: Base, new: Base, theirs: Snapshot) -> BranchesDiverged | None:
        """Return why the base cannot move.  Asked before any file is touched; raises :class:`Busy`."""
        if old == new:
            return None
        try:
            self.backend.check_landing(old, new)
        except Diverged as error:
            return BranchesDiverged(theirs=theirs.id, reason=error.title, hint=error.hint)
        return None

    # -- going there -----------------------------------------------------------------------------
    def _apply(self, standing: TreeId, target: TreeId) -> Applied:
        return self.tree.apply(operations(self.backend.changes(standing, target)))

    def _land(
        self,
        start: Base,
        ours: Snapshot,
        theirs: Snapshot,
        target: Snapshot,
        standing: Mapping[RelPath, Entry | None],
        conflicts: tuple[RelPath, ...],
        above: int,
    ) -> Integrated:
        changed = len(standing)
        if target.base != start:
            try:
                self.backend.land(start, target.base, message=f"autosync: as on {theirs.device}")
            except Busy:
                current = self._record_mixture(ours, standing, above)
                return Integrated(theirs=theirs.id, current=current, complete=False, changed_paths=changed)
        return Integrated(
            theirs=theirs.id, current=target, complete=True, conflicts=conflicts, changed_paths=changed
        )

    # -- recording what stands here ------------------------------------------------------------------
    def _record_edits(self, ours: Snapshot, paths: frozenset[RelPath], above: int) -> Snapshot | None:
        """Record what the user made of ``paths`` as a new state of ours, ``None`` if they are as they were."""
        reading = self.backend.read(paths, (ours.base, ours.tree))
        if reading.tree == ours.tree or reading.base != ours.base or reading.torn:
            return None
        return self._record(ours, reading.tree, above)

    def _record_mixture(self, ours: Snapshot, standing: Mapping[RelPath, Entry | None], above: int) -> Snapshot:
        if not standing:
            return ours
        return self._record(ours, self.backend.splice(ours.tree, standing), above)

    def _record(self, ours: Snapshot, tree: TreeId, above: int) -> Snapshot:
        if tree == ours.tree:
            return ours
        snapshot = self.backend.record(
            tree=tree,
            base=ours.base,
            version=ours.version.bump(self.device, above=above),
            parents=(ours.id,),
            device=self.name,
            time=int(self.clock()),
        )
        self.recorded(snapshot)
        return snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    snapshot: Snapshot
    conflicts: tuple[RelPath, ...] = ()


def _side(snapshot: Snapshot) -> Side:
    return Side(device=snapshot.device, time=snapshot.time, id=snapshot.id)


def _show(path: RelPath) -> str:
    return path.decode("utf-8", "backslashreplace")


def _diverged(ours: Snapshot, theirs: Snapshot) -> BranchesDiverged:
    mine, other = _name(ours.base), _name(theirs.base)
    if ours.base.branch == theirs.base.branch:
        reason = f"The branch {mine} has commits here that {theirs.device} lacks, and the other way round"
    else:
        reason = f"This device is on {mine}, {theirs.device} is on {other}, and both moved"
    return BranchesDiverged(
        theirs=theirs.id,
        reason=reason,
        hint=(
            f"Both stay as they are. To join them, merge on one device: "
            f"`git merge {theirs.base.commit or ''}`; it then arrives on the others."
        ),
    )


def _name(base: Base) -> str:
    if base.branch is None:
        return f"commit {(base.commit or 'none')[:10]}"
    return base.branch.removeprefix("refs/heads/")
