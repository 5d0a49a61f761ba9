"""The Protocol of every edge: what the runner expects of backends, channels and files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol, runtime_checkable

from autosync.core.events import PathHint
from autosync.core.model import (
    Base,
    Change,
    CommitId,
    DeviceId,
    Entry,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
)
from autosync.core.operations import Operation as Operation  # noqa: PLC0414 - one of the contracts, so to be had from here

Hold = Callable[[RelPath, int], bool]
"""Whether a new file at this path, of so many bytes, is to be left out (:class:`autosync.core.brakes.Brakes`)."""


def hold_nothing(_path: RelPath, _size: int) -> bool:
    """Hold no file back."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A working copy as it was read: not yet recorded.

    ``torn`` paths changed while they were read; in ``tree`` they stand as they
    were before.
    """

    base: Base
    tree: TreeId
    torn: frozenset[RelPath]
    unreadable: frozenset[RelPath] = frozenset()
    """All paths, whenever they were looked at, that we may not read; in ``tree`` as ``torn`` ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands at a path of the working copy right now.

    ``entry`` is ``None`` when nothing that is versioned stands there (absent, or a
    plain directory).  ``signature`` identifies the very inode and its state
    (ino, size, mtime_ns, mode); ``None`` when absent.
    """

    entry: Entry | None
    signature: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The outcome of applying operations.

    ``done`` maps each path that was brought to its new state to that state;
    ``refused`` maps each path that was left alone to the reason; ``stopped`` is what met
    one of them and would have met every further one.
    """

    done: Mapping[RelPath, Entry | None]
    refused: Mapping[RelPath, str]
    stopped: OSError | None = None


Alone = Callable[[], AbstractContextManager[bool]]
"""Gives a context in which nobody else reads or records, and says whether that is so."""


@contextmanager
def undisturbed() -> Iterator[bool]:
    """Be alone: where nobody else could be."""
    yield True


CURRENT = "current"
"""The pin of the state that a working copy was at when it was recorded last."""
LANDING = "landing"
"""The pin of the state whose files were all brought when its base was about to be checked out the last time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How it stands with one name of a hub that a working copy follows.

    ``state`` is ``current``, ``absent`` (the hub has no such name; what was here stays), ``diverged``
    (here is what the hub lacks: it is left as it is), ``checked-out`` (here, so that it is left to the
    working copy), ``refused`` (version control did not take it over) or ``unlisted`` (the hub cannot list
    by pattern).  ``commit`` is where the hub has it, ``None`` if it has not, or did not say.
    """

    name: str
    commit: CommitId | None
    state: str


class Following(Protocol):
    """The names of the hub, branches or bookmarks, that a working copy follows besides what is checked out.

    May be called from any thread.
    """

    @property
    def followed(self) -> Sequence[Followed]:
        """How it stood at the last :meth:`keep_up`, by name."""

    def follow_by(self, patterns: Sequence[str]) -> None:
        """Follow what these say (the configuration), and what :meth:`add` was told, from the next time on."""

    def added(self) -> Sequence[str]:
        """Return the names that :meth:`add` was told, in this process or before, or the user's own commands were."""

    def add(self, names: Sequence[str]) -> None:
        """Follow these too from now on.  Raises :class:`ConfigError` for what can be no name here."""

    def remove(self, names: Sequence[str]) -> None:
        """Follow these no longer, where :meth:`add` was told of them; what is here of them stays."""

    def keep_up(self, names: Sequence[str] | None = None) -> Sequence[Followed]:
        """Get what the hub has of the names that are followed, or of ``names``, and return how it stands with them.

        Nothing of the user's own is overwritten.  Raises :class:`Unreachable`, :class:`Refused`, :class:`Busy`.
        """

    def listed(self, pattern: str, *, after: str = "", limit: int) -> tuple[Sequence[tuple[str, CommitId]], bool]:
        """Return the names of the hub that ``pattern`` means and that come after ``after``, at most ``limit``,
        with where they are, and whether there are more.  Raises :class:`Unreachable`, :class:`Refused`."""


