"""What can happen to a session: facts, named in the past tense."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autosync.core.brakes import Held
from autosync.core.candidates import Candidate
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.core.plan import Conflict
from autosync.core.remarks import NOTHING, Remarks


class Touch(Enum):
    """What the kernel said of a path.  It may decide *when* to look, never what is there."""

    CREATED = "created"  # appeared, still empty or being written
    WRITTEN = "written"  # content changed, still open
    CLOSED = "closed"  # closed after writing
    MOVED_IN = "moved in"  # got this name by a rename
    GONE = "gone"  # deleted, or lost this name by a rename
    ATTRIBUTES = "attributes"  # mode or times changed
    SUBTREE = "subtree"  # a directory whose whole content must be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHint:
    """One path to look at.  ``fresh_source`` is true for a ``MOVED_IN`` whose old
    name had been created moments before: the way editors replace a file.  ``source``
    is the old name of a file that got this one by a rename, if it was in the tree."""

    path: RelPath
    touch: Touch
    fresh_source: bool = False
    source: RelPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsChanged:
    """The watcher saw these paths change."""

    hints: tuple[PathHint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChanged:
    """Something below ``.git`` or ``.hg`` changed: base, branch or a lock may be other now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoringBegan:
    """A command of the user's is about to change files: nothing is looked at or brought in before it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoringEnded:
    """That command has ended; what it may have changed at or below ``paths`` is one change, to be recorded at once."""

    paths: frozenset[RelPath]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootVanished:
    """The working copy's directory is gone or no longer the one that was opened: ``title`` says which."""

    title: str = "The folder of this working copy is gone"
    hint: str = (
        "Mount or restore it; autosync goes on by itself as soon as it is back. "
        "Nothing was deleted on the other devices."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootReturned:
    """The working copy that had vanished is back; ``current`` is the last state recorded in it."""

    current: Snapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortageNoticed:
    """The machine does not allow ``what`` (a word of ours for it) now, or with an empty ``title``: allows it again."""

    what: str
    title: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A device's statement "I am at this snapshot; get it here".

    ``seq`` rises with every announcement of that device.  ``candidates`` are
    the ways to reach it, ``certificate`` the DER bytes of the X.509 certificate that it
    presents on all of them.  ``inline`` is a pack that
    completes the snapshot for whoever has its base, or empty.  ``on_hub`` tells
    that the hub has the snapshot.  ``state`` is the device's phase in one word.
    ``store`` is the same of all devices that keep their snapshots in one directory (32 hex
    digits; empty: of none).  ``remote`` is set by a device whose backend is commands: where it pushes to (empty: it
    does not tell); ``version`` then counts the pushes of each device, and there is no snapshot.
    """

    device: DeviceId
    name: str
    seq: int
    state: str
    snapshot: SnapshotId | None
    tree: TreeId | None
    base: Base
    version: Version
    candidates: tuple[Candidate, ...]
    certificate: bytes
    on_hub: bool = False
    inline: bytes = b""
    remote: str | None = None
    store: str = ""
    sent_at_ms: int = 0
    """Sender's wall clock in ms, shown by the demo and never used to decide."""
    remarks: Remarks = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An announcement of another device arrived, opened and checked."""

    announcement: Announcement
    lane: str
    """What carried it: ``xmpp``, ``lan``."""
    live: bool = True
    """Said just now; else it is a last word that was kept, and its device may be gone."""
    same_store: bool = False
    """Whether that device keeps its snapshots where this one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersRanked:
    """The devices that are linked with this one, in the order in which they are to be asked: the nearest first."""

    order: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementsAsked:
    """A channel came up or another device asked: say again where we are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken:
    """The working copy was looked at.

    ``snapshot`` is the state now (``None``: nothing recorded yet, or the
    attempt failed); ``changed`` tells that it is a new one.  ``torn`` were
    being written while they were read and must be looked at again.  ``keeps`` tells
    that replaced files are still looked after in case somebody writes to them.  ``held``
    is all that the brakes hold back now.
    """

    snapshot: Snapshot | None
    changed: bool
    torn: frozenset[RelPath] = frozenset()
    keeps: bool = False
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFetched:
    """A fetch ended: ``snapshot`` is here, complete, or ``None`` and ``reason`` says why.

    ``hint`` says what to do if it is this machine that did not allow it.  ``busy_for`` is
    set if the source has it but serves others first: seconds after which to ask again.
    """

    wanted: SnapshotId
    source: str
    snapshot: Snapshot | None
    reason: str = ""
    hint: str = ""
    busy_for: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrated:
    """An attempt to bring the working copy to a peer's snapshot ended.

    ``current`` is what the working copy is at now.  ``complete`` tells that
    it contains ``theirs``; if not, ``again`` paths could not be replaced yet.
    ``hint`` says what to do if the machine did not allow the rest.  ``unfinished`` is the
    snapshot that is still to be brought in then, whoever had it.
    """

    theirs: SnapshotId
    current: Snapshot
    complete: bool
    unfinished: Snapshot | None = None
    again: frozenset[RelPath] = frozenset()
    conflicts: tuple[Conflict, ...] = ()
    changed_paths: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AncestorMissing:
    """A merge with ``theirs`` would be better with ``ancestor``, which is not here."""

    theirs: SnapshotId
    ancestor: SnapshotId


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchesDiverged:
    """Our branch and the one of ``theirs`` each have commits the other lacks."""

    theirs: SnapshotId
    reason: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserBusy:
    """A command could not run because the user's own git or hg is at work."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFailed:
    """A command ended with a deliberate error; ``transient`` ones are tried again."""

    command: str
    title: str
    hint: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The hub has this snapshot."""

    snapshot: SnapshotId


@dataclass(frozen=True, slots=True, kw_only=True)
class HubListed:
    """The hub's refs were read; these snapshots of other devices are there."""

    snapshots: tuple[tuple[DeviceId, SnapshotId], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubChanged:
    """Somebody said that the hub has something new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchSettled:
    """``commits: auto``: the branch was committed, merged or pushed; the state is now ``current``.

    ``behind`` tells that the hub or a peer moved on meanwhile: once more, soon.
    """

    current: Snapshot
    behind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionAwaited:
    """``commits: auto``: somebody may describe the last commit within so many seconds, or with 0, does not any more."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """The time of the earliest timer has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent opened the working copy; ``current`` is the last recorded state."""

    current: Snapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The user asked to stop syncing this working copy for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The user asked to go on; also releases a halt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushAsked:
    """The user asked for everything pending to leave at once (``autosync sync``)."""


Event = (
    PathsChanged
    | MetadataChanged
    | RestoringBegan
    | RestoringEnded
    | RootVanished
    | RootReturned
    | ShortageNoticed
    | Announced
    | PeersRanked
    | AnnouncementsAsked
    | SnapshotTaken
    | SnapshotFetched
    | Integrated
    | AncestorMissing
    | BranchesDiverged
    | UserBusy
    | CommandFailed
    | Pushed
    | HubListed
    | HubChanged
    | BranchSettled
    | DescriptionAwaited
    | TimePassed
    | Started
    | Paused
    | Resumed
    | FlushAsked
)
