"""Runs each Mercurial with and without light-weight copies, as a user, a server, or what looks into a store."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.backends.hg_repos import DEBIAN, install, killed_at

ROOT = Path(__file__).parents[2]
EXTENSION = os.fspath(ROOT / "autosync" / "hgext" / "lwcopy")


@dataclass(frozen=True)
class Mercurial:
    """One installed Mercurial: its Python, the directory of its modules ("": on Python's path), its command."""

    version: str
    python: tuple[str, ...]
    place: str
    command: tuple[str, ...]


def mercurials(config: pytest.Config) -> Mapping[str, Mercurial]:
    """Return all that the extension is for."""
    cache = config.cache
    assert cache is not None
    directory = cache.mkdir("hg")
    command = install("6.9.5", directory)
    own = (sys.executable,)
    return {
        "7.2": Mercurial("7.2", own, "", (*own, "-P", "-c", "from mercurial import dispatch; dispatch.run()")),
        "6.9.5": Mercurial("6.9.5", own, os.fspath(directory / "mercurial-6.9.5"), command),
        "6.3.2": Mercurial("6.3.2", ("/usr/bin/python3",), "", DEBIAN),
    }


@dataclass(frozen=True)
class Side:
    """A user or a server: its Mercurial, and whether this has the extension, and its repositories light copies."""

    version: str
    kind: str
    """``plain``, ``able`` (the extension, but no light copies) or ``light``."""

    def __str__(self) -> str:
        return f"{self.version} {self.kind}"


class Hosts:
    """The Mercurials of all sides, none of which sees this machine's configuration."""

    def __init__(self, directory: Path, found: Mapping[str, Mercurial]) -> None:
        self.directory = directory
        self.found = found
        usual = "[ui]\nusername = User <user@example.org>\n[phases]\npublish = no\n"
        usual += "[server]\nvalidate = yes\n[experimental]\nchangegroup3 = yes\n"
        able = usual + f"[extensions]\nlwcopy = {EXTENSION}\n"
        for kind, said in (
            ("plain", usual),
            ("able", able),
            ("light", able + "[format]\nlwcopy = yes\n"),
        ):
            (directory / f"{kind}.rc").write_text(said)
        for version in found:
            for kind in ("plain", "able", "light"):
                self._write(self._program(Side(version, kind)), shlex.join(self._words(Side(version, kind))) + ' "$@"')
        self._write(directory / "ssh", 'shift; exec sh -c "$*"')

    def run(self, side: Side, *args: str | os.PathLike[str], check: bool = True) -> str:
        """Run a command, and return what it says, errors included."""
        words = [os.fspath(self._program(side)), *map(os.fspath, args)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.directory)
        assert not (check and done.returncode), (args, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def refused(self, side: Side, *args: str | os.PathLike[str]) -> str:
        """Run a command that fails, and return what it says."""
        words = [os.fspath(self._program(side)), *map(os.fspath, args)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode, (args, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def killed(self, side: Side, call: str, count: int, *args: str | os.PathLike[str]) -> bool:
        """Run a command that is killed as it makes a system call of a kind for the ``count``-th time; was it?"""
        words = [*killed_at(call, count, self.found[side.version].command), *map(os.fspath, args)]
        env = {**os.environ, "HGRCPATH": os.fspath(self.directory / f"{side.kind}.rc"), "HGPLAIN": "1"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.directory, env=env)
        assert done.returncode <= 0, done.stderr
        return done.returncode < 0

    def ssh(self, server: Side) -> list[str]:
        """Return the options that make ``server`` answer at ``ssh://host/`` and a path."""
        program = os.fspath(self._program(server))
        return ["--config", f"ui.ssh={self.directory / 'ssh'}", "--config", f"ui.remotecmd={program}"]

    @contextmanager
    def http(self, server: Side, root: Path, *options: str) -> Iterator[str]:
        """Have a repository served, by an address that is given."""
        more = ["--config", "web.push_ssl=no", "--config", "web.allow-push=*", *options]
        words = [os.fspath(self._program(server)), "-R", os.fspath(root), "serve", "-a", "127.0.0.1", "-p", "0", *more]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            port = re.findall(r":(\d+)", said)[-1]
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.kill()
            process.communicate()

    def held(self, side: Side, *roots: Path) -> list[dict[str, Any]]:
        """Return what the stores hold, in the words of ``holding.py``."""
        found = self.found[side.version]
        extension = "" if side.kind == "plain" else EXTENSION
        script = [*found.python, os.fspath(Path(__file__).parent / "holding.py"), found.place, extension]
        done = subprocess.run([*script, *map(os.fspath, roots)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        return [answer[os.fspath(root)] for root in roots]

    def _program(self, side: Side) -> Path:
        return self.directory / f"hg-{side.version}-{side.kind}"

    def _words(self, side: Side) -> list[str]:
        settings = {"HGRCPATH": os.fspath(self.directory / f"{side.kind}.rc"), "HGPLAIN": "1", "HGENCODING": "utf-8"}
        return [
            "exec",
            "env",
            *(f"{name}={value}" for name, value in settings.items()),
            *self.found[side.version].command,
        ]

    def _write(self, path: Path, command: str) -> None:
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two stores hold the same changesets and revisions of files, in whatever order they came."""

    def content(held: dict[str, Any]) -> object:
        files = {path: sorted([rev[0], rev[2], rev[4]] for rev in revs) for path, revs in held["files"].items()}
        return sorted(held["changesets"]), files, held["problems"]

    return content(one) == content(other)
