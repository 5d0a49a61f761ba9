"""What a session is told at its start and what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autosync.core.brakes import Held
from autosync.core.model import DeviceId, Snapshot, SnapshotId
from autosync.core.sources import Peer


class Mode(Enum):
    """Which way a working copy is synced."""

    TWO_WAY = "two-way"
    SEND = "send"
    RECEIVE = "receive"
    STORE = "store"  # without files: what the devices send is kept, merged and passed on


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What a session needs to know of the configuration; times in seconds."""

    device: DeviceId
    name: str
    mode: Mode = Mode.TWO_WAY
    auto_commit: bool = False
    commit_after: float = 60.0
    settle: float = 0.05
    max_wait: float = 2.0
    hub: bool = False
    hub_holds_snapshots: bool = True
    """Whether snapshots can be pushed to the hub, not only branches."""
    follows: bool = False
    """Whether other names of the hub may be followed, so that it is looked at in any case."""
    poll: float = 60.0
    rescan: float = 600.0
    conservative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why nothing is done until something changes, and how to go on."""

    title: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """What a session tells about itself; ``pending`` counts paths that still have to be looked at."""

    phase: str
    current: Snapshot | None
    pending: int
    waiting_for: str
    halt: Halt | None
    held: tuple[Held, ...]
    hub: SnapshotId | None
    peers: tuple[Peer, ...]
