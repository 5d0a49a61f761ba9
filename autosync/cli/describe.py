"""``autosync describe``: a better message for the commit that autosync has made last."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.table import plain
from autosync.config import Commits, Config, PathConfig
from autosync.control import call
from autosync.errors import AutosyncError

_PATIENCE = 120.0
"""Seconds that the agent may take to ask the hub whether it has the commit."""
_CUT = "# ------------------------ >8 ------------------------"


@click.command(
    epilog="Example: autosync describe -m 'Rework the introduction' ~/notes",
    short_help="Give autosync's last commit a better message.",
)
@click.option("--message", "-m", metavar="TEXT", help="The message; without it your editor opens.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer for programs.")
@path_argument
@pass_invocation
def describe(invocation: Invocation, path: str | None, message: str | None, *, as_json: bool) -> int:
    """Give the last commit that `commits: auto` has made in the working copy at PATH a better message.

    Without PATH, it is the working copy around the current folder, or the only one that autosync commits in.
    That is possible until the commit is pushed to the hub; other devices follow. A hub that cannot be reached
    then is not asked whether another device has pushed it. Nothing else is changed: neither files nor what you
    have staged.
    """
    config = invocation.load(on_disk=False)
    entry = _chosen(config, path)
    root = entry.path
    if message is None:
        answer = _edited(config, entry)
        if answer is None:
            click.echo("The message stays as it is.")
            return OK
    else:
        answer = call(
            config.state_dir, "describe", patience=_PATIENCE, path=root, message=message, commits=entry.commits.value
        )
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        subject = str(answer["message"]).partition("\n")[0]
        click.echo(f"{plain(answer['workspace'])}: commit {answer['commit'][:10]} is now described: {plain(subject)}")
    return OK


def _chosen(config: Config, path: str | None) -> PathConfig:
    if path is not None:
        chosen = select(config, path)
        assert chosen is not None  # noqa: S101  (it is None only without a path)
        return chosen
    automatic = [entry for entry in config.paths if entry.commits is Commits.AUTO]
    here = os.path.join(os.path.realpath(os.getcwd()), "")
    around = [entry for entry in automatic if here.startswith(os.path.join(os.path.realpath(entry.path), ""))]
    found = around or automatic
    if not found:
        raise AutosyncError(
            f"autosync makes no commits in any working copy of {config.source}",
            hint="What you commit is yours to describe; `commits: auto` has autosync commit.",
        )
    if len(found) > 1:
        raise AutosyncError(
            "autosync makes commits in several working copies",
            hint=f"Name one of them: {', '.join(entry.path for entry in found)}",
        )
    return found[0]


def _edited(config: Config, entry: PathConfig) -> dict[str, Any] | None:
    """Have the user edit the message; return the agent's answer, ``None`` if it stays as it is."""
    if not sys.stdin.isatty():
        raise AutosyncError("There is no terminal to open an editor in", hint="Give the message: -m TEXT")
    root = entry.path
    last = call(config.state_dir, "describe", path=root, commits=entry.commits.value)
    from autosync.desktop.describing import held  # noqa: PLC0415  (for this alone)

    shown = (
        f"{last['message']}\n\n{_CUT}\n"
        f"# What is above this line becomes the message of commit {last['commit'][:10]}.\n"
        "# If you change nothing, or leave nothing, it stays as it is. It is not pushed meanwhile.\n"
    )
    with held(config.state_dir, root):
        edited = click.edit(shown, require_save=True, extension=".txt")
        text = (edited or "").partition(_CUT)[0].strip()
        if not text or text == last["message"].strip():
            return None
        try:
            return call(
                config.state_dir, "describe", patience=_PATIENCE, path=root, message=text, commit=last["commit"]
            )
        except AutosyncError:
            click.echo(f"This is what you wrote:\n\n{text}\n", err=True)
            raise
