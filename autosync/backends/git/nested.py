"""Finds repositories inside the working copy and what they have checked out."""

from __future__ import annotations

import os
import stat

from autosync.backends.git.cli import Git, GitFailed, GitKilled
from autosync.backends.git.files import look


def is_repository(directory: bytes) -> bool:
    """Return whether git takes ``directory`` for another repository's working copy.

    A .git directory counts if it has what every repository has, a .git file if it leads
    to one (setup.c, is_git_directory; gitrepository-layout(5)).
    """
    inner = os.path.join(directory, b".git")
    found = look(inner)
    if found is None:
        return False
    if stat.S_ISREG(found.st_mode):
        try:
            with open(inner, "rb") as file:
                line = file.read(8192)
        except OSError:
            return False
        if not line.startswith(b"gitdir: "):
            return False
        inner = os.path.join(directory, line.removeprefix(b"gitdir: ").rstrip(b"\r\n"))
    return os.path.lexists(os.path.join(inner, b"HEAD")) and (
        os.path.exists(os.path.join(inner, b"commondir"))
        or (os.path.isdir(os.path.join(inner, b"objects")) and os.path.isdir(os.path.join(inner, b"refs")))
    )


def checked_out(directory: bytes, hex_digits: int) -> str | None:
    """Return the hex id of the commit that the nested repository has checked out, ``None`` if it has none."""
    try:
        code, output = Git(directory).call("rev-parse", "--verify", "--quiet", "HEAD^{commit}", accept=(0, 1))
    except GitKilled:
        raise
    except GitFailed:
        return None
    commit = output.strip().decode("ascii", "replace")
    return commit if code == 0 and len(commit) == hex_digits else None
