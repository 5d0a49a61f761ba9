"""Says in words why a path was left alone."""

from __future__ import annotations

import errno
import os

from autosync.causes import STARVED
from autosync.errors import AutosyncError

CHANGED = "it changed here meanwhile"
APPEARED = "it appeared here meanwhile"

FATAL = STARVED
"""Errors that meet every further path as well."""

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "the agent has as many files open as it may",
    errno.ENFILE: "this machine has as many files open as it may",
    errno.ENOMEM: "the machine is out of memory",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EXDEV: "another file system is mounted there",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EILSEQ: "this file system does not allow the name",
    errno.EINVAL: "this file system does not allow the name",
    errno.EEXIST: APPEARED,
    errno.ENOENT: "it disappeared here meanwhile",
}


class Obstacle(Exception):
    """A path cannot be brought to its new state now; ``reason`` says why in words.

    A ``fatal`` one meets every further path as well; ``error`` is what the system said then.
    """

    def __init__(self, reason: str, *, fatal: bool = False, error: OSError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fatal = fatal
        self.error = error


def obstacle_of(error: OSError | AutosyncError) -> Obstacle:
    """Return an error as the obstacle that it is to one path."""
    if isinstance(error, AutosyncError):
        return Obstacle(error.title)
    number = error.errno or 0
    return Obstacle(_WORDS.get(number) or os.strerror(number), fatal=number in FATAL, error=error)
