"""Opens the backend of a working copy: of what its folder holds, or of what the configuration says."""

from __future__ import annotations

import os
from dataclasses import replace

from autosync.backends.git.backend import open_git
from autosync.backends.git.refnames import RefNames
from autosync.backends.hg.backend import open_hg
from autosync.backends.shelf import Shelf
from autosync.backends.stores import demand_store, refuse_store, repository_of
from autosync.causes import shortage_of
from autosync.config import Mode, PathConfig, Vcs
from autosync.core.model import WorkspaceId
from autosync.errors import NotAWorkingCopy
from autosync.ports import Backend

MARKS = {Vcs.GIT: ".git", Vcs.HG: ".hg"}
"""What shows whose working copy a folder is."""


def open_backend(path: PathConfig, workspace: WorkspaceId, *, names: RefNames | None = None) -> Backend:
    """Return the backend of the working copy, or of the store, at ``path``.

    ``names`` are those of the refs on a git hub; without them nothing is shown there.
    Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    if path.mode is not Mode.STORE:
        refuse_store(path.path)
        return _open(path, workspace, names)
    demand_store(path.path)
    shelf = Shelf(_open(replace(path, path=repository_of(path.path)), workspace, names))
    try:
        _begin(shelf)
    except BaseException:
        shelf.close()
        raise
    return shelf


def _begin(shelf: Shelf) -> None:
    try:
        shelf.begin()
    except OSError as error:
        raise shortage_of(error, shelf.metadata) or NotAWorkingCopy(
            f"The store in {os.fsdecode(shelf.root)} cannot be opened: {error}",
            hint="Start the agent again when the cause is gone.",
        ) from error


def _open(path: PathConfig, workspace: WorkspaceId, names: RefNames | None) -> Backend:
    root = os.fsencode(path.path)
    match path.backend or vcs_of(path.path):
        case Vcs.GIT:
            return open_git(
                root,
                workspace=workspace,
                remote=path.remote,
                hub_prefix=path.hub_prefix,
                ignore=path.ignore,
                sole=path.mode is Mode.STORE,
                names=names,
                subscribe=path.subscribe,
            )
        case Vcs.HG:
            return open_hg(
                root,
                workspace=workspace,
                remote=path.remote,
                hg=path.hg,
                ignore=path.ignore,
                subscribe=path.subscribe,
            )
        case Vcs.COMMAND:
            raise AssertionError("a working copy kept by commands has no snapshots")


def vcs_of(root: str) -> Vcs:
    """Return whose working copy the folder ``root`` is; git's, if nothing tells.

    Raises :class:`NotAWorkingCopy` if it is of two, or lies inside one of hg (of git, git says so itself).
    """
    found = [vcs for vcs, mark in MARKS.items() if os.path.lexists(os.path.join(root, mark))]
    if len(found) > 1:
        raise NotAWorkingCopy(
            f"{root} holds a .git and a .hg, so it is not clear which of them is meant",
            hint="Add `backend: git` or `backend: hg` to its entry in the configuration.",
        )
    if found:
        return found[0]
    around = repository_around(os.path.realpath(root))
    if around is not None and not os.path.lexists(os.path.join(around, ".git")):
        raise NotAWorkingCopy(
            f"{root} lies inside the working copy {around}",
            hint=f"Give autosync {around} itself, or make a repository of its own: hg init {root}",
        )
    return Vcs.GIT


def repository_around(root: str) -> str | None:
    """Return the root of the nearest working copy that the real path ``root`` lies inside of."""
    above = os.path.dirname(root)
    while above != root:
        if any(os.path.lexists(os.path.join(above, mark)) for mark in MARKS.values()):
            return above
        root, above = above, os.path.dirname(above)
    return None
