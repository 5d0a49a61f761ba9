"""Lets announcements through that are news, and of a flood no more than does no harm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from autosync.core.allowance import Allowance
from autosync.core.announcement import ReplayGuard
from autosync.core.events import Announced
from autosync.core.model import DeviceId

RATE = 200.0
"""Announcements of one workspace that are acted on in a second."""
BURST = 100
NEWCOMERS = 0.5
"""Devices per second that were never heard of before."""
FIRST_NEWCOMERS = 64


class Intake:
    """The announcements of one workspace on their way in.

    Of each device only the newest one waits: announcements are states, so what it
    replaces is never missed.  Of a member that makes up devices most are dropped.
    """

    def __init__(self, last: Mapping[DeviceId, int] | None = None) -> None:
        self._guard = ReplayGuard(last)
        self._waiting: OrderedDict[DeviceId, Announced] = OrderedDict()
        self._pace = Allowance(rate=RATE, burst=BURST)
        self._newcomers = Allowance(rate=NEWCOMERS, burst=FIRST_NEWCOMERS)

    def objection(self, device: DeviceId, seq: int, now: float) -> str:
        """Return why :meth:`take` would drop it, empty if it would not; nothing is remembered."""
        if not self._guard.knows(device) and self._newcomers.free_at(now) > now:
            return "flood"
        return "" if self._guard.is_news(device, seq) else "repeated"

    def take(self, event: Announced, now: float) -> str:
        """Take an announcement; return why it is dropped, empty if it is not."""
        said = event.announcement
        if not self._guard.knows(said.device) and not self._newcomers.take(now):
            return "flood"
        if not self._guard.accept(said.device, said.seq):
            return "repeated"
        self._waiting[said.device] = event
        return ""

    def due(self, now: float) -> list[Announced]:
        """Return what is to be acted on now, each device in its turn."""
        found = []
        while self._waiting and self._pace.take(now):
            found.append(self._waiting.popitem(last=False)[1])
        return found

    def deadline(self, now: float) -> float | None:
        """Return when :meth:`due` has more, ``None`` if nothing waits."""
        return self._pace.free_at(now) if self._waiting else None

    def last(self) -> Mapping[DeviceId, int]:
        """Return the highest number of each device; a new intake goes on from there."""
        return self._guard.snapshot()
