"""Makes working copies that share a store and their bookmarks, with vanilla hg or with the extension `sharelock`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, cast

import autosync.hgext
from tests.backends.hg_repos import Vanilla

SHARELOCK = Path(autosync.hgext.__file__).parent / "sharelock"
NODES = {"f3173e19a6cea9b335421146dcbeee19ec4f6ebe": 0, "f8aa17b4e8a3ca876c833518458e2d0c7293e3c7": 1}
"""The changesets that there are at first, and their numbers."""
WAITS = "waiting for lock on "
"""What hg says at once, by ``ui.timeout.warn``, if somebody has a lock."""
WAITS_FOR_SOURCE = WAITS + "working directory of"
WAITS_FOR_STORE = WAITS + "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """A repository below ``directory``, ``source``, and working copies made of it by ``hg share -B``."""

    directory: Path
    by: Sequence[str]

    def make(self, *names: str, init: Sequence[str] = ()) -> None:
        """Make the source, with two changesets, checked out the first, which has the bookmark main, and the shares."""
        for kind in ("vanilla", "sharelock"):
            self._configuration(kind).write_text(
                "[ui]\nusername = User <user@example.org>\ntimeout.warn = 0\n[extensions]\nshare =\n"
                + (f"sharelock = {SHARELOCK}\n[sharelock]\ncheck = yes\n" if kind == "sharelock" else "")
            )
        self.run("", "init", *init, "source")
        user = self.user("source")
        for number in range(2):
            (self.directory / "source" / "file").write_text(f"{number}\n")
            user("commit", "-qAm", f"changeset {number}", "-d", "0 0")
        user("update", "-q", "0")
        user("bookmark", "main")
        for name in names:
            user("share", "-q", "-B", "--relative", str(self.directory / "source"), str(self.directory / name))
            user("update", "-q", "0", "-R", str(self.directory / name))
        user.close()

    def copied(self, directory: Path) -> Shares:
        """Return a copy of all of them, below ``directory``."""
        shutil.copytree(self.directory, directory, symlinks=True, dirs_exist_ok=True)
        return replace(self, directory=directory)

    def run(self, place: str, *args: str, sharelock: bool = True, check: bool = True) -> str:
        """Run hg in one of the working copies; return what it says."""
        with self.start(place, *args, sharelock=sharelock) as started:
            output, errors = started.end()
        assert not check or started.code == 0, (args, output, errors)
        return output + errors

    def start(self, place: str, *args: str, sharelock: bool = True) -> Started:
        """Start hg in one of the working copies."""
        return Started([*self.by, *args], self.directory / place, self._environment(sharelock=sharelock))

    def user(self, place: str, *, sharelock: bool = True) -> Vanilla:
        """Start an hg that runs many commands, one after the other."""
        return Vanilla(os.fsencode(self.directory / place), self.by, environment=self._environment(sharelock=sharelock))

    def bookmarks(self, place: str = "source") -> dict[str, int]:
        """Return the bookmarks in the source, or of a working copy alone, and the number of the changeset of each.

        They are read as they lie there, as each hg that shares them does; -1 stands for a changeset that is new.
        """
        lines = (self.directory / place / ".hg/bookmarks").read_text().splitlines()
        return {name: NODES.get(node, -1) for node, name in (line.split(" ") for line in lines)}

    def _configuration(self, kind: str) -> Path:
        return self.directory / f"hgrc-{kind}"

    def _environment(self, *, sharelock: bool) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        path = os.fspath(self._configuration("sharelock" if sharelock else "vanilla"))
        return kept | {"HGRCPATH": path, "HGPLAIN": "1", "HGENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}


class Started:
    """An hg that runs, and what it has said."""

    def __init__(self, command: Sequence[str], place: Path, environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=place, env=environment, stdout=pipe, stderr=pipe, text=True)
        self.errors: list[str] = []

    def __enter__(self) -> Started:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self._process.returncode)

    def says(self, *words: str) -> bool:
        """Wait until it says one of ``words`` among its errors; return whether it did, before it ended."""
        for line in cast(IO[str], self._process.stderr):
            self.errors.append(line)
            if any(word in line for word in words):
                return True
        return False

    def end(self) -> tuple[str, str]:
        """Wait until it ends; return its output and all of its errors."""
        self.errors += cast(IO[str], self._process.stderr)  # also what was read ahead with the line before
        output = cast(IO[str], self._process.stdout).read()
        self._process.wait()
        return output, "".join(self.errors)
