"""What every command that adds a working copy to the configuration does: read it, name the key's place, write it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from autosync.cli.invocation import Invocation
from autosync.config import absolute, candidates, locate
from autosync.durable import replacing
from autosync.errors import ConfigError


def read_configuration(invocation: Invocation) -> tuple[str, str]:
    """Return where the configuration is or will be, and its text."""
    places = candidates(invocation.config_option, os.environ)
    try:
        source = locate(invocation.config_option, os.environ)
    except ConfigError:
        return places[0], ""
    try:
        with open(source, encoding="utf-8", newline="") as file:
            return source, file.read()
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: is not UTF-8 text", hint="Save the file as UTF-8 text.") from None


def key_place(source: str, name: str, key_file: str | None) -> str:
    """Return where the key of the workspace ``name`` lies, if ``key_file`` does not say it."""
    if key_file is not None:
        return absolute(key_file, os.environ, os.getcwd())
    directory = os.path.dirname(source)
    if os.path.basename(source) == ".autosync":
        directory = absolute("~/.config/autosync", os.environ, "/")
    return os.path.join(directory, f"{name.replace(' ', '-')}.key")


def write_configuration(source: str, text: str) -> None:
    """Replace the configuration file atomically; a symlink to it stays one, its mode stays."""
    target = os.path.realpath(source)
    with _named(target):
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        mode = os.stat(target).st_mode & 0o7777 if os.path.exists(target) else 0o600
        with replacing(target, mode=mode) as file:
            file.write(text.encode())


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}", hint="Check its rights and free space."
        ) from None
