"""Reads the INI file of dvcs-autosync as that program read it."""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping

from autosync.errors import ConfigError

_LIMIT = 1 << 20
_ALIASES = {"dcvs": "dvcs", "jabber": "xmpp"}
"""What two sections were called before version 0.3."""
_HINT = "Name the file that dvcs-autosync was started with, by default ~/.autosync."

Ini = Mapping[str, Mapping[str, str]]
"""Section -> key -> text.  Bytes that are not UTF-8 are surrogate escapes (PEP 383)."""


def read_ini(source: str) -> Ini:
    """Return the sections of the file ``source``.

    As there, nothing is interpolated, keys are in any case, an indented line continues the
    one before, a line that begins with ``#`` or ``;`` is a comment and so is what follows `` ;``, and of a key
    that stands there twice the last counts.  Raises :class:`ConfigError`, which never quotes the file: a password
    stands in it.
    """
    text = _read(source)
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",), empty_lines_in_values=False)
    try:
        parser.read_string(text, source)
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(
            f"{source}, line {error.lineno}: this is no INI file: there is no [section] above it",
            hint=f"If it is a configuration of autosync already, there is nothing to import. {_HINT}",
        ) from None
    except configparser.ParsingError as error:
        raise ConfigError(
            f"{source}, line {error.errors[0][0]}: this is neither `key = value` nor a [section]",
            hint="Correct that line, or put a # in front of it.",
        ) from None
    found: dict[str, dict[str, str]] = {}
    for section in parser.sections():
        found.setdefault(_ALIASES.get(section, section), {}).update(parser.items(section))
    if not found:
        raise ConfigError(f"{source}: there is nothing in it", hint=_HINT)
    return found


def _read(source: str) -> str:
    try:
        # Not blocking: a FIFO in its place must not hang the command.
        with open(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{source}: is not a file", hint=_HINT)
            content = file.read(_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source}: there is no such file", hint=_HINT) from None
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read: {error.strerror}", hint="Check the path and its rights."
        ) from None
    if len(content) > _LIMIT:
        raise ConfigError(f"{source}: is larger than {_LIMIT} bytes", hint=_HINT)
    if b"\0" in content:
        raise ConfigError(f"{source}: this is no INI file: there are NUL bytes in it", hint=_HINT)
    return content.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n")
