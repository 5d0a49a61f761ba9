"""``autosync diff`` and ``show``: how two states differ, and what one was."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.log import clock, what
from autosync.cli.output import is_terminal, printable, tinted, write_pages
from autosync.cli.past import Past, for_programs
from autosync.cli.table import plain
from autosync.cli.when import understand, understand_range
from autosync.core.timeline import SHOWN

_MODES = {"file": "100644", "executable": "100755", "symlink": "120000", "nested": "160000"}
_OMITTED = {
    "large": "too large to be compared here; `autosync show` and `restore --to` give each version",
    "nested": "a nested repository",
    "missing": "content that is not here any more",
}
_LETTERS = {"added": "A", "changed": "M", "deleted": "D", "renamed": "R"}
_TINTS = {"-": "red", "+": "green", "@": "cyan"}

path_argument = click.argument("path", required=False, type=click.Path())


@click.command(
    epilog="Example: autosync diff 10m.. ~/notes/todo.txt",
    short_help="Show how two states differ.",
)
@click.argument("states", metavar="A..B", shell_complete=completing.snapshots)
@path_argument
@click.option("--names", is_flag=True, help="List the files only: A added, M changed, D deleted, R renamed.")
@click.option("-z", "nul", is_flag=True, help="With --names, end each field with a NUL: letter, old name for R, name.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@pass_invocation
def diff(invocation: Invocation, states: str, path: str | None, *, names: bool, nul: bool, as_json: bool) -> int:
    """Show how the state B differs from A, in the form of git's patches.

    A and B are snapshots of `autosync log` (4 characters are enough) or times, such as 10m, "1 hour
    ago", "yesterday 15:00" or "2026-11-21 15:00". What is left out is the state now: A.. is what
    has changed since A. PATH is a file or folder; without it all of the working copy one is in.
    """
    old, new = understand_range(states, time.time())
    config = invocation.load(on_disk=False)
    with Past(config, path) as past:
        pages = past.pages("diff", "after", **{"from": old.at, "to": new.at})
        first = next(pages)
        if as_json:
            files = [file for page in (first, *pages) for file in page["files"]]
            click.echo(json.dumps(for_programs({**first, "files": files, "after": None}), indent=2))
            return OK
        files_of = (file for page in itertools.chain([first], pages) for file in page["files"])
        if names or nul:
            write_pages(_names(files_of, nul=nul))
        else:
            write_pages(_between(first, _patch(files_of)))
    return OK


@click.command(
    epilog='Example: autosync show "10 minutes ago" ~/notes/todo.txt',
    short_help="Show what a state was: its changes, or a file in it.",
)
@click.argument("state", metavar="SNAPSHOT", shell_complete=completing.snapshots)
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@pass_invocation
def show(invocation: Invocation, state: str, path: str | None, *, as_json: bool) -> int:
    """Show what SNAPSHOT changed or, with PATH, the file or the list of the folder PATH in it.

    SNAPSHOT is one of `autosync log` (4 characters are enough) or a time, such as 10m, "1 hour
    ago" or "yesterday 15:00". A file comes as it was, byte for byte, unless it goes to a terminal.
    """
    at = understand(state, time.time()).at
    config = invocation.load(on_disk=False)
    with Past(config, path) as past:
        answer = past.ask("show", at=at)
        if as_json:
            click.echo(json.dumps(for_programs(answer), indent=2))
            return OK
        entry, snapshot = answer.get("entry"), answer["row"]["snapshot"]
        if entry is None:
            pages = past.pages("diff", "after", **{"from": "parent", "to": snapshot})
            files = (file for page in pages for file in page["files"])
            write_pages(_between({"to": answer["row"]}, _patch(files), row=answer["row"]))
        elif entry["kind"] == "folder":
            write_pages(f"{_shown(e['name'])}{'/' if e['kind'] == 'folder' else ''}\n" for e in entry["entries"])
        elif entry["kind"] == "nested":
            click.echo("A nested repository, whose files are not part of the snapshot.")
        else:
            _show_file(past, entry, snapshot)
    return OK


def _show_file(past: Past, entry: Mapping[str, Any], snapshot: str) -> None:
    if entry["text"] is not None and is_terminal():
        write_pages(printable(line) for line in entry["text"].splitlines(keepends=True))
    elif is_terminal():
        size = "more than 1 MiB" if entry["size"] is None else f"{entry['size']} bytes, no text"
        click.echo(f"{size}: give it a place with `autosync restore PATH --at {snapshot[:SHOWN]} --to DEST`.")
    elif entry["size"] is not None:
        content = entry["text"].encode() if entry["text"] is not None else base64.b64decode(entry["base64"])
        sys.stdout.buffer.write(content)
    else:  # too large for an answer
        with tempfile.TemporaryDirectory() as directory:
            copy = os.path.join(directory, "copy")
            past.ask("restore", at=snapshot, to=copy)
            with open(copy, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _between(ends: Mapping[str, Any], patch: Iterator[str], *, row: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield a patch with the states that it leads from and to above it; patch(1) and git skip these lines."""
    if row is not None:
        yield f"{_state(row)}: {what(dict(row))}\n\n"
    else:
        yield f"from {_state(ends['from'])}\n" if ends["from"] else "from nothing\n"
        yield f"to   {_state(ends['to'])}\n\n"
    yield from patch


