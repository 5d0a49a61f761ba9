"""``autosync restore`` and ``undo``: brings files back to what they were."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.log import clock, named
from autosync.cli.past import Past, for_programs
from autosync.cli.table import plain
from autosync.cli.when import Meant, understand
from autosync.core.timeline import SHOWN

_LISTED = 10
"""Files that are listed one by one."""
_VERBS = {"added": "back", "changed": "as it was", "deleted": "gone again", "renamed": "renamed back"}

dry_run_option = click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")


@click.command(
    epilog='Example: autosync restore ~/notes/todo.txt --at "10 minutes ago"',
    short_help="Bring a file or folder back to what it was.",
)
@click.argument("path", type=click.Path(), shell_complete=completing.past)
@click.option(
    "--at",
    "at",
    required=True,
    metavar="WHEN|SNAPSHOT",
    help="The state to bring it back to.",
    shell_complete=completing.snapshots,
)
@click.option("--to", metavar="DEST", type=click.Path(), help="Put a copy at DEST, and leave PATH as it is.")
@dry_run_option
@json_option
@pass_invocation
def restore(invocation: Invocation, path: str, *, at: str, to: str | None, dry_run: bool, as_json: bool) -> int:
    """Bring the file or folder PATH, which may be gone, back to what it was.

    A folder gets exactly the files that it had: those that came since go. What stands there now is
    recorded first, so that `autosync undo` takes it back; what is ignored, and what is saved at that very
    moment, stays. The other devices get it like any edit; branch, commits and index are not touched. WHEN is
    a time, such as "10 minutes ago", 1h30m, 15:00, "yesterday 15:00" or "2026-11-21 15:00", of this
    machine unless a zone follows: Z, +01:00.
    """
    meant = understand(at, time.time())
    config = invocation.load(on_disk=False)
    with Past(config, path) as past:
        place = None if to is None else _free_place(past, to)
        answer = past.ask("restore", at=meant.at, dry_run=dry_run, **({} if place is None else {"to": place}))
    return _tell(answer, _understood(meant), as_json=as_json)


@click.command(
    epilog="Example: autosync undo 5m --dry-run",
    short_help="Take the last change back, or all since some time.",
)
@click.argument("when", required=False, metavar="[WHEN|SNAPSHOT]")
@click.option(
    "--in", "place", metavar="PATH", type=click.Path(), help="The working copy, if it is not the one one is in."
)
@dry_run_option
@json_option
@pass_invocation
def undo(invocation: Invocation, when: str | None, *, place: str | None, dry_run: bool, as_json: bool) -> int:
    """Take the whole working copy back to before its last change, or to what it was at WHEN.

    Snapshots that one device made at once, within 2 seconds of each other and of different files, are
    one change. It is about all files and whoever changed them: what other devices did since goes too, here
    and there, and the answer says whose it was; look at it with --dry-run. It is a change like any other: a
    second `autosync undo` takes it back, and everything stays in `autosync log`. WHEN is 5m (for
    5 minutes ago), 1h30m, 15:00, "yesterday 15:00", "2026-11-21 15:00", or a snapshot. Branch, commits and
    index are not touched.
    """
    meant = None if when is None else understand(when, time.time())
    config = invocation.load(on_disk=False)
    with Past(config, place) as past:
        past.widen()
        if meant is None:
            answer = past.ask("undo", dry_run=dry_run)
        else:  # the verb takes no state for the one before the last change, and `now` is none
            answer = past.ask("restore", at=meant.at, dry_run=dry_run)
    return _tell(answer, undone(answer) if meant is None else _understood(meant), as_json=as_json)


def undone(answer: Mapping[str, Any]) -> str:
    """Return in words what an undo without a state goes back to."""
    snapshots = sum(answer["taken_back"].values())
    return "before the last change" + (f" ({snapshots} snapshots)" if snapshots > 1 else "")


def _understood(meant: Meant) -> str:
    """Return which time was understood; a snapshot is told anyway."""
    return meant.said if isinstance(meant.at, int) else ""


def _free_place(past: Past, to: str) -> str:
    """Return where the copy goes: into ``to``, if that is a folder."""
    full = os.path.abspath(to)
    return os.path.join(full, os.path.basename(past.path)) if os.path.isdir(full) else full


def _tell(answer: Mapping[str, Any], said: str, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(for_programs({**answer, "understood": said}), indent=2))
    else:
        for line in _lines(answer, said):
            click.echo(line)
    for path, why in answer["refused"].items():
        click.echo(f"{_shown(path)} stands as it was: {plain(why)}", err=True)
    return FAILED if answer["refused"] else OK


def _lines(answer: Mapping[str, Any], said: str) -> Iterator[str]:
    head = answer["at"]
    state = f"snapshot {head['snapshot'][:SHOWN]} of {clock(head['at_ms'])} by {plain(head['device'])}"
    yield f"{said[:1].upper()}{said[1:]}: {state}" if said else f"{state[:1].upper()}{state[1:]}"
    would = "would be " if answer["dry_run"] else ""
    if answer["to"] is not None:
        yield f"{answer['count']} file{'s' * (answer['count'] != 1)} {would}put at {_shown(answer['to'])}"
        return
    changes = answer["changes"]
    if not changes:
        yield "Nothing differs from it: nothing was done."
        return
    done = answer["count"] - sum(c["path"] in answer["refused"] for c in changes)
    yield f"{done} file{'s' * (done != 1)} {would}restored:"
    for change in changes[:_LISTED]:
        if change["path"] not in answer["refused"]:
            yield f"  {named(change)}: {_VERBS[change['change']]}"
    if answer["count"] > len(changes[:_LISTED]):
        yield f"  and {answer['count'] - len(changes[:_LISTED])} more"
    for path in answer["skipped"]:
        yield f"  {_shown(path)}: a nested repository, left as it is"
    if answer["taken_back"]:
        whose = ", ".join(f"{number} of {plain(device)}" for device, number in sorted(answer["taken_back"].items()))
        yield f"Snapshots {would}taken back: {whose}"
    if not answer["dry_run"]:
        yield f"What stood here before is snapshot {answer['recorded'][:SHOWN]}; `autosync undo` goes back to it."


def _shown(path: str) -> str:
    return plain(os.fsencode(path).decode("utf-8", "backslashreplace"))
