"""``autosync hgext``: the extensions that any user of Mercurial can load, and how."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import asdict, dataclass

import click

import autosync.hgext
from autosync.cli.failures import OK
from autosync.cli.table import plain, table, terminal_width
from autosync.errors import AutosyncError


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """An extension, what it is for in one line (as ``hg help extensions`` says it), and the path that hg loads."""

    name: str
    summary: str
    path: str


@click.command(
    epilog="Example: autosync hgext lwcopy >> ~/.hgrc. For programs: autosync hgext --json",
    short_help="List the Mercurial extensions that come with autosync.",
)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
def hgext(name: str | None, *, as_json: bool) -> int:
    """List the extensions for Mercurial that come with autosync, or print the lines of the hgrc that enable NAME.

    They work alone: hg needs nothing else of autosync for them. `hg help NAME` explains one that is enabled.
    """
    found = extensions()
    if name is not None:
        found = [each for each in found if each.name == name]
        if not found:
            known = ", ".join(each.name for each in extensions())
            raise AutosyncError(f'There is no extension "{name}"', hint=f"There are: {known}.")
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    elif name is not None:
        click.echo(f"[extensions]\n{found[0].name} = {found[0].path}")
    else:
        rows = [(each.name, each.summary, each.path) for each in found]
        for line in table(("NAME", "WHAT FOR", "PATH"), rows, width=terminal_width()):
            click.echo(plain(line))
    return OK


def extensions() -> list[Extension]:
    """Return all that are installed, by name.  Mercurial itself need not be here."""
    place = os.path.dirname(os.path.abspath(autosync.hgext.__file__))
    found = []
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        start = os.path.join(path, "__init__.py")
        if os.path.isfile(start):
            with open(start, encoding="utf-8") as file:
                said = ast.get_docstring(ast.parse(file.read())) or ""
            found.append(Extension(name=name, summary=said.partition("\n")[0], path=path))
    return found
