"""What other devices have confirmed: which tree they had when it was also the one here, and when they said so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autosync.core.model import DeviceId, TreeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What one device has confirmed.  Times are seconds since the epoch.

    ``tree`` is the last one that was on both, ``at`` when the device last said that it has it; ``None`` if none was.
    ``apart_since`` is when the trees became different ones, ``None`` as long as they are the same.
    """

    tree: TreeId | None = None
    at: float | None = None
    apart_since: float | None = None


class Confirmations:
    """Those of all devices of one workspace, since the agent's start."""

    def __init__(self) -> None:
        self._known: dict[DeviceId, Confirmation] = {}
        self._said_at: dict[DeviceId, float] = {}

    def of(self, device: DeviceId) -> Confirmation:
        """Return what a device has confirmed."""
        return self._known.get(device, Confirmation())

    def said_at(self, device: DeviceId) -> float | None:
        """Return when a device last said which tree it has, in seconds since the epoch; ``None`` if it never did."""
        return self._said_at.get(device)

    def heard(
        self, device: DeviceId, theirs: TreeId | None, ours: TreeId | None, *, said_at: float, now: float
    ) -> None:
        """Take note that a device said at ``said_at`` which tree it has."""
        self._said_at[device] = min(said_at, now)
        self._compare(device, theirs, ours, now)

    def moved(self, peers: Iterable[tuple[DeviceId, TreeId | None]], ours: TreeId | None, now: float) -> None:
        """Take note that the tree here is another one; ``peers`` are the devices and the trees that they said last."""
        for device, theirs in peers:
            if device in self._said_at:
                self._compare(device, theirs, ours, now)

    def _compare(self, device: DeviceId, theirs: TreeId | None, ours: TreeId | None, now: float) -> None:
        known = self.of(device)
        if ours is not None and theirs == ours:
            self._known[device] = Confirmation(tree=ours, at=self._said_at[device])
        elif known.apart_since is None:
            self._known[device] = Confirmation(tree=known.tree, at=known.at, apart_since=now)
