"""Holds back the next local step while the user's own command is at work, or when one has failed."""

from __future__ import annotations

from autosync.core.retry import FAILED_FIRST, FAILED_MOST, Retry

BUSY_FIRST, BUSY_MOST = 0.05, 2.0
"""Seconds between looks while the user's own git or hg is at work."""


class Setbacks:
    """What is in the way of every local step; times are in seconds of the session's clock."""

    def __init__(self) -> None:
        self._busy = Retry(BUSY_FIRST, BUSY_MOST)
        self._failed = Retry(FAILED_FIRST, FAILED_MOST)

    @property
    def not_before(self) -> float:
        """Return when the next step may be tried."""
        return max(self._busy.at, self._failed.at)

    @property
    def reason(self) -> str:
        """Return what is waited for, in words; empty if nothing is."""
        return self._busy.reason or self._failed.reason

    def busy(self, now: float, reason: str) -> None:
        """Take note that the user's own command is at work."""
        self._busy.again(now, reason)

    def may_be_over(self, now: float) -> None:
        """Take note of a sign that the user's command has ended: it is looked at once."""
        self._busy.at = min(self._busy.at, now)

    def failed(self, now: float, reason: str) -> int:
        """Take note of a failure; return how often the same has happened before."""
        before = self._failed.count if self._failed.reason == reason else 0
        self._failed.again(now, reason)
        return before

    def clear(self) -> None:
        """Forget all: a step was taken, or the user wants one now."""
        self._busy.clear()
        self._failed.clear()
