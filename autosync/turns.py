"""Lets many work on one store at once, or one alone."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from autosync.lockorder import Lock, holding

PATIENCE = 5.0
"""Seconds that one waits to be alone."""
COURTESY = 0.02
"""Seconds for which one who comes gives way to one who waits."""
_LOOK = 0.02
"""Seconds between two looks whether other processes work."""
_LOCK = b"autosync-turns"


class Turns:
    """Shared by the working copies of one store and its upkeep, for any thread.

    ``directory`` is the store's: agents of other state directories, and commands without an agent, may be at work on
    it as well.  A lock of a file in it (flock(2)) tells of them, and ends with its process.
    """

    def __init__(self, directory: bytes | None = None) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._working = 0
        self._waiting = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work beside others, and never beside one who is alone."""
        with self._changed:
            if self._waiting:  # or one who never pauses would never let anybody be alone
                self._changed.wait_for(lambda: not self._waiting, timeout=COURTESY)
            self._working += 1
        try:
            with holding(Lock.TURN), self._opened() as file:
                if file is not None:
                    fcntl.flock(file, fcntl.LOCK_SH)
                yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, patience: float = PATIENCE) -> Iterator[bool]:
        """Wait until nobody works; say whether that came to pass.  If so, all others wait meanwhile.

        Those who come while one waits give way for :data:`COURTESY`, and then go first; those in other
        processes give no way.
        """
        with holding(Lock.TURN), self._opened() as file, self._changed:
            self._waiting += 1
            try:
                nobody = self._await_nobody(file, time.monotonic() + patience)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
            yield nobody

    def _await_nobody(self, file: int | None, deadline: float) -> bool:
        """Return whether nobody works any more; if so, ``file`` is locked against other processes."""
        while self._changed.wait_for(lambda: self._working == 0, timeout=max(0.0, deadline - time.monotonic())):
            if file is None:
                return True
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if time.monotonic() >= deadline:
                return False
            self._changed.wait(_LOOK)
        return False

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Give a file of the store to lock, opened each time anew: flock(2) tells those apart that were."""
        if self._directory is None:
            yield None
            return
        file = os.open(os.path.join(self._directory, _LOCK), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield file
        finally:
            os.close(file)
