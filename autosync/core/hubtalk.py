"""Decides when a session talks to the hub: the slow lane."""

from __future__ import annotations

from autosync.core.commands import Command, ListHub, Push
from autosync.core.events import CommandFailed
from autosync.core.model import Snapshot, SnapshotId
from autosync.core.retry import Retry, spread

SETTLE, MOST = 2.0, 10.0
"""Seconds of quiet before a snapshot goes to the hub, and the longest wait."""
FAILED_FIRST, FAILED_MOST = 1.0, 60.0
"""Seconds between attempts while the hub does not answer."""
PERMANENT_RETRY = 300.0
"""Seconds between attempts when the hub says no: its owner may have changed his mind."""


class HubTalk:
    """Pushes of what was made here, and looks at what the others have pushed.

    At most one push and one listing are out at a time.  A hub that ``holds`` no snapshots is only
    looked at: its branches may have moved on.  Two looks are never further apart than
    ``interval`` seconds, and those of several devices (``who``) not in step.
    """

    def __init__(self, *, interval: float, holds: bool = True, who: str = "") -> None:
        self.interval = interval
        self._who = who
        self._looks = 0
        self.holds = holds
        self.latest: SnapshotId | None = None
        """What the hub has of this device."""
        self.failed = Retry(FAILED_FIRST, FAILED_MOST)
        self._pushing: SnapshotId | None = None
        self._listing = False
        self._look_again = False
        self._push_at: float | None = None
        self._push_by = 0.0
        self._list_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether everything that was made here is on the hub."""
        return self.holds and self._push_at is None

    def edited(self, now: float) -> None:
        """Take note of a state that was made here."""
        if not self.holds:
            return
        self._push_by = now + MOST if self._push_at is None else self._push_by
        self._push_at = min(now + SETTLE, self._push_by)

    def hurry(self, now: float) -> None:
        """Let everything be due at once."""
        self.failed.clear()
        self._list_at = now
        if self._push_at is not None:
            self._push_at = now

    def look_soon(self, now: float) -> None:
        """Let the next look at the hub be due, also if one is under way: it may have come too early."""
        self._look_again = self._listing
        self._list_at = min(self._list_at, now)

    def pushed(self, snapshot: SnapshotId, current: Snapshot | None) -> None:
        """Take note of a push that succeeded."""
        self._pushing = None
        self.latest = snapshot
        self.failed.clear()
        if current is not None and current.id == snapshot:
            self._push_at = None

    def listed(self, own: SnapshotId | None, now: float) -> None:
        """Take note of what the hub listed for this device."""
        self._listing = False
        self._looks += 1
        self._list_at = now if self._look_again else now + spread(self.interval, self._who, self._looks)
        self.latest = self.latest or own
        self.failed.clear()

    def refused(self, event: CommandFailed, now: float) -> bool:
        """Take note of a failure; return whether the user has to be told."""
        if event.command == "Push":
            self._pushing = None
        else:
            self._listing = False
        first = self.failed.reason != event.title
        self.failed.again(now, event.title)
        if event.transient:
            return False
        self.failed.at = now + PERMANENT_RETRY
        return first

    def commands(self, current: Snapshot | None, now: float) -> list[Command]:
        """Return what is due."""
        commands: list[Command] = []
        if now < self.failed.at:
            return commands
        if not self._listing and now >= self._list_at:
            self._listing, self._look_again = True, False
            commands.append(ListHub())
        if self._push_at is not None and self._pushing is None and now >= self._push_at and current is not None:
            self._pushing = current.id
            commands.append(Push(snapshot=current.id))
        return commands

    def times(self) -> list[float]:
        """Return when something is due."""
        times = [] if self._listing else [max(self._list_at, self.failed.at)]
        if self._push_at is not None and self._pushing is None:
            times.append(max(self._push_at, self.failed.at))
        return times
