"""Answers the wish to have something back: files that are restored, a change that is undone."""

from __future__ import annotations

import os
from typing import Any

from autosync.answers.places import all_steps, in_thread, trail_of
from autosync.causes import shortage_of
from autosync.config import Mode
from autosync.core import events as ev
from autosync.core.brakes import Brake
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.past.restoring import Plan, Restorer, plan_of
from autosync.past.telling import tell_copy, tell_restoring
from autosync.past.trail import ROOT, At
from autosync.ports import Applied
from autosync.runner import Runner
from autosync.workspace import Workspace

PATIENCE = 5.0
"""Seconds that what stands in the working copy may take until it is recorded."""
_SINGLY = 10_000
"""Paths up to which each is looked at by itself."""


class LastChange:
    """In place of a state: the one before the last change."""


async def bring_back(
    workspace: Workspace, path: RelPath, at: At | LastChange, *, dry_run: bool, expected: str | None = None
) -> dict[str, Any]:
    """Bring what is at and below ``path`` to the state ``at``.  Raises :class:`AutosyncError`.

    What was saved a moment ago is recorded first, as a change of its own.  Unless that leaves the snapshot
    ``expected`` the last one, nothing is done.
    """
    runner = workspace.runner
    if workspace.config.mode is Mode.STORE:
        raise AutosyncError(
            f"{workspace.config.path} is a store: there are no files in which something could be restored",
            hint="Run the command on a device that has the files, or take a copy: `autosync restore PATH --to DEST`.",
        )
    if not dry_run:
        _demand_running(runner)
        runner.post(ev.RestoringBegan())
        runner.post(ev.RestoringEnded(paths=frozenset({path})))
        if not await _recorded(runner) and (halt := runner.session.halt) is not None:
            raise AutosyncError(f"{runner.workspace}: nothing was restored. {halt.title}", hint=halt.hint)
    plan, applied = await (_alone(workspace, path, at, expected) if not dry_run else _rehearsed(workspace, path, at))
    if applied is None:
        return tell_restoring(plan, Applied(done={}, refused={}), dry_run=dry_run, snapshot=None)
    recorded = await _recorded(runner)  # so that whoever asks next finds it done
    if applied.stopped is not None:
        raise _stopped(workspace, plan, applied)
    current = runner.session.current
    return tell_restoring(
        plan, applied, dry_run=False, snapshot=current.id if recorded and current is not None else None
    )


async def copy_out(workspace: Workspace, path: RelPath, at: At, to: bytes, *, dry_run: bool) -> dict[str, Any]:
    """Put a copy of ``path`` as it was at ``to``.  Raises :class:`AutosyncError`."""
    return await all_steps(workspace, tell_copy(lambda: trail_of(workspace), path, at, to, dry_run=dry_run))


async def _rehearsed(workspace: Workspace, path: RelPath, at: At | LastChange) -> tuple[Plan, None]:
    return await in_thread(workspace, lambda: _plan(workspace, path, at)), None


async def _alone(
    workspace: Workspace, path: RelPath, at: At | LastChange, expected: str | None
) -> tuple[Plan, Applied | None]:
    """Restore while nothing else is recorded or brought in, so that all of it is one change."""
    runner = workspace.runner
    touched = frozenset({path})
    runner.post(ev.RestoringBegan())
    try:
        plan, applied = await in_thread(workspace, lambda: _attempt(workspace, path, at, expected))
        paths = frozenset(change.path for change in plan.changes)
        touched = paths if len(paths) <= _SINGLY else frozenset({ROOT})
    finally:
        runner.post(ev.RestoringEnded(paths=touched))
    return plan, applied


def _attempt(
    workspace: Workspace, path: RelPath, at: At | LastChange, expected: str | None
) -> tuple[Plan, Applied | None]:
    performer = workspace.runner.performer
    with performer.history.turns.together():  # nothing of that state is let go meanwhile
        plan = _plan(workspace, path, at)
        if expected is not None and plan.current.id != expected:
            raise AutosyncError(
                f"{workspace.runner.workspace} has changed since you were asked: nothing was restored",
                hint="Repeat it: it tells first what it would do now.",
            )
        if not plan.changes:
            return plan, None
        restorer = Restorer(
            backend=workspace.backend,
            tree=performer.tree,
            brakes=performer.brakes,
            still_there=workspace.foothold.demand,
        )
        return plan, restorer.restore(plan)


def _plan(workspace: Workspace, path: RelPath, at: At | LastChange) -> Plan:
    """Return what is to be done; a deletion that is held back is the last change, if there is one."""
    trail = trail_of(workspace)
    held = workspace.runner.performer.brakes.held_within({path})
    missing = [each.path for each in held if each.brake is Brake.DELETION]
    if isinstance(at, LastChange):
        state = trail.current() if missing else trail.before_last_change()
    else:
        state = trail.find(at)
    return plan_of(trail, state, path, missing=missing)


def _demand_running(runner: Runner) -> None:
    """Raise :class:`AutosyncError` unless what stands in the working copy is being recorded."""
    session = runner.session
    if session.paused:
        raise AutosyncError(
            f"{runner.workspace} is paused, so what stands there now would be lost: nothing was restored",
            hint=f"Run `autosync resume {runner.workspace}`, then repeat the command. "
            "Or take a copy beside it: `autosync restore PATH --to DEST`.",
        )
    if session.root_gone and session.halt is not None:
        raise AutosyncError(session.halt.title, hint=session.halt.hint)


async def _recorded(runner: Runner) -> bool:
    """Return whether what was to be looked at has been, within :data:`PATIENCE`; other files may be written on."""

    def is_recorded() -> bool:
        return runner.session.is_recorded()  # it may be another session by then

    return await runner.until(is_recorded, PATIENCE)


def _stopped(workspace: Workspace, plan: Plan, applied: Applied) -> AutosyncError:
    assert applied.stopped is not None  # noqa: S101  (whoever calls has seen it)
    shortage = shortage_of(applied.stopped, workspace.backend.metadata)
    why = shortage.title if shortage is not None else os.strerror(applied.stopped.errno or 0)
    left = len(applied.refused)
    return AutosyncError(
        f"{left} of {len(plan.changes)} files were not restored and stand as they were. {why}",
        hint="When that is over, repeat the command; `autosync undo` takes back what was restored.",
    )
