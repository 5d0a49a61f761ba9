"""Says how much of something may happen now, so that nobody can make it happen without end."""

from __future__ import annotations

_WHOLE = 1 - 1e-6
"""What counts as once: sums of fractions are a little off, timers a little early."""


class Allowance:
    """``rate`` times per second in the long run, ``burst`` times at once ("token bucket").

    Times are seconds of the caller's clock.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = float(burst)
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Return whether it may happen once more, and count it if so."""
        self._refill(now)
        if self._left < _WHOLE:
            return False
        self._left = max(0.0, self._left - 1)
        return True

    def free_at(self, now: float) -> float:
        """Return when it may happen again: ``now`` or later."""
        self._refill(now)
        return now if self._left >= _WHOLE else now + (1 - self._left) / self._rate

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
