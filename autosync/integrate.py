"""Brings a working copy to a state that contains a peer's snapshot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import time

from autosync.brought import Brought
from autosync.causes import shortage_of
from autosync.core.announcement import fits
from autosync.core.bases import merge_bases
from autosync.core.events import AncestorMissing, BranchesDiverged, Integrated
from autosync.core.lineage import is_whole, nearest_common, with_contained
from autosync.core.model import (
    Base,
    Change,
    DeviceId,
    Entry,
    Order,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    parent_directories,
    relate,
)
from autosync.core.plan import Conflict, labels_of, merge_trees, operations
from autosync.errors import Busy, Diverged, Missing
from autosync.origin import Origins
from autosync.ports import LANDING, Backend, Hold, Tree, hold_nothing
from autosync.vocabulary import Vocabulary, vocabulary

log = logging.getLogger(__name__)

ROUNDS = 6
"""How often paths that the user changed meanwhile are merged again before waiting for quiet."""
STRANGERS = 16
"""Devices that one merge may bring, however many are known."""
CONCURRENT = 8
"""Snapshots that are merged with ours to see whether a killed agent was bringing them."""
MERGED_SHARE = 0.5
"""Of the room that an announcement has for a version: a merge with more strangers could not be announced for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOff:
    """What an agent was bringing when it was killed."""

    at: Snapshot
    """The state that the working copy has reached as a whole."""
    theirs: Snapshot
    """What was brought; the same as ``at`` if that is all here."""
    standing: TreeId
    """What stands in the working copy because of it: all that differs the user has done since."""
    brought: Mapping[RelPath, Entry | None] = field(default_factory=dict)
    """What was brought on top of ``at``."""


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
    lose: Callable[[SnapshotId], None]
    """Told of a snapshot that is not whole here: :attr:`load` and :attr:`known` leave it out until it came again."""
    recorded: Callable[[Snapshot], None]
    """Told of every snapshot that was recorded on the way, so that it is kept."""
    stood: Callable[[Snapshot], None]
    """Told of every state of our own that was recorded: a later start goes on from there."""
    brought: Brought
    """What an attempt that was not completed left in the working copy."""
    still_there: Callable[[], None] = lambda: None
    """Raises :class:`AutosyncError` if the working copy's folder has gone away meanwhile."""
    hold: Hold = hold_nothing
    """Asked about each new file that is found on the way."""
    clock: Callable[[], float] = field(default=time)

    def integrate(
        self,
        ours: Snapshot,
        theirs: Snapshot,
        *,
        exact: bool,
        above: int,
        without: frozenset[SnapshotId] = frozenset(),
    ) -> Integrated | BranchesDiverged | AncestorMissing:
        """Bring the working copy from ``ours`` to a state that contains ``theirs``.

        Paths that the user changes meanwhile are left alone, recorded as a new
        state of ours and merged again.  If that does not end, or the base cannot be
        moved, the result is incomplete: what could be brought stands in the working copy,
        is remembered as ``brought``, and a later attempt goes on from there.
        """
        while True:
            attempt = _Attempt(start=ours.base, ours=ours, theirs=theirs, above=above, without=without)
            try:
                return self._go(attempt, exact=exact)
            except Missing as missing:
                hollow = [snapshot for snapshot in attempt.nearest if not self._is_readable(snapshot)]
                if not hollow:
                    raise
                self._lose(hollow, missing)

    def _lose(self, hollow: Sequence[Snapshot], missing: Missing) -> None:
        """Go on without ``hollow``, and what else stood on a base that is gone: one by one takes long."""
        gone = {s.base.commit for s in hollow if s.base.commit and not self.backend.has_commit(s.base.commit)}
        lost = {s.id for s in (*hollow, *self.known()) if s.base.commit in gone} | {s.id for s in hollow}
        log.warning("%d states that others may build on are not here as a whole: %s", len(lost), missing.title)
        for snapshot in lost:
            self.lose(snapshot)

    def _is_readable(self, snapshot: Snapshot) -> bool:
        """Return whether all of its directories are here: the user may have pruned what he had rewritten."""
        try:
            self.backend.changes(None, snapshot.tree)
        except Missing:
            return False
        return True

    def left_off(self, ours: Snapshot, base: Base, found: TreeId) -> LeftOff | None:
        """Return what an agent was bringing when it was killed; ``None`` if it was nothing.

        ``found`` stands in the working copy, on ``base``.  Paths that stand there as in
        a snapshot that ``ours`` does not contain were brought by us: taken for the
        user's edits they would clash with what the others make of them later.
        """
        if base != ours.base:
            landed = self._landed(ours, base, found)
            return LeftOff(at=landed, theirs=landed, standing=landed.tree) if landed else None
        theirs, brought = self._recognise(ours, found)
        if not brought:
            return None
        return LeftOff(at=ours, theirs=theirs, standing=self.backend.splice(ours.tree, brought), brought=brought)

    def resume(self, left_off: LeftOff, base: Base, found: TreeId, *, above: int) -> Integrated:
        """Go on where an agent left off; ``found`` stands in the working copy, on ``base``."""
        attempt = _Attempt(start=base, ours=left_off.at, theirs=left_off.theirs, above=above)
        if not left_off.brought:
            return Integrated(theirs=left_off.theirs.id, current=self._record(attempt, found), complete=True)
        self.brought.note(left_off.at.tree, left_off.brought)
        attempt.ours = self._record(attempt, self.brought.left_out(left_off.at, base, found))
        ended = self._go(attempt, exact=False)
        return ended if isinstance(ended, Integrated) else self._incomplete(attempt)

    def _recognise(self, ours: Snapshot, found: TreeId) -> tuple[Snapshot, Mapping[RelPath, Entry | None]]:
        """Return the snapshot that explains most of ``found``, with the paths that it does."""
        changes = self.backend.changes(ours.tree, found)
        best: tuple[Snapshot, Mapping[RelPath, Entry | None]] = ours, {}
        others = (
            [s for s in self.known() if s.device != self.name] if changes else []
        )  # ours stood here, and was edited
        # What stood here was merged with an edit of the user, and the agent killed before the next merge.
        concurrent = sorted((s for s in others if relate(ours, s) is Order.CONCURRENT), key=_advance, reverse=True)
        goals = [s for s in others if relate(ours, s) is Order.BEFORE]
        for goal in (*goals, *concurrent[:CONCURRENT]):
            if len(best[1]) == len(changes):
                break
            target = self._target(_Attempt(start=ours.base, ours=ours, theirs=goal, above=0), exact=False)
            if isinstance(target, Snapshot):
                wanted = {c.path: c.new for c in self.backend.changes(ours.tree, target.tree)}
                equal = {c.path: c.new for c in changes if c.path in wanted and wanted[c.path] == c.new}
                best = max(best, (target, equal), key=lambda each: len(each[1]))
        return best

    def _landed(self, ours: Snapshot, base: Base, found: TreeId) -> Snapshot | None:
        """Find the snapshot that was brought completely, base and all, but not noted any more.

        The base moves last: so it is the one that was pinned for that, whatever was edited since, or
        one of which all that it has beyond its base stands there.
        """
        committed = self.backend.tree_of(base.commit)
        pinned = self.backend.pins().get(LANDING)
        for snapshot in sorted(self.known(), key=lambda s: (s.id == pinned, _advance(s)), reverse=True):
            if snapshot.base == base and relate(ours, snapshot) is Order.BEFORE:
                edited = {c.path for c in self.backend.changes(snapshot.tree, found)}
                own = {c.path for c in self.backend.changes(committed, snapshot.tree)}
                if snapshot.id == pinned or edited.isdisjoint(own):
                    return snapshot
        return None

    def _go(self, attempt: _Attempt, *, exact: bool) -> Integrated | BranchesDiverged | AncestorMissing:
        for _ in range(ROUNDS):
            target = self._target(attempt, exact=exact)
            if not isinstance(target, Snapshot):
                return target
            blocked = self._blocked(attempt.start, target.base, attempt.theirs)
            if blocked is not None:
                return blocked
            if self._apply(attempt, target):
                return self._land(attempt, target)
            edited = self._edited(attempt) if attempt.stopped is None else None
            if edited is None:
                break
            attempt.ours = edited
        return self._incomplete(attempt)

    # -- where to go -----------------------------------------------------------------------
    def _target(self, attempt: _Attempt, *, exact: bool) -> Snapshot | BranchesDiverged | AncestorMissing:
        ours, theirs = attempt.ours, attempt.theirs
        version = ours.version.join(theirs.version)
        if len(version.counters) > len(ours.version.counters) + STRANGERS and not fits(version, share=MERGED_SHARE):
            return _too_many_devices(theirs)
        if relate(ours, theirs) is Order.BEFORE:
            return theirs
        ancestry = nearest_common(ours, theirs, self.load)
        if ancestry.missing is not None and exact and ancestry.missing not in attempt.without:
            return AncestorMissing(theirs=theirs.id, ancestor=ancestry.missing)
        origins = Origins(backend=self.backend, load=self.load, known=self.known)
        nearest = with_contained(ancestry.nearest, ours, theirs, self.known)
        between = None if is_whole(nearest, ours, theirs) else attempt.first_of(ancestry.unknown)
        if between is not None and exact:
            # From an older state even a merge without conflicts can bring back what one side deleted.
            return AncestorMissing(theirs=theirs.id, ancestor=between)
        attempt.nearest = nearest
        ancestor = origins.join(nearest)
        base = merge_bases(ancestor.base if ancestor else None, ours.base, theirs.base, self.backend.is_ancestor)
        if base is None:
            if theirs.base.commit:
                self.backend.bring(theirs.base.commit)
            return self._diverged(ours, theirs)
        origin = ancestor.tree if ancestor else self._first_tree(ours.base, theirs.base)
        merged = merge_trees(
            self.backend.changes(origin, ours.tree),
            self.backend.changes(origin, theirs.tree),
            merge_text=self.backend.merge_text,
            labels=labels_of(ours, theirs),
            occupied=lambda path: is_occupied(self.backend, origin, path),
        )
        attempt.conflicts = merged.conflicts or attempt.conflicts
        tree = self.backend.splice(origin, merged.edits)
        snapshot = self.backend.record(
            tree=self.backend.join_marks(tree, base=base, origin=origin, ours=ours.tree, theirs=theirs.tree),
            base=base,
            version=version,
            parents=(min(ours.id, theirs.id), max(ours.id, theirs.id)),
            device="+".join(sorted({*ours.device.split("+"), *theirs.device.split("+")})),
            time=max(ours.time, theirs.time),
        )
        self.recorded(snapshot)
        return snapshot

    def _diverged(self, ours: Snapshot, theirs: Snapshot) -> BranchesDiverged:
        words = vocabulary(self.backend.vcs)
        mine, other = _name(words, ours.base), _name(words, theirs.base)
        if ours.base.branch == theirs.base.branch:
            reason = f"The branch {mine} has {words.commits} here that {theirs.device} lacks, and the other way round"
        else:
            reason = f"This device is on {mine}, {theirs.device} is on {other}, and both moved"
        return BranchesDiverged(
            theirs=theirs.id,
            reason=reason,
            hint=f"Both stay as they are. To join them, {self._how_to_join(words, ours, theirs)}; "
            "it then arrives on the others.",
        )

    def _how_to_join(self, words: Vocabulary, ours: Snapshot, theirs: Snapshot) -> str:
        mine, other = ours.base.commit, theirs.base.commit
        if mine is None or other is None:
            return "merge the branches"
        if self.backend.is_ancestor(other, mine):  # here a merge would find nothing to do
            return words.follow.format(device=theirs.device, commit=mine)
        merge = words.merge if self.backend.merge_base(mine, other) else words.merge_unrelated
        return merge.format(commit=other)

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
    def _apply(self, attempt: _Attempt, target: Snapshot) -> bool:
        """Return whether every path stands as in ``target`` now."""
        ours = attempt.ours.tree
        self.still_there()
        applied = self.tree.apply(operations(self.backend.changes(self.brought.standing(ours), target.tree)))
        self.brought.note(ours, {**self.brought.entries, **applied.done})
        attempt.changed.update(applied.done)
        attempt.refused = dict(applied.refused)
        attempt.stopped = applied.stopped
        return not applied.refused

    def _land(self, attempt: _Attempt, target: Snapshot) -> Integrated:
        marked = self.backend.marks(attempt.ours.tree) != self.backend.marks(target.tree)
        if marked or target.base != attempt.start:
            message = f"autosync: as on {attempt.theirs.device}"
            try:
                self.backend.pin(LANDING, target.id)
                self.backend.land(attempt.start, target.base, tree=target.tree, message=message, ours=attempt.ours.tree)
            except Diverged:
                self.backend.unpin(LANDING)
                raise
            except Busy as busy:
                self.backend.unpin(LANDING)  # whoever gets to that base now is the user himself
                attempt.refused = {RelPath(b""): busy.title}
                return self._incomplete(attempt)
        self.brought.clear()
        return Integrated(
            theirs=attempt.theirs.id,
            current=target,
            complete=True,
            conflicts=attempt.conflicts,
            changed_paths=len(attempt.changed),
        )

    # -- recording what stands here ------------------------------------------------------------------
    def _edited(self, attempt: _Attempt) -> Snapshot | None:
        """Record what the user made of the refused paths as a new state of ours.

        Returns ``None`` if they are as they were, or still being written.
        """
        ours = attempt.ours
        expected = self.brought.standing(ours.tree)
        reading = self.backend.read(frozenset(attempt.refused), (ours.base, expected), self.hold)
        self.still_there()
        if reading.tree == expected or reading.base != ours.base or reading.torn:
            return None
        edits = _at(attempt.refused, self.backend.changes(expected, reading.tree))
        if not edits or any(new is None and path not in attempt.refused for path, new in edits.items()):
            return None  # of more deletions than are in the way a look judges
        found = self.backend.splice(expected, edits)
        return self._record(attempt, self.brought.left_out(ours, ours.base, found))

    def _incomplete(self, attempt: _Attempt) -> Integrated:
        reasons = sorted({f"{_show(p)}: {why}" if p else why for p, why in attempt.refused.items()})
        shortage = shortage_of(attempt.stopped, self.backend.metadata) if attempt.stopped else None
        return Integrated(
            theirs=attempt.theirs.id,
            current=attempt.ours,
            complete=False,
            unfinished=attempt.theirs,
            # What the machine does not allow says nothing of the files: they stand as they did.
            again=frozenset(p for p in attempt.refused if p) if shortage is None else frozenset(),
            conflicts=(),
            changed_paths=len(attempt.changed),
            reason="; ".join(reasons[:3]) if shortage is None else shortage.title,
            hint="" if shortage is None else shortage.hint,
        )

    def _record(self, attempt: _Attempt, tree: TreeId) -> Snapshot:
        ours = attempt.ours
        if tree == ours.tree:
            return ours
        snapshot = self.backend.record(
            tree=tree,
            base=ours.base,
            version=ours.version.bump(self.device, above=attempt.above),
            parents=(ours.id,),
            device=self.name,
            time=int(self.clock()),
        )
        self.stood(snapshot)
        return snapshot


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """How far one integration has come.

    ``changed`` are the paths that were replaced, ``without`` the snapshots that nobody has,
    ``nearest`` the common ancestors that it starts from.
    """

    start: Base
    ours: Snapshot
    theirs: Snapshot
    above: int
    changed: set[RelPath] = field(default_factory=set)
    refused: dict[RelPath, str] = field(default_factory=dict)
    stopped: OSError | None = None
    conflicts: tuple[Conflict, ...] = ()
    without: frozenset[SnapshotId] = frozenset()
    nearest: Sequence[Snapshot] = ()

    def first_of(self, unknown: Sequence[SnapshotId]) -> SnapshotId | None:
        """Return the first of ``unknown`` that somebody may have."""
        return next((i for i in unknown if i not in self.without), None)


