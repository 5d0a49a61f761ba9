"""``autosync completion``: lets a shell complete the commands, their options and arguments."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import click

from autosync.cli.failures import OK
from autosync.cli.shells import SHELLS, script
from autosync.cli.table import plain
from autosync.errors import AutosyncError

_PROGRAM = "autosync"
_WITHIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a shell finds the script, and what has to stand in its own configuration for that (or nothing)."""

    path: str
    also: str = ""


@click.command(
    epilog="Example: autosync completion --install. For this one shell: source <(autosync completion bash)",
    short_help="Let your shell complete commands, paths and devices.",
)
@click.argument("shell", required=False, type=click.Choice(list(SHELLS)))
@click.option("--install", is_flag=True, help="Put it where the shell looks, in your home directory.")
def completion(shell: str | None, *, install: bool) -> int:
    """Print what lets SHELL (default: yours) complete the commands of autosync.

    Options, files, the names of workspaces and devices, files in conflict and paths that are held back are completed;
    what only the agent knows, while it runs.
    """
    chosen = shell or own_shell(os.environ)
    if not install:
        click.echo(script(chosen, _PROGRAM), nl=False)
        return OK
    place = place_for(chosen, os.environ)
    os.makedirs(os.path.dirname(place.path), exist_ok=True)
    with open(place.path, "w", encoding="utf-8") as file:
        file.write(script(chosen, _PROGRAM))
    click.echo(f"{plain(place.path)} is written; a new {chosen} completes autosync.")
    if place.also:
        click.echo(place.also)
    return OK


def own_shell(environ: Mapping[str, str]) -> str:
    """Return the user's shell.  Raises :class:`AutosyncError` if it is none that is known here."""
    name = os.path.basename(environ.get("SHELL", ""))
    if name not in SHELLS:
        raise AutosyncError(
            f"There is no completion for {name or 'a shell that $SHELL does not name'}",
            hint=f"Name one of {', '.join(SHELLS)}: `autosync completion bash`",
        )
    return name


def place_for(shell: str, environ: Mapping[str, str]) -> Place:
    """Return where the script of ``shell`` belongs."""
    shares = environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    if shell == "bash":
        own = environ.get("BASH_COMPLETION_USER_DIR") or os.path.join(shares, "bash-completion")
        place = os.path.join(own.split(":")[0], "completions", _PROGRAM)
        lacks = not os.path.exists("/usr/share/bash-completion/bash_completion")
        return Place(path=place, also=f"Add to ~/.bashrc: source {shlex.quote(place)}" if lacks else "")
    if shell == "fish":
        config = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return Place(path=os.path.join(config, "fish/completions", f"{_PROGRAM}.fish"))
    looked = _zsh_looks(environ)
    if looked is not None:
        return Place(path=os.path.join(looked, f"_{_PROGRAM}"))
    folder = os.path.join(shares, "zsh/site-functions")
    line = f"fpath+=({shlex.quote(folder)}); autoload -Uz compinit; compinit"
    also = f"Add to ~/.zshrc, above any other compinit: {line}"
    return Place(path=os.path.join(folder, f"_{_PROGRAM}"), also=also)


def _zsh_looks(environ: Mapping[str, str]) -> str | None:
    """Return the folder of the user's own in which his zsh looks, ``None`` if there is none."""
    zsh, home = shutil.which("zsh"), os.path.realpath(os.path.expanduser("~"))
    if zsh is None:
        return None
    try:
        done = subprocess.run(
            [zsh, "-ic", "print -rl -- $fpath"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            check=False,
            env={**environ, "TERM": "dumb"},
        )
    except subprocess.TimeoutExpired:
        return None
    own = [f for f in done.stdout.splitlines() if os.path.realpath(f).startswith(home + "/")]
    return own[0] if own else None
