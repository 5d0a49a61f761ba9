"""Tells what became of a file or folder that is not here any more."""

from __future__ import annotations

import itertools
import os
import time

from autosync.answers.report import iso
from autosync.core.model import RelPath
from autosync.core.timeline import SHOWN
from autosync.past.differences import How
from autosync.past.trail import Row, Trail

_ROWS = 500
_SECONDS = 2.0
"""How far back is looked while somebody waits: the newest snapshots, for so long."""


def what_became_of(trail: Trail, path: RelPath) -> tuple[str, str, str] | None:
    """Return ``deleted`` or ``renamed``, by whom, and how it is had back; ``None`` if it was not here lately.

    PATH in the last one stands for the path as the user calls it.
    """
    until = time.monotonic() + _SECONDS
    for row in itertools.islice(trail.rows(path=path), _ROWS):
        if row.changes:
            return _told(row, path)
        if time.monotonic() > until:
            break
    return None


def _told(row: Row, path: RelPath) -> tuple[str, str, str] | None:
    by = f"by {row.state.snapshot.device} at {iso(row.state.at_ms // 1000)}"
    moved = next((c for c in row.changes if c.how is How.RENAMED and c.old_path == path), None)
    if moved is not None:
        return "renamed", f"It was renamed to {os.fsdecode(moved.path)} {by}.", "`autosync log PATH` lists what it was."
    if not any(c.how in (How.DELETED, How.RENAMED) for c in row.changes) or row.against is None:
        return None
    back = f"`autosync restore PATH --at {row.against.id[:SHOWN]}` brings it back"
    return "deleted", f"It was deleted {by}.", f"`autosync log PATH` lists what it was; {back}."
