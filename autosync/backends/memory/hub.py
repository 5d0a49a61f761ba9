"""A hub in memory that tests can cut off or make refuse."""

from __future__ import annotations

import threading

from autosync.backends.memory.objects import ObjectStore
from autosync.core.model import CommitId, DeviceId, SnapshotId, WorkspaceId
from autosync.errors import Refused, Unreachable


class MemoryHub:
    """Branches, and the latest snapshot of every device, that several working copies share.

    While ``cut_off`` it does not answer; while ``refuses`` it says no.
    """

    def __init__(self) -> None:
        self.store = ObjectStore()
        self.branches: dict[str, CommitId] = {}
        self.latest: dict[tuple[WorkspaceId, DeviceId], SnapshotId] = {}
        self.lock = threading.RLock()
        self.cut_off = False
        self.refuses = False

    def answer(self) -> None:
        """Return if the hub answers.  Raises :class:`Unreachable` or :class:`Refused`."""
        if self.cut_off:
            raise Unreachable("The hub does not answer.", hint="It is tried again until it does.")
        if self.refuses:
            raise Refused("The hub says no.", hint="Check that this device may write to it.")
