"""What a benchmark does by hand with git or hg, the same way for both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autosync.backends.git.backend import open_git
from autosync.backends.hg.backend import open_hg
from autosync.core.model import WorkspaceId
from autosync.ports import Backend

_WORKSPACE = WorkspaceId("0" * 32)
_GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0")
_HG = (sys.executable, "-P", "-m", "mercurial", "--config", "ui.username=bench")


@dataclass(frozen=True, slots=True)
class Vcs:
    """One version control system; each field but ``name`` is a list of commands, each an argument list."""

    name: str
    start: Sequence[Sequence[str]]
    record: Sequence[Sequence[str]]
    switch: Sequence[str]
    """Its last argument is what to switch to."""
    fork: Sequence[str]
    """As ``switch``: begin a line of work under this name."""
    look: Sequence[str]

    def run(self, root: str | Path, commands: Sequence[Sequence[str]]) -> None:
        """Run the commands in ``root``, without what the user's own configuration adds."""
        environment = {**os.environ, "HGPLAIN": "1", "HGRCPATH": "", "GIT_CONFIG_NOSYSTEM": "1"}
        for command in commands:
            subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)

    def open(self, root: str | Path) -> Backend:
        """Return the backend of the working copy at ``root``."""
        path = os.fsencode(root)
        if self.name == "git":
            return open_git(path, workspace=_WORKSPACE, remote=None)
        return open_hg(path, workspace=_WORKSPACE, remote=None)


VCS = {
    "git": Vcs(
        "git",
        start=[[*_GIT, "init", "-q", "-b", "main", "."]],
        record=[[*_GIT, "add", "-A"], [*_GIT, "commit", "-q", "-m", "work"]],
        switch=[*_GIT, "checkout", "-q"],
        fork=[*_GIT, "checkout", "-q", "-b"],
        look=[*_GIT, "status", "-s"],
    ),
    "hg": Vcs(
        "hg",
        start=[[*_HG, "init", "."]],
        record=[[*_HG, "commit", "-q", "-A", "-m", "work"]],
        switch=[*_HG, "update", "-q"],
        fork=[*_HG, "branch", "-q"],
        look=[*_HG, "status"],
    ),
}
