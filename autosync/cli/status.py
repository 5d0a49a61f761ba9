"""``autosync status``: what the agent says of itself, as a table or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from autosync.backends.hg.naming import nameable
from autosync.cli.explain import held_lines
from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.peers import transfer_line
from autosync.cli.table import age, plain, table
from autosync.config import Config
from autosync.control import NotRunning, call
from autosync.core.model import RelPath
from autosync.vocabulary import vocabulary

_HEADS = ("WORKSPACE", "STATE", "BRANCH", "PENDING", "LAST SYNC", "PATH")
_ID_DIGITS = 10
_NAMED = 5
"""Paths that are named before the rest is counted."""


@click.command(epilog="Example: autosync status --json", short_help="Show agent, working copies and other devices.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@pass_invocation
def status(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """Show the agent, its working copies, their peers, and what is pending.

    The exit code is 1 when the agent is not running.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    try:
        answer, stopped = call(config.state_dir, "status"), None
    except NotRunning as error:
        answer, stopped = _without_agent(config), error
    if chosen is not None:
        answer["workspaces"] = [w for w in answer["workspaces"] if w["path"] == chosen.path]
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in _lines(answer, invocation, datetime.now(tz=UTC)):
            click.echo(line)
        if stopped is not None:
            click.echo(f"{stopped.title}. {invocation.reword(stopped.hint)}", err=True)
    return OK if stopped is None else FAILED


def _without_agent(config: Config) -> dict[str, Any]:
    unknown = dict.fromkeys(("vcs", "base", "branch", "snapshot", "tree", "last-sync", "halt"))
    return {
        "device": config.device,
        "agent": None,
        "channel": None,
        "channels": [],
        "invitations": [],
        "workspaces": [
            {"name": p.workspace, "path": p.path, "phase": "stopped", "pending": 0, **unknown, "peers": []}
            for p in config.paths
        ],
    }


def _lines(answer: dict[str, Any], invocation: Invocation, now: datetime) -> list[str]:
    lines = [_headline(answer), *_channels(answer.get("channels", [])), ""]
    lines += table(_HEADS, [_row(w, now) for w in answer["workspaces"]]) if answer["workspaces"] else ["No paths."]
    peers = [
        (w["name"], p["device"], _peer_state(w, p), _since(p["seen"], now), _confirmed(p, now), p.get("problem") or "")
        for w in answer["workspaces"]
        for p in w["peers"]
    ]
    if peers:
        lines += ["", *table(("WORKSPACE", "DEVICE", "STATE", "SEEN", "CONFIRMED", "PROBLEM"), peers)]
    for workspace in answer["workspaces"]:
        moving = [transfer_line(transfer, transfer["peer"]) for transfer in workspace.get("transfers", ())]
        lines += ["", *(f"{plain(workspace['name'])} moves {line}" for line in moving)] if moving else []
        if count := len(workspace.get("conflicts", ())):
            them = plain(invocation.command(f"conflicts {workspace['path']}"))
            words = "1 conflict" if count == 1 else f"{count} conflicts"
            lines += ["", f"{plain(workspace['name'])} has {words}; to see more: {them}"]
        if workspace["halt"]:
            again = plain(invocation.command(f"resume {workspace['path']}"))
            lines += ["", f"{plain(workspace['name'])} is halted: {plain(workspace['halt']['title'])}"]
            lines += [f"  {plain(invocation.reword(workspace['halt']['hint']))}"]
            if not workspace.get("trust", {}).get("revoked"):
                lines += [f"  To try again at once: {again}"]
        elif workspace.get("waiting-for"):
            lines += ["", f"{plain(workspace['name'])} waits: {plain(workspace['waiting-for'])}"]
        lines += _on_update(workspace)
        lines += _follows(workspace)
        lines += _presence(workspace)
        lines += _left_out(workspace)
        if workspace.get("held") and workspace["held"]["count"]:
            lines += ["", *held_lines(workspace, invocation)]
    return lines + _invitations(answer.get("invitations", ()))


