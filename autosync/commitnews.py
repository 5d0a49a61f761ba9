"""Tells SparkleShare's clients of commits that reached the hub, and looks there when they tell of one."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from autosync.core.events import HubChanged
from autosync.core.model import CommitId
from autosync.errors import AutosyncError
from autosync.workspace import Workspace

log = logging.getLogger(__name__)

NAME = b".sparkleshare"
"""The tracked file at the root that holds what SparkleShare calls the repository."""
LOOK_EVERY = 2.0
"""Seconds between two looks at a working copy: whose it is, and whether somebody has pushed."""
LEAST_GAP = 1.0
"""Seconds between two looks at a hub that strangers can bring about."""
_LARGEST = 1024


class Teller(Protocol):
    """A channel on which SparkleShare's clients listen."""

    def announce_commit(self, identifier: str, commit: str) -> None:
        """Tell that the hub has ``commit``."""

    def identifiers_changed(self) -> None:
        """Listen for what :meth:`CommitNews.identifiers` has more of."""


class CommitNews:
    """The git working copies of this agent that SparkleShare keeps too.

    ``workspaces`` and ``tellers`` may grow.
    """

    def __init__(self, workspaces: Sequence[Workspace]) -> None:
        self.tellers: list[Teller] = []
        self._workspaces = workspaces
        self._identifiers: dict[str, str] = {}
        """By the path of the working copy, as it was last looked at."""
        self._pushed: dict[str, str | None] = {}
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._looked: dict[str, float] = {}

    def identifiers(self) -> Iterable[str]:
        """As :meth:`autosync.channels.sparkleshare.Commits.identifiers`."""
        return set(self._identifiers.values())

    def commit_announced(self, identifier: str, commit: str) -> None:
        """As :meth:`autosync.channels.sparkleshare.Commits.commit_announced`."""
        for workspace in self._workspaces:
            path = workspace.config.path
            if path not in self._due and self._identifiers.get(path) == identifier:
                loop = asyncio.get_running_loop()
                at = max(loop.time(), self._looked.get(path, float("-inf")) + LEAST_GAP)
                self._due[path] = loop.call_at(at, self._look, workspace, CommitId(commit))

    async def watch_pushes(self) -> None:
        """Tell of every commit that this working copy's branch and the hub's are both at, as it gets there."""
        loop = asyncio.get_running_loop()
        while True:
            for workspace in list(self._workspaces):
                if workspace.backend.vcs != "git" or workspace.config.remote is None:
                    continue
                try:
                    found = await loop.run_in_executor(workspace.local, looked_at, workspace)
                except (AutosyncError, OSError):  # the folder is gone for now
                    continue
                self._take(workspace.config.path, *found)
            await asyncio.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Look at nothing any more."""
        for timer in self._due.values():
            timer.cancel()

    def _take(self, path: str, identifier: str | None, pushed: str | None) -> None:
        """Take note of what a working copy is now, and tell of it what is new."""
        if identifier is None:
            self._identifiers.pop(path, None)
            return
        if self._identifiers.get(path) != identifier:
            self._identifiers[path] = identifier
            for teller in self.tellers:
                teller.identifiers_changed()
        before = self._pushed.get(path, pushed)
        self._pushed[path] = pushed
        if pushed is not None and pushed != before:
            for teller in self.tellers:
                teller.announce_commit(identifier, pushed)

    def _look(self, workspace: Workspace, commit: CommitId) -> None:
        path = workspace.config.path
        del self._due[path]
        loop = asyncio.get_running_loop()
        self._looked[path] = loop.time()
        try:
            asked = loop.run_in_executor(workspace.local, workspace.backend.has_commit, commit)
        except RuntimeError:  # this agent ends
            return
        asked.add_done_callback(partial(_act, workspace))


def _act(workspace: Workspace, asked: asyncio.Future[bool]) -> None:
    if not asked.cancelled() and asked.exception() is None and not asked.result():
        log.info("%s: somebody says that the hub has a new commit", workspace.config.workspace)
        workspace.runner.post(HubChanged())


def looked_at(workspace: Workspace) -> tuple[str | None, str | None]:
    """Return what SparkleShare calls the repository, if it keeps it, and then :func:`pushed_commit`.

    Blocks; raises :class:`AutosyncError` and :class:`OSError`.
    """
    identifier = identifier_of(workspace)
    return identifier, None if identifier is None else pushed_commit(workspace)


def identifier_of(workspace: Workspace) -> str | None:
    """Return what SparkleShare calls the repository, ``None`` if it does not keep it.

    The file is content and may come from anybody: only a small plain file is read.
    """
    try:
        fd = os.open(
            os.path.join(workspace.backend.root, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        text = file.read(_LARGEST + 1).strip()
    return text.decode("ascii") if text.isascii() and 0 < len(text) <= _LARGEST else None


def pushed_commit(workspace: Workspace) -> str | None:
    """Return the commit that is checked out if, as far as is known here, the hub's branch is there too.

    A push, by the user or by autosync, moves the remote-tracking branch (git-push(1)).  Raises :class:`OSError`.
    """
    base = workspace.backend.base()
    if base.branch is None or base.commit is None or workspace.config.remote is None:
        return None
    branch = base.branch.removeprefix("refs/heads/").encode("utf-8", "surrogateescape")
    remote = os.fsencode(workspace.config.remote)
    try:
        with open(os.path.join(workspace.backend.store_directory, b"refs", b"remotes", remote, branch), "rb") as file:
            tracked = file.read(100).strip().decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return tracked if tracked == base.commit else None
