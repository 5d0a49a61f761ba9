"""``autosync init``: adds a working copy to the configuration."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from dataclasses import dataclass
from functools import partial

import click

from autosync.backends.opening import MARKS
from autosync.cli.adding import key_place, read_configuration, write_configuration
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.progress import Progress
from autosync.cli.reload import reload_if_running, told
from autosync.cli.repositories import Folder, folder, is_ambiguous, store_folder
from autosync.cli.table import plain
from autosync.config import (
    Addition,
    Mode,
    Vcs,
    add_path,
    check_nesting,
    inside,
    is_name,
    parse,
)
from autosync.errors import AutosyncError
from autosync.trust.sealing import create_key, load_key
from autosync.vocabulary import vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Everything that `init` found out before it changes anything."""

    addition: Addition
    source: str
    text: str
    folder: Folder
    is_new_repository: bool
    is_new_key: bool
    remotes: tuple[str, ...]


@click.command(
    short_help="Keep a folder in sync.",
    epilog="Example: autosync init ~/notes --workspace notes --remote origin. Other devices come by `autosync invite` "
    "here and `autosync join` there, or with a copy of the key file: autosync init ~/notes --workspace notes "
    "--key-file ~/notes.key. On a server that keeps them for the others: autosync init ~/notes.store --workspace "
    "notes --key-file ~/notes.key --mode store",
)
@click.argument("path", default=".", type=click.Path())
@click.option("--workspace", metavar="NAME", help="Name of the workspace. Default: the folder's name.")
@click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(),
    help="The workspace's key. If the file exists, this device joins that workspace; else a new key is written there.",
)
@click.option("--remote", metavar="NAME", help="The hub: a remote of the repository, a URL, or none. Default: none.")
@click.option(
    "--vcs",
    type=click.Choice([vcs.value for vcs in MARKS]),
    help="What a folder becomes that is no repository yet, or which is meant where it is both. Default: git.",
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="Which way changes travel; store makes PATH, a new folder without files that keeps everybody's snapshots. "
    "Default: two-way.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@pass_invocation
def init(
    invocation: Invocation,
    *,
    path: str,
    workspace: str | None,
    key_file: str | None,
    remote: str | None,
    vcs: str | None,
    mode: str | None,
    as_json: bool,
) -> None:
    """Keep the folder PATH in sync: add it to the configuration.

    A folder that is no repository yet becomes a git repository, or with --vcs hg a Mercurial one. The
    configuration file is made if there is none; what stands in it stays as it is. An agent that runs takes the
    folder up at once.
    """
    plan = _prepare(
        invocation,
        path=path,
        workspace=workspace,
        key_file=key_file,
        remote=remote,
        vcs=None if vcs is None else Vcs(vcs),
        mode=Mode(mode or Mode.TWO_WAY),
    )
    _perform(plan)
    if as_json:
        click.echo(json.dumps(_as_row(invocation, plan), indent=2))
    else:
        _tell(invocation, plan)


def _prepare(
    invocation: Invocation,
    *,
    path: str,
    workspace: str | None,
    key_file: str | None,
    remote: str | None,
    vcs: Vcs | None,
    mode: Mode,
) -> _Plan:
    """Find out what is to be done and whether it can be; nothing is changed."""
    root = os.path.realpath(path)
    if mode is not Mode.STORE and not os.path.isdir(root):
        what = "is not a directory" if os.path.exists(root) else "does not exist"
        raise AutosyncError(f"{root} {what}", hint=f"Make the folder first: mkdir -p {shlex.quote(root)}")
    name = workspace or re.sub(r"[^\w .-]+", "-", os.path.basename(root)).strip(" .-")
    if not is_name(name):
        hint = "Give one with --workspace: at most 64 letters, digits, spaces, and . _ - inside."
        raise AutosyncError(f'"{name}" cannot be the name of a workspace', hint=hint)
    source, text = read_configuration(invocation)
    key = key_place(source, name, key_file)
    find = store_folder if mode is Mode.STORE else folder
    found = find(root, vcs, parse(text, source, os.environ).hg)
    remotes = found.remotes()
    hub = None if remote in (None, "none") else remote
    is_url = hub is not None and re.search(r"[:/]", hub)
    if hub is not None and not is_url and hub not in (remotes or ()):
        hint = f"It has: {', '.join(remotes)}." if remotes else found.how_to_add(hub)
        raise AutosyncError(f'--remote: the repository {root} has no remote "{hub}"', hint=hint)
    backend = found.vcs if is_ambiguous(root) else None
    addition = Addition(path=root, workspace=name, key_file=key, remote=hub, backend=backend, mode=mode)
    edited = add_path(text, addition, source, os.environ)
    check_nesting(parse(edited, source, os.environ))
    is_new_key = _is_new_key(key, root, named=key_file is not None)
    return _Plan(
        addition=addition,
        source=source,
        text=edited,
        folder=found,
        is_new_repository=remotes is None,
        is_new_key=is_new_key,
        remotes=remotes or (),
    )


def _is_new_key(key: str, root: str, *, named: bool) -> bool:
    """Return whether the key must be made; ``named`` tells that the user gave its place.

    Raises :class:`AutosyncError` if there can be no key or there is one that he did not mean.
    """
    if inside(os.path.realpath(key), root):
        hint = "Name a place outside with --key-file: inside, it could end up in a commit."
        raise AutosyncError(f"The key file {key} would lie in the working copy", hint=hint)
    if not os.path.lexists(key):
        return True
    if not named:
        raise AutosyncError(
            f"There is a key file {key} already",
            hint=f"To join the workspace it belongs to, name it: --key-file {shlex.quote(key)}. "
            "For a new workspace choose another --workspace.",
        )
    load_key(key)
    return False


def _perform(plan: _Plan) -> None:
    """Make repository, key and entry, or none of them."""
    with contextlib.ExitStack() as undo:
        if plan.is_new_repository:
            undo.callback(plan.folder.unmake)
            plan.folder.make()
        if plan.is_new_key:
            create_key(plan.addition.key_file)
            undo.callback(os.unlink, plan.addition.key_file)
        write_configuration(plan.source, plan.text)
        undo.pop_all()


def _as_row(invocation: Invocation, plan: _Plan) -> dict[str, object]:
    added = plan.addition
    return {
        "path": added.path,
        "workspace": added.workspace,
        "key-file": added.key_file,
        "remote": added.remote,
        "mode": added.mode.value,
        "vcs": plan.folder.vcs.value,
        "config": plan.source,
        "new-repository": plan.is_new_repository,
        "new-key": plan.is_new_key,
        "agent": _taken_up(invocation, plan, as_json=True),
    }


def _tell(invocation: Invocation, plan: _Plan) -> None:
    added, vcs = plan.addition, plan.folder.vcs.value
    words = vocabulary(vcs)
    key = added.key_file
    lines = [f'{added.path} is now a working copy of the workspace "{added.workspace}".']
    if added.mode is Mode.STORE:
        lines = [f'{added.path} is now a {words.name} store of the workspace "{added.workspace}"; no files are in it.']
    elif plan.is_new_repository:
        lines.append(
            f"  {vcs + ':':<8}it was a plain folder; it is a {words.name} repository now, without any commit yet"
        )
    lines.append(f"  key:    {key} ({'new: who has this file has your files' if plan.is_new_key else 'joined'})")
    lines.append(f"  hub:    {added.remote or 'none: changes travel straight between your devices'}")
    lines.append(f"  config: {plan.source}")
    if added.remote is None and plan.remotes and not words.hub_lacks:
        lines.append(
            f"To reach devices that are not online together, set `remote: {plan.remotes[0]}` there. Who may read "
            "that remote can then read what you have not committed yet."
        )
    taken_up = _taken_up(invocation, plan, as_json=False)
    lines += [*taken_up, "", "Next:", f"  {invocation.command('check')}    tells whether all is well"]
    if not taken_up:
        lines.append(f"  {invocation.command('run')}      starts the agent")
    if plan.is_new_key:
        inviting = invocation.command(f"invite {shlex.quote(added.workspace)}")
        lines += ["", "On the second device: autosync join LINE", f"  where LINE is what this prints here: {inviting}"]
    for line in lines:
        click.echo(plain(line))


def _taken_up(invocation: Invocation, plan: _Plan, *, as_json: bool) -> list[str]:
    """Return what the running agent says to the new entry; nothing if there is no agent."""
    try:
        state_dir = parse(plan.text, plan.source, os.environ).state_dir
        with Progress(quiet=as_json) as tell:
            look = partial(tell.step, f"The agent looks at {plain(plan.addition.path)}")
            answer = tell.during(partial(reload_if_running, state_dir), look)
    except AutosyncError as error:
        return [f"The agent that runs has not taken it up: {error.title}", f"  {invocation.reword(error.hint)}"]
    return [] if answer is None else told(invocation, answer)
