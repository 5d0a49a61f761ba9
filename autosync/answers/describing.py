"""Answers what the last commit says, and gives it a better message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from autosync.answers.news import finite
from autosync.config import Commits
from autosync.core import events as ev
from autosync.core.model import Base, CommitId
from autosync.core.session import Session
from autosync.errors import AutosyncError
from autosync.rewording import describe, last_commit
from autosync.workspace import Workspace

MOST_HELD = 60.0
"""Seconds for which one request keeps a commit from being pushed; who needs longer asks again."""
_LONGEST = 32 * 1024
"""Characters of a message."""
_SEEN_WITHIN = 5.0


async def describe_commit(chosen: Sequence[Workspace], arguments: dict[str, Any]) -> dict[str, Any]:
    """Give the last commit of the one chosen working copy ``message``; without one, tell what it says.

    With ``commit`` only that one is described.  With ``hold`` (seconds) it is not pushed meanwhile, nor is anything
    committed on top; 0 ends that.  ``commits`` is what the configuration says now.  Returns ``{"workspace",
    "path", "commit", "message"}``, of the new commit if there is one.
    """
    if len(chosen) != 1:
        raise AutosyncError(
            "`describe` needs to know which working copy is meant", hint="Give its folder: autosync describe PATH"
        )
    workspace, message, commit = chosen[0], arguments.get("message"), arguments.get("commit")
    runner, loop = workspace.runner, asyncio.get_running_loop()
    if workspace.config.commits is not Commits.AUTO:
        if arguments.get("commits") == Commits.AUTO.value:
            raise AutosyncError(
                f"The running agent does not know yet that autosync is to commit in {workspace.config.path}",
                hint="`commits: auto` came into the configuration after it was started. Restart it: "
                "`systemctl --user restart autosync`, or end `autosync run` and start it again.",
            )
        raise AutosyncError(
            f"autosync makes no commits in {workspace.config.path}",
            hint="What you commit is yours to describe; `commits: auto` has autosync commit.",
        )
    if "hold" in arguments:
        runner.post(ev.DescriptionAwaited(seconds=min(max(finite(arguments, "hold", 0.0), 0.0), MOST_HELD)))
    if message is not None:
        if not isinstance(message, str) or len(message) > _LONGEST or not isinstance(commit, str | None):
            raise AutosyncError("The message is no text, or too long", hint=f"Use at most {_LONGEST} characters.")
        change = partial(
            describe,
            workspace.backend,
            _as_text(message),
            name=runner.settings.name,
            commit=None if commit is None else CommitId(commit),
            hub=runner.settings.hub,
        )
        # Whoever asked may go: what was begun is finished.
        base = await asyncio.shield(loop.run_in_executor(workspace.local, change))
        runner.post(ev.MetadataChanged())
        await runner.until(partial(_is_seen, runner.session, base), _SEEN_WITHIN)
        runner.post(ev.DescriptionAwaited(seconds=0))
    last = await loop.run_in_executor(
        workspace.local, partial(last_commit, workspace.backend, name=runner.settings.name)
    )
    return {
        "workspace": workspace.config.workspace,
        "path": workspace.config.path,
        "commit": last.commit,
        "message": last.text,
    }


def _is_seen(session: Session, base: Base) -> bool:
    """Return whether the session knows of ``base``, or will not before it is resumed."""
    return session.paused or session.current is None or session.current.base == base


def _as_text(message: str) -> str:
    """Return a message without what is no character (half ones come out of JSON escapes)."""
    return message.encode("utf-8", "replace").decode("utf-8")