def _at(refused: Collection[RelPath], changes: Sequence[Change]) -> dict[RelPath, Entry | None]:
    """Return those of ``changes`` that can be why ``refused`` paths were.

    A reading may be wider: of a directory that is gone it tells all that was in it.
    """
    above = {up for path in refused for up in parent_directories(path)}
    where = {*refused, *(c.path for c in changes if c.new is not None and c.path in above)}
    return {c.path: c.new for c in changes if c.path in where or any(up in where for up in parent_directories(c.path))}


def is_occupied(backend: Backend, tree: TreeId, path: RelPath) -> bool:
    """Return whether ``tree`` has anything at ``path``."""
    return bool(backend.changes(backend.splice(tree, {path: None}), tree))


def _too_many_devices(theirs: Snapshot) -> BranchesDiverged:
    return BranchesDiverged(
        theirs=theirs.id,
        reason=f"The state of {theirs.device} speaks of {len(theirs.version.counters)} devices, which is too many",
        hint="Nobody has that many: look at that device. If you do not know it, make a new workspace with a new key.",
    )


def _advance(snapshot: Snapshot) -> tuple[int, SnapshotId]:
    return sum(n for _, n in snapshot.version.counters), snapshot.id


def _show(path: RelPath) -> str:
    return path.decode("utf-8", "backslashreplace")


def _name(words: Vocabulary, base: Base) -> str:
    return f"commit {(base.commit or 'none')[:10]}" if base.branch is None else words.branch(base)
