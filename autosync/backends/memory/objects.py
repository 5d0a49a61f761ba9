"""Keeps texts, trees, changesets and snapshots by the hash of what they are."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass

import msgspec

from autosync.core.model import (
    Base,
    Change,
    CommitId,
    Entry,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
    parent_directories,
)
from autosync.errors import Missing

Listing = Mapping[RelPath, Entry]
"""A whole tree: every entry by its full path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """A commit.  ``number`` tells apart the commits of one author that are otherwise equal."""

    tree: TreeId
    parents: tuple[CommitId, ...]
    message: str
    author: str
    number: int


class ObjectStore:
    """Objects in memory; with ``under``, what is added stays above it until :meth:`settle`."""

    def __init__(self, under: ObjectStore | None = None) -> None:
        self.texts: MutableMapping[ObjectId, bytes] = ChainMap({}, under.texts) if under else {}
        self.trees: MutableMapping[TreeId, Listing] = ChainMap({}, under.trees) if under else {}
        self.changesets: MutableMapping[CommitId, Changeset] = ChainMap({}, under.changesets) if under else {}
        self.snapshots: MutableMapping[SnapshotId, Snapshot] = ChainMap({}, under.snapshots) if under else {}

    def settle(self) -> None:
        """Move everything that was added to the store below."""
        for layer in (self.texts, self.trees, self.changesets, self.snapshots):
            if isinstance(layer, ChainMap):
                # References last is the order above: whoever sees a snapshot sees its tree.
                layer.maps[1].update(layer.maps[0])
                layer.maps[0].clear()

    # -- adding ---------------------------------------------------------------------
    def add_text(self, content: bytes) -> ObjectId:
        """Keep a text and return its id."""
        oid = text_id(content)
        self.texts[oid] = content
        return oid

    def add_tree(self, listing: Listing) -> TreeId:
        """Keep a tree and return its id."""
        rows = sorted((path, entry.kind.value, entry.oid) for path, entry in listing.items())
        tree = TreeId(_digest(b"tree", msgspec.msgpack.encode(rows)))
        self.trees[tree] = listing
        return tree

    def add_changeset(self, changeset: Changeset) -> CommitId:
        """Keep a changeset and return its id."""
        commit = CommitId(_digest(b"changeset", msgspec.msgpack.encode(changeset)))
        self.changesets[commit] = changeset
        return commit

    def add_snapshot(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Keep a snapshot and return it with its id."""
        fields = msgspec.msgpack.encode((tree, base.commit, base.branch, version.counters, parents, device, time))
        snapshot = Snapshot(
            id=SnapshotId(_digest(b"snapshot", fields)),
            tree=tree,
            base=base,
            version=version,
            parents=parents,
            device=device,
            time=time,
        )
        self.snapshots[snapshot.id] = snapshot
        return snapshot

    # -- trees ------------------------------------------------------------------------
    def listing(self, tree: TreeId | None) -> Listing:
        """Return every entry of a tree.  Raises :class:`Missing`."""
        if tree is None:
            return {}
        found = self.trees.get(tree)
        if found is None:
            raise Missing(f"The tree {tree} is not in this store.", hint="Fetch the snapshot it belongs to first.")
        return found

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree, the empty one for ``None``.  Raises :class:`Missing`."""
        if commit is None:
            return self.add_tree({})
        changeset = self.changesets.get(commit)
        if changeset is None:
            raise Missing(f"The changeset {commit} is not in this store.", hint="Fetch it first.")
        return changeset.tree

    def changes(self, old: TreeId | None, new: TreeId | None) -> tuple[Change, ...]:
        """Return the differing paths in path order."""
        if old == new:
            return ()
        before, after = self.listing(old), self.listing(new)
        changed = {path for path, _ in before.items() ^ after.items()}
        return tuple(Change(path=path, old=before.get(path), new=after.get(path)) for path in sorted(changed))

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced.

        ``None`` takes away whatever stands at the path, a whole directory included;
        a new file ends what stands below or above it.
        """
        listing = dict(self.listing(tree))
        cleared = [path for path in edits if listing.pop(path, None) is None]
        if cleared:
            directories = {directory for path in listing for directory in parent_directories(path)}
            for path in directories.intersection(cleared):
                prefix = path + b"/"
                listing = {other: entry for other, entry in listing.items() if not other.startswith(prefix)}
        for path, entry in edits.items():
            if entry is not None:
                listing[path] = entry
        for path in cleared:
            if edits[path] is not None:
                for directory in parent_directories(path):
                    listing.pop(directory, None)
        return self.add_tree(listing)

    # -- history --------------------------------------------------------------------------
    def history(self, tips: Iterable[CommitId]) -> list[CommitId]:
        """Return ``tips`` and every changeset contained in them, nearest first; absent ones are left out."""
        found: dict[CommitId, None] = {}
        queue = [tip for tip in tips if tip in self.changesets]
        for commit in queue:
            if commit not in found:
                found[commit] = None
                queue.extend(parent for parent in self.changesets[commit].parents if parent in self.changesets)
        return list(found)

    def copy_history(self, source: ObjectStore, tip: CommitId) -> None:
        """Take ``tip`` and everything it contains from another store.  Raises :class:`Missing`."""
        source.tree_of(tip)
        for commit in reversed(source.history([tip])):
            if commit not in self.changesets:
                listing = source.listing(source.tree_of(commit))
                self.texts.update((e.oid, source.texts[e.oid]) for e in listing.values() if e.oid in source.texts)
                self.add_tree(listing)
                self.changesets[commit] = source.changesets[commit]


def text_id(content: bytes) -> ObjectId:
    """Return the id of a text."""
    return ObjectId(_digest(b"text", content))


def _digest(kind: bytes, content: bytes) -> str:
    return hashlib.sha256(kind + b"\0" + content).hexdigest()
