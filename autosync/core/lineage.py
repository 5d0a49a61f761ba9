"""Finds the nearest common ancestors of two snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from autosync.core.model import Order, Snapshot, SnapshotId, Version

Load = Callable[[SnapshotId], Snapshot | None]

WALK_LIMIT = 20_000
"""Snapshots looked at before the search settles for what it has."""

_OURS, _THEIRS = 1, 2
_BOTH = _OURS | _THEIRS
_CONTAINED = frozenset({Order.BEFORE, Order.EQUAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """The nearest common ancestors that are here, and a nearer one that is known by name only.

    There are several after merges that crossed; each has something that is not in those
    before it.  The greatest version comes first.  ``unknown`` are the parents of one side
    that are not here, the nearest first: an ancestor may be behind them.
    """

    nearest: tuple[Snapshot, ...]
    missing: SnapshotId | None
    unknown: tuple[SnapshotId, ...] = ()


def nearest_common(ours: Snapshot, theirs: Snapshot, load: Load) -> Ancestry:
    """Return the nearest common ancestors of two snapshots by walking their parents.

    Parents are names: a peer that went from one state to a later one skips what
    lay between, so an ancestor may be named by both sides and be missing here.
    The walk goes from the greatest version down, so what both sides reach is
    nearest unless it is contained in what was found before.
    """
    marks: dict[SnapshotId, int] = {ours.id: _OURS}
    marks[theirs.id] = marks.get(theirs.id, 0) | _THEIRS
    loaded = {ours.id: ours, theirs.id: theirs}
    heap: list[tuple[int, SnapshotId]] = []
    for snapshot in loaded.values():
        heappush(heap, (-_total(snapshot.version), snapshot.id))
    cover = _Cover(ours.version.meet(theirs.version))
    missing: SnapshotId | None = None
    while heap and len(loaded) < WALK_LIMIT and not cover.is_complete:
        snapshot = loaded[heappop(heap)[1]]
        if marks[snapshot.id] == _BOTH:
            missing = missing if cover.nearest else _unloaded(marks, loaded)
            cover.add(snapshot)
            continue
        if cover.holds(snapshot):
            continue
        for parent in snapshot.parents:
            before = marks.get(parent, 0)
            marks[parent] = before | marks[snapshot.id]
            if before == marks[parent]:
                continue
            found = loaded.get(parent) or load(parent)
            if found is not None:
                loaded[parent] = found
                heappush(heap, (-_total(found.version), parent))
    if not cover.nearest:
        missing = _unloaded(marks, loaded)
    if cover.is_complete:
        return Ancestry(nearest=tuple(cover.nearest), missing=None)
    unknown = tuple(i for i, mark in marks.items() if mark != _BOTH and i not in loaded)
    return Ancestry(nearest=tuple(cover.nearest), missing=missing, unknown=unknown)


def is_whole(nearest: Sequence[Snapshot], ours: Snapshot, theirs: Snapshot) -> bool:
    """Return whether ``nearest`` together are all that the two have in common."""
    cover = _Cover(ours.version.meet(theirs.version))
    for snapshot in nearest:
        cover.add(snapshot)
    return cover.is_complete


class _Cover:
    """Snapshots that two sides contain, until together they hold all that both do: ``limit``."""

    def __init__(self, limit: Version) -> None:
        self.limit = limit
        self._version = Version()
        self.nearest: list[Snapshot] = []

    @property
    def is_complete(self) -> bool:
        """Return whether nothing is missing; of two that have nothing in common, nothing is."""
        return self._version == self.limit

    def holds(self, snapshot: Snapshot) -> bool:
        return bool(self.nearest) and snapshot.version.compare(self._version) in _CONTAINED

    def add(self, snapshot: Snapshot) -> None:
        if not self.holds(snapshot):
            self.nearest.append(snapshot)
            self._version = self._version.join(snapshot.version)


def _unloaded(marks: Mapping[SnapshotId, int], loaded: Mapping[SnapshotId, Snapshot]) -> SnapshotId | None:
    return min((i for i, mark in marks.items() if mark == _BOTH and i not in loaded), default=None)


def with_contained(
    nearest: Sequence[Snapshot], ours: Snapshot, theirs: Snapshot, known: Callable[[], Iterable[Snapshot]]
) -> tuple[Snapshot, ...]:
    """Return ``nearest`` and the latest of ``known`` that both sides contain, judged by version alone.

    They are looked for only if ``nearest`` is not yet all that the two have in common:
    where the chain of parents is broken, versions still tell.  The empty state that a store
    begins with is contained in everything and tells nothing.
    """
    if is_whole(nearest, ours, theirs):
        return tuple(nearest)
    cover = _Cover(ours.version.meet(theirs.version))
    for snapshot in nearest:
        cover.add(snapshot)
    others = (s for s in known() if s.version != Version() and s.id not in (ours.id, theirs.id))
    contained = [s for s in others if s.version.compare(cover.limit) in _CONTAINED]
    for snapshot in sorted(contained, key=lambda s: (_total(s.version), s.id), reverse=True):
        cover.add(snapshot)
    return tuple(cover.nearest)


def _total(version: Version) -> int:
    return sum(n for _, n in version.counters)