def _invitations(invitations: Sequence[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for open_one in invitations:
        if open_one["once"] and open_one["joined"] and not open_one["refused"]:
            continue  # it came to what it was for; `autosync invite --list` has it as long as it listens
        if open_one["once"] and open_one["joined"]:
            lines += ["", f"An invitation to {plain(open_one['workspace'])} was for one device, and is used"]
        else:
            whom = "one device" if open_one["once"] else "any device"
            left = f"is open to {whom}, {age(open_one['seconds'])} left"
            lines += ["", f"An invitation to {plain(open_one['workspace'])} {left}"]
        lines += [f"  {plain(v['name'])} has joined by it, from {plain(v['address'])}" for v in open_one["joined"]]
        lines += [
            f"  {plain(v['name'])} was refused, from {plain(v['address'])}: another device had joined by it before"
            for v in open_one["refused"]
        ]
    return lines


def _on_update(workspace: dict[str, Any]) -> list[str]:
    """Return what is wrong with the `on-update` here, and with those of others."""
    name, hook = plain(workspace["name"]), workspace.get("on-update")
    lines: list[str] = []
    if hook and hook["state"] in ("running", "waiting"):
        goes_on = "is running" if hook["state"] == "running" else "is about to be run"
        lines += ["", f"{name}: on-update: {plain(hook['command'])} {goes_on}"]
    if hook and hook["last"] and not hook["last"]["ok"]:
        lines += ["", f"{name}: on-update: {plain(hook['last']['text'])}"]
    for peer in workspace["peers"]:
        report = peer.get("on-update")
        if report and not report["ok"]:
            lines += ["", f"{name}: on-update of {plain(peer['device'])}: {plain(report['text'])}"]
    return lines


def _follows(workspace: dict[str, Any]) -> list[str]:
    """Return how many names of the hub are followed, and what hinders that."""
    follows, name = workspace.get("follows"), plain(workspace["name"])
    if not follows or not (follows["names"] or follows["problem"]):
        return []
    count = sum(each["commit"] is not None for each in follows["names"])
    lines = ["", f"{name} follows {count} {'name' if count == 1 else 'names'} of its hub"]
    for state, words in (("diverged", "here too is what the hub lacks"), ("unlisted", "the hub lists no patterns")):
        those = [plain(each["name"]) for each in follows["names"] if each["state"] == state]
        lines += [f"  {', '.join(those[:_NAMED])}: {words}"] if those else []
    return [*lines, *([f"  Not up to date: {plain(follows['problem'])}"] if follows["problem"] else [])]


def _presence(workspace: dict[str, Any]) -> list[str]:
    """Return who works on which file elsewhere."""
    sights = workspace.get("presence", ())
    lines = [f"{plain(workspace['name'])}: {plain(sight['text'])}" for sight in sights[:_NAMED]]
    more = len(sights) - len(lines)
    return ["", *lines, *([f"{plain(workspace['name'])}: and {more} more files"] if more else [])] if lines else []


def _left_out(workspace: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    paths = workspace.get("unreadable", ())
    unnameable = {path for path in paths if workspace["vcs"] == "hg" and not nameable(RelPath(os.fsencode(path)))}
    for why, remedy, those in (
        (
            "what it may not read",
            "Give the user who runs autosync the right to (chmod u+r); it is synced then.",
            [path for path in paths if path not in unnameable],
        ),
        (
            "names that Mercurial cannot store, or takes for its own",
            "Rename what has one; it is synced then.",
            [path for path in paths if path in unnameable],
        ),
    ):
        if those:
            more = f" and {len(those) - _NAMED} more" if len(those) > _NAMED else ""
            named = ", ".join(plain(path) for path in those[:_NAMED])
            lines += ["", f"{plain(workspace['name'])} leaves out {why}: {named}{more}", f"  {remedy}"]
    return lines


def _headline(answer: dict[str, Any]) -> str:
    agent, channels = answer["agent"], answer.get("channels", [])
    if agent is None:
        return f"{plain(answer['device'])}: no agent"
    size = "memory unknown" if agent["rss"] is None else f"{agent['rss'] / 1024**2:.0f} MB"
    line = f"{plain(answer['device'])}: agent {agent['pid']}, up {age(agent['uptime'])}, {size}"
    if not channels:
        return f"{line}; no channel: changes travel over the hub, now and then"
    return f"{line}; {_channel(channels[0])}" if len(channels) == 1 else line


def _channels(channels: list[dict[str, Any]]) -> list[str]:
    """Return a line for each of several channels; a single one is in the first line."""
    return [f"  {_channel(channel)}" for channel in channels] if len(channels) > 1 else []


def _channel(channel: dict[str, Any]) -> str:
    words = f"channel {plain(channel['kind'])} {plain(channel['state'])}"
    return f"{words}: {plain(channel['detail'])}" if channel.get("detail") else words


def _row(workspace: dict[str, Any], now: datetime) -> tuple[object, ...]:
    base = workspace["base"] or ""
    branch = workspace["branch"] and vocabulary(workspace["vcs"]).shorten(workspace["branch"])
    branch = branch or (f"at {base[:_ID_DIGITS]}" if base else "-")
    last = _since(workspace["last-sync"], now)
    return workspace["name"], _state(workspace), branch, workspace["pending"], last, workspace["path"]


def _state(workspace: dict[str, Any]) -> str:
    """Return the phase, or at a glance that not everything is sent although nothing is under way."""
    if workspace["halt"]:
        return "halted"
    if workspace["phase"] == "watching" and (count := _held(workspace)):
        return f"holding {count}"
    if workspace["phase"] == "watching" and workspace.get("mode") == "store":
        return "storing"
    return str(workspace["phase"])


def _peer_state(workspace: dict[str, Any], peer: dict[str, Any]) -> str:
    """Return what a peer is at; one that is equal has nothing of what is held here."""
    count = _held(workspace)
    return f"equal but for {count}" if count and peer["state"] == "equal" else str(peer["state"])


def _confirmed(peer: dict[str, Any], now: datetime) -> str:
    """Return how long ago a peer last said that it has what this device had; a dash where that is not told."""
    return _since(peer["confirmed"]["time"], now) if "confirmed" in peer else "-"


def _held(workspace: dict[str, Any]) -> int:
    return int(workspace.get("held", {}).get("count", 0))


def _since(moment: str | None, now: datetime) -> str:
    """Return how long ago ``moment`` (ISO 8601) was."""
    return "never" if moment is None else f"{age((now - datetime.fromisoformat(moment)).total_seconds())} ago"
