"""Says when to try again what the world did not allow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Retry:
    """A wait that doubles with every failure; times are in seconds of the caller's clock."""

    first: float
    most: float
    count: int = 0
    at: float = 0.0
    reason: str = ""

    def again(self, now: float, reason: str) -> None:
        """Take note of a failure; the next attempt is due at :attr:`at`."""
        self.at = now + min(self.most, self.first * 2**self.count)
        self.count += 1
        self.reason = reason

    def clear(self) -> None:
        """Forget all failures."""
        self.count, self.at, self.reason = 0, 0.0, ""
