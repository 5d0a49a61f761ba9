"""An hg working copy between two states, and the jobs that an agent does there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autosync.backends.hg.backend import HgBackend, open_hg
from autosync.backends.hg.head import Head
from autosync.ports import Backend
from tests.backends.hg_repos import DEBIAN, Vanilla, hg
from tests.edges.scene import WORKSPACE, Scene

JOBS = {"start": 2, "record": 3, "integrate": 9, "receive": 3, "absorb": 2, "early": 3, "commit": 4, "tidy": 1}
"""Each job, and how many of its points are tried."""
_LOCKS = ("wlock", "store/lock", "store/journal")
_OURS = ("autosync/limbo/*", "autosync/landing*", "autosync/history-*", "autosync/transfer-*")
"""What stands below ``.hg`` only while something is being done, by hg or by us."""


@dataclass(slots=True, kw_only=True)
class HgScene(Scene):
    """A scene whose working copies are hg's; ``by`` is the hg of the agents."""

    by: Sequence[str] = DEBIAN

    def make(self, root: Path) -> None:
        hg(os.fsencode(root), "init")
        self.commit_all(root)

    def clone(self, source: Path, root: Path) -> None:
        hg(os.fsencode(self.directory), "clone", "-q", os.fsencode(source), os.fsencode(root))

    def commit_all(self, root: Path) -> None:
        hg(os.fsencode(root), "commit", "--addremove", "-q", "-m", "work")

    def head(self, root: Path) -> str:
        return str(Head(os.fsencode(root)).base().commit)

    def told(self, root: Path) -> list[str]:
        return [line for line in self.status(root).splitlines() if line.startswith(("A ", "R "))]

    def status(self, root: Path) -> str:
        return hg(os.fsencode(root), "status").decode()

    def left(self, root: Path) -> list[str]:
        return sorted(str(found.relative_to(root)) for name in _LOCKS + _OURS for found in (root / ".hg").glob(name))

    def broken(self, root: Path) -> str | None:
        user = Vanilla(os.fsencode(root))
        try:
            code, said, errors = user.run("verify")
        finally:
            user.close()
        if code:
            return f"hg verify: {said!r}{errors!r}"
        store = sqlite3.connect(root / ".hg/autosync/store.sqlite")
        try:
            found = store.execute("PRAGMA integrity_check").fetchall()
        finally:
            store.close()
        return None if found == [("ok",)] else f"the store: {found}"

    def open(self, root: Path, *, anew: bool) -> Backend:  # noqa: ARG002 - nothing is known beforehand
        return open_hg(os.fsencode(root), workspace=WORKSPACE, remote=None, hg=self.by)

    def tidy(self, backend: Backend) -> None:
        assert isinstance(backend, HgBackend)
        backend.tidy(thorough=True)
