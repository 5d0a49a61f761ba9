"""Real hg working copies for the contract, their users being hg itself and plain files."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from closedhubs import ClosedHubs
from contract.fleet import Names
from disksite import DiskSite
from hg_repos import Vanilla

from autosync.apply import WorkingTree
from autosync.backends.hg.backend import open_hg
from autosync.core.model import Base, CommitId, WorkspaceId

WORKSPACE = WorkspaceId("c0ffee00" * 4)
NAMES = Names(
    main="default:main",
    topic="default:topic",
    odd="stäble/2:feature/ünï",
    absent="default:no-such",
    detached="default",
    forbidden=b"\r\n",
    nested=False,
)
_NULL = "0" * 40

Command = tuple[str, ...]


class Users:
    """The hg that the users run: of each version one process, which serves all of them."""

    def __init__(self, place: bytes) -> None:
        self._place = place
        self._running: dict[Command, Vanilla] = {}
        self._turn = threading.Lock()

    def hg(self, by: Command, root: bytes, *args: str | bytes, check: bool = True) -> bytes:
        """Return what hg printed when the user of the working copy at ``root`` ran it there."""
        with self._turn:
            if by not in self._running:
                self._running[by] = Vanilla(self._place, by)
            return self._running[by]("--cwd", root, *args, check=check)

    def close(self) -> None:
        for running in self._running.values():
            running.close()


class HgSite(DiskSite):
    """One hg working copy and its user; ``by`` is his hg, ``agent`` the one that autosync is told to run."""

    own = b".hg"
    names = NAMES

    def __init__(self, name: str, root: bytes, users: Users, by: Command, agent: Command | None) -> None:
        super().__init__(name, root)
        self._users = users
        self.by = by
        self.agent = agent
        self._renamed = 0
        self._open()

    def _open(self) -> None:
        self.backend = open_hg(self.root, workspace=WORKSPACE, remote="default", hg=self.agent)
        self.tree = WorkingTree(
            self.root,
            self.backend.metadata,
            standing=self.backend.standing,
            standings=self.backend.standings,
            stage=self.backend.stage,
            new_times=self.backend.tells_by_seconds,
        )

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def reopen(self) -> None:
        self.close()
        self._open()

    def hg(self, *args: str | bytes, check: bool = True) -> bytes:
        return self._users.hg(self.by, self.root, *args, check=check)

    def nested_commit(self, directory: bytes) -> bytes:
        return self._users.hg(self.by, directory, "log", "-r", ".", "-T", "{node}")

    def ignore(self, name: bytes) -> None:
        with open(self.at(b".hg/ignored"), "ab") as file:
            file.write(name + b"\n")

    def nest(self, path: str | bytes) -> None:
        inner = self.at(path)
        self.hg("init", inner)
        with open(os.path.join(inner, b"inner"), "wb") as file:
            file.write(b"inner\n")
        self._users.hg(self.by, inner, "commit", "-qA", "-m", "nested", "-u", self.name)

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        """Rename; a file has a time of its own afterwards.

        What takes a file's place with the same size, in the second in which that was checked out, hg itself
        takes for unchanged where its dirstate has no nanoseconds.
        """
        super().rename(old, new)
        if os.path.isfile(self.at(new)) and not os.path.islink(self.at(new)):
            self._renamed += 1
            os.utime(self.at(new), (0, 1_600_000_000 + self._renamed))

    def commit(self, message: str) -> Base:
        self.hg("--config", "ui.allowemptycommit=1", "commit", "-qA", "-m", message, "-u", self.name)
        return self.checked_out()

    def amend(self, message: str) -> Base:
        self.hg("commit", "-qA", "--amend", "-m", message)
        return self.checked_out()

    def branch(self, name: str) -> None:
        self.hg("bookmark", "-i", name)

    def checkout(self, name: str) -> None:
        self.hg("update", "-q", name)

    def begin_operation(self) -> None:
        self.hg("bisect", "--bad", ".")

    def end_operation(self) -> None:
        self.hg("bisect", "--reset")

    def status(self) -> object:
        return self.hg("status", "-C"), self.hg("diff", "--git")

    def tip(self, branch: str) -> CommitId | None:
        named, _, bookmark = branch.partition(":")
        wanted = f"bookmark('literal:{bookmark}')" if bookmark else f"branch('literal:{named}') and head()"
        found = self.hg("log", "-r", wanted, "-T", "{node}", check=False)
        return CommitId(found.decode()) if found else None

    def checked_out(self) -> Base:
        """Return what the user's own hg calls the base."""
        said = self.hg("log", "-r", "wdir()", "-T", "{p1node}\n{branch}\n{activebookmark}").decode()
        commit, named, bookmark = said.split("\n")
        return Base(
            commit=None if commit == _NULL else CommitId(commit), branch=f"{named}:{bookmark}" if bookmark else named
        )


