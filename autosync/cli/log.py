"""``autosync log``: the snapshots of a working copy, newest first."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.output import tinted, write_pages
from autosync.cli.past import Past, for_programs
from autosync.cli.table import plain
from autosync.core.moments import moment
from autosync.core.retention import Retention
from autosync.core.timeline import SHOWN

_NAMED = 3
"""Paths of a snapshot that are named in its line."""


@click.command(
    epilog="Example: autosync log ~/notes/todo.txt -n 5",
    short_help="List what was, newest first.",
)
@click.argument("path", required=False, type=click.Path(), shell_complete=completing.past)
@click.option("--limit", "-n", type=click.IntRange(min=1), help="List so many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, with all paths.")
@pass_invocation
def log(invocation: Invocation, path: str | None, *, limit: int | None, as_json: bool) -> int:
    """List the snapshots that are kept here, of this device and of the others, newest first.

    With the PATH of a file or folder only those that changed it, also before it was renamed, and
    also if it is gone now; without PATH those of the working copy one is in. Each save is a snapshot; as
    they age, fewer are kept: all of the last hour, then one a minute, after a day one an hour, for a
    month (`history:` in the configuration). Times are this machine's.
    """
    config = invocation.load(on_disk=False)
    with Past(config, path) as past:
        asked: dict[str, Any] = {"paths": 1000} if as_json else {}
        pages = past.pages("history", "before", **asked)
        rows = itertools.islice((row for page in pages for row in page["rows"]), limit)
        if as_json:
            told = {"workspace": past.working_copy.workspace, "root": past.root, "path": past.below, "rows": list(rows)}
            click.echo(json.dumps(for_programs(told), indent=2))
            return OK
        first = next(rows, None)
        if first is None:
            click.echo(f"No snapshot that is kept changed {plain(path)}." if past.below else "Nothing is kept yet.")
            return OK
        write_pages(lines(itertools.chain([first], rows), past.working_copy.history, time.time()))
    return OK


def lines(rows: Iterator[dict[str, Any]], retention: Retention, now: float) -> Iterator[str]:
    """Yield a line for each row, and one where those begin that are not all that there were."""
    thinned = [(retention.all_for, "minute"), (retention.minutely_for, "hour")]
    for row in rows:
        age = now - row["at_ms"] / 1000
        passed = [each for each in thinned if age > each[0]]
        if passed:
            yield f"  -- of what is older, the last of each {passed[-1][1]} is kept --\n"
            thinned = thinned[len(passed) :]
        mark = "*" if row["current"] else " "
        snapshot = tinted(row["snapshot"][:SHOWN], fg="yellow")
        yield f"{mark} {snapshot}  {clock(row['at_ms'])}  {plain(row['device'])}: {what(row)}\n"


def clock(at_ms: int) -> str:
    """Return a time as this machine's clock shows it; `--at` takes it like that."""
    return moment(at_ms // 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def what(row: dict[str, Any]) -> str:
    """Return in words what a snapshot changed."""
    if not row["readable"]:
        return "cannot be shown: a commit that it stood on was pruned from the repository"
    counts = {how: number for how, number in row["summary"].items() if number}
    said = [named(change) for change in row["paths"][:_NAMED]]
    total = sum(counts.values())
    if total == 1:
        text = f"{next(iter(counts))} {said[0]}"
    elif total:
        more = f" and {total - len(said)} more" if total > len(said) else ""
        text = f"{', '.join(f'{number} {how}' for how, number in counts.items())}: {', '.join(said)}{more}"
    else:
        text = ""
    moved = f"at {_base(row['base'])}" if row["base_moved"] or not (total or row["against"]) else ""
    merged = "merged" if len(row["parents"]) > 1 else ""
    told = "; ".join(part for part in (merged, text, moved) if part) or "no file changed"
    back = row["brought_back"]
    if back is None:
        return told
    return f"{told} (undo)" if back["undo"] else f"{told} (restored from {back['snapshot'][:SHOWN]})"


def named(change: dict[str, Any]) -> str:
    """Return the name of a file that was changed, with the old one if it was renamed."""
    new = _text(change["path"])
    return new if change["old_path"] is None else f"{_text(change['old_path'])} -> {new}"


def _base(base: dict[str, Any]) -> str:
    commit = (base["commit"] or "no commit")[:SHOWN]
    branch = (base["branch"] or "").removeprefix("refs/heads/")
    return f"{commit} ({plain(branch)})" if branch else commit


def _text(path: str) -> str:
    return plain(os.fsencode(path).decode("utf-8", "backslashreplace"))
