"""Tells from what is kept which states a working copy was in, one after the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from autosync.core.model import Order, Snapshot, SnapshotId, relate
from autosync.core.retention import Kept

SHORTEST = 4
"""Characters of a snapshot's id that one has to give at least."""
SHOWN = 10
"""Characters of it that are shown."""

_AGREE_MS = 2000

_ID = re.compile(r"[0-9a-f]{4,64}")


def arrivals(kept: Iterable[Kept]) -> tuple[Kept, ...]:
    """Return the first pin of each snapshot, in the order of ``kept``: when it came to be here."""
    first: dict[SnapshotId, Kept] = {}
    for each in kept:
        first.setdefault(each.snapshot, each)
    return tuple(first.values())


def shown_ms(kept: Kept) -> int:
    """Return when a snapshot came here by the device's clock, in ms since the epoch.

    The pin has it in seconds; the history's own clock has the rest, as long as both agree.
    """
    wall = kept.wall * 1000
    return kept.moment if abs(kept.moment - wall) < _AGREE_MS else wall


def position_at(kept: Sequence[Kept], at_ms: int) -> int | None:
    """Return the index of the last of ``kept`` that came at ``at_ms`` or before, ``None`` if nothing is that old.

    ``kept`` is in the order in which it came.  A clock that was set back shows some times twice: the
    later one counts.
    """
    return next((index for index in reversed(range(len(kept))) if shown_ms(kept[index]) <= at_ms), None)


def stood(snapshots: Iterable[Snapshot], device: str) -> list[Snapshot]:
    """Return those of ``snapshots``, in the order in which they came, that the working copy of ``device`` was at.

    It was at what it made itself and went to what contains its state.  What was concurrent waited
    until it was merged; what is contained already is no state of its own.
    """
    states: list[Snapshot] = []
    for snapshot in snapshots:
        if states:
            order = relate(snapshot, states[-1])
            if order is not Order.AFTER and (order is not Order.CONCURRENT or snapshot.device != device):
                continue
        states.append(snapshot)
    return states


def is_abbreviation(text: str) -> bool:
    """Return whether ``text`` may be a snapshot's id, or the beginning of one."""
    return _ID.fullmatch(text) is not None


def named(snapshots: Collection[SnapshotId], beginning: str) -> list[SnapshotId]:
    """Return the snapshots whose id begins so, in order of their ids."""
    return sorted(snapshot for snapshot in frozenset(snapshots) if snapshot.startswith(beginning))
