"""Answers what the command line asks of conflicts: which there are, and to finish one."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Collection, Sequence
from typing import Any

from autosync.conflicts import maker_of_original, original_beside
from autosync.core import events as ev
from autosync.core.copies import ConflictName
from autosync.core.model import RelPath, Snapshot
from autosync.core.resolution import Ambiguous, Keep
from autosync.errors import AutosyncError, TransientError
from autosync.report import iso
from autosync.resolve import NotRecorded, Resolved, Resolver
from autosync.runner import Runner
from autosync.workspace import Workspace

PATIENCE = 8.0
"""Seconds that a file which is being written may take until it is recorded."""


async def list_conflicts(workspaces: Sequence[Workspace]) -> dict[str, Any]:
    """Return ``{"conflicts": [...]}``: one item for each copy that stands in a working copy.

    ``workspace`` and ``root`` tell where; ``file`` and ``copy`` are paths below the root;
    ``device`` made the copy at ``time`` (ISO 8601, UTC).  ``stands`` tells what has the
    file's own name: its ``kind`` (``file``, ``link``, ``folder``, or ``null`` for nothing) and the
    ``device`` that made it, ``null`` if that is not known.  Bytes of names that are not
    UTF-8 are surrogate escapes (PEP 383).
    """
    loop = asyncio.get_running_loop()
    rows: list[dict[str, Any]] = []
    for workspace in workspaces:
        current = workspace.runner.session.current
        if current is not None:
            rows += await loop.run_in_executor(workspace.local, _rows, workspace, current)
    return {"conflicts": rows}


def _rows(workspace: Workspace, current: Snapshot) -> list[dict[str, Any]]:
    backend, performer = workspace.backend, workspace.runner.performer
    index = workspace.runner.conflicts
    index.follow(current)
    rows = []
    for name in index.copies.values():
        if not os.path.lexists(os.path.join(backend.root, name.copy)):
            continue  # deleted a moment ago
        original = original_beside(backend.root, name)
        row = conflict_row(workspace.config.workspace, backend.root, name, original)
        if row["stands"]["kind"] in ("file", "link"):
            row["stands"]["device"] = maker_of_original(backend, performer.known(), name, original, current.tree)
        rows.append(row)
    return rows


def conflict_row(workspace: str, root: bytes, name: ConflictName, original: RelPath) -> dict[str, Any]:
    """Return one item of :func:`list_conflicts`, with nothing known of who made what stands there."""
    return {
        "workspace": workspace,
        "root": os.fsdecode(root),
        "file": os.fsdecode(original),
        "copy": os.fsdecode(name.copy),
        "device": name.device,
        "time": iso(name.time),
        "stands": {"kind": _kind(os.path.join(root, original)), "device": None},
    }


def _kind(path: bytes) -> str | None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"


async def resolve_conflict(workspace: Workspace, file: RelPath, keep: Keep) -> dict[str, Any]:
    """Finish the conflict of ``file`` and return what was done, all paths below the working copy's root.

    ``{"file", "keep", "kept", "dropped": [...], "renamed": {old: new}}``: ``kept`` is the copy that
    got the name of ``file``, ``null`` if what stood there stays.  Or ``{"choose": [...]}`` if
    more than one version fits: each with its ``copy`` (``null``: what stands there), ``device``
    and ``ways``, the calls ``{"file", "keep"}`` that keep it.
    """
    runner = workspace.runner
    resolver = Resolver(
        backend=workspace.backend,
        tree=runner.performer.tree,
        index=runner.conflicts,
        device=runner.settings.name,
    )
    recorded, outcome = await _when_recorded(workspace, resolver, file, keep)
    if isinstance(outcome, Ambiguous):
        return {"choose": [_version(version, ways) for version, ways in outcome.ways]}
    _look_at(runner, outcome.paths())
    # So that whoever asks next finds it done.
    await runner.until(lambda: runner.session.paused or runner.session.current is not recorded, PATIENCE)
    return {
        "file": os.fsdecode(outcome.file),
        "keep": keep.value,
        "kept": os.fsdecode(outcome.kept.copy) if outcome.kept else None,
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
            _raise_if_still(runner)
            _look_at(runner, error.paths)
            moved_on = await runner.until(
                lambda before=recorded: runner.session.current is not before,  # type: ignore[misc]
                until - loop.time(),
            )
            if not moved_on:
                raise
        except TransientError:
            _look_at(runner, {file})  # half of it may be done
            raise
        else:
            return recorded, outcome


def _raise_if_still(runner: Runner) -> None:
    """Raise if nothing is recorded at the moment, so that waiting is no use."""
    session = runner.session
    if session.paused or session.halt is not None:
        state = "paused" if session.paused else "halted"
        raise AutosyncError(
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
