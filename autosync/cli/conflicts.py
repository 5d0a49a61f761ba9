"""``autosync conflicts`` and ``resolve``: files of which two versions are kept, and how to finish that."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from autosync.backends.listing import files_named
from autosync.cli import completing
from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.table import age, plain, table, terminal_width
from autosync.config import Config, PathConfig
from autosync.conflicts.index import listed, names_in, original_beside
from autosync.conflicts.listing import conflict_row
from autosync.control import NotRunning, call
from autosync.core.copies import MARK
from autosync.core.resolution import Keep
from autosync.errors import AutosyncError

_HEADS = ("FILE", "STANDS THERE", "OTHER VERSION", "BY", "AGE")
_PATIENCE = 30.0
"""Seconds that the agent may take: it waits for files that are being written."""


@click.command(epilog="Example: autosync conflicts ~/notes", short_help="List files of which two versions are kept.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@pass_invocation
def conflicts(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """List the files of which two versions are kept, in the working copy of PATH or in all.

    Where two devices changed the same lines, one version has the file's name and the other is a
    copy beside it: "name (conflict, desktop, 2026-11-21 10.15.02).txt", made by desktop, the time in
    UTC. Every device lists the same. Finish a conflict with `autosync resolve`, or by hand:
    delete or rename the copy.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    try:
        found = call(config.state_dir, "conflicts", patience=_PATIENCE, path=chosen.path if chosen else None)
        rows, runs = found["conflicts"], True
    except NotRunning:
        rows, runs = [row for p in ([chosen] if chosen else config.paths) for row in _read(p)], False
    if as_json:
        click.echo(json.dumps({"agent": runs, "conflicts": rows}, indent=2))
    else:
        for line in _lines(rows, invocation, datetime.now(tz=UTC)):
            click.echo(line)
    return OK


def _read(path: PathConfig) -> Iterator[dict[str, Any]]:
    """Yield what the running agent would tell, read from the working copy itself."""
    root = os.path.realpath(os.fsencode(path.path))
    for name in listed({name.copy for file in files_named(path, MARK) for name in names_in(file)}).values():
        yield conflict_row(path.workspace, root, name, original_beside(root, name))


def _lines(rows: Sequence[Mapping[str, Any]], invocation: Invocation, now: datetime) -> Iterator[str]:
    if not rows:
        yield "No conflicts."
        return
    width = terminal_width()
    for root in dict.fromkeys(row["root"] for row in rows):
        here = [row for row in rows if row["root"] == root]
        if not _is_below(os.getcwd(), root):
            yield f"In {plain(_text(root))}:"
        cells = [_cells(row, now) for row in here]
        lines = table(_HEADS, cells)
        narrow = width is not None and max(map(len, lines)) > width
        yield from (line for row in cells for line in _block(*row)) if narrow else lines
        yield ""
    file = os.path.join(rows[0]["root"], rows[0]["file"])
    yield "Finish one with --keep mine, theirs or both; for example:"
    yield f"  {invocation.command(f'resolve {_word(_from_here(file))} --keep mine')}"


def _cells(row: Mapping[str, Any], now: datetime) -> tuple[str, str, str, str, str]:
    stands, inside = row["stands"], _is_below(os.getcwd(), row["root"])
    kind = {"file": "a file", "link": "a link", "folder": "a folder", None: "nothing"}[stands["kind"]]
    file, copy = (
        _text(_from_here(os.path.join(row["root"], row[key])) if inside else row[key]) for key in ("file", "copy")
    )
    since = (now - datetime.fromisoformat(row["time"])).total_seconds()
    return plain(file), plain(stands["device"] or kind), plain(copy), plain(row["device"]), age(since)


def _block(file: str, stands: str, copy: str, by: str, since: str) -> list[str]:
    return [file, f"  stands there: {stands}", f"  other: {copy}", f"  by {by}, {since} ago"]


