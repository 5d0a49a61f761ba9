"""Finds what people have to be told after a step: conflicts that were not there before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autosync.conflicts.index import ConflictIndex, original_beside, shown
from autosync.core import events as ev
from autosync.core.model import RelPath, Snapshot, SnapshotId
from autosync.core.plan import Clash, Conflict
from autosync.ports import Backend

TOLD = 20
"""Conflicts of one step that are told one by one; of the rest the number."""
_LOOKED_BACK = 1000
"""Own states that are looked at for what was deleted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictFound:
    """One conflict, for people: at ``path``; the other version, if there is one, is ``copy``, made by ``device``.

    The one that stands for all that are not told one by one has an empty ``path``.  ``instead_of``
    is a copy of the file that was told before and is gone: it is the same conflict still.
    """

    path: RelPath
    copy: RelPath | None
    device: str
    text: str
    instead_of: RelPath | None = None


def find_conflicts(
    backend: Backend,
    index: ConflictIndex,
    load: Callable[[SnapshotId], Snapshot | None],
    *,
    device: str,
    before: Snapshot | None,
    event: ev.Event,
    now: Snapshot,
) -> tuple[ConflictFound, ...]:
    """Return the conflicts that ``event``, which led from ``before`` to ``now``, has brought; each is told once.

    A copy is news on every device that gets it, whoever merged.  What left no copy (a
    deletion against an edit, two renames) is known to the device that merged, and to
    one that sees a file come back which it had deleted.
    """
    index.follow(now)
    found = [
        ConflictFound(
            path=(path := original_beside(backend.root, name)),
            copy=name.copy,
            device=name.device,
            text=f"{shown(path)}: two versions; the one of {name.device} is {shown(name.copy)}"
            + (f", in the place of {shown(before)}" if before else ""),
            instead_of=before,
        )
        for name, before in index.take_news().items()
    ]
    if isinstance(event, ev.Integrated):
        found += [_without_copy(c) for c in event.conflicts if c.copy is None]
        theirs = load(event.theirs)
        if before is not None and before.device == device and theirs is not None:
            told = {conflict.path for conflict in event.conflicts}
            back = _brought_back(backend, load, before=before, theirs=theirs, now=event.current)
            found += [_came_back(path, theirs) for path in back if path not in told]
    if len(found) > TOLD:
        text = f"{len(found) - TOLD} more files in two versions; `autosync conflicts` lists them"
        found[TOLD:] = [ConflictFound(path=RelPath(b""), copy=None, device="", text=text)]
    return tuple(found)


def _without_copy(conflict: Conflict) -> ConflictFound:
    path, winner = shown(conflict.path), conflict.winner
    texts = {
        Clash.DELETED: f"{path}: deleted on one device, changed on {winner}; the changed version stays",
        Clash.RENAMED: f"{path}: renamed on two devices; the name that {winner} gave it stays",
    }
    text = texts.get(conflict.clash, f"{path}: {conflict.clash.value}; the version of {winner} stays")
    return ConflictFound(path=conflict.path, copy=None, device=winner, text=text)


def _came_back(path: RelPath, merge: Snapshot) -> ConflictFound:
    text = f"{shown(path)}: deleted here, changed on another device; the changed version stays"
    return ConflictFound(path=path, copy=None, device=merge.device, text=text)


def _brought_back(
    backend: Backend,
    load: Callable[[SnapshotId], Snapshot | None],
    *,
    before: Snapshot,
    theirs: Snapshot,
    now: Snapshot,
) -> list[RelPath]:
    """Return what this device had deleted and is there again because ``theirs`` merged that with an edit."""
    if len(theirs.parents) < 2:
        return []
    merged, earlier = None, before
    for _ in range(_LOOKED_BACK):
        if earlier.id in theirs.parents:
            merged = earlier
        further = load(earlier.parents[0]) if earlier.device == before.device and len(earlier.parents) == 1 else None
        if further is None:
            break
        earlier = further
    if merged is None:
        return []
    deleted = {c.path for c in backend.changes(earlier.tree, merged.tree) if c.new is None}
    return [c.path for c in backend.changes(before.tree, now.tree) if c.old is None and c.path in deleted]
