"""Gathers what helps to find a bug; nothing of it has been redacted yet."""

from __future__ import annotations

import glob
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from autosync import __version__
from autosync.cli.doctor.command import diagnose
from autosync.cli.doctor.programs import required
from autosync.cli.finding import as_rows
from autosync.cli.invocation import Invocation
from autosync.config import Config, default_state_dir
from autosync.control import call
from autosync.errors import AutosyncError

_PATIENCE = 10.0
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_PLACE = re.compile(r'^ +File ".*/(autosync/[\w/]+\.py)", line (\d+), in (\w+)', re.MULTILINE)
_SYSTEMS = frozenset({"debian", "ubuntu", "fedora", "arch", "alpine", "nixos", "raspbian", "linuxmint"})
_ABOVE = Path(__file__).parents[3]
_LONGEST_CRASH = 1024 * 1024


def gather(invocation: Invocation) -> dict[str, Any]:
    """Return everything by section; what cannot be had is an error in its place."""
    config = _or_error(lambda: invocation.load(on_disk=False))
    found = list(diagnose(invocation))
    state_dir = config.state_dir if isinstance(config, Config) else default_state_dir(os.environ)
    status = _or_error(lambda: call(state_dir, "status", patience=_PATIENCE))
    log = _or_error(lambda: call(state_dir, "log", patience=_PATIENCE)["records"])
    return {
        "versions": _versions([f"{f.what} {f.detail}" for f in found if f.what in ("git", "hg")]),
        "counts": _counts(status),
        "config": as_plain(config),
        "status": status,
        "doctor": as_rows(found)["findings"],
        "log": log,
        "crashes": list(_crashes(state_dir)),
    }


def as_plain(value: object) -> Any:
    """Return a value of the configuration as JSON would have it, with the keys of the file."""
    if isinstance(value, Enum):
        return as_plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name.replace("_", "-"): as_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(as_plain(k)): as_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_plain(each) for each in value]
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _or_error(ask: Any) -> Any:
    """Return what ``ask()`` does, or why it does not."""
    try:
        return ask()
    except AutosyncError as error:
        return {"title": error.title, "hint": error.hint}


def _versions(programs: Sequence[str]) -> dict[str, str]:
    """Return versions, of which only the digits are taken from what others say."""
    versions = {"autosync": __version__, "python": platform.python_version(), "system": _system()}
    versions |= {"kernel": _digits(platform.release()), "machine": platform.machine(), "byte-order": sys.byteorder}
    for said in programs:
        versions[said.split()[0]] = _digits(said)
    for name, _ in required():
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _digits(said: str) -> str:
    match = _VERSION.search(said)
    return match[0] if match else "unknown"


def _system() -> str:
    try:
        said = platform.freedesktop_os_release()
    except OSError:
        return "unknown"
    name = said.get("ID", "")
    return f"{name} {_digits(said.get('VERSION_ID', '') + '.0')}" if name in _SYSTEMS else "another one"


def _counts(status: Mapping[str, Any]) -> dict[str, int]:
    workspaces = status.get("workspaces", [])
    return {
        "working copies": len(workspaces),
        "other devices": len({peer["id"] for w in workspaces for peer in w["peers"]}),
        "conflicts": sum(len(w["conflicts"]) for w in workspaces),
        "held back": sum(w["held"]["count"] for w in workspaces),
        "left out": sum(len(w["unreadable"]) for w in workspaces),
        "watched folders": sum(w["watch"].get("watched", 0) for w in workspaces),
    }


def _crashes(state_dir: str) -> Iterator[dict[str, Any]]:
    """Yield what the last reports of crashes tell: where in autosync, and what was said."""
    for name in sorted(glob.glob(os.path.join(glob.escape(state_dir), "autosync-crash-*.txt")))[-3:]:
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                text = file.read(_LONGEST_CRASH)
        except OSError:
            continue
        last = text.strip().rpartition("\n")[2]
        kind, _, says = last.partition(": ")
        found = [f for f in _PLACE.findall(text) if (_ABOVE / f[0]).is_file()]  # others may have a folder autosync
        places = [f"{place}:{line} in {function}" for place, line, function in found]
        yield {"class": kind.rpartition(".")[2], "says": says, "places": places}
