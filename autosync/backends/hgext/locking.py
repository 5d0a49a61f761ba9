"""Takes hg's own locks in one order, all that are needed or none, and never waits for one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from mercurial import error
from mercurial import lock as lockmod

from .refusal import BUSY, Declined

Rank = tuple[int, bytes]
"""Of two locks the one with the lesser rank is taken first; see docs/locking.md."""
_WORKING_COPY, _STORE = 0, 1

_held: list[Rank] = []
"""What this process holds; it does one thing at a time."""


@contextmanager
def locked(repo: Any, *, store: bool = False, source: Any = None) -> Iterator[None]:
    """Hold the lock of the working copy, if ``store`` that of the repository as well.

    ``source`` is the ``.hg`` (a vfs) of another working copy whose lock is needed too: hg itself relies on it as it
    updates there.  Raises :class:`Declined`, with who holds a lock, before anything has changed.
    """
    wanted: dict[Rank, Callable[[], AbstractContextManager[Any]]] = {
        _working_copy(repo.path): lambda: repo.wlock(wait=False)
    }
    if source is not None:
        wanted[_working_copy(source.base)] = lambda: lockmod.lock(source, b"wlock", 0)
    if store:
        wanted[_STORE, b""] = lambda: repo.lock(wait=False)
    with ExitStack() as held:
        try:
            # What is taken is given back if the next is not to be had.
            for rank in sorted(wanted):
                held.enter_context(in_order(rank))
                held.enter_context(wanted[rank]())
        except error.LockHeld as taken:
            raise Declined(BUSY, _words(taken)) from None
        try:
            yield
        except BaseException:
            # As it gives the lock back, 6.3 would write what could not be written before.
            repo.dirstate.invalidate()
            raise


@contextmanager
def in_order(rank: Rank) -> Iterator[None]:
    """Raise :class:`RuntimeError` if something is held that comes after ``rank``, or is the same."""
    if _held and _held[-1] >= rank:
        raise RuntimeError(f"a lock is taken out of order: {rank} after {_held}")
    _held.append(rank)
    try:
        yield
    finally:
        _held.pop()


def _working_copy(metadata: bytes) -> Rank:
    return _WORKING_COPY, os.path.realpath(metadata)


def _words(taken: Any) -> str:
    owner = bytes(taken.locker or b"").decode("utf-8", "replace")
    host, _, process = owner.rpartition(":")
    what = "repository" if bytes(taken.filename).endswith(b"/lock") else "working copy"
    who = f"process {process} on {host.split('/')[0]}" if host else owner or "somebody"
    return f"hg is at work here: {who} holds the lock of the {what}"
