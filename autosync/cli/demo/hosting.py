"""What the demo does with version control itself, as its user would: hub, clones, commits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from autosync.backends.git.cli import Git
from autosync.backends.hg.once import run_hg


class Hosting(Protocol):
    """The version control that a demo runs on."""

    hub_name: str
    remote: str
    """How a clone calls the hub."""
    mark: str
    """The directory of a working copy that is not its content."""
    path_settings: tuple[str, ...]
    """Further lines of a device's configuration."""
    no_files: str
    """What has changed if no file has."""

    def make_hub(self, hub: Path) -> None:
        """Make an empty repository that the devices share."""

    def clone(self, hub: Path, path: Path, user: str) -> None:
        """Make a working copy in which ``user`` commits."""

    def begin(self, path: Path) -> None:
        """Commit everything for the first time and push it."""

    def commit(self, path: Path, message: str) -> None:
        """Commit everything."""


class GitHosting:
    """git."""

    hub_name = "hub.git"
    remote = "origin"
    mark = ".git"
    path_settings: tuple[str, ...] = ()
    no_files = "the base moved (a commit or checkout)"

    def make_hub(self, hub: Path) -> None:
        """Make a bare repository."""
        Git(os.fsencode(hub.parent)).run("init", "--quiet", "--bare", "--initial-branch=main", os.fsencode(hub))

    def clone(self, hub: Path, path: Path, user: str) -> None:
        """Clone the hub."""
        Git(os.fsencode(hub.parent)).run("clone", "--quiet", os.fsencode(hub), os.fsencode(path))
        git = Git(os.fsencode(path))
        git.run("config", "user.name", user)
        git.run("config", "user.email", f"{user}@example.org")

    def begin(self, path: Path) -> None:
        """Commit on main and push."""
        Git(os.fsencode(path)).run("checkout", "--quiet", "-b", "main")
        self.commit(path, "Start")
        Git(os.fsencode(path)).run("push", "--quiet", "-u", "origin", "main")

    def commit(self, path: Path, message: str) -> None:
        """Commit everything on the branch."""
        git = Git(os.fsencode(path))
        git.run("add", "-A")
        git.run("commit", "--quiet", "-m", message)


class HgHosting:
    """Mercurial, the one that comes with autosync."""

    hub_name = "hub"
    remote = "default"
    mark = ".hg"
    # Its hub keeps no snapshots: over XMPP, what the demo does has to fit into announcements.
    path_settings: tuple[str, ...] = ("inline-limit: 32k",)
    no_files = "no file (a commit, an update, or what hg was told of files)"

    def make_hub(self, hub: Path) -> None:
        """Make a repository without a working copy."""
        run_hg(None, os.fsencode(hub.parent), "init", os.fsencode(hub))

    def clone(self, hub: Path, path: Path, user: str) -> None:
        """Clone the hub."""
        run_hg(None, os.fsencode(hub.parent), "clone", "--quiet", os.fsencode(hub), os.fsencode(path))
        with (path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
            hgrc.write(f"[ui]\nusername = {user} <{user}@example.org>\n")

    def begin(self, path: Path) -> None:
        """Commit on the branch default and push."""
        self.commit(path, "Start")
        run_hg(None, os.fsencode(path), "push", "--quiet")

    def commit(self, path: Path, message: str) -> None:
        """Commit everything, new files and deletions included."""
        run_hg(None, os.fsencode(path), "commit", "--quiet", "--addremove", "--message", message)


HOSTINGS: dict[str, Callable[[], Hosting]] = {"git": GitHosting, "hg": HgHosting}
