"""Makes and recognises the directory of ``mode: store``."""

from __future__ import annotations

import contextlib
import os
import shutil

from autosync.errors import NotAWorkingCopy

_MARK = "autosync-store"
_REPOSITORY = "repository"
_TEXT = """\
This directory belongs to autosync (mode: store): it keeps snapshots for the other devices of a
workspace.  The repository in it has nothing checked out and never will.  Do not work in it.
"""


def is_store(root: str) -> bool:
    """Return whether :func:`make_store` made the directory ``root``."""
    return os.path.isfile(os.path.join(root, _MARK)) and os.path.isdir(repository_of(root))


def repository_of(root: str) -> str:
    """Return where the repository of a store lies: not where somebody would work by mistake."""
    return os.path.join(root, _REPOSITORY)


def make_store(root: str) -> None:
    """Make the directory ``root``, without its repository.  Raises :class:`OSError`."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    os.mkdir(repository_of(root), 0o700)
    with open(os.path.join(root, _MARK), "x", encoding="utf-8") as file:
        file.write(_TEXT)


def unmake_store(root: str, *, keep_directory: bool) -> None:
    """Take away what :func:`make_store` has made, and all that came into it."""
    shutil.rmtree(repository_of(root), ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(root, _MARK))
    if not keep_directory:
        with contextlib.suppress(OSError):
            os.rmdir(root)


def demand_store(root: str) -> None:
    """Raise :class:`NotAWorkingCopy` unless ``root`` is a store."""
    if not is_store(root):
        raise NotAWorkingCopy(
            f"{root} is no store of autosync's",
            hint="Mount it, if it lies on another disk. `autosync init --mode store DIR` makes one, in a new "
            "directory: a working copy does not become a store.",
        )


def refuse_store(root: str) -> None:
    """Raise :class:`NotAWorkingCopy` if ``root`` is a store, or the repository of one.

    Taken for a working copy, it would be one in which everything has been deleted.
    """
    around, name = os.path.split(os.path.realpath(root))
    if is_store(root) or (name == _REPOSITORY and is_store(around)):
        raise NotAWorkingCopy(
            f"{root} is a store of autosync's: there are no files in it",
            hint="Write `mode: store` and the path of the store in the configuration; for a working copy "
            "choose another folder.",
        )
