"""Asks the running agent what keeps a working copy from being in sync."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autosync.cli.finding import Finding, Level
from autosync.config import Config
from autosync.control import call
from autosync.errors import AutosyncError


def check_syncing(config: Config) -> Iterator[Finding]:
    """Tell what is halted, paused, waited for, held back, left out or in conflict; nothing if no agent runs."""
    try:
        workspaces = call(config.state_dir, "status")["workspaces"]
    except AutosyncError:  # told where the agent is examined
        return
    for workspace in workspaces:
        yield from obstacles(workspace)


def obstacles(workspace: dict[str, Any]) -> Iterator[Finding]:
    """Yield what ``autosync status`` has to say against one working copy."""
    name, path = workspace["name"], workspace["path"]

    def warn(detail: str, hint: str) -> Finding:
        return Finding(Level.WARN, name, detail, hint)

    if (halt := workspace["halt"]) is not None:
        yield Finding(Level.FAIL, name, f"halted: {halt['title']}", halt["hint"])
    elif workspace["phase"] == "paused":
        yield warn("paused: nothing is synced", f"`autosync resume {path}` goes on.")
    elif workspace["waiting-for"]:
        yield warn(f"waits: {workspace['waiting-for']}", f"`autosync explain {path}` tells more if that lasts.")
    if count := workspace["held"]["count"]:
        yield warn(f"paths held back: {count}", "`autosync explain` lists them, and how they are released.")
    if count := len(workspace["unreadable"]):
        yield warn(f"paths that are left out: {count}", "`autosync status` tells which and why.")
    if count := len(workspace["conflicts"]):
        yield warn(f"conflicts: {count}", f"`autosync conflicts {path}` lists them.")
    for peer in workspace["peers"]:
        if problem := peer.get("problem"):
            yield warn(f"{peer['device']}: {problem}", "`autosync peers` tells more.")
