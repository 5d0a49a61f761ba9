"""How fast one client may go on."""

from __future__ import annotations


class Pace:
    """``rate`` units per second in the long run, ``burst`` at once; what is spent beyond is waited for.

    Times are seconds of the caller's clock.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def spend(self, amount: float, now: float) -> float:
        """Spend ``amount`` and return the seconds to wait before more may be spent."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._left / self._rate)
