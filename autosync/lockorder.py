"""Says in which order a thread takes its locks, and raises if it is another one, wherever tests run."""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHECKED = "AUTOSYNC_CHECK_LOCKS" in os.environ


class Lock(enum.IntEnum):
    """What a thread may hold; of two locks it takes the lesser first.  Who waits for which: docs/locking.md.

    Those of hg are taken by hg's own code, in its process: ``backends/hgext/locking.py``.
    """

    UPKEEP = 1
    """One agent alone tidies a store."""
    TURN = 2
    """Many work on a store, or one alone (:class:`autosync.turns.Turns`)."""
    PRIVATE_REFS = 3
    """One agent alone moves refs of a private store."""
    USER_REFS = 4
    """git's own locks of the refs that move."""
    INDEX = 5
    """git's index.lock of one worktree: for the user everything stands still meanwhile, so it comes last."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.locks: list[Lock] = []


_held = _Held()


@contextmanager
def holding(lock: Lock) -> Iterator[None]:
    """Note that this thread has ``lock`` within the block.

    Raises :class:`RuntimeError` if it has one already that comes later; only in a process that
    was started with ``AUTOSYNC_CHECK_LOCKS`` in its environment, as all tests are.
    """
    if not _CHECKED:
        yield
        return
    if _held.locks and _held.locks[-1] > lock:
        raise RuntimeError(f"{lock.name} is to be taken before {_held.locks[-1].name}, which this thread has")
    _held.locks.append(lock)
    try:
        yield
    finally:
        _held.locks.pop()
