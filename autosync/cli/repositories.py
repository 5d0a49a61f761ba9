"""Finds and makes the repository of a folder for ``autosync init``, in git or in Mercurial."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from typing import Protocol

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.repository import open_repository
from autosync.backends.hg.once import run_hg
from autosync.backends.hg.repository import Repository
from autosync.backends.opening import MARKS, repository_around, vcs_of
from autosync.backends.stores import is_store, make_store, repository_of, unmake_store
from autosync.config import Vcs
from autosync.errors import AutosyncError, NotAWorkingCopy
from autosync.vocabulary import vocabulary


class Folder(Protocol):
    """A folder that is, or is to become, a working copy."""

    vcs: Vcs

    def remotes(self) -> tuple[str, ...] | None:
        """Return the names of the repository's remotes, ``None`` if it is a plain folder.

        Raises :class:`NotAWorkingCopy` or :class:`Unsupported` for what is neither.
        """

    def make(self) -> None:
        """Make a repository, without any commit."""

    def unmake(self) -> None:
        """Take away what :meth:`make` has made, as far as it came."""

    def how_to_add(self, remote: str) -> str:
        """Return what gives the repository a remote."""


def folder(root: str, wanted: Vcs | None, hg: Sequence[str] | None) -> Folder:
    """Return the folder ``root`` as what it is, or as what is ``wanted`` if it is a plain one.

    Raises :class:`AutosyncError` if what is wanted is not what is there.
    """
    there = [vcs for vcs, mark in MARKS.items() if os.path.lexists(os.path.join(root, mark))]
    if wanted is None and len(there) > 1:
        raise AutosyncError(
            f"{root} holds a .git and a .hg, so it is not clear which of them is meant",
            hint="Say which: --vcs git or --vcs hg.",
        )
    if wanted is not None and there and wanted not in there:
        name = vocabulary(there[0].value).name
        raise AutosyncError(
            f"--vcs: {root} is a {name} working copy", hint="Leave the option out, or choose another folder."
        )
    if (wanted or vcs_of(root)) is Vcs.HG:
        return _HgFolder(root, hg)
    return _GitFolder(root)


def store_folder(root: str, wanted: Vcs | None, hg: Sequence[str] | None) -> Folder:
    """Return the folder ``root`` as a store: the one that it is, or one that is to be made.

    Raises :class:`AutosyncError` if something else stands there.
    """
    if not is_store(root) and os.path.lexists(root) and (not os.path.isdir(root) or os.listdir(root)):
        raise AutosyncError(
            f"{root} exists, and is not an empty folder",
            hint="A store is a folder of its own, without your files: name one that does not exist yet.",
        )
    return _StoreFolder(root, folder(repository_of(root), wanted, hg))


def is_ambiguous(root: str) -> bool:
    """Return whether the configuration has to say whose working copy ``root`` is."""
    return all(os.path.lexists(os.path.join(root, mark)) for mark in MARKS.values())


class _GitFolder:
    vcs = Vcs.GIT

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(root)
        self._git = Git(self._root)

    def remotes(self) -> tuple[str, ...] | None:
        try:
            self._git.run("rev-parse", "--git-dir")
        except FileNotFoundError:
            raise AutosyncError("git is not installed, or not on PATH", hint="On Debian: apt-get install git") from None
        except GitFailed as failure:
            if "not a git repository" in failure.stderr:
                return None
            raise NotAWorkingCopy(
                f"git cannot open {os.fsdecode(self._root)}: {failure.stderr}",
                hint="Make `git status` work in that folder first.",
            ) from None
        # Also refuses a bare repository, a folder inside a working copy, and what is not supported.
        open_repository(self._root)
        return tuple(os.fsdecode(self._git.run("remote")).split("\n")[:-1])

    def make(self) -> None:
        # Every device should name its first branch alike, whatever its git's age.
        branch = self._git.call("config", "--get", "init.defaultBranch", accept=(0, 1))[1].strip() or b"main"
        self._git.run("init", "--quiet", b"--initial-branch=" + branch)

    def unmake(self) -> None:
        shutil.rmtree(os.path.join(self._root, b".git"), ignore_errors=True)

    def how_to_add(self, remote: str) -> str:
        return f"Add it: git -C {shlex.quote(os.fsdecode(self._root))} remote add {remote} URL"


class _HgFolder:
    vcs = Vcs.HG

    def __init__(self, root: str, hg: Sequence[str] | None) -> None:
        self._root = os.fsencode(root)
        self._hg = hg

    def remotes(self) -> tuple[str, ...] | None:
        if not os.path.lexists(os.path.join(self._root, b".hg")):
            self._raise_if_inside()
            return None
        self._examine()
        return tuple(os.fsdecode(run_hg(self._hg, self._root, "paths", "--quiet")).split("\n")[:-1])

    def make(self) -> None:
        run_hg(self._hg, self._root, "init")
        self._examine()

    def unmake(self) -> None:
        shutil.rmtree(os.path.join(self._root, b".hg"), ignore_errors=True)

    def how_to_add(self, remote: str) -> str:
        return f"Add it to {os.fsdecode(self._root)}/.hg/hgrc, below [paths]: {remote} = URL"

    def _examine(self) -> None:
        """Refuse what is not supported, and an hg that does not commit what we expect."""
        repository = Repository(self._root, self._hg)
        try:
            repository.standing()
            repository.check_hashes()
        finally:
            repository.close()

    def _raise_if_inside(self) -> None:
        root = os.fsdecode(self._root)
        around = repository_around(os.path.realpath(root))
        if around is not None:
            raise NotAWorkingCopy(
                f"{root} lies inside the working copy {around}", hint=f"Give autosync {around} itself."
            )


class _StoreFolder:
    def __init__(self, root: str, inside: Folder) -> None:
        self.vcs = inside.vcs
        self._root = root
        self._inside = inside
        self._was_there = os.path.isdir(root)

    def remotes(self) -> tuple[str, ...] | None:
        return () if is_store(self._root) else None

    def make(self) -> None:
        try:
            make_store(self._root)
        except OSError as error:
            raise AutosyncError(
                f"{self._root}: cannot be made: {error.strerror}", hint="Choose a place that you may write to."
            ) from error
        self._inside.make()

    def unmake(self) -> None:
        unmake_store(self._root, keep_directory=self._was_there)

    def how_to_add(self, remote: str) -> str:  # noqa: ARG002  # it has none
        return "A store has no remotes: give the URL of the hub."
