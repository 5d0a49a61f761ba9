"""What a shell is told about the arguments of a command: workspaces, devices, paths, snapshots, invitations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from click.shell_completion import CompletionItem

from autosync.config import Config, load
from autosync.control import call
from autosync.core.timeline import SHOWN
from autosync.errors import AutosyncError

PATIENCE = 0.5
"""Seconds that the agent has to answer: somebody waits with a finger on the Tab key."""
_SNAPSHOTS, _PATHS = 50, 100
"""How many of the latest snapshots are looked at, and how many paths of each."""
FILES = "file"
"""The kind of an item that stands for whatever the shell itself finds."""

Items = list[CompletionItem[str]]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def paths(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the workspaces that begin so, and that files are meant as well."""
    return [*_matching(_workspaces(context), incomplete), CompletionItem(incomplete, type=FILES)]


def workspaces(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the workspaces of the configuration that begin so."""
    return _matching(_workspaces(context), incomplete)


def devices(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the other devices that begin so, by name; by id those of which several have one name."""
    found = [d for w in _ask(context, "devices").get("workspaces", ()) for d in w["devices"] if not d["this"]]
    names: dict[str, set[str]] = {}
    for device in found:
        names.setdefault(device["device"], set()).add(device["id"])
    by_name = [(name, next(iter(ids))) for name, ids in names.items() if len(ids) == 1]
    by_id = [(device, name) for name, ids in names.items() if len(ids) > 1 for device in ids]
    return _matching(sorted([*by_name, *by_id]), incomplete)


def conflicts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the files in conflict and their copies as they are called from here, and other files; or nothing."""
    found: list[tuple[str, str]] = []
    answer = _ask(context, "conflicts")
    if answer.get("conflicts") == []:
        return []
    for row in answer.get("conflicts", ()):
        told = f"{row['workspace']}, by {row['device']}"
        found += [(_from_here(row["root"], row[key]), told) for key in ("file", "copy") if row.get(key)]
    return [*_matching(sorted(set(found)), incomplete), CompletionItem(incomplete, type=FILES)]


def held(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the paths that are held back as they are called from here, and other files."""
    found = [
        (_from_here(workspace["path"], path["path"]), path["reason"])
        for workspace in _ask(context, "status").get("workspaces", ())
        for path in workspace["held"]["paths"]
    ]
    return [*_matching(found, incomplete), CompletionItem(incomplete, type=FILES)]


def invitations(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the open invitations that begin so."""
    found = [(i["id"], f"to {i['workspace']}") for i in _ask(context, "status").get("invitations", ())]
    return _matching([*found, ("all", "all of them")], incomplete)


def past(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Return what was lately deleted or renamed, as it is called from here, and what :func:`paths` has."""
    answer = _history(context)
    gone = {
        name: f"{change['change']} by {row['device']}"
        for row in reversed(answer.get("rows", ()))
        for change in row["paths"]
        for name in (change["path"] if change["change"] == "deleted" else change["old_path"],)
        if name is not None and not os.path.lexists(os.path.join(answer["root"], name))
    }
    found = [(_from_here(answer["root"], name), told) for name, told in gone.items()]
    return [*_matching(found, incomplete), *paths(context, parameter, incomplete)]


def snapshots(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Return the latest snapshots that begin so, the newest first; behind two dots those that follow them."""
    first, dots, begun = incomplete.rpartition("..")
    found = [
        (f"{first}{dots}{row['snapshot'][:SHOWN]}", f"{row['device']}, {_moment(row['at_ms'])}")
        for row in _history(context).get("rows", ())
        if row["snapshot"].startswith(begun)
    ]
    return _matching(found, incomplete)


def _history(context: click.Context) -> dict[str, Any]:
    """Return the latest snapshots of the working copy one is in."""
    return _ask(context, "history", path=os.getcwd(), limit=_SNAPSHOTS, paths=_PATHS)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _workspaces(context: click.Context) -> Iterator[tuple[str, str]]:
    config = _config(context)
    for path in config.paths if config else ():
        yield path.workspace, path.path


def _config(context: click.Context) -> Config | None:
    """Return the configuration of the command line as far as it is written; ``None`` if it cannot be read."""
    try:
        return load(context.find_root().params.get("config_option"), os.environ, on_disk=False)
    except (AutosyncError, OSError):
        return None


def _ask(context: click.Context, question: str, **arguments: Any) -> dict[str, Any]:
    """Return what the agent answers, nothing if it does not soon."""
    config = _config(context)
    try:
        return call(config.state_dir, question, patience=PATIENCE, **arguments) if config else {}
    except (AutosyncError, OSError):
        return {}


def _matching(found: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Return those that begin with what is there, with what they are.  What a line cannot hold is left out."""
    return [
        CompletionItem(value, help=told)
        for value, told in dict(found).items()
        if value.startswith(incomplete) and value.isprintable()
    ]


def _from_here(root: str, name: str) -> str:
    """Return how a file is called in the current folder: below it without the way there, else absolutely."""
    full, here = os.path.join(root, name), os.path.join(os.getcwd(), "")
    return full[len(here) :] if full.startswith(here) else full