class Backend(Protocol):
    """Version control of one working copy.

    Every method blocks and may raise :class:`autosync.errors.AutosyncError`.  The
    methods in the first three groups are called by one worker thread at a time; the
    exchange methods may be called from other threads at the same time.
    """

    vcs: str
    root: bytes
    metadata: bytes
    """Absolute path of our private directory, on the file system of the working copy."""
    hub_holds_snapshots: bool
    """Whether :meth:`push`, :meth:`list_hub` and :meth:`fetch` are of any use: a hub may hold changesets only."""
    tells_by_seconds: bool
    """Whether it tells files apart by the size and a time in whole seconds: what is moved needs a new time."""
    snapshots_directory: bytes
    """Where the snapshots are: working copies that have it in common have each other's."""

    @property
    def store_directory(self) -> bytes:
        """What names the user's store: working copies that have one in common take turns."""

    @property
    def following(self) -> Following:
        """What is followed of the hub's other names."""

    def close(self) -> None:
        """End every process and release every file."""

    def rest(self) -> None:
        """End the processes that look at the repository; the next question starts others."""

    def examine(self) -> None:
        """Try out what cannot be known without; raises :class:`Unsupported` if it does not do what we rely on."""

    # -- looking at the working copy -------------------------------------------------
    def base(self) -> Base:
        """Return what is checked out now (cheap: no process is started)."""

    def busy(self) -> str | None:
        """Return the user's operation in progress or the lock held, in words, else ``None``."""

    def metadata_directories(self) -> Sequence[bytes]:
        """Return the absolute directories, each watched by itself, in which base, branch and locks show."""

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that the ignore rules name and that are not tracked.

        A directory that is ignored but holds a tracked file does not count as ignored.
        """

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Heed these patterns (gitignore(5)) in the place of those that it was opened with, from the next look on."""

    def read(
        self,
        paths: Collection[RelPath] | None,
        previous: tuple[Base, TreeId] | None,
        hold: Hold = hold_nothing,
    ) -> Reading:
        """Return the working copy's state, reading only ``paths`` when ``previous`` allows.

        ``paths`` may name files and directories (whole subtrees), ``None`` is
        everything.  If the base is not ``previous``'s, everything is looked at.  Each file that
        is neither tracked nor in ``previous`` is shown to ``hold`` before it is read.
        New objects are kept in memory until :meth:`record`.
        """

    def standing(self, path: RelPath) -> Standing:
        """Return what stands at ``path``, its content kept for :meth:`record`.

        Raises :class:`TransientError` if it changes while it is read.
        """

    def standings(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        """Return what stands at many paths, as :meth:`standing`, but those that change while they are read."""

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Take note of regular files that were staged and put there: in that state they need not be read."""

    # -- snapshots in the private store ------------------------------------------------
    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept objects and the snapshot to the private store and return it.

        The same arguments give the same id on every device.
        """

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store, ``None`` if it is not here."""

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` (``[A-Za-z0-9._/-]+``) until the pin moves or goes."""

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins."""

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""

    def secure(self, commit: CommitId) -> None:
        """Copy what ``commit`` needs into the private store, so that the user's own
        garbage collection after a rewrite of history takes nothing we need."""

    def load_many(self, snapshots: Collection[SnapshotId]) -> Sequence[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged, in any order."""

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins named ``keep/...`` at once.  May be called from any thread."""

    def size(self) -> int:
        """Return the bytes that the store takes on the disk.  May be called from any thread."""

    def shared(self) -> int:
        """Return about how many bytes of the store the user's own history has as well."""

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Pack the store and let go of what no pin holds: within weeks, ``thorough`` at once.

        May be called from any thread beside everything else.  What is deleted is deleted
        while ``alone`` holds everybody else back, for a moment; if it says that others are at
        work, it is deleted another time.
        """

    # -- trees ----------------------------------------------------------------------------
    def changes(self, old: TreeId | None, new: TreeId | None) -> tuple[Change, ...]:
        """Return the differing paths in path order; equal subtrees are never opened."""

    def salvage(self, tree: TreeId, commit: CommitId | None) -> TreeId:
        """Return the tree of ``commit`` and what can still be read of ``tree`` where that has nothing.

        For a state whose own base the user has pruned: what was synced without being committed is always here.
        """

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced, kept in memory until :meth:`record`."""

    def marks(self, tree: TreeId) -> str:
        """Return an id of what the user told version control of paths, beside their content: what he
        added, removed, copied.  Empty where that is not his to say, or is not kept in trees."""

    def join_marks(self, tree: TreeId, *, base: Base, origin: TreeId, ours: TreeId, theirs: TreeId) -> TreeId:
        """Return ``tree`` with the three-way merge of the marks of the others, as far as they say anything on ``base``.

        Symmetric in ``ours`` and ``theirs``.
        """

    def merge_text(self, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> ObjectId | None:
        """Return the clean three-way merge of three texts, ``None`` if there is none, or ``base`` is not here any more.

        Symmetric in ``ours`` and ``theirs``.
        """

    def content(self, oid: ObjectId, *, limit: int) -> bytes | None:
        """Return a file's content as it is stored (no filter is run), ``None`` if it has more than ``limit`` bytes.

        Raises :class:`Missing` if it is not here.
        """

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree (of nothing for ``None``)."""

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant``'s history (or is it).

        An ancestor that is not here is none.  Raises :class:`Missing` if ``descendant`` is not here.
        """

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor of two changesets, ``None`` if they have none."""

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here, in the user's repository or in our store."""

    # -- changing the working copy ----------------------------------------------------------
    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry, as a checkout at that path would, to the file (or
        symlink) ``directory/<index in entries>``.  ``NESTED`` entries must not be passed."""

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise, changing nothing."""

    def bring(self, commit: CommitId) -> None:
        """Copy ``commit`` and its history from the store to where the user's own commands find it by id."""

    def land(self, old: Base, new: Base, *, tree: TreeId, message: str, ours: TreeId | None = None) -> None:
        """Move HEAD, branch and index from ``old`` to ``new``, with the marks of ``tree``; no file is touched.

        ``ours`` is the tree of the working copy that ``tree`` took account of: what the user has told
        his version control of paths since then stays as he said (``None``: nothing does).
        The only place that takes a lock of the user's; it never waits for one.
        Raises :class:`Busy` (lock held, operation in progress, base is not ``old`` any
        more) or :class:`Diverged` (``new.branch`` exists here with commits that
        ``new.commit`` lacks); then nothing has changed.
        """

    def commit(
        self, paths: Collection[RelPath] | None, *, message: str, tree: TreeId, extra_parent: CommitId | None = None
    ) -> Base:
        """Make a commit of ``tree`` on the current branch beside the user's staged files.

        ``extra_parent`` makes it a merge.  Raises :class:`Busy`.
        """

    def message(self, commit: CommitId) -> str:
        """Return the message of a changeset that the user's repository has."""

    def is_published(self, commit: CommitId) -> bool:
        """Return whether the user's repository shows, without asking anybody, that others may have ``commit``."""

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out changeset by the same one with another message, and return the new base.

        Neither files nor what the user has staged change.  Raises :class:`Busy`; then nothing has changed.
        """

    def recover(self) -> None:
        """Undo or finish what a killed agent left half done (a lock of ours)."""

    # -- exchange: may be called from any thread ------------------------------------------------
    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return a thin pack of what ``snapshot`` has beyond its base, or beyond a state that others are at.

        Beyond the base it is of use to whoever comes, and if that is one of a few new changesets on
        top of a ``known`` one, those are in it too.  If it would be larger than ``limit`` bytes it
        is what is new since the first of the states ``reached`` with which it is not;
        :meth:`absorb` then needs that one.  ``None`` if all of them are larger.
        """

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Take in an inline pack and return the snapshot; it may be kept in memory until it is pinned.

        Raises :class:`Missing` if its base is not here, :class:`Unsafe` if
        the content is not what the id says or holds a name we must not write.
        """

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write a pack to ``out`` that brings one who has the commits and snapshots ``have`` to ``want``.

        Raises :class:`Missing` if ``want`` is not a snapshot of this store.
        """

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote and return the snapshot.  As :meth:`absorb`."""

    def haves(self) -> Sequence[str]:
        """Return the ids of commits and snapshots to offer to :meth:`serve` of a peer, best first."""

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest.  Raises :class:`Unreachable`, :class:`Refused`."""

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device that the hub has for this workspace."""

    def probe_hub(self) -> None:
        """Find out whether the hub takes what is ours.  Raises :class:`Unreachable`, :class:`Refused`."""

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get ``snapshot``, latest of ``device``, from the hub.  Raises :class:`Missing`, :class:`Unreachable`."""

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch to the hub; ``False`` if the hub has moved on."""

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the private store and return its tip, ``None`` if it has none."""


class Tree(Protocol):
    """The files of one working copy, written with compare-and-swap."""

    def apply(self, operations: Sequence[Operation]) -> Applied:
        """Perform the operations, each only if its path still is what it expects."""

    def sweep(self) -> frozenset[RelPath]:
        """Look after the replaced files that are still kept; return the paths that a late writer
        has changed and that were brought back."""

    def keeps(self) -> bool:
        """Return whether replaced files are still kept, so that another sweep is due."""


class WatchListener(Protocol):
    """What a watcher tells; called from the watcher's thread."""

    def paths_changed(self, hints: Sequence[PathHint]) -> None:
        """These paths changed."""

    def metadata_changed(self) -> None:
        """Something in a metadata directory changed."""

    def root_vanished(self) -> None:
        """The root was deleted, moved or unmounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """How one channel is.

    ``kind`` is ``xmpp``, ``lan``, ``reflector`` or ``fanout``; ``state`` is ``connecting``, ``online``,
    ``offline`` or ``failed``; ``detail`` says why in a sentence.  ``dropped`` counts messages that
    were not ours, per reason.
    """

    kind: str
    state: str
    detail: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)


class ChannelListener(Protocol):
    """What a channel tells; called in the event loop."""

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        """A sealed announcement arrived.  Must not raise."""

    def channel_ready(self, lane: str) -> None:
        """The channel is (again) able to send; say where we are."""

    def catch_up_done(self, lane: str) -> None:
        """Everybody's last known state has been delivered."""


class Channel(Protocol):
    """Carries sealed announcements; knows nothing of what is in them."""

    async def start(self) -> None:
        """Begin to connect; returns at once, keeps trying until :meth:`stop`."""

    async def stop(self) -> None:
        """Say good-bye and close within a second."""

    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:
        """Replace what this device last said in ``slot`` and tell all.  Raises :class:`Unreachable`."""

    def nudge(self) -> None:
        """The machine slept or its networks changed: find out at once whether you still are
        connected, and if not begin again without back-off.  Returns at once; no effect before
        :meth:`start` and after :meth:`stop`."""

    def status(self) -> ChannelStatus:
        """Return the state now."""


@runtime_checkable
class Timed(Protocol):
    """A channel whose server tells the time."""

    async def server_time(self, *, within: float) -> datetime | None:
        """Return what its clock says, ``None`` if it tells nothing within so many seconds."""


@runtime_checkable
class Piping(Channel, Protocol):
    """A channel that leads byte pipes too: the reflector's, and XMPP's, whose library is loaded for an account only."""

    kind: str
    """That of the candidates, as a text."""
    accept: Callable[[socket.socket, str], None] | None

    @property
    def address(self) -> str | None:
        """Where members can open a pipe to this device now."""

    async def connect(self, address: str) -> socket.socket:
        """Return one end of a pipe to ``address``.  Raises :class:`OSError`."""
