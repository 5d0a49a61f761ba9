"""Answers what was: the snapshots of a working copy, how two differ, what was in one, and its restoring.

Paths in the arguments are absolute; in the answers they lie below the working copy's ``root``, "" is all of
it.  Names that are no UTF-8 are as :func:`os.fsdecode` has them.  A state ``at``, ``from`` or ``to`` is an
integer (ms since the epoch: the state that the working copy was in then), a string (the id of a snapshot, or
the beginning of it), or ``null`` (the state that was recorded last).  Every answer begins with ``{"workspace",
"root", "path"}``.  A *head* is ``{"snapshot", "device", "at_ms", "made_ms"}``: ``at_ms`` is when it came to
this device, ``made_ms`` when its device made it, by the clock of each.

``history`` ``{path, before?, limit?, paths?}``
    ``{"rows": [...], "before"}``, the newest first.  A row is a head with ``"parents": [id]``, ``"base":
    {"commit", "branch"}``, ``"tree"``, ``"base_moved"`` (a commit or checkout), ``"against"`` (id of the
    snapshot that it is compared with, or null), ``"readable"`` (false if a commit that it needs was pruned),
    ``"summary": {"added", "changed", "deleted", "renamed"}``,
    ``"paths"``: the first ``paths`` (10, at most 1000), each ``{"path", "old_path", "change"}``, and
    ``"current"`` and ``"brought_back"``: null or, of what ``undo`` or ``restore`` made on this device,
    ``{"undo": whether it was of the whole working copy, "snapshot"}``.  Of a path that is no root only what
    changed it is listed, under the names that it had.  ``before`` is to be given for the next page, null if
    there is none; a page may have fewer rows than ``limit`` (at most 500, with more than 10 paths each 50),
    even none.
``diff`` ``{path, from, to, after?, limit?}``
    ``{"from": head or null, "to": head, "files": [...], "after"}``; ``from: "parent"`` is what ``history``
    compares ``to`` with.  A file is ``{"path", "old_path", "change", "old_kind", "kind", "omitted", "hunks"}``:
    kinds are file, executable, symlink, nested or null; ``omitted`` is null, or why there are no hunks: binary,
    large, nested, missing.  A hunk is ``{"old_start", "old_lines", "new_start", "new_lines", "lines"}``; a line
    begins with " ", "-" or "+" and ends with a newline unless its file ends without.  ``after`` is to be
    given for the rest, null if that was all.
``show`` ``{path, at}``
    Of a root ``{"row": row with up to 1000 paths}``; of a folder ``{"row", "entry": {"kind": "folder",
    "entries": [{"name", "kind"}]}}``; of a file ``{"row", "entry": {"kind", "size", "text", "base64"}}``: one of
    the last two is null, both if it has more than 1 MiB; ``size`` is null then.
``restore`` ``{path, at, to?, dry_run?, expected?}`` and ``undo`` ``{path, at?, dry_run?, expected?}``
    ``{"at": head, "dry_run", "to", "count", "changes": [the first 100, as "paths" of a row], "refused": {path: why},
    "skipped": [nested repositories], "taken_back": {device: number of its snapshots}, "recorded": id, "snapshot":
    id or null}``: ``recorded`` is the state before, to go back to, ``snapshot`` the one now (null if nothing had
    to be done, or it is still being recorded).  What is ``refused`` stands as it was.  ``taken_back`` is told of
    a root.  ``to`` is an absolute path at which nothing stands, anywhere: a copy is put there and nothing else
    is touched; this alone works while paused and of a store.  ``undo`` goes back to ``at``, null: to before the
    last change, with all files of the working copy and whoever changed them.  ``expected`` is the ``recorded`` of
    a rehearsal (``dry_run``): if another state is the last one by then, an error tells so and nothing is done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autosync.answers.places import (
    about,
    absolute,
    all_steps,
    at_of,
    count_of,
    in_thread,
    not_understood,
    place_of,
    text_of,
    trail_of,
)
from autosync.answers.restoring import LastChange, bring_back, copy_out
from autosync.past.telling import (
    ALL_PATHS,
    FILES,
    MOST_FILES,
    MOST_ROWS,
    PATHS,
    ROWS,
    tell_difference,
    tell_history,
    tell_state,
)
from autosync.past.trail import ROOT
from autosync.workspace import Workspace

_CURSOR = re.compile(r"[0-9]{1,18}(/|$)")


class HistoryAnswers:
    """The commands of the control socket that look back.  ``workspaces`` may grow after construction."""

    def __init__(self, workspaces: Sequence[Workspace]) -> None:
        self._workspaces = workspaces

    async def history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a page of the snapshots that are kept; see the module."""
        workspace, path = place_of(self._workspaces, arguments)
        before, limit = text_of(arguments, "before"), count_of(arguments, "limit", ROWS, MOST_ROWS)
        if before is not None and not _CURSOR.match(before):
            raise not_understood("before", "what the page before returned")
        paths = count_of(arguments, "paths", PATHS, ALL_PATHS)
        limit = min(limit, ROWS) if paths > PATHS else limit
        steps = await in_thread(
            workspace, lambda: tell_history(trail_of(workspace), path, before=before, limit=limit, paths=paths)
        )
        return {**about(workspace, path), **await all_steps(workspace, steps)}

    async def diff(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return in which files two states differ, and how; see the module."""
        workspace, path = place_of(self._workspaces, arguments)
        old, new = at_of(arguments, "from"), at_of(arguments, "to")
        after, limit = text_of(arguments, "after"), count_of(arguments, "limit", FILES, MOST_FILES)
        steps = await in_thread(
            workspace, lambda: tell_difference(trail_of(workspace), path, old=old, new=new, after=after, limit=limit)
        )
        return {**about(workspace, path), **await all_steps(workspace, steps)}

    async def show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a snapshot, or what a file or folder was in it; see the module."""
        workspace, path = place_of(self._workspaces, arguments)
        at = at_of(arguments, "at")
        return {
            **about(workspace, path),
            **await in_thread(workspace, lambda: tell_state(trail_of(workspace), path, at)),
        }

    async def restore(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Bring a file or folder back to what it was; see the module."""
        workspace, path = place_of(self._workspaces, arguments)
        at = at_of(arguments, "at")
        if arguments.get("to") is not None:
            to = absolute(arguments, "to")
            return {**about(workspace, path), **await copy_out(workspace, path, at, to, dry_run=_is_dry(arguments))}
        expected = text_of(arguments, "expected")
        answer = await bring_back(workspace, path, at, dry_run=_is_dry(arguments), expected=expected)
        return {**about(workspace, path), **answer}

    async def undo(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Bring the whole working copy back to what it was; see the module."""
        workspace, _ = place_of(self._workspaces, arguments)
        at = at_of(arguments, "at")
        to, expected = LastChange() if at is None else at, text_of(arguments, "expected")
        answer = await bring_back(workspace, ROOT, to, dry_run=_is_dry(arguments), expected=expected)
        return {**about(workspace, ROOT), **answer}


def _is_dry(arguments: dict[str, Any]) -> bool:
    return arguments.get("dry_run") is True
