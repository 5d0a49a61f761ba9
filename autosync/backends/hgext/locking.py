"""Takes hg's own locks, all that are needed or none, and never waits for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from mercurial import error
from mercurial import lock as lockmod

from .refusal import BUSY, Declined


@contextmanager
def locked(repo: Any, *, store: bool = False, source: Any = None) -> Iterator[None]:
    """Hold the lock of the working copy, if ``store`` that of the repository as well.

    ``source`` is the ``.hg`` (a vfs) of another working copy whose lock is needed too.  Raises
    :class:`Declined`, with who holds a lock, before anything has changed.
    """
    with ExitStack() as held:
        try:
            # In the order in which hg takes them; what is taken is given back if the next is not to be had.
            held.enter_context(repo.wlock(wait=False))
            if store:
                held.enter_context(repo.lock(wait=False))
            if source is not None:
                held.enter_context(lockmod.lock(source, b"wlock", 0))
        except error.LockHeld as taken:
            raise Declined(BUSY, _words(taken)) from None
        try:
            yield
        except BaseException:
            # As it gives the lock back, 6.3 would write what could not be written before.
            repo.dirstate.invalidate()
            raise


def _words(taken: Any) -> str:
    owner = bytes(taken.locker or b"").decode("utf-8", "replace")
    host, _, process = owner.rpartition(":")
    what = "repository" if bytes(taken.filename).endswith(b"/lock") else "working copy"
    who = f"process {process} on {host.split('/')[0]}" if host else owner or "somebody"
    return f"hg is at work here: {who} holds the lock of the {what}"
