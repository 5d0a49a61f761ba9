"""``autosync shared``: what a working copy has in common with the others of its store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import click

from autosync.backends.git.sharing import sharing_of_git
from autosync.backends.hg.sharing import sharing_of_hg
from autosync.backends.opening import MARKS, vcs_of
from autosync.backends.sharing import Category, Part, Sharing
from autosync.backends.stores import refuse_store
from autosync.cli import completing
from autosync.cli.adding import read_configuration
from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.table import plain, table, terminal_width
from autosync.config import Config, PathConfig, Vcs, parse
from autosync.errors import NotAWorkingCopy, Unsupported
from autosync.vocabulary import vocabulary

_HEADINGS = {
    Category.NEVER: "Never shared",
    Category.OPTIONAL: "Shared if you want it",
    Category.ALWAYS: "Always shared",
}

_STORE = "STORE"
"""Stands for the path of the store."""


@click.command(
    epilog="Example: autosync shared ~/notes. For programs: autosync shared ~/notes --json",
    short_help="Show what working copies of one store share.",
)
@click.argument("path", default=".", type=click.Path(), shell_complete=completing.paths)
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
@pass_invocation
def shared(invocation: Invocation, *, path: str, as_json: bool) -> int:
    """Show what the working copy PATH shares with the others of its store: linked worktrees of git, shares of hg.

    Of each part it is told whether others have it too, where it lies, and which locks whoever changes it takes;
    a lock without a folder lies with the part. PATH may be any working copy on this machine, one that autosync
    keeps or not, or the name of a workspace. Nothing is changed and no agent is needed.
    """
    source, text = read_configuration(invocation)
    config = parse(text, source, os.environ)
    root, entry = find_working_copy(config, path)
    vcs = (entry.backend if entry else None) or vcs_of(root)
    sharing = sharing_of(config, root, vcs)
    names = {os.path.realpath(p.path): p.workspace for p in config.paths}
    if as_json:
        click.echo(json.dumps(_as_row(sharing, vcs, names), indent=2))
        return OK
    for line in _lines(sharing, vcs, names):
        click.echo(line)
    return OK


def sharing_of(config: Config, root: str, vcs: Vcs) -> Sharing:
    """Return what the working copy at ``root`` shares.  Raises :class:`AutosyncError`."""
    if vcs is Vcs.COMMAND:
        raise Unsupported(
            f"{root} is kept by configured commands: what its version control shares is not known here",
            hint="For git and Mercurial it is. `autosync status` shows the working copy.",
        )
    if vcs is Vcs.HG:
        return sharing_of_hg(os.fsencode(root), [os.fsencode(p.path) for p in config.paths])
    return sharing_of_git(os.fsencode(root))


def find_working_copy(config: Config, path: str) -> tuple[str, PathConfig | None]:
    """Return the root of the working copy that ``path`` lies in or names, and its entry in the configuration.

    Raises :class:`NotAWorkingCopy` if there is none.
    """
    real = os.path.realpath(path)
    if os.sep not in path and not os.path.lexists(path):
        real = next((os.path.realpath(p.path) for p in config.paths if p.workspace == path), real)
    if not os.path.isdir(real):
        what = "is not a directory" if os.path.lexists(real) else "does not exist"
        known = ", ".join(p.workspace for p in config.paths) or "none yet"
        raise NotAWorkingCopy(f"{real} {what}", hint=f"Name a working copy, or a workspace: {known}.")
    root: str | None = real
    while root is not None and not any(os.path.lexists(os.path.join(root, mark)) for mark in MARKS.values()):
        root = None if os.path.dirname(root) == root else os.path.dirname(root)
    entries = {os.path.realpath(p.path): p for p in config.paths}
    if root is None:
        if real not in entries:
            refuse_store(real)
            raise NotAWorkingCopy(
                f"{real} lies in no working copy of git or Mercurial",
                hint=f"Name one. To make a repository of the folder and keep it: `autosync init {real}`",
            )
        root = real
    refuse_store(root)
    return root, entries.get(root)


def _as_row(sharing: Sharing, vcs: Vcs, names: dict[str, str]) -> dict[str, Any]:
    root = os.fsdecode(sharing.root)
    return {
        "path": root,
        "workspace": names.get(root),
        "vcs": vcs.value,
        "kind": sharing.kind,
        "store": os.fsdecode(sharing.store),
        "others": [
            {
                "path": os.fsdecode(other.root),
                "workspace": _workspace(names, other.root),
                "at": other.at,
                "known-by": other.known.value,
                "missing": other.missing,
            }
            for other in sharing.others
        ],
        "parts": [
            {
                "name": part.name,
                "category": part.category.value,
                "shared": part.shared,
                "with": [os.fsdecode(root) for root in part.companions],
                "path": os.fsdecode(part.path),
                "locks": [os.fsdecode(lock) for lock in part.locks],
                "note": part.note,
            }
            for part in sharing.parts
        ],
    }


def _workspace(names: dict[str, str], root: bytes) -> str | None:
    return names.get(os.path.realpath(os.fsdecode(root)))


def _lines(sharing: Sharing, vcs: Vcs, names: dict[str, str]) -> Iterator[str]:
    root, width = os.fsdecode(sharing.root), terminal_width()
    workspace = names.get(root)
    kept = f'of the workspace "{workspace}"' if workspace else "which autosync does not keep"
    yield plain(f"{root}: {vocabulary(vcs.value).name}, {sharing.kind}, {kept}")
    yield plain(f"{_STORE}: {os.fsdecode(sharing.store)}")
    yield ""
    if sharing.others:
        rows = [
            (
                os.fsdecode(other.root) + (" (missing)" if other.missing else ""),
                _workspace(names, other.root) or "-",
                other.at or "-",
                other.known.value,
            )
            for other in sharing.others
        ]
        yield from table(("ALSO ON THIS STORE", "WORKSPACE", "AT", "KNOWN BY"), rows, width=width)
    else:
        yield "No other working copy of this store is known. `autosync worktree add DEST` makes one."
    for category, heading in _HEADINGS.items():
        yield ""
        yield from _section(sharing, category, heading.upper(), width)


def _section(sharing: Sharing, category: Category, heading: str, width: int | None) -> list[str]:
    parts = [part for part in sharing.parts if part.category is category]
    optional = category is Category.OPTIONAL
    heads = (heading, *(("SHARED",) if optional else ()), "WHERE", "LOCKS", "")
    rows = [
        (
            part.name,
            *((_with(part, sharing),) if optional else ()),
            _place(part.path, sharing),
            ", ".join(_short(lock, part.path, sharing) for lock in part.locks) or "-",
            part.note,
        )
        for part in parts
    ]
    return table(heads, rows, width=width)


def _with(part: Part, sharing: Sharing) -> str:
    """Return with how many of the others a part is shared."""
    here = sum(not other.missing for other in sharing.others)
    if not part.shared:
        return "no"
    return "yes" if len(part.companions) == here else f"with {len(part.companions)} of {here}"


def _short(lock: bytes, path: bytes, sharing: Sharing) -> str:
    """Return a lock by its name if it lies in or beside what it protects, by its place elsewhere."""
    near = os.path.dirname(lock) in (path, os.path.dirname(path))
    return os.fsdecode(os.path.basename(lock)) if near else _place(lock, sharing)


def _place(path: bytes, sharing: Sharing) -> str:
    """Return where something lies: below the store or the working copy, so that a line holds it; else in full."""
    above = os.path.dirname(sharing.store)
    for top, name in ((sharing.store, _STORE), (sharing.root, ""), (above, f"{_STORE}/..")):
        if path == top:
            return name or "."
        if path.startswith(top + b"/"):
            return os.path.join(name, os.fsdecode(path.removeprefix(top + b"/")))
    return os.fsdecode(path)