@click.command(
    epilog="Example: autosync resolve notes.txt --keep mine", short_help="Finish a conflict: keep mine, theirs or both."
)
@click.argument("file", type=click.Path(), shell_complete=completing.conflicts)
@click.option(
    "--keep",
    type=click.Choice([keep.value for keep in Keep]),
    required=True,
    help="mine: this device's version; theirs: the other; both: the copy gets an ordinary name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@pass_invocation
def resolve(invocation: Invocation, file: str, keep: str, *, as_json: bool) -> int:
    """Finish the conflict of FILE; the agent has to run.

    FILE is the file, then all its copies are dealt with, or one copy, then it is about that
    alone. Mine is the copy that bears this device's name, otherwise what stands at FILE. The
    version that is kept gets the name of FILE and the other goes; it stays in the snapshots of this
    device. If nothing stands at FILE any more, its only copy gets the name. With both the copy
    becomes "name (desktop).txt". On the other devices it arrives like any edit.
    """
    config = invocation.load(on_disk=False)
    path, name = _place(config, file)
    answer = call(config.state_dir, "resolve", patience=_PATIENCE, path=path.path, file=name, keep=keep)
    root = os.path.realpath(path.path)
    if as_json:
        click.echo(json.dumps({"workspace": path.workspace, "root": root, **answer}, indent=2))
    elif "choose" in answer:
        raise _not_clear(answer, root, invocation)
    else:
        click.echo(_done(answer))
    return FAILED if "choose" in answer else OK


def _place(config: Config, file: str) -> tuple[PathConfig, str]:
    """Return the working copy that ``file`` lies in and its path below the root; links in ``file`` itself stay."""
    directory, name = os.path.split(file.rstrip("/"))
    if name in ("", ".", ".."):
        raise AutosyncError(f"{file} is no file", hint="Give a file that `autosync conflicts` lists.")
    real = os.path.realpath(directory or ".")
    try:
        path = select(config, real)
    except AutosyncError:
        path = None
    if path is None:
        raise AutosyncError(
            f"{plain(_text(os.path.join(real, name)))} is not in a working copy of {config.source}",
            hint=f"The working copies there: {', '.join(p.path for p in config.paths) or 'none yet'}.",
        )
    return path, os.path.relpath(os.path.join(real, name), os.path.realpath(path.path))


def _done(answer: Mapping[str, Any]) -> str:
    file = plain(_text(answer["file"]))
    if answer["renamed"]:
        names = ", ".join(plain(_text(new)) for new in answer["renamed"].values())
        return f"{file}: kept both; the other version is {names}"
    version = f"the version of {plain(answer['device'])}" if answer["kept"] else "what stands there"
    gone = [plain(_text(path)) for path in answer["dropped"] if path != answer["kept"]]
    return f"{file}: kept {version}" + (f"; gone: {', '.join(gone)}" if gone else "")


def _not_clear(answer: Mapping[str, Any], root: str, invocation: Invocation) -> AutosyncError:
    versions = answer["choose"]
    lines = ["Name the one to keep:"]
    for version in versions:
        lines.append(f"{plain(version['device'])}'s:" if version["copy"] else "what stands there:")
        lines += [
            "  " + invocation.command(f"resolve {_word(_from_here(os.path.join(root, w['file'])))} --keep {w['keep']}")
            for w in version["ways"]
        ]
    return AutosyncError(
        f"{plain(_text(answer['file']))} has {len(versions)} versions that `--keep {answer['keep']}` may mean",
        hint="\n  ".join(lines),
    )


# -- paths, as they are shown ------------------------------------------------------------------
def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _from_here(path: str) -> str:
    """Return an absolute path as a user at the current directory would write it."""
    here = os.getcwd()
    return os.path.relpath(path, here) if _is_below(path, here) else path


def _text(path: str) -> str:
    """Return a path with bytes that are no text made visible."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _word(path: str) -> str:
    """Return a path as one word of a shell's command line; ANSI-C quoting (bash, zsh) where it is no plain text."""
    safe = "./" + path if path.startswith("-") else path
    if safe.isprintable():
        return shlex.quote(safe)
    quoted = "".join(c if c.isprintable() and c not in "\\'" else _escaped(c) for c in safe)
    return f"$'{quoted}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
