"""Finds the nearest common ancestor of two snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from autosync.core.model import Order, Snapshot, SnapshotId, Version

Load = Callable[[SnapshotId], Snapshot | None]

WALK_LIMIT = 20_000
"""Snapshots looked at before the search settles for what it has."""

_OURS, _THEIRS = 1, 2
_BOTH = _OURS | _THEIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """The nearest common ancestor that is here, and a nearer one that is known by name only."""

    here: Snapshot | None
    missing: SnapshotId | None


def nearest_common(ours: Snapshot, theirs: Snapshot, load: Load) -> Ancestry:
    """Return the nearest common ancestor of two snapshots by walking their parents.

    Parents are names: a peer that went from one state to a later one skips what
    lay between, so an ancestor may be named by both sides and be missing here.
    The walk goes from the greatest version down, so the first snapshot that both
    sides reach is the nearest.
    """
    marks: dict[SnapshotId, int] = {ours.id: _OURS}
    marks[theirs.id] = marks.get(theirs.id, 0) | _THEIRS
    loaded = {ours.id: ours, theirs.id: theirs}
    heap: list[tuple[int, SnapshotId]] = []
    for snapshot in loaded.values():
        heappush(heap, (-_total(snapshot.version), snapshot.id))
    here: Snapshot | None = None
    while heap and len(loaded) < WALK_LIMIT:
        snapshot = loaded[heappop(heap)[1]]
        if marks[snapshot.id] == _BOTH:
            here = snapshot
            break
        for parent in snapshot.parents:
            before = marks.get(parent, 0)
            marks[parent] = before | marks[snapshot.id]
            if before == marks[parent]:
                continue
            found = loaded.get(parent) or load(parent)
            if found is not None:
                loaded[parent] = found
                heappush(heap, (-_total(found.version), parent))
    missing = min((i for i, mark in marks.items() if mark == _BOTH and i not in loaded), default=None)
    return Ancestry(here=here, missing=missing)


def latest_contained(ours: Snapshot, theirs: Snapshot, known: Iterable[Snapshot]) -> Snapshot | None:
    """Return the latest of ``known`` that both sides contain, judged by version alone."""
    contained = [
        s
        for s in known
        if s.version.compare(ours.version) in (Order.BEFORE, Order.EQUAL)
        and s.version.compare(theirs.version) in (Order.BEFORE, Order.EQUAL)
        and s.id not in (ours.id, theirs.id)
    ]
    return max(contained, key=lambda s: (_total(s.version), s.id), default=None)


def _total(version: Version) -> int:
    return sum(n for _, n in version.counters)
