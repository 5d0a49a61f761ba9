"""What is being moved over the links of a device at this moment, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autosync.core.model import DeviceId, SnapshotId, WorkspaceId

TELLING = 0.5
"""Seconds after which a rate means something."""
PROGRESS = 2.0
"""Seconds between words of how far a transfer has come."""


@dataclass(slots=True, kw_only=True, eq=False)
class Transfer:
    """One answer that comes in or goes out.

    ``moved`` counts bytes, with ``skipped`` of an earlier attempt; ``began`` is in seconds of
    the loop's clock.
    """

    workspace: WorkspaceId
    peer: DeviceId
    snapshot: SnapshotId
    incoming: bool
    began: float
    skipped: int = 0
    lane: str
    """Of what kind the way is."""
    carried: Counter[tuple[str, str]]
    """That of all transfers, see :attr:`Transfers.carried`."""
    progress: Callable[[Transfer], None]
    """Told now and then how far it has come, and at the end of what took that long."""
    told_at: float
    moved: int = 0
    took: float | None = None
    """Seconds, once it has ended."""

    def add(self, count: int) -> None:
        """Take note of ``count`` bytes more."""
        self.moved += count
        self.carried[self.lane, "in" if self.incoming else "out"] += count
        now = asyncio.get_running_loop().time()
        if now - self.told_at >= PROGRESS:
            self.told_at = now
            self.progress(self)

    def rate(self, now: float) -> float | None:
        """Return the bytes per second, ``None`` as long as that would be a guess."""
        passed = now - self.began
        return None if passed < TELLING else self.moved / passed


class Transfers:
    """All transfers of a device."""

    def __init__(self) -> None:
        self.progress: Callable[[Transfer], None] = lambda _: None
        """Told of each transfer that takes long how far it has come."""
        self.carried: Counter[tuple[str, str]] = Counter()
        """Bytes since the start, by the kind of the way, and ``in`` or ``out``."""
        self._live: list[Transfer] = []

    def live(self, workspace: WorkspaceId) -> list[Transfer]:
        """Return those of a workspace that are under way, the oldest first."""
        return [transfer for transfer in self._live if transfer.workspace == workspace]

    def incoming(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, skipped: int, lane: str
    ) -> contextlib.AbstractContextManager[Transfer]:
        """Return a context for as long as which a transfer to here counts as live."""
        return self._under_way(workspace, peer, snapshot, incoming=True, skipped=skipped, lane=lane)

    def outgoing(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, skipped: int, lane: str
    ) -> contextlib.AbstractContextManager[Transfer]:
        """Return a context for as long as which a transfer from here counts as live."""
        return self._under_way(workspace, peer, snapshot, incoming=False, skipped=skipped, lane=lane)

    @contextlib.contextmanager
    def _under_way(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, incoming: bool, skipped: int, lane: str
    ) -> Iterator[Transfer]:
        began = asyncio.get_running_loop().time()
        transfer = Transfer(
            workspace=workspace,
            peer=peer,
            snapshot=snapshot,
            incoming=incoming,
            began=began,
            told_at=began,
            progress=self.progress,
            skipped=skipped,
            lane=lane,
            carried=self.carried,
        )
        self._live.append(transfer)
        try:
            yield transfer
        finally:
            transfer.took = asyncio.get_running_loop().time() - transfer.began
            self._live.remove(transfer)
            if transfer.told_at > transfer.began:
                self.progress(transfer)
