"""Decides when ``commits: auto`` commits, merges and pushes the user's branch."""

from __future__ import annotations

from autosync.core.commands import Commit, MergeBranch, SyncBranch
from autosync.core.model import Order, Snapshot, relate
from autosync.core.retry import Retry, wait_after

OTHERS_WAIT = 3
"""Of several devices whose edits were merged, the first by name commits after ``commit-after``;
the others, should it not, after this many times as long."""

FAILED_FIRST, FAILED_MOST = 1.0, 10.0
"""Seconds between attempts after a failure; everything but the branch goes on meanwhile."""
MERGE_FIRST, MERGE_MOST = 0.25, 30.0
"""Seconds before a merge that follows others: of several devices that merge each other's
merges at the same time, one has to be heard by all before the next begins."""
MERGES_OVER = 120.0
"""Seconds after which a merge follows no other."""


class BranchTurns:
    """When it is this device's turn; all times are in seconds.

    ``hub`` tells that there is one to push to.
    """

    def __init__(self, *, name: str, commit_after: float, hub: bool) -> None:
        self._name = name
        self._commit_after = commit_after
        self._hub = hub
        self._uncommitted = False
        self._turn: float | None = None
        self._failed = Retry(FAILED_FIRST, FAILED_MOST)
        self._theirs: Snapshot | None = None
        self._merge_at = 0.0
        self._merged_at = 0.0
        self._merges = 0
        self._held_until = 0.0

    @property
    def due(self) -> float | None:
        """Return when something is to be done, ``None`` if there is nothing."""
        times = [] if self._turn is None else [self._turn]
        times += [self._merge_at] if self._theirs is not None else []
        return max(min(times), self._failed.at, self._held_until) if times else None

    @property
    def reason(self) -> str:
        """Return what the last attempt failed for, in words."""
        return self._failed.reason

    def edited(self, current: Snapshot, now: float) -> None:
        """Take note of a state that was made here and is not committed."""
        first = current.device.split("+")[0] == self._name
        self._uncommitted = True
        self._turn = now + self._commit_after * (1 if first else OTHERS_WAIT)

    def followed(self) -> None:
        """Take note that this device is at another one's state, which is that one's to commit."""
        self._uncommitted, self._turn = False, None

    def looked_at_hub(self, now: float) -> None:
        """Take note that the hub was asked: its branch may have moved on."""
        if self._turn is None:
            self._turn = now

    def diverged(self, theirs: Snapshot, now: float, *, rank: int) -> None:
        """Take note that it is on this device to merge the branch of ``theirs``.

        ``rank`` is how many of the other devices come before this one.
        """
        if now > self._merged_at + MERGES_OVER:
            self._merges = 0
        wait = wait_after(self._merges - 1, MERGE_FIRST, MERGE_MOST) * (1 + rank) if self._merges else 0.0
        self._theirs, self._merge_at = theirs, now + wait

    def settled(self, now: float, *, committed: bool, behind: bool) -> None:
        """Take note that a turn ended; ``behind`` means that the hub has moved on meanwhile.

        What :meth:`edited` told of it stays due: taking in the hub's branch can leave a merge
        with edits that were another device's to commit, and that device follows.
        """
        self._failed.clear()
        if committed:
            self._uncommitted = False
            self._turn = now if self._hub else None
        elif behind:
            self._turn = now + self._commit_after
        elif not self._uncommitted:
            self._turn = None

    def merged(self, now: float) -> None:
        """Take note that a merge ended."""
        self._theirs, self._merged_at = None, now
        self._merges += 1

    def put_back(self, now: float) -> None:
        """Take note that a turn did nothing, since git was busy."""
        if self._theirs is None:
            self._turn = now

    def failed(self, reason: str, now: float) -> int:
        """Take note that a turn failed; return how often it had failed so before."""
        again = self._failed.count if self._failed.reason == reason else 0
        self._failed.again(now, reason)
        self._turn = now + self._commit_after
        return again

    def hold(self, until: float) -> None:
        """Leave the last commit where it is until then: somebody may give it a better message."""
        self._held_until = until

    def hurry(self) -> None:
        """Try again now."""
        self._failed.clear()
        self._held_until = 0.0

    def command(self, current: Snapshot, now: float, *, above: int) -> Commit | SyncBranch | MergeBranch | None:
        """Return what is due."""
        if self._theirs is not None and relate(current, self._theirs) is not Order.CONCURRENT:
            self._theirs = None
        if self.due is None or now < self.due:
            return None
        if self._theirs is not None and now >= self._merge_at:
            return MergeBranch(current=current, theirs=self._theirs, above=above)
        self._turn = None
        if self._uncommitted:
            return Commit(current=current, above=above)
        return SyncBranch(current=current, above=above) if self._hub else None
