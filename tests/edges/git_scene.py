"""A git working copy between two states, and the jobs that an agent does there."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from autosync.backends.git.backend import GitBackend, open_git
from autosync.backends.git.expiry import AGE
from autosync.backends.git.maintenance import Maintenance
from autosync.backends.git.repository import Repository, open_repository
from autosync.backends.git.store import Store
from autosync.errors import NotAWorkingCopy
from autosync.ports import Backend
from tests.edges.scene import WORKSPACE, Scene

_MONTHS = 6 * AGE

JOBS = {"start": 12, "record": 16, "integrate": 60, "receive": 12, "absorb": 8, "early": 24, "commit": 16, "tidy": 12}
"""Each job, and how many of its points are tried."""


@dataclass(slots=True, kw_only=True)
class GitScene(Scene):
    """A scene whose working copies are git's."""

    _repositories: dict[Path, Repository] = field(default_factory=dict)

    def fresh(self, number: int) -> Path:
        root = Scene.fresh(self, number)
        if root not in self._repositories:
            self._repositories[root] = open_repository(os.fsencode(root))
        return root

    def make(self, root: Path) -> None:
        _git(self.directory, "init", "-q", "-b", "main", "--template=", root)
        self.commit_all(root)

    def clone(self, source: Path, root: Path) -> None:
        _git(self.directory, "clone", "-q", "--template=", source, root)

    def commit_all(self, root: Path) -> None:
        _git(root, "add", "-A")
        _git(root, "commit", "-q", "-m", "work")

    def head(self, root: Path) -> str:
        return _git(root, "rev-parse", "HEAD").strip()

    def told(self, root: Path) -> list[str]:
        return [line for line in self.status(root).splitlines() if not line.startswith((" ", "??"))]

    def status(self, root: Path) -> str:
        return _git(root, "status", "--porcelain")

    def left(self, root: Path) -> list[str]:
        repository = self._repositories[root]
        Maintenance(repository, Store(repository), clock=lambda: time.time() + 3600).drop_stale_files()
        own = root / ".git" / "autosync"
        temporary = [
            p for p in (root / ".git").rglob("*") if p.suffix in {".lock", ".new", ".draft"} or "tmp_" in p.name
        ]
        kept = [*own.glob("limbo/*"), *own.glob("landing*"), *own.glob("next-index*"), *own.rglob("incoming-*")]
        return sorted(str(p.relative_to(root)) for p in {*temporary, *kept} if p.name != "autosync-tidy.lock")

    def broken(self, root: Path) -> str | None:
        for directory in (root, root / ".git/autosync/store.git"):
            done = subprocess.run(
                ["git", "-C", directory, "fsck", "--strict", "--no-dangling", "--no-progress"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or "error" in done.stderr:
                return f"git fsck of {directory}: {done.stdout}{done.stderr}"
        return None

    def open(self, root: Path, *, anew: bool) -> Backend:
        repository = self._repositories.get(root)
        if repository is None or anew:
            return open_git(os.fsencode(root), workspace=WORKSPACE, remote=None)
        try:
            return GitBackend(repository, workspace=WORKSPACE, remote=None)
        except OSError as error:  # as open_git does, which takes longer
            raise NotAWorkingCopy(str(error), hint="") from error

    def tidy(self, backend: Backend) -> None:
        assert isinstance(backend, GitBackend)
        Maintenance(backend.repo, backend.store, clock=lambda: self.theirs.time + _MONTHS).tidy(thorough=True)


def _git(root: Path, *args: str | Path) -> str:
    done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout
