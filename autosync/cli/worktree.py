"""``autosync worktree``: further working copies on a store that is there."""

from __future__ import annotations

import json
import os
import shlex
from functools import partial

import click

from autosync.cli import completing
from autosync.cli.failures import OK, USAGE
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.join import Wanted, ask_for_line, take_part
from autosync.cli.linking import Plan, perform, prepare, settle, told_of
from autosync.cli.progress import Progress
from autosync.cli.reload import reload_if_running, told
from autosync.cli.table import plain
from autosync.errors import AutosyncError


@click.group(
    epilog="Example: autosync worktree add ../fix --branch fix. `autosync shared` lists what the working copies of one "
    "store share.",
    short_help="Make another synced working copy on the same store.",
)
def worktree() -> None:
    """Work on several branches at a time: further working copies on one store, each synced by itself."""


@worktree.command(
    epilog="Example: autosync worktree add ../fix --branch fix. On another device that has the repository too: "
    "autosync worktree add ~/fix --join, then paste the line of autosync invite fix.",
    short_help="Make a working copy on the store of another one.",
)
@click.argument("dest", type=click.Path())
@click.option(
    "--branch",
    metavar="NAME",
    help="The branch that it is on. One that is not there is made, from where PATH is: with git a branch, with "
    "Mercurial a bookmark. Default: with git DEST's last name, with Mercurial where PATH is.",
)
@click.option(
    "--from",
    "start",
    metavar="PATH",
    type=click.Path(),
    shell_complete=completing.paths,
    help="A working copy of that store, or its workspace's name. Default: the current folder; with --join the one that "
    "autosync keeps here and that has most of the history.",
)
@click.option("--workspace", metavar="NAME", help="Name of its workspace. Default: DEST's last name.")
@click.option("--key-file", metavar="FILE", type=click.Path(), help="Where its new key is written.")
@click.option(
    "--join",
    "line",
    metavar="LINE",
    is_flag=False,
    flag_value="",
    help="Take part in the workspace of an invitation, on a store that this device has; without LINE it is asked for, "
    "- reads it from standard input.",
)
@click.option("--no-run", is_flag=True, help="With --join: do not start the agent if none is running.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@pass_invocation
def add(
    invocation: Invocation,
    *,
    dest: str,
    branch: str | None,
    start: str | None,
    workspace: str | None,
    key_file: str | None,
    line: str | None,
    no_run: bool,
    as_json: bool,
) -> int:
    """Make the working copy DEST, on the store of the one you are in, and keep it in sync as a workspace of its own.

    With git it is a linked worktree, with Mercurial a share with shared bookmarks: history is stored once, and what is
    committed in one is there for all. It gets a key of its own and the settings of the one it is made from. All of it
    is done, or nothing. An agent that runs takes it up at once.

    With --join it becomes a working copy of another device's workspace, on the store that this device has of the same
    repository: only what is missing is transferred. Repositories are known by their commits, not by names.
    """
    if line is not None:
        if branch is not None:
            click.echo("Error: --branch and --join exclude each other: the others tell the branch.", err=True)
            return USAGE
        place = partial(settle, start)
        wanted = Wanted(path=dest, workspace=workspace, key_file=key_file, settle=place)
        return take_part(invocation, ask_for_line(line or None), wanted, no_run=no_run, as_json=as_json)
    plan = prepare(invocation, dest, branch=branch, start=start or ".", workspace=workspace, key_file=key_file)
    perform(plan)
    taken_up = _taken_up(invocation, plan, as_json=as_json)
    if as_json:
        click.echo(json.dumps(_as_row(plan, taken_up), indent=2))
        return OK
    for text in _lines(invocation, plan, taken_up):
        click.echo(plain(text))
    return OK


def _as_row(plan: Plan, taken_up: list[str]) -> dict[str, object]:
    added, facts = plan.addition, plan.link.facts()
    return {
        "path": added.path,
        "workspace": added.workspace,
        "vcs": plan.link.vcs.value,
        "from": plan.link.spot.source,
        "branch": facts["branch"],
        "new-branch": bool(facts["made"]),
        "key-file": added.key_file,
        "remote": added.remote,
        "config": plan.source,
        "settings": [name for name, _ in added.settings],
        "agent": taken_up,
    }


def _lines(invocation: Invocation, plan: Plan, taken_up: list[str]) -> list[str]:
    added = plan.addition
    name, dest = shlex.quote(added.workspace), shlex.quote(os.path.basename(added.path))
    lines = [
        f'{added.path} is now a working copy of the workspace "{added.workspace}": {plan.link.words()}.',
        f"  key:    {added.key_file} (new: who has this file has your files)",
        f"  hub:    {added.remote or 'none: changes travel straight between your devices'}",
        f"  config: {plan.source}",
        *(f"  {line}" for line in told_of(plan.left, added.settings)),
        *taken_up,
        "",
        "Next:",
    ]
    if not taken_up:
        lines.append(f"  {invocation.command('run')}    starts the agent")
    return [
        *lines,
        f"  {invocation.command(f'invite {name}')}    prints the LINE by which another device takes part:",
        f"      autosync worktree add {dest} --join LINE    if it has the repository",
        "      autosync join LINE    if it has not",
    ]


def _taken_up(invocation: Invocation, plan: Plan, *, as_json: bool) -> list[str]:
    """Return what the running agent says to the new entry; nothing if there is no agent."""
    try:
        with Progress(quiet=as_json) as tell:
            look = partial(tell.step, f"The agent looks at {plain(plan.addition.path)}")
            answer = tell.during(partial(reload_if_running, plan.state_dir), look)
    except AutosyncError as error:
        return [f"The agent that runs has not taken it up: {error.title}", f"  {invocation.reword(error.hint)}"]
    return [] if answer is None else told(invocation, answer)
