"""Finds what a request about the past is about: the working copy, the path in it, the state."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.past.steps import Steps, advance
from autosync.past.trail import At, Trail
from autosync.workspace import Workspace

T = TypeVar("T")


def place_of(workspaces: Sequence[Workspace], arguments: dict[str, Any]) -> tuple[Workspace, RelPath]:
    """Return the working copy that the argument ``path`` lies in, and the path below its root."""
    full = absolute(arguments, "path")
    for workspace in sorted(workspaces, key=lambda w: len(real_root(w)), reverse=True):  # one may lie in another
        for root in dict.fromkeys((os.fsencode(workspace.config.path), real_root(workspace))):
            within = root.rstrip(b"/") + b"/"
            if full + b"/" == within:
                return workspace, RelPath(b"")
            if full.startswith(within):
                return workspace, RelPath(full[len(within) :])
    raise AutosyncError(
        f"The running agent keeps no snapshots of {os.fsdecode(full)}",
        hint="`autosync status` lists its working copies. If this one is new in the configuration: `autosync reload`",
    )


def about(workspace: Workspace, path: RelPath) -> dict[str, Any]:
    """Return what every answer begins with."""
    return {
        "workspace": workspace.config.workspace,
        "root": os.fsdecode(real_root(workspace)),
        "path": os.fsdecode(path),
    }


def real_root(workspace: Workspace) -> bytes:
    """Return the folder of a working copy, all links in its name followed."""
    return os.path.realpath(os.fsencode(workspace.config.path))


def trail_of(workspace: Workspace) -> Trail:
    """Return what is kept of a working copy; for :func:`in_thread`."""
    return Trail(workspace.backend, workspace.runner.settings.name)


# -- in the thread of the working copy -----------------------------------------------------------
async def in_thread(workspace: Workspace, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, done in the thread of the working copy."""
    return await asyncio.get_running_loop().run_in_executor(workspace.local, work)


async def all_steps(workspace: Workspace, steps: Steps[T]) -> T:
    """Return what ``steps`` return; what is saved meanwhile is recorded in between."""
    while True:
        done, answer = await in_thread(workspace, partial(advance, steps))
        if done:
            return answer[0]


# -- arguments -----------------------------------------------------------------------------------
def absolute(arguments: dict[str, Any], key: str) -> bytes:
    """Return an absolute path without a slash at its end."""
    path = arguments.get(key)
    try:
        full = os.fsencode(path) if isinstance(path, str) else b""
    except UnicodeEncodeError:  # half a character that stands for no byte
        full = b""
    if not full.startswith(b"/") or b"\0" in full:
        raise not_understood(key, "an absolute path")
    return os.path.normpath(full)


def at_of(arguments: dict[str, Any], key: str) -> At:
    """Return a state: a time, a snapshot, or none."""
    at = arguments.get(key)
    if isinstance(at, bool) or not (at is None or isinstance(at, int | str)):
        raise not_understood(key, "a number of ms since the epoch, the id of a snapshot, or nothing")
    return at


def text_of(arguments: dict[str, Any], key: str) -> str | None:
    """Return a text, if it was given."""
    text = arguments.get(key)
    if text is not None and not isinstance(text, str):
        raise not_understood(key, "a text")
    return text


def count_of(arguments: dict[str, Any], key: str, default: int, most: int) -> int:
    """Return a number from 1 on, at most ``most``."""
    count = arguments.get(key)
    if count is None:
        return default
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise not_understood(key, f"a number from 1 to {most}")
    return min(count, most)


def not_understood(key: str, wanted: str) -> AutosyncError:
    """Return the error that an argument is of the wrong kind."""
    return AutosyncError(f"The request's {key!r} is not {wanted}", hint="Is the command an older version?")
