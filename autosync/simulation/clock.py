"""The one clock of a simulation: what happens next, and when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Clock:
    """Time in seconds; it stands still while something happens and jumps to what comes next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let ``action`` happen in ``seconds``."""
        self.at(self.now + seconds, action)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Let ``action`` happen at ``when``, at once if that is past."""
        self._count += 1
        heappush(self._queue, (max(when, self.now), self._count, action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heappop(self._queue)
            action()
        self.now = end
