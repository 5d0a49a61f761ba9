"""Joins the parts into the backend of one git working copy."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

from autosync.backends.git.exchange import Exchange
from autosync.backends.git.ignore import Ignore
from autosync.backends.git.landing import Landing
from autosync.backends.git.maintenance import Maintenance
from autosync.backends.git.merging import merge_text
from autosync.backends.git.reading import Reader
from autosync.backends.git.refnames import RefNames
from autosync.backends.git.repository import Repository, open_repository
from autosync.backends.git.salvaging import salvage
from autosync.backends.git.settings import SettingsWatch
from autosync.backends.git.snapshots import Snapshots
from autosync.backends.git.staging import Staging
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
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
from autosync.errors import NotAWorkingCopy
from autosync.ports import Alone, Hold, Reading, Standing, hold_nothing, undisturbed


def open_git(
    path: bytes,
    *,
    workspace: WorkspaceId,
    remote: str | None,
    hub_prefix: str = "refs/autosync",
    ignore: Sequence[str] = (),
    sole: bool = False,
    names: RefNames | None = None,
    subscribe: Sequence[str] = (),
) -> GitBackend:
    """Return the backend of the git working copy at ``path``.

    ``remote`` is the name or URL of the hub, ``ignore`` further patterns in the form of
    gitignore(5), ``subscribe`` the branches of the hub that are followed.  With ``sole`` the repository
    is no user's and stays empty: everything is in the private store.  Without ``names`` the hub shows
    nothing and takes no snapshot.  Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    try:
        repo = open_repository(path)
        return GitBackend(
            repo,
            workspace=workspace,
            remote=remote,
            hub_prefix=hub_prefix,
            ignore=ignore,
            sole=sole,
            names=names,
            subscribe=subscribe,
        )
    except OSError as error:
        raise shortage_of(error, path) or NotAWorkingCopy(
            f"{os.fsdecode(path)} cannot be opened: {error}", hint="Make `git status` work in that folder first."
        ) from error


