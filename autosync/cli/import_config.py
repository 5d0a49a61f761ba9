"""``autosync import-config``: turns a configuration of dvcs-autosync into one of autosync."""

from __future__ import annotations

import contextlib
import json
import os

import click

from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.table import plain
from autosync.config import absolute, candidates
from autosync.config.dvcsini import read_ini
from autosync.config.importing import Imported, Outcome, convert
from autosync.errors import ConfigError
from autosync.trust.sealing import create_key, load_key


@click.command(
    "import-config",
    short_help="Turn a configuration of dvcs-autosync into one of autosync.",
    epilog="Example: autosync import-config ~/.autosync",
)
@click.argument("file", type=click.Path())
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(),
    help="The new configuration; it must not exist yet. Default: where autosync looks for it first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what became of each key as JSON.")
@pass_invocation
def import_config(invocation: Invocation, file: str, output: str | None, *, as_json: bool) -> None:
    """Write a configuration that does what the INI file FILE of dvcs-autosync said.

    FILE stays as it is, and no file is overwritten. Each of its keys is told: what it has become, or
    why it is not needed any more, or what to do instead. A password goes into the new file,
    which only you can read, and is never shown.
    """
    source = absolute(file, os.environ, os.getcwd())
    named = output or invocation.config_option
    target = absolute(named, os.environ, os.getcwd()) if named else candidates(None, os.environ)[0]
    if os.path.lexists(target):
        raise ConfigError(
            f"{target} exists already; nothing was written",
            hint="Name another place with --output, or move that file away.",
        )
    imported = convert(read_ini(source), source, target, os.environ)
    is_new_key = _write(target, imported)
    if as_json:
        click.echo(json.dumps(_as_rows(source, target, imported, is_new_key=is_new_key), indent=2))
    else:
        _tell(source, target, imported, is_new_key=is_new_key)


def _write(target: str, imported: Imported) -> bool:
    """Make the configuration and, if there is none yet, the key: both or neither; return whether the key is new."""
    is_new_key = not os.path.lexists(imported.key_file)
    with contextlib.ExitStack() as undo:
        if is_new_key:
            create_key(imported.key_file)
            undo.callback(os.unlink, imported.key_file)
        else:
            load_key(imported.key_file)
        try:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            undo.callback(os.unlink, target)
            with open(fd, "w", encoding="utf-8") as file:
                file.write(imported.text)
                file.flush()
                os.fsync(fd)
        except OSError as error:
            raise ConfigError(
                f"{target}: cannot be written: {error.strerror}", hint="Check its rights and free space."
            ) from None
        undo.pop_all()
    return is_new_key


def _as_rows(source: str, target: str, imported: Imported, *, is_new_key: bool) -> dict[str, object]:
    return {
        "source": source,
        "output": target,
        "path": imported.path,
        "workspace": imported.workspace,
        "key-file": imported.key_file,
        "new-key": is_new_key,
        "keys": [{"key": f.key, "outcome": f.outcome.value, "detail": f.detail} for f in imported.fates],
    }


def _tell(source: str, target: str, imported: Imported, *, is_new_key: bool) -> None:
    click.echo(plain(f"{target} is made of {source}, which stays as it is."))
    for outcome in Outcome:
        fates = [fate for fate in imported.fates if fate.outcome is outcome]
        if fates:
            click.echo(f"\n{outcome.value.capitalize()}:")
        for fate in fates:
            click.echo(plain(f"  {fate.key}: {fate.detail}"))
    key = imported.key_file
    lines = [
        "",
        f'The workspace is called "{imported.workspace}". '
        + (f"Its key is new: {key}" if is_new_key else f"Its key was there: {key}"),
        "Your other devices need the same name and a copy of that key (mode 0600) before they import theirs.",
        "",
        "Next: end dvcs-autosync on this machine, look at the new file, then",
        f"  autosync --config {target} check",
        f"  autosync --config {target} run",
    ]
    for line in lines:
        click.echo(plain(line))
