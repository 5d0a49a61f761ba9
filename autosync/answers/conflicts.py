"""Answers what the command line asks of conflicts: which there are, and to finish one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from autosync.config import Mode
from autosync.conflicts.listing import describe_conflicts
from autosync.conflicts.resolver import NotRecorded, Resolved, Resolver
from autosync.core import events as ev
from autosync.core.copies import ConflictName
from autosync.core.model import RelPath, Snapshot
from autosync.core.resolution import Ambiguous, Keep
from autosync.errors import AutosyncError, TransientError
from autosync.runner import Runner
from autosync.workspace import Workspace

PATIENCE = 5.0
"""Seconds that a file which is being written may take until it is recorded."""


async def list_conflicts(workspaces: Sequence[Workspace]) -> dict[str, Any]:
    """Return ``{"conflicts": [...]}``, each as :func:`conflict_row` has it."""
    loop = asyncio.get_running_loop()
    rows: list[dict[str, Any]] = []
    for workspace in workspaces:
        current = workspace.runner.session.current
        if current is not None and workspace.config.mode is not Mode.STORE:  # told of where the files are
            described = partial(
                describe_conflicts,
                workspace.config.workspace,
                workspace.backend,
                workspace.runner.conflicts,
                known=workspace.runner.performer.known,
                current=current,
            )
            rows += await loop.run_in_executor(workspace.local, described)
    return {"conflicts": rows}


async def resolve_conflict(chosen: Sequence[Workspace], arguments: dict[str, Any]) -> dict[str, Any]:
    """Finish the conflict of ``file`` (below the one chosen working copy's root), keeping ``keep``.

    Returns what was done, all paths below the root: ``{"file", "keep", "kept", "device", "dropped": [...],
    "renamed": {old: new}}``; ``kept`` is the copy, made by ``device``, that got the name of
    ``file``, ``null`` if what stood there stays.  Or ``{"file", "keep", "choose": [...]}`` if
    more than one version fits: each with its ``copy`` (``null``: what stands there), ``device``
    and ``ways``, the calls ``{"file", "keep"}`` that keep it.
    """
    file, wanted = _path_of(arguments.get("file")), arguments.get("keep")
    if len(chosen) != 1 or not file or wanted not in [k.value for k in Keep]:
        raise AutosyncError(
            "`resolve` needs the path of a working copy, a file in it, and mine, theirs or both to keep",
            hint="For example: autosync resolve notes.txt --keep mine",
        )
    return {"file": os.fsdecode(file), "keep": wanted, **await _resolve(chosen[0], file, Keep(wanted))}


def _path_of(file: object) -> RelPath | None:
    try:
        return RelPath(os.fsencode(file)) if isinstance(file, str) else None
    except UnicodeEncodeError:  # half a character that stands for no byte
        return None


async def _resolve(workspace: Workspace, file: RelPath, keep: Keep) -> dict[str, Any]:
    runner = workspace.runner
    if workspace.config.mode is Mode.STORE:
        raise AutosyncError(
            f"{workspace.config.path} is a store: there are no files in which a conflict could be resolved",
            hint="Run `autosync resolve` on a device that has the files.",
        )
    resolver = Resolver(
        backend=workspace.backend,
        tree=runner.performer.tree,
        index=runner.conflicts,
        device=runner.settings.name,
    )
    recorded, outcome = await _when_recorded(workspace, resolver, file, keep)
    if isinstance(outcome, Ambiguous):
        return {"choose": [_version(version, ways) for version, ways in outcome.ways]}
    await asyncio.get_running_loop().run_in_executor(workspace.local, runner.performer.brakes.expect, outcome.paths())
    _look_at(runner, outcome.paths())
    # So that whoever asks next finds it done.
    await runner.until(lambda: runner.session.paused or runner.session.current is not recorded, PATIENCE)
    return {
        "file": os.fsdecode(outcome.file),
        "kept": os.fsdecode(outcome.kept.copy) if outcome.kept else None,
        "device": outcome.kept.device if outcome.kept else None,
        "dropped": [os.fsdecode(path) for path in outcome.dropped],
        "renamed": {os.fsdecode(old): os.fsdecode(new) for old, new in outcome.renamed.items()},
    }


async def _when_recorded(
    workspace: Workspace, resolver: Resolver, file: RelPath, keep: Keep
) -> tuple[Snapshot, Resolved | Ambiguous]:
    """Resolve as soon as what stands in the working copy is recorded."""
    runner, loop = workspace.runner, asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while True:
        recorded = runner.session.current
        if recorded is None:
            raise TransientError(
                f"{runner.workspace} has not been looked at yet", hint="Repeat the command in a moment."
            )
        try:
            outcome = await loop.run_in_executor(workspace.local, resolver.resolve, recorded, file, keep)
        except NotRecorded as error:
            if runner.session.paused:
                raise _not_now(runner, "paused") from None
            _look_at(runner, error.paths)
            moved_on = await runner.until(
                lambda before=recorded: runner.session.current is not before,  # type: ignore[misc]
                until - loop.time(),
            )
            if not moved_on:
                raise (_not_now(runner, "halted") if runner.session.halt else error) from None
        except TransientError:
            _look_at(runner, {file})  # half of it may be done
            raise
        else:
            return recorded, outcome


def _not_now(runner: Runner, state: str) -> AutosyncError:
    return AutosyncError(
        f"{runner.workspace} is {state}, and the files are not as they were last recorded",
        hint=f"Run `autosync resume {runner.workspace}`, then repeat the command.",
    )


def _look_at(runner: Runner, paths: Collection[RelPath]) -> None:
    runner.post(ev.PathsChanged(hints=tuple(ev.PathHint(path=p, touch=ev.Touch.CLOSED) for p in sorted(paths))))


def _version(version: ConflictName | None, ways: tuple[tuple[ConflictName, Keep], ...]) -> dict[str, Any]:
    return {
        "copy": os.fsdecode(version.copy) if version else None,
        "device": version.device if version else None,
        "ways": [{"file": os.fsdecode(copy.copy), "keep": keep.value} for copy, keep in ways],
    }
