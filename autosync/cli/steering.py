"""``autosync sync``, ``pause`` and ``resume``: what the user asks of the running agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from autosync.cli.failures import FAILED, OK
from autosync.cli.firstsync import moving
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.progress import Progress
from autosync.cli.table import age, plain
from autosync.config import PathConfig
from autosync.control import call
from autosync.errors import AutosyncError

_LOOK_WITHIN = 2.0
_MARGIN = 5.0
"""Seconds that an answer may come after the time the agent was given."""


@click.command(epilog="Example: autosync sync ~/notes --wait --timeout 30", short_help="Send what is pending at once.")
@path_argument
@click.option("--wait", is_flag=True, help="Return when every reachable device has the same content.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Wait so long at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def sync(invocation: Invocation, path: str | None, *, wait: bool, timeout: float, as_json: bool) -> int:
    """Send what is pending at once, for PATH or for all working copies.

    With --wait the exit code is 0 only when every reachable device has confirmed the same
    content; what is held back here is not counted, and told.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    ask = partial(
        call,
        config.state_dir,
        "sync",
        patience=(timeout if wait else 0) + _MARGIN,
        path=chosen.path if chosen else None,
        wait=wait,
        timeout=timeout,
    )
    with Progress(quiet=as_json or not wait) as tell:
        answer = tell.during(ask, partial(_look, config.state_dir, chosen, tell)) if wait else ask()
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK if not wait or answer["synced"] else FAILED
    detail = plain(answer["detail"])
    if not wait or answer["synced"]:
        if detail:
            click.echo(detail)
        if wait:
            names = [chosen.workspace] if chosen else [p.workspace for p in config.paths]
            but = f", but for what is held back ({answer['held']}): {invocation.command('explain')}"
            click.echo(f"in sync: {', '.join(map(plain, names))}{plain(but) if answer['held'] else ''}")
        return OK
    missing = ", ".join(_waited_for(device, answer["last-heard"][device]) for device in answer["waiting"])
    reason = "; ".join(filter(None, (detail, f"waiting for {missing}" if missing else "")))
    raise AutosyncError(f"Not in sync: {reason}", hint="`autosync status` shows what each device is at.")


def _look(state_dir: str, chosen: PathConfig | None, tell: Progress) -> None:
    """Tell what is being moved, or else what is waited for."""
    try:
        workspaces = call(state_dir, "status", patience=_LOOK_WITHIN)["workspaces"]
    except AutosyncError:  # the answer that is waited for says why
        return
    here = [w for w in workspaces if chosen is None or w["path"] == chosen.path]
    moved = [f"{plain(w['name'])} moves {told}" for w in here if (told := moving(w))]
    waits = [f"{plain(w['name'])}: {plain(w.get('waiting-for') or w['phase'])}" for w in here]
    tell.step("; ".join(moved or waits) or "Waiting for the others")


def _waited_for(device: str, heard: Mapping[str, Any] | None) -> str:
    """Return who is waited for, and since when nothing was heard: it may be frozen, or asleep."""
    if heard is None:
        return plain(device)
    if heard["state"] in ("paused", "halted"):
        return f"{plain(device)}, which is {plain(heard['state'])}"
    since = "has said nothing yet" if heard["seconds"] is None else f"was last heard {age(heard['seconds'])} ago"
    return f"{plain(device)}, which {since}"


@click.command(epilog="Example: autosync pause ~/notes", short_help="Stop exchanging changes for now.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def pause(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """Stop exchanging changes of PATH, or of all working copies, until `autosync resume`.

    Nothing is sent and nothing is applied meanwhile, also after a restart of the agent.
    """
    _steer(invocation, "pause", path, as_json=as_json)
    return OK


@click.command(epilog="Example: autosync resume ~/notes", short_help="Go on; also releases a halt.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def resume(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """Go on with PATH, or with all working copies; also releases one that was halted."""
    _steer(invocation, "resume", path, as_json=as_json)
    return OK


def _steer(invocation: Invocation, command: str, path: str | None, *, as_json: bool) -> None:
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    answer = call(config.state_dir, command, path=chosen.path if chosen else None)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    names = [chosen.workspace] if chosen else [p.workspace for p in config.paths]
    click.echo(f"{command}d: {', '.join(names)}")
