"""How far the clocks of other devices are from this one's, by what they say and when it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from autosync.core.model import DeviceId

REMEMBERED = 3
"""The last announcements of a device that count: a clock that was set right shows soon."""


class Skew:
    """What is known of the clocks of a workspace's devices."""

    def __init__(self) -> None:
        self._heard: dict[DeviceId, deque[float]] = {}

    def heard(self, device: DeviceId, *, sent_at: float, now: float) -> None:
        """Take note that what ``device`` sent at ``sent_at`` by its clock came at ``now`` by ours (seconds)."""
        self._heard.setdefault(device, deque(maxlen=REMEMBERED)).append(sent_at - now)

    def ahead(self) -> Mapping[DeviceId, float]:
        """Return by how many seconds each clock is ahead of ours, below 0 if it is behind.

        Whatever was under way for long makes a clock seem to be behind, never ahead: the quickest counts.
        """
        return {device: max(lags) for device, lags in self._heard.items()}
