"""Opens the backend of a working copy: of what its folder holds, or of what the configuration says."""

from __future__ import annotations

import os

from autosync.backends.git import open_git
from autosync.config import PathConfig, Vcs
from autosync.core.model import WorkspaceId
from autosync.errors import NotAWorkingCopy, Unsupported
from autosync.ports import Backend

MARKS = {Vcs.GIT: ".git", Vcs.HG: ".hg"}
"""What shows whose working copy a folder is."""


def open_backend(path: PathConfig, workspace: WorkspaceId) -> Backend:
    """Return the backend of the working copy at ``path``.

    Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    root = os.fsencode(path.path)
    match path.backend or vcs_of(path.path):
        case Vcs.GIT:
            return open_git(
                root, workspace=workspace, remote=path.remote, hub_prefix=path.hub_prefix, ignore=path.ignore
            )
        case Vcs.HG:
            raise Unsupported(f"{path.path} is a Mercurial working copy", hint="Sync git working copies.")
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
