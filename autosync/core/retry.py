"""Says when to try again what the world did not allow."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

FAILED_FIRST, FAILED_MOST = 1.0, 10.0
"""Seconds between attempts at what a path, a source or the whole machine did not allow."""

_DOUBLINGS = 60
"""More make every wait longer than any limit, and in the end longer than a float can tell."""


def wait_after(failures: int, first: float, most: float) -> float:
    """Return the seconds to wait: ``first``, doubled with each of ``failures`` (0 or more) before, at most ``most``."""
    return min(most, first * (1 << min(failures, _DOUBLINGS)))


def spread(seconds: float, who: str, turn: int) -> float:
    """Return at most ``seconds`` and at least four fifths of it, another for each of ``who`` and each ``turn``.

    What many devices do at the same interval they do not do at the same moment.
    """
    return seconds * (1 - 0.2 * zlib.crc32(f"{who} {turn}".encode("utf-8", "surrogateescape")) / 0xFFFFFFFF)


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
        self.at = now + wait_after(self.count, self.first, self.most)
        self.count += 1
        self.reason = reason

    def clear(self) -> None:
        """Forget all failures."""
        self.count, self.at, self.reason = 0, 0.0, ""
