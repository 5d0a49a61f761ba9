"""Joins the parts into the backend of one Mercurial working copy."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

from autosync.backends.hg.admitting import Admitting
from autosync.backends.hg.basetree import BaseTrees
from autosync.backends.hg.committing import Committing
from autosync.backends.hg.contents import Contents
from autosync.backends.hg.exchange import Exchange
from autosync.backends.hg.following import Following
from autosync.backends.hg.head import Head
from autosync.backends.hg.histories import Histories
from autosync.backends.hg.history import History
from autosync.backends.hg.hub import Hub
from autosync.backends.hg.ignore import Ignore
from autosync.backends.hg.landing import Landing
from autosync.backends.hg.merging import merge_text
from autosync.backends.hg.nodes import Namer
from autosync.backends.hg.reading import Reader
from autosync.backends.hg.recording import Differences, Recording
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.staging import Staging
from autosync.backends.hg.store import Store
from autosync.causes import shortage_of
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
    WorkspaceId,
)
from autosync.durable import make_directory
from autosync.errors import NotAWorkingCopy
from autosync.ports import Alone, Hold, Reading, Standing, hold_nothing, undisturbed


def open_hg(
    path: bytes,
    *,
    workspace: WorkspaceId,
    remote: str | None,
    hg: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    subscribe: Sequence[str] = (),
) -> HgBackend:
    """Return the backend of the hg working copy at ``path``.

    ``remote`` is a name in the section ``paths`` of its configuration or the URL of the hub, ``hg``
    the command to run, by default that of our own environment, ``ignore`` further patterns in the
    form of gitignore(5), ``subscribe`` the bookmarks of the hub that are followed.  Raises
    :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    try:
        return HgBackend(path, workspace=workspace, remote=remote, hg=hg, ignore=ignore, subscribe=subscribe)
    except OSError as error:
        raise shortage_of(error, path) or NotAWorkingCopy(
            f"{os.fsdecode(path)} cannot be opened: {error}", hint="Make `hg status` work in that folder first."
        ) from error


