"""Lists the settings of this device, each with the file and line that it is changed in, and no secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import yaml

from autosync.config import Config, load
from autosync.config.overrides import NAME
from autosync.config.reading import compose
from autosync.errors import ConfigError

HIDDEN = "set, not shown"
_SECRET = re.compile(r"password|secret$|token|passphrase")
_PROGRAM = re.compile(r"command|hook|^on-|^hg$")
_SIZE = re.compile(r"(^|\.)(huge-file|burst|quota|inline-limit|limit-upload|limit-download)$")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_OF_ITS_OWN = ("settle", "max-wait", "commit-after", "ignore")
"""What a working copy's own file may say."""

Lines = Mapping[str, int]


def list_settings(option: str | None) -> dict[str, Any]:
    """Return ``{"source", "problem", "groups": [{"title", "rows": [{"key", "value", "file", "line"}]}]}``.

    ``line`` is ``null`` where nothing is written: then the value is the default.  ``problem`` (``{"title",
    "hint"}``) tells what of it does not fit to what is on the disk.  Raises :class:`ConfigError` if
    the configuration cannot be read any more.
    """
    plain, problem = load(option, os.environ, on_disk=False), None
    try:
        config = load(option, os.environ, awaited=lambda _config, _path: True)
    except ConfigError as error:
        config, problem = plain, {"title": error.title, "hint": error.hint}
    with open(config.source, encoding="utf-8-sig") as file:
        root = compose(file.read(), config.source)
    lines = {} if root is None else dict(_lines(root, ""))
    groups = [{"title": "This device", "rows": _device_rows(config, lines)}]
    for number, (path, written) in enumerate(zip(config.paths, plain.paths, strict=True)):
        own = os.path.join(path.path, NAME)
        rows = []
        for row in _rows(path, f"paths[{number}].", config.source, lines):
            name = row["key"]
            attribute = name.replace("-", "_")
            if name in _OF_ITS_OWN and name != "ignore" and getattr(path, attribute) != getattr(written, attribute):
                row |= {"file": own, "line": None}
            rows.append(row)
        groups.append({"title": path.workspace, "rows": rows})
    return {"source": config.source, "problem": problem, "groups": groups}


def _device_rows(config: Config, lines: Lines) -> list[dict[str, Any]]:
    left_out = ("source", "paths", "ssh-peers")
    rows = [row for row in _rows(config, "", config.source, lines) if row["key"] not in left_out]
    for row in rows:
        if row["key"] == "peers":
            row["value"] = shown("peers", (*config.peers, *(f"ssh://{peer}" for peer in config.ssh_peers)))
    return rows


def _rows(values: Any, prefix: str, source: str, lines: Lines, inner: str = "") -> list[dict[str, Any]]:
    """Return a row for each field of a dataclass; fields of one within it are named ``outer.inner``."""
    rows: list[dict[str, Any]] = []
    for field in fields(values):
        key, value = inner + field.name.replace("_", "-"), getattr(values, field.name)
        key = key.removesuffix("-for") if inner == "history." else key
        if is_dataclass(value) and not isinstance(value, type) and key != "commands":
            rows += _rows(value, prefix, source, lines, f"{key}.")
            continue
        text = HIDDEN if value is not None and not field.repr else shown(key, value)
        rows.append({"key": key, "value": text, "file": source, "line": lines.get(prefix + key)})
    return rows


def shown(key: str, value: object) -> str:
    """Return a value as text without what is nobody's business: of a command only the program is shown."""
    if value is None:
        return "none"
    if _SECRET.search(key):
        return HIDDEN
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return _span(value)
    if isinstance(value, int) and _SIZE.search(key):
        return _size(value)
    if _PROGRAM.search(key):
        words = value if isinstance(value, tuple) else ()
        return f"{_plain(words[0])}{' …' if len(words) > 1 else ''}" if words else HIDDEN
    if key in ("listen", "public-address") and isinstance(value, tuple):
        return f"{value[0] or '*'}:{value[1] or 'any port'}"
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(_plain(one) for one in value) or "none"
    return _plain(value)


def _span(seconds: float) -> str:
    """Return a time as the configuration takes it, in the largest unit that leaves no rest."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def _size(number: int) -> str:
    """Return a size as the configuration takes it."""
    for unit, power in (("G", 30), ("M", 20), ("k", 10)):
        if number >= 1 << power and number % (1 << power) == 0:
            return f"{number >> power}{unit}"
    return str(number)


def _plain(value: object) -> str:
    return _USERINFO.sub("…@", str(value))


def _lines(node: yaml.Node, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield each key that is written, as ``paths[0].brakes.huge-file``, with the number of its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}.{key.value}" if prefix else str(key.value)
            yield name, key.start_mark.line + 1
            yield from _lines(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines(value, f"{prefix}[{number}]")
