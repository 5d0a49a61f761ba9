"""Writes snapshots to the private store, with the pins that keep them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autosync.backends.git.objects import format_snapshot, parse_snapshot
from autosync.backends.git.pins import Pins
from autosync.backends.git.store import Store
from autosync.core.model import Base, CommitId, Snapshot, SnapshotId, TreeId, Version
from autosync.errors import Missing


class Snapshots:
    """The snapshots of one working copy and what keeps them: its pins."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._repo = store.repo
        self._pins = Pins(store.repo)
        self._recorded: SnapshotId | None = None

    def clear_locks(self) -> None:
        """Take away what an agent of this working copy left in the way of its pins when it was killed."""
        self._pins.clear_locks()

    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Write the kept objects and the snapshot and return it."""
        content = format_snapshot(tree=tree, base=base, version=version, parents=parents, device=device, time=time)
        if tree == self._store.empty_tree:  # nobody else has written it
            self._store.put_tree({})
        oid = SnapshotId(self._store.put(b"commit", content))
        snapshot = parse_snapshot(oid, content)  # nobody is sent what he would refuse
        self._store.flush()
        self._recorded = oid
        return snapshot

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes.

        Raises :class:`Missing` if the snapshot is not here.
        """
        # git would look through all packs for one that was written a moment ago.
        if snapshot != self._recorded and self._store.header(snapshot) is None:
            raise Missing(f"snapshot {snapshot} is not here", hint="It is asked for again from the other devices.")
        self._store.flush()  # one that came inline is in memory only
        self._pins.pin(name, snapshot)

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins of this working copy."""
        return self._pins.read()

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        self._pins.unpin(name)

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins of the history at once, beside whatever else is done."""
        self._pins.repin(add=add, drop=drop)

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant``'s history (or is it).

        An ancestor that is not here, as after the user's ``git gc --prune=now``, is none: a history is here
        whole.  Raises :class:`Missing` if ``descendant`` is not here.
        """
        self._must_have(descendant)
        if not self._store.has_commit(ancestor):
            return False
        code, _ = self._repo.store.call("merge-base", "--is-ancestor", ancestor, descendant, accept=(0, 1, 128))
        if code == 128:
            self._must_still_have(descendant)
            if self._store.is_gone(ancestor):
                return False
            code, _ = self._repo.store.call("merge-base", "--is-ancestor", ancestor, descendant, accept=(0, 1))
        return code == 0

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor, of several the one with the smallest id; ``None`` if there is none."""
        self._must_have(one, other)
        code, output = self._repo.store.call("merge-base", "--all", one, other, accept=(0, 1, 128))
        if code == 128:
            self._must_still_have(one, other)
            _, output = self._repo.store.call("merge-base", "--all", one, other, accept=(0, 1))
        return CommitId(min(output.decode("ascii").split(), default="")) or None

    def _must_have(self, *commits: CommitId) -> None:
        for commit in commits:
            if not self._store.has_commit(commit):
                raise Missing(f"changeset {commit} is not here", hint="It is fetched from the hub or a peer first.")

    def _must_still_have(self, *commits: CommitId) -> None:
        """Raise :class:`Missing` for what has been pruned since it was read."""
        for commit in commits:
            if self._store.is_gone(commit):
                self._must_have(commit)
