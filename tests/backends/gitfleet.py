"""Real git working copies for the contract, their users being git itself and plain files."""

from __future__ import annotations

import os
import subprocess

from closedhubs import ClosedHubs
from contract.fleet import Names
from disksite import DiskSite

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.backends.git.refnames import RefNames
from autosync.core.model import Base, CommitId, WorkspaceId
from autosync.trust.sealing import WorkspaceKey

WORKSPACE = WorkspaceId("c0ffee00" * 4)
KEY = WorkspaceKey(bytes(32), workspace=WORKSPACE)


class GitSite(DiskSite):
    """One git working copy and its user."""

    own = b".git"
    names = Names()

    def __init__(self, name: str, root: bytes) -> None:
        super().__init__(name, root)
        self._open()

    def _open(self) -> None:
        self.backend = open_git(self.root, workspace=WORKSPACE, remote="origin", names=RefNames(lambda: (KEY,)))
        self.tree = WorkingTree(
            self.root,
            self.backend.metadata,
            standing=self.backend.standing,
            standings=self.backend.standings,
            stage=self.backend.stage,
        )

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def reopen(self) -> None:
        self.close()
        self._open()

    # -- git ---------------------------------------------------------------------------------
    def git(self, *args: str | bytes, accept: tuple[int, ...] = (0,)) -> bytes:
        return git(self.name, self.root, *args, accept=accept)

    def nested_commit(self, directory: bytes) -> bytes:
        return git(self.name, directory, "rev-parse", "HEAD").strip()

    def ignore(self, name: bytes) -> None:
        with open(self.at(b".git/info/exclude"), "ab") as file:
            file.write(name + b"\n")

    def nest(self, path: str | bytes) -> None:
        inner = self.at(path)
        git(self.name, self.root, "init", "-q", inner)
        with open(os.path.join(inner, b"inner"), "wb") as file:
            file.write(b"inner\n")
        git(self.name, inner, "add", "-A")
        git(self.name, inner, "commit", "-qm", "nested")

    def commit(self, message: str) -> Base:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self._base()

    def amend(self, message: str) -> Base:
        self.git("add", "-A")
        self.git("commit", "-q", "--amend", "-m", message)
        return self._base()

    def branch(self, name: str) -> None:
        self.git("branch", "-q", name)

    def checkout(self, name: str) -> None:
        self.git("checkout", "-q", name)

    def begin_operation(self) -> None:
        self.git("bisect", "start")

    def end_operation(self) -> None:
        self.git("bisect", "reset")

    def status(self) -> object:
        listed = self.git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        return sorted(listed.split(b"\0"))

    def tip(self, branch: str) -> CommitId | None:
        found = self.git("rev-parse", "-q", "--verify", branch, accept=(0, 1)).strip()
        return CommitId(found.decode()) if found else None

    def _base(self) -> Base:
        branch = self.git("symbolic-ref", "-q", "HEAD", accept=(0, 1)).strip().decode()
        return Base(commit=self.tip("HEAD"), branch=branch or None)


class GitFleet:
    """Working copies below ``directory`` around one bare repository."""

    examples = 8

    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._sites: list[GitSite] = []
        self._hub = os.path.join(directory, b"hub.git")
        git("hub", directory, "init", "-q", "--bare", self._hub)
        self._closed = ClosedHubs()

    def close(self) -> None:
        for site in self._sites:
            site.close()
        self._closed.close()

    def new(self, name: str) -> GitSite:
        root = self._place(name)
        git(name, self._directory, "init", "-q", root)
        return self._add(name, root)

    def clone(self, of: GitSite, name: str) -> GitSite:
        root = self._place(name)
        git(name, self._directory, "clone", "-q", "--no-local", of.root, root)
        git(name, root, "remote", "remove", "origin")
        return self._add(name, root)

    def link(self, of: GitSite, name: str) -> GitSite:
        """Return a linked worktree of the repository of ``of``, on a branch of its own."""
        root = self._place(name)
        of.git("worktree", "add", "-q", "-b", name, root)
        site = GitSite(name, root)
        self._sites.append(site)
        return site

    def _place(self, name: str) -> bytes:
        return os.path.join(self._directory, b"%d-%s" % (len(self._sites), name.encode()))

    def _add(self, name: str, root: bytes) -> GitSite:
        git(name, root, "remote", "add", "origin", self._hub)
        site = GitSite(name, root)
        self._sites.append(site)
        return site

    def cut_hub(self) -> None:
        self._lead_to(self._closed.deaf)

    def close_hub(self) -> None:
        self._lead_to(self._closed.stern)

    def open_hub(self) -> None:
        self._lead_to(self._hub)

    def _lead_to(self, url: bytes) -> None:
        for site in self._sites:
            site.git("remote", "set-url", "origin", url)


def git(user: str, directory: bytes, *args: str | bytes, accept: tuple[int, ...] = (0,)) -> bytes:
    """Return what git printed when ``user`` ran it."""
    who = {f"GIT_{role}_{what}": user for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *args],
        cwd=directory,
        env={**os.environ, **who},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode in accept, (args, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
