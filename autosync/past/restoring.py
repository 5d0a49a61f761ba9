"""Brings files of a working copy back to what they were, as an edit of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from autosync.core.brakes import Brakes
from autosync.core.model import Change, Kind, RelPath, Snapshot, parent_directories
from autosync.core.operations import operations
from autosync.errors import AutosyncError, Busy
from autosync.past.deeds import Deeds
from autosync.past.differences import FileChange, is_within, occupied, told
from autosync.past.trail import State, Trail
from autosync.ports import Applied, Backend, Tree

_METADATA = frozenset({b".git", b".hg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be brought back at and below ``path``: from ``current``, the recorded state, to ``state``.

    ``changes`` is what has to be done, ``told`` the same with renames as such, ``skipped`` the nested
    repositories that are left alone.  If all is brought back, ``taken_back`` counts by device the snapshots that
    ``state`` does not contain.
    """

    path: RelPath
    state: State
    current: Snapshot
    changes: tuple[Change, ...]
    told: tuple[FileChange, ...]
    skipped: tuple[RelPath, ...]
    taken_back: Mapping[str, int]


def plan_of(trail: Trail, state: State, path: RelPath, *, missing: Collection[RelPath] = ()) -> Plan:
    """Return what has to change so that ``path``, and all below it, is as in ``state``.

    ``missing`` is recorded, but does not stand there: its deletion is held back.  A file that stands where
    a folder has to be goes too.  Raises :class:`AutosyncError` if ``state`` has nothing there.
    """
    backend, current, target = trail.backend, trail.current().snapshot, state.snapshot
    demand_there(backend, target, path)
    above = frozenset(parent_directories(path))
    standing = backend.splice(current.tree, dict.fromkeys(missing)) if missing else current.tree
    found = backend.changes(standing, target.tree)
    chosen = [change for change in found if is_within(change.path, path) or change.path in above]
    changes = tuple(change for change in chosen if not _is_nested(change))
    return Plan(
        path=path,
        state=state,
        current=current,
        changes=changes,
        told=told(changes),
        skipped=tuple(change.path for change in chosen if _is_nested(change)),
        taken_back={} if path else Counter(snapshot.device for snapshot in trail.arrived_since(target)),
    )


def demand_there(backend: Backend, target: Snapshot, path: RelPath) -> None:
    """Raise :class:`AutosyncError` if ``target`` has nothing at ``path``."""
    if path and not occupied(backend, target.tree, path):
        name = path.decode("utf-8", "backslashreplace")
        if path.split(b"/")[0] in _METADATA:
            raise AutosyncError(
                f"{name} belongs to the repository itself, of which no snapshot has anything",
                hint="Snapshots are of the files beside it; commits are in its own version control.",
            )
        if backend.ignored([p for p in (path, *parent_directories(path)) if p]):
            raise AutosyncError(
                f"There was no {name} in snapshot {target.id[:10]}: an ignore rule names it",
                hint=f"`autosync explain {name}` tells which one; what is ignored is not recorded.",
            )
        raise AutosyncError(
            f"There was no {name} in snapshot {target.id[:10]}",
            hint=f"`autosync log {name}` lists the snapshots in which it changed.",
        )


def _is_nested(change: Change) -> bool:
    return any(entry is not None and entry.kind is Kind.NESTED for entry in (change.old, change.new))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorer:
    """Restores files of one working copy; used in its thread.

    Only what stands there as it was recorded last is replaced, so that each content that goes is one of a
    snapshot.  Base, branch and index are not touched, nor is any file that is in neither state.
    """

    backend: Backend
    tree: Tree
    brakes: Brakes
    still_there: Callable[[], None]

    def restore(self, plan: Plan) -> Applied:
        """Do what ``plan`` says; what the user has changed since it was recorded is refused.

        Raises :class:`Busy` during the user's own git or hg operation, and :class:`AutosyncError`.
        """
        self.still_there()
        reason = self.backend.busy()
        if reason is not None:
            raise Busy(f"{reason}, so nothing was restored", hint="Finish that first, then repeat the command.")
        # A command of the user's is no accident: neither that much goes, nor that something large or secret comes.
        self.brakes.expect([change.path for change in plan.changes if change.new is None])
        self.brakes.welcome([change.path for change in plan.changes if change.old is None])
        applied = self.tree.apply(operations(plan.changes))
        if applied.done:
            Deeds(self.backend.metadata).note(plan.current.id, plan.path, plan.state.snapshot.id)
        return applied
