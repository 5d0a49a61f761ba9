"""Decides when a peer's snapshot is joined with ours, and what has to be fetched for it first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from autosync.core.commands import Integrate
from autosync.core.events import AncestorMissing, Integrated
from autosync.core.model import Order, Snapshot, SnapshotId, relate
from autosync.core.retry import FAILED_FIRST, FAILED_MOST, Retry

ANCESTORS = 16
"""States in between that are asked for before a merge does without them."""
NEWS_PATIENCE = 0.25
"""Seconds that a peer's snapshot waits for local edits to settle, so that both are merged at once."""


@dataclass(slots=True)
class Integration:
    """What stands between a peer's snapshot that is here and the working copy.

    A snapshot that met an obstacle (a file that is open in an editor, say) is tried again
    more and more rarely; another one is tried at once, for its changes may be elsewhere.
    """

    _blocked: Retry = field(default_factory=lambda: Retry(FAILED_FIRST, FAILED_MOST))
    _blocked_theirs: SnapshotId | None = None
    """The one that is waited with; ``None`` while nothing can be integrated, whatever it is."""
    _ancestor: AncestorMissing | None = None
    _ancestors: int = 0
    _without: frozenset[SnapshotId] = frozenset()
    _inexact: SnapshotId | None = None
    _news_since: float | None = None
    _unfinished: Snapshot | None = None
    """What was brought in part: it is gone on with, whether or not its device is still heard of."""

    # -- what happened ------------------------------------------------------------------
    def integrated(self, event: Integrated, now: float) -> None:
        """Take note of how an attempt ended."""
        self._ancestors, self._without = 0, frozenset()
        self._unfinished = event.unfinished
        if event.complete:
            self._blocked.clear()
        else:
            self._blocked.again(now, event.reason or "the base could not be moved yet")
            self._blocked_theirs = event.theirs

    def refused(self, theirs: SnapshotId) -> None:
        """Take note that a snapshot cannot be joined with ours without the user; others may be tried at once."""
        if self._unfinished is not None and self._unfinished.id == theirs:
            self._unfinished = None
        self.hurry()

    def failed(self, reason: str, now: float) -> int:
        """Take note of an attempt that could not be made; return how often that had been so before."""
        again = self._blocked.count if self._blocked.reason == reason else 0
        self._blocked.again(now, reason)
        self._blocked_theirs = None
        return again

    def ancestor_missing(self, event: AncestorMissing) -> None:
        """Take note of a state in between that a merge would need."""
        self._ancestor = event

    def ancestor_not_found(self, ancestor: SnapshotId) -> None:
        """Take note that nobody has a state that was asked for."""
        self._without |= {ancestor}

    def ancestor_asked(self, *, sources: bool) -> AncestorMissing | None:
        """Return the state that is to be fetched, ``None`` if the merge goes on without it."""
        missing, self._ancestor = self._ancestor, None
        if missing is None:
            return None
        self._ancestors += 1
        if self._ancestors > ANCESTORS or not sources:
            self._inexact = missing.theirs
            return None
        return missing

    def hurry(self) -> None:
        """Try again now."""
        self._blocked.clear()

    def obstacle_may_be_gone(self, now: float) -> None:
        """Try again soon: the working copy was looked at."""
        self._blocked.at = min(self._blocked.at, now + FAILED_FIRST)

    # -- what is next ---------------------------------------------------------------------
    @property
    def missing(self) -> AncestorMissing | None:
        """Return the state that has to be fetched before anything is integrated."""
        return self._ancestor

    @property
    def reason(self) -> str:
        """Return what is in the way, in words."""
        return self._blocked.reason

    def left_over(self, current: Snapshot, ready: Collection[Snapshot]) -> list[Snapshot]:
        """Return what was brought in part, unless ``current`` or one of ``ready`` contains it."""
        left = self._unfinished
        if left is None or any(relate(left, s) in (Order.BEFORE, Order.EQUAL) for s in (current, *ready)):
            return []
        return [left]

    def due(self, theirs: Snapshot, *, edits_pending: bool) -> float:
        """Return when ``theirs`` is to be integrated; 0 is at once."""
        waits = self._news_since is not None and edits_pending
        patience = (self._news_since or 0.0) + NEWS_PATIENCE if waits else 0.0
        return max(patience, self._blocked_until(theirs))

    def command(
        self, current: Snapshot, theirs: Snapshot, *, edits_pending: bool, above: int, now: float
    ) -> Integrate | None:
        """Return the command that integrates ``theirs``, ``None`` if it is not time yet."""
        if now < self._blocked_until(theirs):
            return None
        self._news_since = now if self._news_since is None else self._news_since
        if edits_pending and now < self._news_since + NEWS_PATIENCE:
            return None
        self._news_since = None
        exact, self._inexact = self._inexact != theirs.id, None
        return Integrate(current=current, theirs=theirs, exact=exact, without=self._without, above=above)

    def _blocked_until(self, theirs: Snapshot) -> float:
        return self._blocked.at if self._blocked_theirs in (None, theirs.id) else 0.0
