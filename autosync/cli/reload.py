"""``autosync reload``: the running agent takes up what is new in the configuration."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import click

from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.progress import Progress
from autosync.cli.table import plain
from autosync.control import NotRunning, call

PATIENCE = 120.0
"""Seconds that the opening of new working copies may take."""


@click.command(epilog="Example: autosync reload", short_help="Take up what is new in the configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer for programs.")
@pass_invocation
def reload(invocation: Invocation, *, as_json: bool) -> int:
    """Let the running agent read its configuration again.

    It takes up new paths, new channels and what is ignored at once. Whatever else was changed or removed needs a
    restart, and is told. `init` and `join` do this by themselves.
    """
    config = invocation.load(on_disk=False)
    with Progress(quiet=as_json) as tell:
        ask = partial(call, config.state_dir, "reload", patience=PATIENCE)
        answer = tell.during(ask, partial(tell.step, "The agent takes up what is new"))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in told(invocation, answer):
            click.echo(line)
        if not any(answer[key] for key in ("added", "started", "ignoring", "following", "failed", "restart")):
            click.echo("Nothing is new in the configuration.")
    return FAILED if answer["failed"] else OK


def told(invocation: Invocation, answer: dict[str, Any]) -> list[str]:
    """Return in lines what a reload has brought about."""
    lines = [f"{plain(path['path'])} is kept from now on." for path in answer["added"]]
    lines += [f"The channel `{plain(key)}` was started." for key in answer["started"]]
    lines += [f"{plain(path)} ignores other paths from now on." for path in answer["ignoring"]]
    lines += [f"{plain(path)} follows other names of its hub from now on." for path in answer["following"]]
    for path in answer["failed"]:
        lines += [f"{plain(path['path'])} is not kept: {plain(path['title'])}", f"  {plain(path['hint'])}"]
    if answer["restart"]:
        changes = "; ".join(plain(change) for change in answer["restart"])
        lines.append(f"A restart of the agent is needed for the rest: {changes}.")
        lines.append("  `systemctl --user restart autosync`, or end `autosync run` and start it again.")
    return [invocation.reword(line) for line in lines]


def reload_if_running(state_dir: str) -> dict[str, Any] | None:
    """Return what the agent answers, ``None`` if there is none."""
    try:
        return call(state_dir, "reload", patience=PATIENCE)
    except NotRunning:
        return None