class GitBackend:
    """Everything :class:`autosync.ports.Backend` asks for; each part does one group of it."""

    vcs = "git"
    hub_holds_snapshots = True
    tells_by_seconds = False

    def __init__(
        self,
        repo: Repository,
        *,
        workspace: WorkspaceId,
        remote: str | None,
        hub_prefix: str = "refs/autosync",
        ignore: Sequence[str] = (),
        sole: bool = False,
        names: RefNames | None = None,
        subscribe: Sequence[str] = (),
    ) -> None:
        self.repo = repo
        self._sole = sole
        self.root = repo.root
        self.metadata = repo.metadata
        self.store_directory = repo.common_dir
        self.snapshots_directory = repo.store_dir
        self.store = Store(repo)
        self._trees = Trees(self.store)
        self._snapshots = Snapshots(self.store)
        self._landing = Landing(self.store, self._trees)
        settings = SettingsWatch(repo)
        self._staging = Staging(self.store, settings)
        self._ignore = Ignore(repo, settings, patterns=ignore)
        self._reader = Reader(self._trees, settings, self._ignore, self._landing.base)
        self._exchange = Exchange(
            repo, self.store, workspace, remote, hub_prefix, names=names or RefNames(), subscribe=subscribe
        )
        self.following = self._exchange.following
        self._maintenance = Maintenance(repo, self.store, sole=sole)

    def close(self) -> None:
        """End every process and release every file."""
        self._exchange.close()
        self.rest()

    def rest(self) -> None:
        """End the processes that look at the repository; the next question starts others."""
        self._reader.close()
        self._staging.close()
        self._ignore.close()
        self.store.close()

    def examine(self) -> None:
        """Do nothing: that git is new enough was seen when it was opened."""

    # -- looking at the working copy -------------------------------------------------
    def base(self) -> Base:
        """Return what is checked out now."""
        return self._landing.base()

    def busy(self) -> str | None:
        """Return the user's operation in progress or the lock held, in words."""
        return self._landing.busy()

    def metadata_directories(self) -> Sequence[bytes]:
        """Return the directories in which base, branch and locks show."""
        return self._landing.metadata_directories()

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
        """Take note of files that were put there: in that state they need not be read."""
        self._reader.written(files)

    # -- snapshots in the private store ------------------------------------------------
    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept objects and the snapshot to the private store and return it."""
        return self._snapshots.record(tree=tree, base=base, version=version, parents=parents, device=device, time=time)

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store, ``None`` if it is not here."""
        return self.store.load(snapshot)

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes."""
        self._snapshots.pin(name, snapshot)

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins of this working copy."""
        return self._snapshots.pins()

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        self._snapshots.unpin(name)

    def secure(self, commit: CommitId) -> None:
        """Copy what ``commit`` needs into the private store."""
        self._maintenance.secure(commit)

    def load_many(self, snapshots: Collection[SnapshotId]) -> Sequence[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged."""
        return self.store.load_many(snapshots)

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins of the history at once."""
        self._snapshots.repin(add=add, drop=drop)

    def size(self) -> int:
        """Return the bytes that the store takes on the disk."""
        return self._maintenance.size()

    def shared(self) -> int:
        """Return about how many bytes of the store the user's own history has as well."""
        return self._maintenance.shared()

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Pack the store and let go of what no pin holds."""
        self._maintenance.tidy(thorough=thorough, alone=alone)

    # -- trees ----------------------------------------------------------------------------
    def changes(self, old: TreeId | None, new: TreeId | None) -> tuple[Change, ...]:
        """Return the differing paths in path order."""
        return self._trees.changes(old, new)

    def salvage(self, tree: TreeId, commit: CommitId | None) -> TreeId:
        """Return the tree of ``commit`` and what can still be read of ``tree`` where that has nothing."""
        return salvage(self.store, self._trees, tree, commit)

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced."""
        return self._trees.splice(tree, edits)

    def marks(self, tree: TreeId) -> str:  # noqa: ARG002 - the index does not travel
        """Return nothing: what the user has put into the index is his alone."""
        return ""

    def join_marks(
        self,
        tree: TreeId,
        *,
        base: Base,  # noqa: ARG002 - as above
        origin: TreeId,  # noqa: ARG002
        ours: TreeId,  # noqa: ARG002
        theirs: TreeId,  # noqa: ARG002
    ) -> TreeId:
        """Return ``tree``, which holds no marks."""
        return tree

    def merge_text(self, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> ObjectId | None:
        """Return the clean three-way merge of three texts, ``None`` if there is none."""
        return merge_text(self.store, base, ours, theirs)

    def content(self, oid: ObjectId, *, limit: int) -> bytes | None:
        """Return a file's content as it is stored, ``None`` if it has more than ``limit`` bytes."""
        header = self.store.header(oid)
        return None if header is not None and header[1] > limit else self.store.blob(oid)

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree."""
        return self.store.tree_of(commit)

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant``'s history (or is it)."""
        return self._snapshots.is_ancestor(ancestor, descendant)

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor of two changesets, ``None`` if they have none."""
        return self._snapshots.merge_base(one, other)

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here, in the user's repository or in our store."""
        return self.store.has_commit(commit)

    # -- changing the working copy ----------------------------------------------------------
    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry, as a checkout would, to ``directory/<index>``."""
        self._staging.stage(entries, directory)

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise, changing nothing."""
        self._landing.check_landing(old, new)

    def bring(self, commit: CommitId) -> None:
        """Copy ``commit`` and its history to where the user's own commands find it by id."""
        if not self._sole:
            self._landing.bring(commit)

    def land(
        self,
        old: Base,
        new: Base,
        *,
        tree: TreeId,  # noqa: ARG002 - no marks in it
        message: str,
        ours: TreeId | None = None,  # noqa: ARG002
    ) -> None:
        """Move HEAD, branch and index from ``old`` to ``new``; no file is touched."""
        self._landing.land(old, new, message=message)

    def commit(
        self, paths: Collection[RelPath] | None, *, message: str, tree: TreeId, extra_parent: CommitId | None = None
    ) -> Base:
        """Make a commit of ``tree`` on the current branch beside the user's staged files."""
        return self._landing.commit(paths, message=message, tree=tree, extra_parent=extra_parent)

    def message(self, commit: CommitId) -> str:
        """Return a commit's message."""
        return self._landing.message(commit)

    def is_published(self, commit: CommitId) -> bool:
        """Return whether a remote-tracking branch of the user's contains ``commit``."""
        return self._landing.is_published(commit)

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out commit by the same one with another message."""
        return self._landing.reword(old, message)

    def recover(self) -> None:
        """Undo or finish what a killed agent left half done."""
        self._landing.recover()
        self._snapshots.clear_locks()
        self._maintenance.drop_stale_files()

    # -- exchange: may be called from any thread ------------------------------------------------
    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return a thin pack of what ``snapshot`` has beyond its base, ``known``, or one of ``reached``."""
        return self._exchange.pack(snapshot, limit=limit, known=known, reached=reached)

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Store an inline pack and return the snapshot."""
        return self._exchange.absorb(snapshot, pack)

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write a pack to ``out`` that brings one who has ``have`` to ``want``."""
        self._exchange.serve(want, have, out)

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote and return the snapshot."""
        return self._exchange.receive(want, pack)

    def haves(self) -> Sequence[str]:
        """Return the ids of commits and snapshots to offer to a peer, best first."""
        offered = self._exchange.haves()
        if not self._sole:
            return offered
        # Nothing is checked out that would name them, and a peer may have let go of the snapshots.
        kept = self.store.load_many([SnapshotId(oid) for oid in offered])
        return list(dict.fromkeys([*(s.base.commit for s in kept if s.base.commit is not None), *offered]))

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest."""
        self._exchange.push(device, snapshot)

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device that the hub has for this workspace."""
        return self._exchange.list_hub()

    def probe_hub(self) -> None:
        """Find out whether the hub takes what is ours.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._exchange.probe_hub()

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get ``snapshot``, latest of ``device``, from the hub."""
        return self._exchange.fetch(device, snapshot)

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch to the hub; ``False`` if the hub has moved on."""
        return self._exchange.push_branch(branch)

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the private store and return its tip."""
        return self._exchange.fetch_branch(branch)