class HgBackend:
    """Everything :class:`autosync.ports.Backend` asks for; each part does one group of it.

    Two hg processes serve it, each started when first needed: one for the working copy, and one for
    the exchange, so that a long transfer never delays a save.
    """

    vcs = "hg"
    hub_holds_snapshots = False
    tells_by_seconds = True

    def __init__(
        self,
        root: bytes,
        *,
        workspace: WorkspaceId,  # noqa: ARG002 - no hub of hg's could mix up what belongs to another one
        remote: str | None,
        hg: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        subscribe: Sequence[str] = (),
    ) -> None:
        self.repo = Repository(root, hg)
        self._beside = Repository(root, hg)
        self.root = root
        self.metadata = os.path.join(root, b".hg", b"autosync")
        make_directory(self.metadata)
        self._head = Head(root)
        self.snapshots_directory = self.metadata
        self.store = Store(self.metadata)
        server = self.repo.server
        contents, self._trees = Contents(self.repo, self.store), BaseTrees(self.repo, self.store)
        self._contents = contents
        self._reader = Reader(self.repo, self.store, self._trees, Ignore(root, ignore), self._head.base)
        self._history = History(server, self.store)
        self._landing = Landing(server, self.store, self._history, base=self._head.base)
        self._committing = Committing(
            server, self.store, self._history, open=contents.open, tree_of=self._trees.tree_of, base=self._head.base
        )
        self._staging = Staging(server, open=contents.open)
        self._recording = Recording(
            Namer(server),
            Histories(server, self.store, self._trees.tree_of),
            Differences(self.store, contents.open, self._trees.tree_of),
        )
        self._histories, self._exchange = self._open_exchange()
        self._hub = Hub(root, self.store, self._histories, remote, hg=hg)
        self.following = Following(root, self._hub, subscribe)

    def _open_exchange(self) -> tuple[Histories, Exchange]:
        """Return the parts that other threads use, with an hg of their own."""
        trees = BaseTrees(self._beside, self.store)
        histories = Histories(self._beside.server, self.store, trees.tree_of)
        differences = Differences(self.store, Contents(self._beside, self.store).open, trees.tree_of)
        admitting = Admitting(Namer(self._beside.server), histories, differences)
        return histories, Exchange(histories, differences, admitting)

    @property
    def store_directory(self) -> bytes:
        """What names the user's store: that of the source, for a share."""
        return self._head.source

    def close(self) -> None:
        """End every process and release every file."""
        self._hub.close()
        self._histories.close()
        self._beside.close()
        self.rest()

    def rest(self) -> None:
        """End the processes that look at the repository; the next question starts others."""
        self.repo.close()
        self.store.rest()

    def examine(self) -> None:
        """Raise :class:`Unsupported` if this hg makes other changesets than we build."""
        self.repo.check_hashes()

    # -- looking at the working copy -------------------------------------------------
    def base(self) -> Base:
        """Return what is checked out now."""
        return self._head.base()

    def busy(self) -> str | None:
        """Return the user's operation in progress or the lock held, in words."""
        return self._head.busy()

    def metadata_directories(self) -> Sequence[bytes]:
        """Return the directories in which base, branch and locks show."""
        return self._head.metadata_directories()

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Heed these patterns in the place of those that it was opened with."""
        self._reader.ignore_by(patterns)

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that the ignore rules name and that are not tracked."""
        return self._reader.ignored(paths)

    def read(
        self,
        paths: Collection[RelPath] | None,
        previous: tuple[Base, TreeId] | None,
        hold: Hold = hold_nothing,
    ) -> Reading:
        """Return the working copy's state, reading only ``paths`` when ``previous`` allows."""
        return self._reader.read(paths, previous, hold)

    def standing(self, path: RelPath) -> Standing:
        """Return what stands at ``path``, its content kept for :meth:`record`."""
        return self._reader.standing(path)

    def standings(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        """Return what stands at many paths, but those that change while they are read."""
        return self._reader.standings(paths)

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Do nothing: Mercurial compares them with what it has when it is asked."""

    # -- snapshots in the private store ------------------------------------------------
    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept contents and the snapshot to the private store and return it."""
        return self._recording.record(tree=tree, base=base, version=version, parents=parents, device=device, time=time)

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store, ``None`` if it is not here."""
        return self.store.load(snapshot)

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes."""
        self.store.pin(name, snapshot)

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins of this working copy."""
        return self.store.pins()

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        self.store.unpin(name)

    def secure(self, commit: CommitId) -> None:
        """Keep what of ``commit``'s history is not public in the private store."""
        self._history.secure(commit)

    def load_many(self, snapshots: Collection[SnapshotId]) -> Sequence[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged."""
        return self.store.load_many(snapshots)

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins of the history at once."""
        self.store.repin(add=add, drop=drop)

    def size(self) -> int:
        """Return the bytes that the store takes on the disk."""
        return self.store.size()

    def shared(self) -> int:
        """Return about how many bytes of the store the user's own history has as well."""
        return self.store.shared()

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Pack the store and let go of what no pin holds."""
        self.store.tidy(thorough=thorough, alone=alone)

    # -- trees ----------------------------------------------------------------------------
    def changes(self, old: TreeId | None, new: TreeId | None) -> tuple[Change, ...]:
        """Return the differing paths in path order."""
        return self.store.changes(old, new)

    def salvage(self, tree: TreeId, commit: CommitId | None) -> TreeId:  # noqa: ARG002 - it is here as a whole
        """Return ``tree``: it does not go with the base that it was recorded on."""
        return tree

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced, and with its marks."""
        return self.store.splice(tree, edits)

    def marks(self, tree: TreeId) -> str:
        """Return the id of what the user told hg of paths."""
        return self.store.marks_id(tree)

    def join_marks(self, tree: TreeId, *, base: Base, origin: TreeId, ours: TreeId, theirs: TreeId) -> TreeId:
        """Return ``tree`` with the merge of the marks of the others, as far as they say anything on ``base``."""
        base_tree = self._trees.tree_of(base.commit)
        return self.store.join_marks(tree, base=base_tree, origin=origin, ours=ours, theirs=theirs)

    def merge_text(self, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> ObjectId | None:
        """Return the clean three-way merge of three texts, ``None`` if there is none."""
        return merge_text(self._contents.open, self.store.put, base, ours, theirs)

    def content(self, oid: ObjectId, *, limit: int) -> bytes | None:
        """Return a file's content as it is stored, ``None`` if it has more than ``limit`` bytes."""
        content = self._contents.open(oid)
        return None if content.size > limit else content.whole()

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree."""
        return self._trees.tree_of(commit)

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant``'s history (or is it)."""
        return self._history.is_ancestor(ancestor, descendant)

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor of two changesets, ``None`` if they have none."""
        return self._history.merge_base(one, other)

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here, in the user's repository or in our store."""
        return self._history.has_commit(commit)

    # -- changing the working copy ----------------------------------------------------------
    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry, as a checkout would, to ``directory/<index>``."""
        self._staging.stage(entries, directory)

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise, changing nothing."""
        self._landing.check_landing(old, new)

    def bring(self, commit: CommitId) -> None:
        """Copy ``commit`` and its history to where the user's own commands find it by id."""
        self._history.bring(commit)

    def land(
        self,
        old: Base,
        new: Base,
        *,
        tree: TreeId,
        message: str,  # noqa: ARG002 - hg has no reflog
        ours: TreeId | None = None,
    ) -> None:
        """Move parent, branch, bookmark and dirstate from ``old`` to ``new``; no file is touched."""
        self._landing.land(old, new, tree=tree, ours=ours)

    def commit(
        self, paths: Collection[RelPath] | None, *, message: str, tree: TreeId, extra_parent: CommitId | None = None
    ) -> Base:
        """Make a changeset of ``tree`` on the current branch beside what else the user has pending."""
        return self._committing.commit(paths, message=message, tree=tree, extra_parent=extra_parent)

    def message(self, commit: CommitId) -> str:
        """Return a changeset's message."""
        return self._committing.message(commit)

    def is_published(self, commit: CommitId) -> bool:
        """Return whether a changeset is public."""
        return self._committing.is_published(commit)

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out changeset by the same one with another message."""
        return self._committing.reword(old, message)

    def recover(self) -> None:
        """Undo or finish what a killed agent left half done."""
        self._landing.recover()

    # -- exchange: may be called from any thread ------------------------------------------------
    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return a pack of what ``snapshot`` has beyond its base, ``known``, or one of ``reached``."""
        return self._exchange.pack(snapshot, limit=limit, known=known, reached=reached)

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Store an inline pack and return the snapshot."""
        return self._exchange.absorb(snapshot, pack)

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write a stream to ``out`` that brings one who has ``have`` to ``want``."""
        self._exchange.serve(want, have, out)

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote and return the snapshot."""
        return self._exchange.receive(want, pack)

    def haves(self) -> Sequence[str]:
        """Return the ids of changesets and snapshots to offer to a peer, best first."""
        return self._exchange.haves()

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Raise :class:`Refused`: hubs of hg hold no snapshots."""
        self._hub.push(device, snapshot)

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return nothing: hubs of hg hold no snapshots."""
        return self._hub.list_hub()

    def probe_hub(self) -> None:
        """Find out whether the hub answers.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._hub.probe()

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Raise :class:`Missing`: hubs of hg hold no snapshots."""
        return self._hub.fetch(device, snapshot)

    def push_branch(self, branch: str) -> bool:
        """Push what an agent committed on the user's branch; ``False`` if the hub has moved on."""
        return self._hub.push_branch(branch)

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the private store and return its tip."""
        return self._hub.fetch_branch(branch)
