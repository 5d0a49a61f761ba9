"""``autosync explain`` and ``release``: why something is not in sync, and letting held paths go."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation, select
from autosync.cli.table import plain
from autosync.config import Config
from autosync.control import call
from autosync.core.brakes import Brake
from autosync.errors import AutosyncError

_SHOWN = 10
"""Held paths that are listed one by one for each reason."""
_PATIENCE = 60.0

file_argument = click.argument("path", required=False, type=click.Path())


@click.command(epilog="Example: autosync explain ~/notes/todo.txt", short_help="Say why a path is, or is not, in sync.")
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def explain(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """Say why PATH is, or is not, in sync; without PATH, what keeps anything from being in sync.

    PATH is a file or folder in a working copy. It is told which ignore rule names it, in which line of which file; why
    it is held back or waits; which devices have it as it is here, and when they last said so; which conflict it is
    part of; whether it may not be read, or lies in a repository of its own.
    """
    config = invocation.load(on_disk=False)
    if path is None:
        return _explain_all(invocation, config, as_json=as_json)
    answer = call(config.state_dir, "explain", patience=_PATIENCE, path=_absolute(config, path))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK
    click.echo(f"{plain(path)}: {answer['state']}. {plain(answer['reason'])}")
    if answer["next"]:
        click.echo(f"  {plain(invocation.reword(answer['next']).replace('PATH', shlex.quote(path)))}")
    for line in _details(invocation, answer):
        click.echo(f"  {plain(line)}")
    return OK


def _details(invocation: Invocation, answer: dict[str, Any]) -> Iterator[str]:
    """Yield what the others have of a path, when they said so, and of which conflict it is part."""
    words = {
        "same": "has it as it is here",
        "different": "has it otherwise",
        "none": "does not have it",
        "unknown": "has not said what it has",
    }
    for device in answer["devices"]:
        confirmed = f", confirmed {device['confirmed']}" if device["confirmed"] else ""
        yield f"{device['device']} {words[device['has']]}{confirmed}"
    for conflict in answer["conflicts"]:
        yield f"Of {conflict['file']} there is another version, {conflict['copy']}, made by {conflict['device']}."
    if answer["conflicts"]:
        yield f"`{invocation.command('resolve FILE --keep mine')}` finishes that."


@click.command(epilog="Example: autosync release ~/notes/.env", short_help="Let go what is held back.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(), shell_complete=completing.held)
@click.option("--restore", is_flag=True, help="Bring deleted files back instead of sending their deletion.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def release(invocation: Invocation, paths: tuple[str, ...], *, restore: bool, as_json: bool) -> int:
    """Send what is held back at or below each PATH; the root of a working copy means all of it.

    Huge and secret-looking files stay released, deletions are let go once.
    """
    config = invocation.load(on_disk=False)
    chosen = [_absolute(config, path) for path in paths]
    answers = [call(config.state_dir, "release", patience=_PATIENCE, path=path, restore=restore) for path in chosen]
    if not any(answer["released"] or answer["refused"] for answer in answers):
        raise AutosyncError(
            f"{'No deletion' if restore else 'Nothing'} is held back at {', '.join(map(plain, paths))}",
            hint="`autosync explain` lists what is.",
        )
    if as_json:
        click.echo(json.dumps(answers, indent=2))
    for path, answer in zip(paths, answers, strict=True):
        for name, why in answer["refused"].items():
            click.echo(f"{plain(name)} was not restored: {plain(why)}", err=True)
        if not as_json:
            click.echo(f"{'restored' if restore else 'released'}: {answer['released']} below {plain(path)}")
    return FAILED if any(answer["refused"] for answer in answers) else OK


def held_lines(workspace: dict[str, Any], invocation: Invocation) -> list[str]:
    """Return what a workspace of the status holds back, and how it is released."""
    held, root = workspace["held"], workspace["path"]
    paths = (
        "1 path; the others do not have it as it is"
        if held["count"] == 1
        else (f"{held['count']} paths; the others do not have them as they are")
    )
    lines = [f"{plain(workspace['name'])} holds back {paths} here:"]
    for reason, count in held["reasons"].items():
        text = Brake[reason.upper()].value
        lines.append(f"  {count}, for each {text}:" if count > 1 else f"  1, for it {text}:")
        names = [h["path"] for h in held["paths"] if h["reason"] == reason][:_SHOWN]
        lines += [f"    {plain(name)}" for name in names]
        if count > len(names):
            lines.append(f"    and {count - len(names)} more")
    lines.append(f"  To send one or all: {plain(invocation.command(f'release {root}[/FILE]'))}")
    if Brake.DELETION.name.lower() in held["reasons"]:
        lines.append(f"  To bring deleted files back: {plain(invocation.command(f'release --restore {root}'))}")
    return lines


def _explain_all(invocation: Invocation, config: Config, *, as_json: bool) -> int:
    workspaces = call(config.state_dir, "status")["workspaces"]
    if as_json:
        keys = ("name", "path", "phase", "halt", "waiting-for", "held")
        click.echo(json.dumps([{key: w[key] for key in keys} for w in workspaces], indent=2))
        return OK
    for workspace in workspaces:
        lines: list[str] = []
        if workspace["halt"]:
            lines += [plain(workspace["halt"]["title"]), f"  {plain(invocation.reword(workspace['halt']['hint']))}"]
        if workspace["waiting-for"]:
            lines.append(f"waits: {plain(workspace['waiting-for'])}")
        if workspace["held"]["count"]:
            lines += held_lines(workspace, invocation)
        click.echo(f"{plain(workspace['name'])} ({plain(workspace['path'])})")
        for line in lines or ["nothing stands in the way"]:
            click.echo(f"  {line}")
    return OK


def _absolute(config: Config, path: str) -> str:
    """Return the real path of a file, or of a workspace of that name; the last component may be a link that is synced.

    Raises :class:`AutosyncError` if it is in no working copy.
    """
    directory, name = os.path.split(os.path.abspath(path))
    folded = os.path.join(os.path.realpath(directory), name)
    roots = [os.path.realpath(each.path) for each in config.paths]
    if any(folded == root or folded.startswith(root.rstrip("/") + "/") for root in roots):
        return folded
    workspace = select(config, path)
    if workspace is None:
        raise AssertionError(path)
    return os.path.realpath(path if os.path.lexists(path) else workspace.path)
