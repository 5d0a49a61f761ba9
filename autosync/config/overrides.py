"""Reads the settings file ``.autosync`` at the root of a watched path."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TypedDict

from autosync.config.model import PathConfig
from autosync.config.reading import Section, Value, compose, suggestion
from autosync.errors import ConfigError

NAME = ".autosync"
_LIMIT = 64 * 1024

# The file is content: it arrives from other devices like any other.  So it may only say
# how quickly things happen and what is left out; whoever can change a file must not gain
# commands, secrets, places, other refs, or commits and pushes in the user's name.
_ALLOWED = ("settle", "max-wait", "commit-after", "ignore")
_REFUSED = (
    *("device", "state-dir", "listen", "peers", "ssh-address", "ssh", "discovery", "xmpp", "reflector", "fanout"),
    *("popups", "presence", "log-level", "hg", "paths"),
    *("jid", "password", "password-command", "keyring", "host", "port", "ca-file", "members", "service", "node"),
    *("path", "workspace", "key-file", "remote", "backend", "commands", "mode", "commits", "inline-limit"),
    *("hub-prefix", "subscribe", "poll", "pull-lock", "rescan", "brakes", "history", "on-update"),
)


class Overrides(TypedDict, total=False):
    """What a path's own file may set; ``ignore`` is added to what is ignored already."""

    settle: float
    max_wait: float
    commit_after: float
    ignore: tuple[str, ...]


def with_overrides(path: PathConfig, source: str) -> PathConfig:
    """Return ``path`` with its own file's settings; ``source`` is the main configuration.

    Raises :class:`ConfigError` naming the file and the key.
    """
    name = os.path.join(path.path, NAME)
    # Who watches his home directory has the main configuration at this place.
    if os.path.exists(source) and os.path.exists(name) and os.path.samefile(source, name):
        return path
    text = _read(name)
    if text is None:
        return path
    overrides = read_overrides(text, name)
    if "ignore" in overrides:
        overrides["ignore"] = (*path.ignore, *overrides["ignore"])
    return replace(path, **overrides)


def read_overrides(text: str, source: str) -> Overrides:
    """Return the settings written in ``text``; ``source`` names it in errors."""
    root = compose(text, source)
    if root is None:
        return {}
    section = Section(Value(root, source, ""))
    overrides: Overrides = {}
    if value := section.take("settle"):
        overrides["settle"] = value.duration(least=0, most=60)
    if value := section.take("max-wait"):
        overrides["max_wait"] = value.duration(least=0.05, most=3600)
    if value := section.take("commit-after"):
        overrides["commit_after"] = value.duration(least=1, most=86400)
    if value := section.take("ignore"):
        overrides["ignore"] = value.texts()
    for name, value in section.unread():
        if name in _REFUSED:
            hint = f"Move it to your own configuration. Here only these may stand: {', '.join(_ALLOWED)}."
            raise value.error("is not allowed in this file, which travels with the working copy", hint)
        raise value.error("unknown key", suggestion(name, _ALLOWED))
    return overrides


def _read(name: str) -> str | None:
    """Return the file's text, ``None`` if there is none.  A symlink is never followed."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(name, error.strerror or "cannot be opened") from None
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise _unusable(name, "it is not a plain file")
        content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise _unusable(name, f"it is larger than {_LIMIT} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unusable(name, "it is not UTF-8 text") from None


def _unusable(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{name}: the settings of this path cannot be read: {reason}",
        hint="It must be a small YAML text file. Correct it, or move it away.",
    )
