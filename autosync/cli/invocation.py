"""What one call of the command line was told: the options before the command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import click

from autosync.cli.completing import paths
from autosync.config import Config, PathConfig, load
from autosync.errors import AutosyncError

F = TypeVar("F", bound=Callable[..., object])


@dataclass(slots=True)
class Invocation:
    """The options before the command, and where a crash report goes once that is known."""

    config_option: str | None = None
    verbose: bool = False
    state_dir: str | None = field(default=None, init=False)

    def load(
        self, *, on_disk: bool, awaited: Callable[[Config, PathConfig], bool] = lambda _config, _path: False
    ) -> Config:
        """Return the configuration; see :func:`autosync.config.load`."""
        config = load(self.config_option, os.environ, on_disk=on_disk, awaited=awaited)
        self.state_dir = config.state_dir
        return config

    def command(self, words: str) -> str:
        """Return the command line that repeats this call's configuration, to be shown to the user."""
        option = f" --config {shlex.quote(self.config_option)}" if self.config_option else ""
        return f"autosync{option} {words}"

    def reword(self, text: str) -> str:
        """Return a sentence of the agent's with the commands in it as :meth:`command` has them."""
        return re.sub("`autosync (?!--config )", lambda _: f"`{self.command('')}", text)


pass_invocation = click.make_pass_decorator(Invocation)


def path_argument(function: F) -> F:
    """Give a command the optional argument PATH."""
    return click.argument("path", required=False, type=click.Path(), shell_complete=paths)(function)


def select(config: Config, path: str | None) -> PathConfig | None:
    """Return the working copy that ``path`` lies in, ``None`` for no path: all of them.

    A workspace's name does as well: of what is not there, it is meant before a file that there could be.
    """
    if path is None:
        return None
    named = next((candidate for candidate in config.paths if candidate.workspace == path), None)
    if named is not None and not os.path.lexists(path):
        return named
    real = os.path.realpath(path)
    for candidate in config.paths:
        root = os.path.realpath(candidate.path)
        if real == root or real.startswith(root.rstrip("/") + "/"):
            return candidate
    if named is not None:
        return named
    if os.sep not in path and not os.path.lexists(path):
        known = ", ".join(p.workspace for p in config.paths) or "none yet"
        raise AutosyncError(
            f"{path!r} is neither a workspace of {config.source} nor a file or folder here",
            hint=f"The workspaces there: {known}.",
        )
    watched = ", ".join(p.path for p in config.paths) or "none yet"
    raise AutosyncError(
        f"{real} is not in a working copy of {config.source}",
        hint=f"The working copies there: {watched}.{_adding(real)}",
    )


def _adding(path: str) -> str:
    """Return how the repository that ``path`` lies in is added, nothing if it lies in none."""
    folder = path
    while not any(os.path.lexists(os.path.join(folder, mark)) for mark in (".git", ".hg")):
        if folder == "/":
            return ""
        folder = os.path.dirname(folder)
    return f" Add this one with `autosync init {shlex.quote(folder)}`."