class HgFleet:
    """Working copies below ``directory`` around one hub that is a repository as well.

    ``versions`` gives for the name of a working copy the hg of its user and the one of its agent.
    """

    examples = 6

    def __init__(
        self,
        directory: Path,
        users: Users,
        versions: Mapping[str, tuple[Command, Command | None]],
        otherwise: tuple[Command, Command | None],
    ) -> None:
        self._directory = os.fsencode(directory)
        self._users = users
        self._versions = versions
        self._otherwise = otherwise
        self._sites: list[HgSite] = []
        self._hub = os.path.join(self._directory, b"hub")
        self._closed = ClosedHubs()
        users.hg(otherwise[0], self._directory, "init", self._hub)

    def close(self) -> None:
        for site in self._sites:
            site.close()
        self._closed.close()

    def new(self, name: str) -> HgSite:
        by, _ = self._versions_of(name)
        root = self._place(name)
        self._users.hg(by, self._directory, "init", root)
        self._users.hg(by, root, "bookmark", "main")
        return self._add(name, root)

    def clone(self, of: HgSite, name: str) -> HgSite:
        by, _ = self._versions_of(name)
        root = self._place(name)
        of.hg("phase", "--public", ".")  # as everything that both devices got from one server
        self._users.hg(by, self._directory, "clone", "-q", "--pull", "-u", "main", of.root, root)
        return self._add(name, root)

    def share(self, of: HgSite, name: str, *options: str) -> HgSite:
        """Return a working copy of the very store of ``of``."""
        root = self._place(name)
        enabled = ("--config", "extensions.share=")
        self._users.hg(of.by, self._directory, *enabled, "share", "-q", *options, of.root, root)
        return self._add(name, root)

    def link(self, of: HgSite, name: str) -> HgSite:
        """Return a share of ``of`` with its bookmarks."""
        return self.share(of, name, "-B")

    def _versions_of(self, name: str) -> tuple[Command, Command | None]:
        return self._versions.get(name, self._otherwise)

    def _place(self, name: str) -> bytes:
        return os.path.join(self._directory, b"%d-%s" % (len(self._sites), name.encode()))

    def _add(self, name: str, root: bytes) -> HgSite:
        with open(os.path.join(root, b".hg", b"ignored"), "wb") as file:
            file.write(b"syntax: glob\n")
        self._lead(root, self._hub)
        site = HgSite(name, root, self._users, *self._versions_of(name))
        self._sites.append(site)
        return site

    def cut_hub(self) -> None:
        self._lead_all(self._closed.deaf)

    def close_hub(self) -> None:
        self._lead_all(self._closed.stern)

    def open_hub(self) -> None:
        self._lead_all(self._hub)

    def _lead_all(self, url: bytes) -> None:
        for site in self._sites:
            self._lead(site.root, url)

    def _lead(self, root: bytes, url: bytes) -> None:
        """Write the configuration of a working copy, whose hub is at ``url``."""
        ignored = os.path.join(root, b".hg", b"ignored")
        with open(os.path.join(root, b".hg", b"hgrc"), "wb") as file:
            file.write(b"[paths]\ndefault = %s\n[ui]\nignore.contract = %s\n" % (url, ignored))
