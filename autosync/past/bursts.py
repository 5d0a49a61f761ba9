"""Finds what was the last change: often one deed of the user's that is several snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from autosync.core.copies import parse_conflict_name
from autosync.core.model import RelPath, Snapshot, SnapshotId
from autosync.errors import Missing
from autosync.past.deeds import Deeds, deed_of
from autosync.ports import Backend

_GAP_MS = 2000
"""Between snapshots of one deed, such as `rm -r` or a script, by the clock of the history here."""
_GAP = 2
"""The same in whole seconds by the clock of the device that made them, for what came here all at once."""


def before_last_change(
    backend: Backend, states: Sequence[Snapshot], moments: Mapping[SnapshotId, int], device: str
) -> Snapshot | None:
    """Return the state before the last change, ``None`` if none of ``states`` has other files than the last one.

    ``states`` are those that the working copy was at, oldest first, ``moments`` when they came here, in ms, and
    ``device`` is this one's name.  Snapshots that follow each other at once are one change, if one device made
    them and none changes what another has changed: a file that is saved again, and what is undone, is a
    change of its own.  So are what was restored, merges, conflicts that begin or end, and what came with a
    commit or checkout.
    """
    deeds = Deeds(backend.metadata).read()
    touched: set[RelPath] = set()
    found: Snapshot | None = None
    later: Snapshot | None = None
    for before, made in reversed(list(pairwise(states))):
        try:
            changed = {c.path for c in backend.changes(before.tree, made.tree)} if before.tree != made.tree else set()
        except Missing:  # pruned by the user: there is no going back behind it
            break
        if not changed and found is None:
            continue
        alone = (
            len(made.parents) > 1
            or made.base != before.base
            or deed_of(made, device, deeds) is not None
            or any(parse_conflict_name(path) for path in changed)
        )
        if later is not None and (alone or not changed or changed & touched or not _at_once(made, later, moments)):
            break
        touched |= changed
        found, later = before, made
        if alone:
            break
    return found


def _at_once(made: Snapshot, later: Snapshot, moments: Mapping[SnapshotId, int]) -> bool:
    came, then = moments.get(made.id), moments.get(later.id)
    return (
        made.device == later.device
        and came is not None
        and then is not None
        and then - came < _GAP_MS
        and abs(later.time - made.time) <= _GAP
    )
