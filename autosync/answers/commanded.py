"""Answers what the command line asks of working copies that are kept by commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autosync.answers.report import Heard, is_reachable, iso, last_heard
from autosync.commanded.workspace import CommandedWorkspace
from autosync.core import events as ev
from autosync.core.commanded.session import CommandedPeer

VCS = "command"
_NAMED = 1000


def commanded_status(
    workspace: CommandedWorkspace, *, now: float, linked: Mapping[str, str], watch: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one working copy's part of the status, with the keys that every other one has."""
    runner, machine = workspace.runner, workspace.runner.machine
    status = machine.status()
    unknown = dict.fromkeys(("base", "branch", "snapshot", "tree", "hub"))
    unconfirmed = {peer.device for peer in machine.unconfirmed()}
    refused = sorted(path.decode("utf-8", "backslashreplace") for path in runner.work.refused)
    return {
        "name": runner.workspace,
        "path": workspace.config.path,
        "vcs": VCS,
        "phase": status.phase,
        "state": status.phase,
        **unknown,
        "remote": runner.work.remote or None,
        "pending": status.pending,
        "waiting-for": status.waiting_for or None,
        "last-sync": iso(runner.synced_at),
        "halt": {"title": status.halt.title, "hint": status.halt.hint} if status.halt else None,
        "held": {"count": 0, "reasons": {}, "paths": []},
        "mode": workspace.config.mode.value,
        "unreadable": [],
        "refused": refused[:_NAMED],
        "watch": dict(watch),
        "dropped": dict(workspace.member.dropped),
        "conflicts": [],
        "peers": [
            {
                "device": peer.name,
                "id": peer.device,
                "snapshot": None,
                "tree": None,
                "seen": iso(time.time() - (now - peer.seen)) if peer.seen else None,
                "state": _peer_state(peer, is_behind=peer.device in unconfirmed, now=now, linked=linked),
                "address": linked.get(peer.device),
                "problem": _other_remote(peer, runner.work.remote),
            }
            for peer in status.peers
        ],
    }


async def sync_commanded(
    workspace: CommandedWorkspace, linked: Mapping[str, str], patience: float
) -> tuple[str, Mapping[str, Heard]]:
    """Wait until all is pushed and pulled; return what is in the way and who has not confirmed."""
    runner, machine = workspace.runner, workspace.runner.machine
    await runner.until(lambda: machine.quiet() and not waited_for(workspace, linked), patience)
    status = machine.status()
    if status.halt is not None:
        return f"{runner.workspace}: {status.halt.title}", {"this device": None}
    if not machine.quiet():
        return f"{runner.workspace}: {status.waiting_for}" if status.waiting_for else "", {"this device": None}
    return "", waited_for(workspace, linked)


def waited_for(workspace: CommandedWorkspace, linked: Mapping[str, str]) -> Mapping[str, Heard]:
    """Return the peers that can be reached and have not pulled what was pushed here, and what was heard of them."""
    now = asyncio.get_running_loop().time()
    return {p.name: last_heard(p, now) for p in workspace.runner.machine.unconfirmed() if is_reachable(p, now, linked)}


def steer_commanded(workspaces: Sequence[CommandedWorkspace], event: ev.Event) -> None:
    """Hand ``event``, which the user asked for, to each working copy."""
    for workspace in workspaces:
        workspace.runner.post(event)


def _peer_state(peer: CommandedPeer, *, is_behind: bool, now: float, linked: Mapping[str, str]) -> str:
    if not is_reachable(peer, now, linked):
        return "away"
    if peer.state in ("paused", "halted"):
        return peer.state
    return "behind" if is_behind else "equal"


def _other_remote(peer: CommandedPeer, mine: str) -> str | None:
    """Return what to tell of a peer that pushes to another place, as far as both tell."""
    if not mine or not peer.remote or mine == peer.remote:
        return None
    return f"it pushes to {peer.remote}"
