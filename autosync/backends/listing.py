"""Finds files of a working copy by a part of their names, while no backend is open and none is to be."""

from __future__ import annotations

import os
from collections.abc import Iterator

from autosync.backends.git.cli import Git
from autosync.backends.hg.repository import Repository
from autosync.backends.opening import vcs_of
from autosync.config import PathConfig, Vcs
from autosync.core.model import RelPath


def files_named(path: PathConfig, part: bytes) -> Iterator[RelPath]:
    """Yield the files whose names hold ``part``, which no ignore rule leaves out.

    Raises :class:`AutosyncError` if version control cannot say.
    """
    root = os.path.realpath(os.fsencode(path.path))
    match path.backend or vcs_of(path.path):
        case Vcs.GIT:
            named = _of_git(root, part)
        case Vcs.HG:
            named = _of_hg(root, path.hg, part)
        case Vcs.COMMAND:  # it keeps no snapshots, so there are no two versions of anything
            return
    yield from (RelPath(name) for name in sorted(named) if os.path.lexists(os.path.join(root, name)))


def _of_git(root: bytes, part: bytes) -> set[bytes]:
    listing = Git(root).run("ls-files", "-z", "--cached", "--others", "--", b"*" + part + b"*")
    return set(listing.split(b"\0")) - {b""}


def _of_hg(root: bytes, hg: tuple[str, ...] | None, part: bytes) -> set[bytes]:
    repository = Repository(root, hg)
    try:
        status = repository.status()
        files: set[bytes] = {*repository.manifest(), *status.added, *status.unknown}
    finally:
        repository.close()
    return {name for name in files if part in name}
