"""``autosync branches``, ``subscribe``, ``unsubscribe``: which names of the hub a working copy follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument
from autosync.cli.opening import open_to_look
from autosync.cli.past import place_of
from autosync.cli.table import plain, table
from autosync.config import Mode, PathConfig, Vcs
from autosync.core.subscriptions import matches
from autosync.errors import AutosyncError
from autosync.ports import Backend, Followed

_PAGE = 100
_DIGITS = 12
_EVERYTHING = "*"
_STATES = {
    "current": "here, as on the hub",
    "absent": "the hub has none",
    "diverged": "here too is what the hub lacks",
    "checked-out": "checked out; the working copy follows it",
    "refused": "git did not take it over; another branch may be in its place",
    "unlisted": "the hub lists no patterns",
}

_path_option = click.option(
    "--path", metavar="PATH", type=click.Path(), help="The working copy; else the one that the current directory is in."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.command(
    epilog='Example: autosync branches --remote "feature/*"',
    short_help="List the hub's branches that are followed, or all by pattern.",
)
@path_argument
@click.option(
    "--remote",
    "pattern",
    metavar="[PATTERN]",
    is_flag=False,
    flag_value=_EVERYTHING,
    help="List what the hub has: one name, or all that begin alike (`feature/*`).",
)
@click.option("--after", metavar="NAME", default="", help="With --remote: go on after this name.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=_PAGE, help=f"List so many at most (default {_PAGE}).")
@_json_option
@pass_invocation
def branches(
    invocation: Invocation, path: str | None, *, pattern: str | None, after: str, limit: int, as_json: bool
) -> int:
    """List which branches or bookmarks of the hub this working copy follows, besides what is checked out.

    With --remote what the hub has, by name and by pattern: only that travels, however many there are.
    A hub of Mercurial lists by pattern if it has the extension selectivepull; any hub finds an exact name.
    """
    place = _working_copy(invocation, path, hub=pattern is not None)
    backend = open_to_look(place)
    try:
        if pattern is None:
            return _tell_followed(place, backend, as_json=as_json)
        found, more = backend.following.listed(pattern, after=after, limit=limit)
        wanted = (*place.subscribe, *backend.following.added())
    finally:
        backend.close()
    rows = [{"name": name, "commit": commit, "followed": matches(wanted, name)} for name, commit in found]
    following = found[-1][0] if more else None
    if as_json:
        click.echo(json.dumps({"workspace": place.workspace, "branches": rows, "next": following}, indent=2))
        return OK
    for line in table(("NAME", "AT", "FOLLOWED"), [_row(row) for row in rows]) if rows else [_none(pattern, after)]:
        click.echo(line)
    if following is not None:
        click.echo(f"There are more: --after {plain(following)}")
    return OK


@click.command(
    epilog="Example: autosync subscribe release-2.0",
    short_help="Follow a branch of the hub, and get it now.",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@_path_option
@_json_option
@pass_invocation
def subscribe(invocation: Invocation, names: Sequence[str], *, path: str | None, as_json: bool) -> int:
    """Follow branches (git) or bookmarks (Mercurial) of the hub: get them now, and keep them up to date.

    NAME is one name, or how names begin and a *, in quotes. Git has them as remote-tracking branches, so
    `git switch NAME` makes one of your own; none that is yours is touched. Mercurial has them as
    bookmarks, moved forward only. `subscribe:` in the configuration does the same.
    """
    place = _working_copy(invocation, path)
    backend = open_to_look(place)
    try:
        seen = backend.following.keep_up(names)
        absent = [each.name for each in seen if each.state == "absent"]
        if not absent:
            backend.following.add([name for name in names if name not in place.subscribe])
    finally:
        backend.close()
    if absent:
        raise AutosyncError(
            f"The hub has no {', '.join(map(plain, absent))}, so nothing more is followed",
            hint='`autosync branches --remote "NAME*"` lists those that begin so.',
        )
    _tell(place, seen, as_json=as_json)
    return OK if all(each.state in ("current", "checked-out") for each in seen) else FAILED


@click.command(
    epilog='Example: autosync unsubscribe "feature/*"',
    short_help="Follow a branch of the hub no longer.",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@_path_option
@_json_option
@pass_invocation
def unsubscribe(invocation: Invocation, names: Sequence[str], *, path: str | None, as_json: bool) -> int:
    """Follow branches or bookmarks of the hub no longer. What is here of them stays, and is yours to delete."""
    place = _working_copy(invocation, path)
    if configured := [name for name in names if name in place.subscribe]:
        raise AutosyncError(
            f"{', '.join(map(plain, configured))} stands in the configuration, which commands do not change",
            hint=f"Remove it from `subscribe:` of {place.path} in {_source(invocation)}, then `autosync reload`.",
        )
    backend = open_to_look(place)
    try:
        if unknown := [name for name in names if name not in backend.following.added()]:
            raise AutosyncError(
                f"{', '.join(map(plain, unknown))} is not followed here",
                hint="`autosync branches` lists what is.",
            )
        backend.following.remove(names)
        left = [*place.subscribe, *backend.following.added()]
    finally:
        backend.close()
    if as_json:
        click.echo(json.dumps({"workspace": place.workspace, "removed": list(names), "followed": left}, indent=2))
    else:
        click.echo(f"Not followed any more: {', '.join(map(plain, names))}. What is here of it stays.")
    return OK


def _working_copy(invocation: Invocation, path: str | None, *, hub: bool = True) -> PathConfig:
    """Return the working copy that is meant.  Raises :class:`AutosyncError` if it can follow nothing."""
    place = place_of(invocation.load(on_disk=False), path)
    if place.mode is Mode.STORE or place.backend is Vcs.COMMAND:
        what = "a store" if place.mode is Mode.STORE else "kept by commands"
        raise AutosyncError(f"{place.path} is {what}, which follows nothing", hint="Name a working copy of git or hg.")
    if hub and place.remote is None:
        raise AutosyncError(f"{place.path} has no hub", hint="Set `remote:` for it in the configuration.")
    return place


def _source(invocation: Invocation) -> str:
    return invocation.load(on_disk=False).source


def _tell_followed(place: PathConfig, backend: Backend, *, as_json: bool) -> int:
    rows = [{"name": name, "from": "configuration"} for name in place.subscribe]
    rows += [{"name": name, "from": "here"} for name in backend.following.added() if name not in place.subscribe]
    if as_json:
        click.echo(json.dumps({"workspace": place.workspace, "followed": rows}, indent=2))
        return OK
    lines = table(("FOLLOWED", "FROM"), [(row["name"], row["from"]) for row in rows])
    for line in lines if rows else ["Nothing of the hub is followed but what is checked out."]:
        click.echo(line)
    return OK


def _tell(place: PathConfig, seen: Sequence[Followed], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": each.name, "commit": each.commit, "state": each.state} for each in seen]
        click.echo(json.dumps({"workspace": place.workspace, "branches": rows}, indent=2))
        return
    if not seen:
        click.echo("The hub has nothing of that name yet; it is followed as soon as it has.")
    cells = [(each.name, (each.commit or "-")[:_DIGITS], _STATES[each.state]) for each in seen]
    for line in table(("NAME", "AT", "STATE"), cells) if seen else []:
        click.echo(line)


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["name"], row["commit"][:_DIGITS], "yes" if row["followed"] else "-"


def _none(pattern: str, after: str) -> str:
    return f"The hub has no {plain(pattern)}" + (f" after {plain(after)}." if after else ".")
