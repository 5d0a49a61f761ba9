"""Lets many work on one store at once, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Seconds that one waits to be alone."""


class Turns:
    """Shared by the working copies of one store and its upkeep, for any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work beside others, and never beside one who is alone."""
        with self._changed:
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

        Those who come while one waits go first: a save is never held back by waiting.
        """
        with self._changed:
            yield self._changed.wait_for(lambda: self._working == 0, timeout=patience)
