"""Counts how often runs of `on-update` on several devices have answered each other."""

from __future__ import annotations

from collections.abc import Iterable

from autosync.core.model import RelPath, SnapshotId

REMEMBERED = 256
"""Snapshots of which the count is known."""


class Echoes:
    """For each state the runs in a row that led to it, each caused by what the one before has written.

    A state that a person made counts 0, and so does what he is part of.  Every device says the count of
    its state; where nothing was said, as of a state that came over the hub alone, what answers
    the last run here by changing the same paths counts as its echo.
    """

    def __init__(self) -> None:
        self._known: dict[SnapshotId, int] = {}
        self._written: frozenset[RelPath] = frozenset()
        self._count = 0

    def count(self, snapshot: SnapshotId | None) -> int:
        """Return the count of a state, 0 if nothing is known of it."""
        return 0 if snapshot is None else self._known.get(snapshot, 0)

    def heard(self, snapshot: SnapshotId, count: int) -> None:
        """Take note of what is said of a state; of two who say something the one knows more who says the greater."""
        self._known[snapshot] = max(count, self._known.pop(snapshot, 0))
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def edited(self, snapshot: SnapshotId, *, run: int | None) -> None:
        """Take note of a state made here: by the run that was caused by a state of count ``run``, if by one."""
        self.heard(snapshot, 0 if run is None else run + 1)

    def wrote(self, paths: Iterable[RelPath], *, run: int) -> None:
        """Take note of what a run has changed that was caused by a state of count ``run``."""
        self._written, self._count = frozenset(paths), run + 1

    def brought(self, theirs: SnapshotId, *, into: SnapshotId | None, current: SnapshotId) -> None:
        """Take note that ``theirs``, if anything is known of it, was brought ``into`` a state, now ``current``."""
        if theirs in self._known:
            self._merged(self._known[theirs], theirs, into, current)

    def judged(
        self, theirs: SnapshotId, *, into: SnapshotId | None, current: SnapshotId, paths: Iterable[RelPath]
    ) -> int:
        """Return the count of ``current``, to which ``theirs`` was brought by changing ``paths``."""
        count = self._known.get(theirs)
        if count is None:
            count = 0 if self._written.isdisjoint(paths) else self._count + 1
        self._merged(count, theirs, into, current)
        return self.count(current)

    def _merged(self, count: int, theirs: SnapshotId, into: SnapshotId | None, current: SnapshotId) -> None:
        self.heard(current, count if current == theirs else min(count, self.count(into)))
