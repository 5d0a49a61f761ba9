"""Writes snapshots to the private store, with the pins that keep them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping

from autosync.backends.git.objects import format_snapshot, parse_snapshot
from autosync.backends.git.store import Store
from autosync.core.model import Base, CommitId, Snapshot, SnapshotId, TreeId, Version
from autosync.errors import Busy, Missing

_PIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Snapshots:
    """The snapshots of one working copy.

    Pins are refs of the private store below :attr:`Repository.pin_prefix`.  We write
    them as the files backend of git does (lock beside it, then rename; gitrepository-layout(5)),
    because starting git for it would take longer than all the rest of a snapshot.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._repo = store.repo
        # What was fetched is pinned beside the thread that touches the working copy.
        self._moving = threading.Lock()
        self._recorded: SnapshotId | None = None
        self._clear_locks()

    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept objects and the snapshot and return it."""
        content = format_snapshot(tree=tree, base=base, version=version, parents=parents, device=device, time=time)
        oid = SnapshotId(self._store.put(b"commit", content))
        snapshot = parse_snapshot(oid, content)  # nobody is sent what he would refuse
        self._store.flush()
        self._recorded = oid
        return snapshot

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes.

        Raises :class:`Missing` if the snapshot is not here.
        """
        path = self._path(name)
        # git would look through all packs for one that was written a moment ago.
        if snapshot != self._recorded and self._store.header(snapshot) is None:
            raise Missing(f"snapshot {snapshot} is not here", hint="It is asked for again from the other devices.")
        with self._moving:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            lock = self._lock(path)
            with os.fdopen(lock, "wb") as file:
                file.write(snapshot.encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(path + b".lock", path)

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins of this working copy."""
        prefix = self._repo.pin_prefix
        listed = self._repo.store.run("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        pins: dict[str, SnapshotId] = {}
        for line in os.fsdecode(listed).splitlines():
            oid, _, ref = line.partition(" ")
            pins[ref.removeprefix(prefix)] = SnapshotId(oid)
        return pins

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        path = self._path(name)
        with self._moving:
            if os.path.exists(os.path.join(self._repo.store_dir, b"packed-refs")):
                self._repo.store.run("update-ref", "-d", self._repo.pin_prefix + name)
                return
            if not os.path.exists(path):
                return
            lock = self._lock(path)
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            finally:
                os.close(lock)
                os.unlink(path + b".lock")

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant``'s history (or is it)."""
        self._must_have(ancestor, descendant)
        code, _ = self._repo.store.call("merge-base", "--is-ancestor", ancestor, descendant, accept=(0, 1))
        return code == 0

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor, of several the one with the smallest id; ``None`` if there is none."""
        self._must_have(one, other)
        _, output = self._repo.store.call("merge-base", "--all", one, other, accept=(0, 1))
        return CommitId(min(output.decode("ascii").split(), default="")) or None

    def _must_have(self, *commits: CommitId) -> None:
        for commit in commits:
            if not self._store.has_commit(commit):
                raise Missing(f"changeset {commit} is not here", hint="It is fetched from the hub or a peer first.")

    def _path(self, name: str) -> bytes:
        if not _PIN.fullmatch(name) or ".." in name or any(p.endswith((".lock", ".")) for p in name.split("/")):
            raise ValueError(f"{name!r} is no name for a pin")
        return os.path.join(self._repo.store_dir, os.fsencode(self._repo.pin_prefix + name))

    def _clear_locks(self) -> None:
        """Take away the locks of an agent that was killed; these pins have one owner."""
        for directory, _, names in os.walk(os.path.join(self._repo.store_dir, os.fsencode(self._repo.pin_prefix))):
            for name in names:
                if name.endswith(b".lock"):
                    os.unlink(os.path.join(directory, name))

    def _lock(self, path: bytes) -> int:
        try:
            return os.open(path + b".lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise Busy(
                f"{os.fsdecode(path)}.lock exists: another process moves this pin",
                hint="If no autosync and no git runs there, delete that file.",
            ) from None
