"""Gets a Mercurial's source distribution with its tests, and the environments that the tests run in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

SHA256: Mapping[str, str] = {
    "7.2.4": "85839e0f39e6cb893a88932aa36ef661759f3c5c5de4551ad26bd9df53cb71a2",
    "6.9.5": "d3f22aeef9e9dcd6e562132950226c2c955d35271bd00a01481efca2b1cc65fd",
    "6.3.2": "cfe6eeb5dd893ab32c0b79c1531aac420773e0fc837a35db3d4d92703df45a98",
}
"""The source distributions on PyPI."""

_LENT = '''

_without_the_suite = rccomponents


def rccomponents(*args, **kwargs):
    """Add to what tests configure, also where one replaces $HGRCPATH."""
    found = _without_the_suite(*args, **kwargs)
    items = [(section, name, value, b"the suite:1") for section, name, value in {items!r}]
    head = found[0][:-2] and (conf_mod.LEVEL_BUNDLED_RESOURCE,)
    return [(*head, b"items", items), *found]
'''
"""What is added to Mercurial's rcutil.py.  Its tuples have three fields since 7.2: which level of config it is."""


def source(version: str, directory: Path) -> Path:
    """Return the unpacked source distribution below ``directory``, fetched with pip if it is not there."""
    place = directory / f"mercurial-{version}"
    archive = directory / f"{place.name}.tar.gz"
    if not archive.exists():
        pinned = directory / f"{place.name}.txt"
        pinned.write_text(f"mercurial=={version} --hash=sha256:{SHA256[version]}\n")
        _pip("download", "--no-deps", "--no-binary", "mercurial", "-r", pinned, "--dest", directory)
    if not place.exists():
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256[version]:
            sys.exit(f"{archive} is not the {version} that is known here: delete it, or tell its sha256")
        unpacked = directory / f"{place.name}.unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        (unpacked / place.name).rename(place)
        unpacked.rmdir()
    return place


def environment(version: str, directory: Path, python: str) -> Path:
    """Return a virtual environment with that Mercurial alone, as its users have it."""
    place = directory / f"vanilla-{version}"
    if not (place / "whole").exists():
        subprocess.run([python, "-m", "venv", "--clear", "--without-pip", place], check=True)
        _pip("--python", place / "bin" / "python", "install", f"mercurial=={version}")
        (place / "whole").touch()
    return place


def lend(vanilla: Path, place: Path, config: Mapping[str, str]) -> Path:
    """Return a copy of an environment in which ``config`` is part of every configuration.

    Its names are "section.name"; in its values ``{place}`` is that of the copy.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(vanilla, place, symlinks=True)
    program = place / "bin" / "hg"
    program.write_bytes(program.read_bytes().replace(os.fsencode(vanilla), os.fsencode(place)))
    items = [
        (*(part.encode() for part in name.split(".", 1)), value.format(place=place).encode())
        for name, value in config.items()
    ]
    (module,) = place.glob("lib/python*/site-packages/mercurial/**/rcutil.py")
    with module.open("a") as file:
        file.write(_LENT.replace("{items!r}", repr(items)))
    return place


def chg(place: Path) -> Path | None:
    """Return chg, which makes each call of hg several times cheaper, built from the source; ``None``: it can't be."""
    built = place / "contrib" / "chg" / "chg"
    if not built.exists() and shutil.which("make") and shutil.which("cc"):
        subprocess.run(["make", "--quiet", "--directory", built.parent], check=True, stdout=subprocess.DEVNULL)
    return built if built.exists() else None


def _pip(*args: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args], check=True)
