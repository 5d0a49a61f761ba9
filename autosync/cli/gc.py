"""``autosync gc``: lets go of old snapshots now, and tells what the store takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click

from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.progress import Progress
from autosync.cli.table import plain, table
from autosync.config import Config, PathConfig
from autosync.control import NotRunning, call

_PATIENCE = 3600.0
"""Seconds that the agent may take: a store of many gigabytes is rewritten."""
_HEADS = ("WORKSPACE", "SNAPSHOTS", "SIZE", "SHARED", "QUOTA", "OLDEST")


@click.command(epilog="Example: autosync gc ~/notes --dry-run", short_help="Let go of old snapshots now.")
@path_argument
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@pass_invocation
def gc(invocation: Invocation, path: str | None, *, dry_run: bool, as_json: bool) -> int:
    """Let go of the snapshots that `history:` does not keep, of PATH or of all working copies.

    The agent does the same on its own, but gives room on the disk back only after weeks.
    Your own history and files are not touched. SHARED is what your repository has as well.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    paths = [chosen] if chosen else list(config.paths)
    with Progress(quiet=as_json) as tell:
        try:
            place = chosen.path if chosen else None
            ask = partial(call, config.state_dir, "gc", patience=_PATIENCE, path=place, **{"dry-run": dry_run})
            answer = tell.during(ask, partial(tell.step, "Packing"))
        except NotRunning:
            answer = _without_agent(config, paths, tell, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK
    for line in table(_HEADS, [_row(w) for w in answer["workspaces"]]) if answer["workspaces"] else ["No paths."]:
        click.echo(line)
    for workspace in answer["workspaces"]:
        if workspace["over-quota"] and not dry_run:
            click.echo(
                f"\n{plain(workspace['name'])} is over its quota: what is left is in use, among the newest, "
                "or younger than two hours."
            )
    return OK


def _without_agent(config: Config, paths: list[PathConfig], tell: Progress, *, dry_run: bool) -> dict[str, Any]:
    # These bring version control and the keys, which a command that asks the agent does without.
    from autosync.answers.report import tidied  # noqa: PLC0415
    from autosync.backends.opening import open_backend  # noqa: PLC0415
    from autosync.history import History  # noqa: PLC0415
    from autosync.store import StateDirectory  # noqa: PLC0415
    from autosync.trust.sealing import load_key  # noqa: PLC0415
    from autosync.turns import Turns  # noqa: PLC0415

    rows = []
    with StateDirectory(config.state_dir).lock():
        for number, path in enumerate(paths):
            tell.step(f"Packing {plain(path.workspace)}", done=number, total=len(paths))
            backend = open_backend(path, load_key(path.key_file).id)
            try:
                # Another agent may be at work on the same store.
                history = History(backend, retention=path.history, turns=Turns(backend.snapshots_directory))
                result = history.tidy(thorough=True, rehearse=dry_run)
                rows.append(tidied(path.workspace, path.path, result, backend.shared()))
            finally:
                backend.close()
    return {"dry-run": dry_run, "workspaces": rows}


def _row(workspace: dict[str, Any]) -> tuple[object, ...]:
    quota, oldest = workspace["quota"], workspace["oldest"]
    return (
        workspace["name"],
        f"{workspace['snapshots-before']} -> {workspace['snapshots-after']}",
        f"{_size(workspace['bytes-before'])} -> {_size(workspace['bytes-after'])}",
        _size(workspace["shared-bytes"]),
        "none" if quota is None else _size(quota),
        "-" if oldest is None else datetime.fromisoformat(oldest).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _size(count: int | None) -> str:
    """Return bytes in the largest unit that leaves a number above one."""
    if count is None:
        return "?"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
