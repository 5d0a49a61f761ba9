"""Takes away lock files of git's kind whose owner was killed, by what is known of who makes them, never by a clock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence

from autosync.backends.git.repository import Repository
from autosync.errors import Busy
from autosync.lockorder import Lock, holding

PAUSE = 1.0
"""Seconds after which a lock that is still the same file has no owner: git holds those of refs for milliseconds."""
PACKING_PAUSE = 15.0
"""The same for packed-refs.lock: git writes all refs beside it, and asks a hook, and the lock stays as it is."""
_WRITERS = b"autosync-refs"

Identity = tuple[int, int, int, int]
"""Device, inode, and when it was last written and last changed otherwise (nanoseconds): one file and no later one."""


def identity(path: bytes) -> Identity | None:
    """Return which file stands at ``path``, ``None`` for none."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def remove_if_left(path: bytes, *, pause: float = PAUSE) -> bool:
    """Remove a lock if nobody lets go of it for ``pause`` seconds; return whether there is none any more."""
    before = identity(path)
    if before is not None:
        time.sleep(pause)
        if identity(path) == before:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return identity(path) is None


@contextlib.contextmanager
def sole_writer(
    repo: Repository, locks: Sequence[bytes], *, wait: bool = False, pause: float = PAUSE
) -> Iterator[None]:
    """Be the one of all agents who takes ``locks``, absolute paths, of refs in the private store.

    Whoever has them already was killed, then, or is a git that a user has started there
    himself: that one has let go after ``pause`` seconds.  If another agent is at it, ``wait`` for
    it, for milliseconds, or raise :class:`Busy`.
    """
    with holding(Lock.PRIVATE_REFS), _writers(repo) as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(
                f"another agent moves refs of {os.fsdecode(repo.store_dir)}", hint="It is tried again by itself."
            ) from None
        for path in locks:
            remove_if_left(path, pause=pause)
        yield


@contextlib.contextmanager
def _writers(repo: Repository) -> Iterator[int]:
    guard = os.open(os.path.join(repo.store_dir, _WRITERS), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield guard
    finally:
        os.close(guard)
