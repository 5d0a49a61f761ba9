"""What a session wants done: imperatives that the runner performs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autosync.core.model import DeviceId, RelPath, Snapshot, SnapshotId


class SourceKind(Enum):
    """Where a snapshot can be had; in the order in which they are tried."""

    STORE = "store"
    INLINE = "inline"
    PEER = "peer"
    HUB = "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place to get a snapshot from.

    ``STORE`` is the private store, when the other device keeps its snapshots in the same
    one.  ``device`` is whose announcement (``STORE``, ``INLINE``), listener (``PEER``) or
    hub ref (``HUB``) it is; ``pack`` the inline pack; ``lane`` what carried the announcement.
    """

    kind: SourceKind
    device: DeviceId
    pack: bytes = b""
    lane: str = ""

    def __str__(self) -> str:
        if self.kind is SourceKind.INLINE:
            return f"inline over {self.lane}"
        if self.kind is SourceKind.STORE:
            return "the store in common"
        return f"{self.kind.value} {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSnapshot:
    """Look at these paths (``None``: at everything) and record what differs from ``current``.

    The device's counter in the new version goes beyond ``above``.
    """

    paths: frozenset[RelPath] | None
    current: Snapshot | None
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Bring a snapshot into the private store."""

    wanted: SnapshotId
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrate:
    """Bring the working copy from ``current`` to a state that contains ``theirs``.

    With ``exact`` the merge waits for the nearest common ancestor, even if that
    snapshot has to be fetched first, unless it is among ``without``, which nobody has;
    else the nearest one at hand will do.
    """

    current: Snapshot
    theirs: Snapshot
    exact: bool
    above: int
    without: frozenset[SnapshotId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Tell everybody where this device is; ``snapshot`` is ``None`` when that is not for others."""

    state: str
    current: Snapshot | None
    share: bool
    inline: bool
    on_hub: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Put the snapshot on the hub."""

    snapshot: SnapshotId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHub:
    """Read which snapshots of others the hub has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Make one real commit of ``current`` on the branch (``commits: auto``)."""

    current: Snapshot
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncBranch:
    """Merge the hub's branch if it moved on, then push ours (``commits: auto``)."""

    current: Snapshot
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeBranch:
    """Join ``theirs``'s branch into ours by a merge commit (``commits: auto``)."""

    current: Snapshot
    theirs: Snapshot
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell the user something that needs his attention: a title and what to do."""

    title: str
    hint: str


Command = TakeSnapshot | Fetch | Integrate | Announce | Push | ListHub | Commit | SyncBranch | MergeBranch | Tell
LocalCommand = TakeSnapshot | Integrate | Commit | SyncBranch | MergeBranch
