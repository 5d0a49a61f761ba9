"""Decides when ``commits: auto`` commits, merges and pushes the user's branch."""

from __future__ import annotations

from autosync.core.commands import Commit, SyncBranch
from autosync.core.model import Snapshot

OTHERS_WAIT = 3
"""Of several devices whose edits were merged, the first by name commits after ``commit-after``;
the others, should it not, after this many times as long."""


class BranchTurns:
    """When it is this device's turn; all times are in seconds.

    ``hub`` tells that there is one to push to.
    """

    def __init__(self, *, name: str, commit_after: float, hub: bool) -> None:
        self._name = name
        self._commit_after = commit_after
        self._hub = hub
        self._uncommitted = False
        self.due: float | None = None

    def edited(self, current: Snapshot, now: float) -> None:
        """Take note of a state that was made here and is not committed."""
        first = current.device.split("+")[0] == self._name
        self._uncommitted = True
        self.due = now + self._commit_after * (1 if first else OTHERS_WAIT)

    def followed(self) -> None:
        """Take note that this device is at another one's state, which is that one's to commit."""
        self._uncommitted, self.due = False, None

    def looked_at_hub(self, now: float) -> None:
        """Take note that the hub was asked: its branch may have moved on."""
        if self.due is None:
            self.due = now

    def settled(self, now: float, *, committed: bool, behind: bool) -> None:
        """Take note that a turn ended; ``behind`` means that the hub has moved on meanwhile.

        What :meth:`edited` told of it stays due: taking in the hub's branch can leave a merge
        with edits that were another device's to commit, and that device follows.
        """
        if committed:
            self._uncommitted = False
            self.due = now if self._hub else None
        elif behind:
            self.due = now + self._commit_after
        elif not self._uncommitted:
            self.due = None

    def put_back(self, now: float) -> None:
        """Take note that a turn did nothing, since git was busy."""
        self.due = now

    def failed(self, now: float) -> None:
        """Take note that a turn failed."""
        self.due = now + self._commit_after

    def command(self, current: Snapshot, now: float, *, above: int) -> Commit | SyncBranch | None:
        """Return what is due."""
        if self.due is None or now < self.due:
            return None
        self.due = None
        if self._uncommitted:
            return Commit(current=current, above=above)
        return SyncBranch(current=current, above=above) if self._hub else None
