"""Compares the versions of Python and of the libraries with those that autosync needs."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from autosync import __version__
from autosync.cli.finding import Finding, Level

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*([^;]*)")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")
_OLDEST_PYTHON = (3, 11)


def check_python() -> Iterator[Finding]:
    """Tell Python's version and autosync's own."""
    said = f"autosync {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    if sys.version_info < _OLDEST_PYTHON:
        yield Finding(Level.FAIL, "python", said, "On Debian: sudo apt-get install python3 (3.11 or newer).")
    else:
        yield Finding(Level.OK, "python", said)


def check_libraries() -> Iterator[Finding]:
    """Tell which libraries are there, and one by one which are not as the installation asks for."""
    good = []
    for name, bounds in required():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(Level.FAIL, "library", f"{name} is not installed", _install(name, bounds))
            continue
        if satisfies(version, bounds):
            good.append(f"{name} {version}")
        else:
            detail = f"{name} {version} is installed, {bounds} is needed"
            yield Finding(Level.FAIL, "library", detail, _install(name, bounds))
    yield Finding(Level.OK, "libraries", ", ".join(good) or "those of this installation are not recorded")


def satisfies(version: str, bounds: str) -> bool:
    """Return whether ``version`` lies within ``bounds``, ``>=1.17,<2`` say (PEP 440, in the part that we use)."""
    here = _numbers(version)
    return all(
        here >= _numbers(than) if sign == ">=" else here < _numbers(than) for sign, than in _BOUND.findall(bounds)
    )


def required() -> Iterator[tuple[str, str]]:
    """Yield name and bounds of each library that is needed always."""
    try:
        wanted = metadata.requires("autosync") or []
    except metadata.PackageNotFoundError:  # run from its sources
        return
    for line in wanted:
        match = _REQUIREMENT.match(line)
        if match and "extra ==" not in line:
            yield match[1], match[2].strip()


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:  # 2 and 2.0 are one version
        numbers.pop()
    return tuple(numbers)


def _install(name: str, bounds: str) -> str:
    return f"{sys.executable} -m pip install --upgrade '{name}{bounds}'"
