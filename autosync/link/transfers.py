"""What is being moved over the links of a device at this moment, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from autosync.core.model import DeviceId, SnapshotId, WorkspaceId

TELLING = 0.5
"""Seconds after which a rate means something."""


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
    moved: int = 0
    took: float | None = None
    """Seconds, once it has ended."""

    def add(self, count: int) -> None:
        """Take note of ``count`` bytes more."""
        self.moved += count

    def rate(self, now: float) -> float | None:
        """Return the bytes per second, ``None`` as long as that would be a guess."""
        passed = now - self.began
        return None if passed < TELLING else self.moved / passed


class Transfers:
    """All transfers of a device."""

    def __init__(self) -> None:
        self._live: list[Transfer] = []

    def live(self, workspace: WorkspaceId) -> list[Transfer]:
        """Return those of a workspace that are under way, the oldest first."""
        return [transfer for transfer in self._live if transfer.workspace == workspace]

    def incoming(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, skipped: int
    ) -> contextlib.AbstractContextManager[Transfer]:
        """Return a context for as long as which a transfer to here counts as live."""
        return self._under_way(workspace, peer, snapshot, incoming=True, skipped=skipped)

    def outgoing(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, skipped: int
    ) -> contextlib.AbstractContextManager[Transfer]:
        """Return a context for as long as which a transfer from here counts as live."""
        return self._under_way(workspace, peer, snapshot, incoming=False, skipped=skipped)

    @contextlib.contextmanager
    def _under_way(
        self, workspace: WorkspaceId, peer: DeviceId, snapshot: SnapshotId, *, incoming: bool, skipped: int
    ) -> Iterator[Transfer]:
        transfer = Transfer(
            workspace=workspace,
            peer=peer,
            snapshot=snapshot,
            incoming=incoming,
            began=asyncio.get_running_loop().time(),
            skipped=skipped,
        )
        self._live.append(transfer)
        try:
            yield transfer
        finally:
            transfer.took = asyncio.get_running_loop().time() - transfer.began
            self._live.remove(transfer)
