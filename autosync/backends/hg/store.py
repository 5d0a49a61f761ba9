"""Joins the parts of the private store of one Mercurial working copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import BinaryIO

from autosync.backends.git.objects import Slot, entry_of, is_tree
from autosync.backends.git.trees import Trees
from autosync.backends.hg.bundles import Bundles
from autosync.backends.hg.content import Content
from autosync.backends.hg.database import PATIENCE, Database
from autosync.backends.hg.directories import Directories
from autosync.backends.hg.expiry import Expiry
from autosync.backends.hg.living import Use
from autosync.backends.hg.marks import Marks, join_marks, meaningful
from autosync.backends.hg.objects import Kind, Objects, raw_id
from autosync.backends.hg.places import Places
from autosync.backends.hg.snapshots import Snapshots
from autosync.backends.hg.states import States
from autosync.backends.hgext.contents import SMALL
from autosync.core.model import Change, CommitId, Entry, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.ports import Alone, undisturbed

_ROOT = RelPath(b"")


class Store:
    """The private store in the directory ``metadata``, for any thread of one process.

    A :class:`TreeId` is that of a state: the tree of the files and the marks.  Nothing is made
    before something is written.  A damaged file raises :class:`StateError`, what the machine does
    not allow :class:`OSError`, ids that cannot be ones :class:`Unsafe`, what is asked for in
    vain :class:`Missing`.  ``clock`` is in seconds since the epoch, ``patience`` in seconds that another
    process may be at work on the file.
    """

    def __init__(self, metadata: bytes, *, clock: Callable[[], float] = time.time, patience: float = PATIENCE) -> None:
        self.metadata = metadata
        self._database = Database(metadata, patience=patience)
        self._objects = Objects(self._database, clock=clock)
        self._states = States(self._objects)
        self._directories = Directories(self._objects)
        self._trees = Trees(self._directories)
        self._places = Places(self._database, clock=clock)
        self._snapshots = Snapshots(self._database, clock=clock)
        self._bundles = Bundles(self._database, self._objects, clock=clock)
        self._expiry = Expiry(self._objects, self._in_use, clock=clock)
        self.empty_tree = self._states.empty

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def rest(self) -> None:
        """Release the file and what only a big change needs; the next use opens it again."""
        self._directories.rest()
        self._database.close()

    # -- contents of files ------------------------------------------------------------------
    def put(self, content: bytes) -> ObjectId:
        """Keep a file's content in memory until :meth:`flush` or :meth:`write`."""
        return ObjectId(self._objects.put(Kind.BLOB, content).hex())

    def pack(self, size: int, parts: Iterable[bytes]) -> ObjectId:
        """Keep a file's content of ``size`` bytes; a large one is written at once and never held.

        Raises :class:`EOFError` if the parts are not so many bytes.
        """
        if size <= SMALL:
            return self.put(b"".join(parts))
        return ObjectId(self._objects.pack(Kind.BLOB, size, parts).hex())

    def open(self, oid: ObjectId) -> Content | None:
        """Return a file's content, ``None`` if this store itself does not hold it."""
        return self._objects.open(Kind.BLOB, raw_id(oid))

    def content(self, oid: ObjectId) -> bytes | None:
        """Return all of a file's content, ``None`` if this store itself does not hold it."""
        return self._objects.read(Kind.BLOB, raw_id(oid))

    def flush(self) -> None:
        """Write everything that is kept in memory."""
        with self._database.lock:
            if self._objects.waiting or self._places.waiting:
                self._write(None)

    # -- trees --------------------------------------------------------------------------------
    def entry(self, tree: TreeId | None, path: RelPath) -> Entry | None:
        """Return the entry at ``path``, ``None`` for a directory or nothing."""
        return self._trees.entry(self._files_of(tree), path)

    def slot(self, tree: TreeId | None, path: RelPath) -> Slot | None:
        """Return what stands at ``path``, a directory included."""
        return self._trees.slot(self._files_of(tree), path)

    def entries(self, tree: TreeId | None) -> Iterator[tuple[RelPath, Entry]]:
        """Yield every path with its entry, in path order."""
        return self._walk(b"", self._files_of(tree))

    def changes(self, old: TreeId | None, new: TreeId | None, *, under: RelPath = _ROOT) -> tuple[Change, ...]:
        """Return the paths at and below ``under`` whose entries differ, in path order; equal subtrees are
        never opened."""
        return self._trees.changes(self._files_of(old), self._files_of(new), under=under)

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced and its marks as they are, kept in memory until :meth:`write`.

        ``None`` takes away whatever stands at the path, a whole directory included.
        Raises :class:`ValueError` for a path that is a file and a directory at once, :class:`Unsafe`
        for a name that a tree cannot hold, ``.git`` among them.
        """
        files, marks = self._states.parts(tree)
        new = self._trees.splice(TreeId(files.hex()), edits)
        return self._states.join(bytes.fromhex(new), marks)

    # -- marks --------------------------------------------------------------------------------
    def marks(self, tree: TreeId | None) -> Marks:
        """Return what the user told hg about paths, see :data:`autosync.backends.hg.marks.Marks`."""
        return self._states.marks(self._states.parts(tree)[1])

    def marks_id(self, tree: TreeId | None) -> str:
        """Return the id of the marks: equal exactly when they are."""
        return self._states.parts(tree)[1].hex()

    def with_marks(self, tree: TreeId | None, marks: Marks) -> TreeId:
        """Return ``tree`` with these marks instead of its own.

        Those of added files that no device may write are left out, as these files are.
        Raises :class:`Unsafe` for what hg does not make.
        """
        return self._states.join(self._states.parts(tree)[0], self._states.put_marks(marks))

    def join_marks(
        self, tree: TreeId, *, base: TreeId | None, origin: TreeId | None, ours: TreeId | None, theirs: TreeId | None
    ) -> TreeId:
        """Return ``tree`` with the three-way merge of the marks of the other three.

        Without those that say nothing on ``base``, which is the tree of a changeset.
        """
        joined = join_marks(self.marks(origin), self.marks(ours), self.marks(theirs))
        return self.with_marks(tree, meaningful(joined, lambda path: self.entry(base, path) is not None))

    # -- what hg's own store has ------------------------------------------------------------
    def known_files(self, nodes: Collection[bytes]) -> dict[bytes, ObjectId]:
        """Return the contents of those file nodes (20 bytes) that were learned."""
        return self._places.known_files(nodes)

    def learn_files(self, files: Mapping[tuple[RelPath, bytes], ObjectId]) -> None:
        """Remember the content of each (path, file node), kept in memory until :meth:`write`."""
        self._places.learn_files(files)

    def where(self, oid: ObjectId) -> tuple[RelPath, bytes] | None:
        """Return the path and file node at which hg's own store had that content last; a strip may have taken it."""
        return self._places.where(oid)

    def commit_tree(self, commit: CommitId) -> TreeId | None:
        """Return the tree that was learned for a changeset."""
        return self._places.commit_tree(commit)

    def learn_commit_tree(self, commit: CommitId, tree: TreeId) -> None:
        """Remember the tree of a changeset, kept in memory until :meth:`write`."""
        self._places.learn_commit_tree(commit, tree)

    # -- snapshots ----------------------------------------------------------------------------
    def write(self, snapshot: Snapshot) -> None:
        """Write a snapshot and everything that is kept in memory, in one transaction."""
        with self._database.lock:
            self._write(snapshot)
            self._directories.rest()

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot, ``None`` if it is not here."""
        return self._snapshots.load(snapshot)

    def load_many(self, snapshots: Collection[SnapshotId]) -> list[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged."""
        return self._snapshots.load_many(snapshots)

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes."""
        self._snapshots.pin(name, snapshot)

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins."""
        return self._snapshots.pins()

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        self._snapshots.unpin(name)

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins at once."""
        self._snapshots.repin(add=add, drop=drop)

    # -- bundles of the user's changesets -----------------------------------------------------
    def keep_bundle(self, commit: CommitId, bundle: BinaryIO, *, needs: Collection[CommitId] = ()) -> None:
        """Write the bundle, all of a file, that brings ``commit``; those of ``needs`` are kept as long as it is."""
        self._bundles.keep(commit, bundle, needs=needs)

    def bundle(self, commit: CommitId) -> Content | None:
        """Return the bundle that brings ``commit``, ``None`` if none is kept."""
        return self._bundles.open(commit)

    def bundled(self) -> list[CommitId]:
        """Return the changesets for which a bundle is kept, the latest first."""
        return self._bundles.commits()

    def has_bundle(self, commit: CommitId) -> bool:
        """Return whether a bundle is kept that brings ``commit``."""
        return self._bundles.has(commit)

    # -- upkeep -------------------------------------------------------------------------------
    def size(self) -> int:
        """Return the bytes that the store takes on the disk."""
        return self._database.size() + self._objects.large.size()

    def shared(self) -> int:
        """Return about how many bytes of the store hg's own store has as well."""
        return self._expiry.shared()

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Pack the store and let go of what no pin holds."""
        self._expiry.tidy(thorough=thorough, alone=alone)

    def _write(self, snapshot: Snapshot | None) -> None:
        with self._database.writing() as connection:
            self._objects.write(connection)
            self._places.write(connection)
            if snapshot is not None:
                self._snapshots.write(connection, snapshot)
        self._objects.written()
        self._places.written()

    def _in_use(self, since: float) -> Use:
        commits = self._places.in_use()
        states = (*commits.values(), *self._states.in_use(since))
        return Use(
            contents=[*self._objects.in_use(), *((Kind.STATE, state) for state in states)], commits=commits.keys()
        )

    def _files_of(self, tree: TreeId | None) -> TreeId:
        return TreeId(self._states.parts(tree)[0].hex())

    def _walk(self, prefix: bytes, tree: str) -> Iterator[tuple[RelPath, Entry]]:
        names = self._directories.tree(tree)
        for name, slot in sorted(names.items(), key=_place):
            if is_tree(slot):
                yield from self._walk(prefix + name + b"/", slot.oid.hex())
            elif (entry := entry_of(slot)) is not None:
                yield RelPath(prefix + name), entry


def _place(item: tuple[bytes, Slot]) -> bytes:
    """Return a key that sorts the names of a directory as the paths that begin with them."""
    return item[0] + b"/" if is_tree(item[1]) else item[0]
