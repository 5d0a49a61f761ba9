"""Lets many work on one store at once, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Seconds that one waits to be alone."""
COURTESY = 0.02
"""Seconds for which one who comes gives way to one who waits."""


class Turns:
    """Shared by the working copies of one store and its upkeep, for any thread."""

    def __init__(self) -> None:
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
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, patience: float = PATIENCE) -> Iterator[bool]:
        """Wait until nobody works; say whether that came to pass.  If so, all others wait meanwhile.

        Those who come while one waits give way for :data:`COURTESY`, and then go first.
        """
        with self._changed:
            self._waiting += 1
            try:
                nobody = self._changed.wait_for(lambda: self._working == 0, timeout=patience)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
            yield nobody
