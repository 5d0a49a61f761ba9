"""This device's part in one workspace: its keys, its numbers, what it has seen of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from autosync.core.events import Announcement, Event
from autosync.core.intake import Intake
from autosync.core.model import SnapshotId
from autosync.core.remarks import Remarks
from autosync.errors import AutosyncError
from autosync.skew import Skew
from autosync.store import WorkspaceState
from autosync.storetag import store_tag
from autosync.trust.keyring import Keyring
from autosync.trust.sealing import WorkspaceKey


class Voice(Protocol):
    """Whose announcements are broadcast, and who is told of those of others."""

    @property
    def workspace(self) -> str:
        """The workspace's name."""

    def post(self, event: Event) -> None:
        """Take an event."""


@dataclass(slots=True, kw_only=True, eq=False)
class Membership:
    """What the agent holds of a workspace in which it takes part."""

    runner: Voice
    keyring: Keyring
    state: WorkspaceState
    intake: Intake
    seq: int
    dropped: dict[str, int] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    last: Announcement | None = None
    unwritten: AutosyncError | None = None
    """Why a new key of the workspace, which the others have by now, could not be written here."""
    skew: Skew = field(default_factory=Skew)
    snapshots_directory: bytes = b""
    """Where this device keeps them; empty if nowhere."""
    remarks: Callable[[SnapshotId | None], Remarks] = lambda _shared: Remarks()
    """What there is to say beside where this device is, when it shares that snapshot."""

    @property
    def key(self) -> WorkspaceKey:
        """The key of the workspace that is used now."""
        return self.keyring.current

    @property
    def store(self) -> str:
        """What tells others that have the same directory of snapshots that they have."""
        return store_tag(self.key, self.snapshots_directory) if self.snapshots_directory else ""

    def is_out(self) -> bool:
        """Return whether this device was revoked: it says and takes nothing then."""
        return bool(self.keyring.trust.expulsion)

    def count(self, reason: str) -> None:
        """Take note of an announcement that was dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