def _state(head: Mapping[str, Any]) -> str:
    return f"{tinted(head['snapshot'][:SHOWN], fg='yellow')} of {clock(head['at_ms'])} by {plain(head['device'])}"


def _names(files: Iterator[dict[str, Any]], *, nul: bool) -> Iterator[str]:
    for file in files:
        fields = [_LETTERS[file["change"]], *([file["old_path"]] if file["old_path"] is not None else []), file["path"]]
        yield "".join(f"{field}\0" for field in fields) if nul else "\t".join(map(_shown, fields)) + "\n"


def _patch(files: Iterator[dict[str, Any]]) -> Iterator[str]:
    first = next(files, None)
    if first is None:
        yield "No file differs.\n"
        return
    for file in itertools.chain([first], files):
        yield from (tinted(line, bold=True) for line in _heading(file))
        for hunk in file["hunks"]:
            ranges = (_range(hunk[f"{side}_start"], hunk[f"{side}_lines"]) for side in ("old", "new"))
            yield tinted("@@ -{} +{} @@".format(*ranges), fg="cyan") + "\n"
            for line in hunk["lines"]:
                yield from _line(line)


def _heading(file: Mapping[str, Any]) -> Iterator[str]:
    old, new = _quoted("a/", file["old_path"] or file["path"]), _quoted("b/", file["path"])
    old_kind, kind = file["old_kind"], file["kind"]
    yield f"diff --git {old} {new}\n"
    if old_kind is None:
        yield f"new file mode {_MODES[kind]}\n"
    elif kind is None:
        yield f"deleted file mode {_MODES[old_kind]}\n"
    elif _MODES[old_kind] != _MODES[kind]:
        yield f"old mode {_MODES[old_kind]}\nnew mode {_MODES[kind]}\n"
    if file["old_path"] is not None:
        yield "similarity index 100%\n"
        yield f"rename from {_quoted('', file['old_path'])}\nrename to {_quoted('', file['path'])}\n"
    if file["omitted"] == "binary":
        yield f"Binary files {old} and {new} differ\n"
    elif file["omitted"]:
        yield f"# {_OMITTED[file['omitted']]}\n"
    elif file["hunks"]:
        yield f"--- {'/dev/null' if old_kind is None else old}\n"
        yield f"+++ {'/dev/null' if kind is None else new}\n"


def _line(line: str) -> Iterator[str]:
    text = line.removesuffix("\n")
    shown = printable(text)
    yield (tinted(shown, fg=_TINTS[line[0]]) if line[0] in _TINTS else shown) + "\n"
    if text == line:
        yield "\\ No newline at end of file\n"


def _range(start: int, lines: int) -> str:
    return str(start) if lines == 1 else f"{start},{lines}"


def _quoted(prefix: str, path: str) -> str:
    """Return a name as git quotes it in patches (core.quotePath)."""
    raw = os.fsencode(prefix + path)
    if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in raw):
        return prefix + path
    named = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
    return (
        '"'
        + "".join(f"\\{named[b]}" if b in named else chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}" for b in raw)
        + '"'
    )


def _shown(path: str) -> str:
    return plain(os.fsencode(path).decode("utf-8", "backslashreplace"))
