"""Decides what is on the screen: when a popup is shown, changed in place, kept for later, or taken away."""

from __future__ import annotations

from dataclasses import dataclass

from autosync.config import Popups, Urgency
from autosync.desktop.popup import Popup

PACE = 1.0
"""Seconds between two changes of one popup."""
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class ShowNow:
    """Show a popup, in place of the one with its key if that is still there."""

    popup: Popup
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class TakeAway:
    """Close the popup with this key."""

    key: str


Order = ShowNow | TakeAway


class Board:
    """The popups that are due; times are seconds of any monotonic clock, ``minute`` is that of the day (local time).

    ``wishes`` is the group ``popups:`` of the configuration.
    """

    def __init__(self, wishes: Popups) -> None:
        self.wishes = wishes
        self._waiting: dict[str, Popup] = {}
        self._shown: dict[str, Popup] = {}
        self._shown_at: dict[str, float] = {}
        self._open: set[str] = set()

    def offer(self, popup: Popup) -> None:
        """Have ``popup`` shown when its time comes."""
        before = self._shown.get(popup.key)
        if before is not None and before.burst == popup.burst and popup.key not in self._open and not popup.lasting:
            return
        self._waiting[popup.key] = popup

    def withdraw(self, key: str) -> list[Order]:
        """Return what makes the popup ``key`` go, which tells of what is no more."""
        self._waiting.pop(key, None)
        if key not in self._open:
            return []
        self.closed(key)
        return [TakeAway(key)]

    def closed(self, key: str) -> None:
        """Take note that a popup is not there any more: it was closed, answered, or its time was over."""
        self._open.discard(key)

    def due(self, now: float, minute: int) -> list[Order]:
        """Return what is to be shown now."""
        orders: list[Order] = []
        quiet = self._is_quiet(minute)
        for key, popup in list(self._waiting.items()):
            urgency: Urgency = getattr(self.wishes, popup.kind.value)
            if urgency is Urgency.NONE or (quiet and not popup.lasting):
                del self._waiting[key]
            elif not quiet and now >= self._shown_at.get(key, -PACE) + PACE:
                del self._waiting[key]
                self._shown[key], self._shown_at[key] = popup, now
                self._open.add(key)
                orders.append(ShowNow(popup, urgency))
        return orders

    def deadline(self, now: float, minute: int) -> float | None:
        """Return when to ask :meth:`due` again, ``None`` if nothing waits."""
        if not self._waiting:
            return None
        if (left := self._quiet_for(minute)) > 0:
            return now + 60.0 * min(left, 1)  # the clock may be set, and a machine sleep
        return max(now, min(self._shown_at.get(key, -PACE) + PACE for key in self._waiting))

    def _is_quiet(self, minute: int) -> bool:
        return self._quiet_for(minute) > 0

    def _quiet_for(self, minute: int) -> int:
        """Return how many minutes the quiet hours go on, 0 if there are none now."""
        if self.wishes.quiet_hours is None:
            return 0
        first, last = self.wishes.quiet_hours
        length, since = (last - first) % _DAY, (minute - first) % _DAY
        return length - since if since < length else 0
