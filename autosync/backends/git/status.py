"""Asks `git status` which paths differ from the base."""

from __future__ import annotations

from collections.abc import Sequence

from autosync.backends.git.repository import Repository
from autosync.core.model import RelPath

_MOST_PATHSPECS = 300
_FIELDS_BEFORE_PATH = {b"1": 8, b"u": 10}  # git-status(1), "Porcelain Format Version 2"


def dirty_paths(repo: Repository, directories: Sequence[RelPath], excludes: Sequence[str]) -> list[RelPath]:
    """Return what is modified, staged, deleted or untracked and not ignored below ``directories``.

    ``excludes`` are the options that add our ignore patterns.  No lock is taken and
    nothing is written.  An untracked nested repository is left out.
    """
    limits: list[bytes] = []
    if directories and b"" not in directories and len(directories) <= _MOST_PATHSPECS:
        limits = [b"--", *directories]
    output = repo.git.run(
        *excludes,
        "-c",
        "core.fsmonitor=false",
        "--no-optional-locks",
        "status",
        "--porcelain=v2",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        "--ignore-submodules=dirty",
        *limits,
    )
    paths: list[RelPath] = []
    for line in output.split(b"\0")[:-1]:
        kind = line[:1]
        if kind in _FIELDS_BEFORE_PATH:
            paths.append(RelPath(line.split(b" ", _FIELDS_BEFORE_PATH[kind])[-1]))
        elif kind == b"?" and not line.endswith(b"/"):
            paths.append(RelPath(line[2:]))
    return paths
