"""Keeps objects: what is new in memory until it is written, everything else through the private store."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from autosync.backends.git.catfile import CatFile
from autosync.backends.git.coprocess import Ended
from autosync.backends.git.objects import Slot, commit_tree, format_tree, object_id, parse_snapshot, parse_tree
from autosync.backends.git.pack import PackWriter, write_pack
from autosync.backends.git.recent import RecentObjects
from autosync.backends.git.repository import Repository
from autosync.backends.git.treecache import TreeCache
from autosync.core.model import CommitId, Snapshot, SnapshotId, TreeId
from autosync.errors import AutosyncError, Missing, Unsafe

TIDY_LOCK = b"autosync-tidy.lock"
"""A file in the store that is touched whenever something is let go of, by any process."""
_GONE = (
    "It is asked for again from the other devices. If you have pruned the commit that it belonged to, none may have it."
)
_PENDING_LIMIT = 32 << 20
"""Bytes kept in memory before they are written without waiting for a snapshot."""


class Store:
    """The private store of one repository, for any thread.

    It never leaves out an object because the user's repository has it too: what his
    next `git gc` takes away there must still be here.
    """

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self._packs = os.path.join(repo.store_dir, b"objects", b"pack")
        self._cat = CatFile(repo.store)
        self._lock = threading.RLock()
        self._flushing = threading.Lock()  # taken before the other one
        self._pending: dict[str, tuple[bytes, bytes]] = {}
        self._pending_bytes = 0
        self._trees = TreeCache(repo.hash_name)
        self._recent = RecentObjects()
        self._tidied = 0
        self.empty_tree = TreeId(object_id(repo.hash_name, b"tree", b"").hex())
        self.vetted: set[CommitId] = set()
        """Changesets that are known to be no larger than a working copy can be."""

    def close(self) -> None:
        """End the process that reads objects, and ask anew for what was here."""
        self._cat.close()
        with self._lock:
            self._recent.clear()

    def is_gone(self, commit: CommitId) -> bool:
        """Return whether a changeset has been pruned; then nothing that was read before counts any more.

        The process that reads objects goes on seeing what it has open, so another git is asked.
        """
        code, _ = self.repo.store.call("cat-file", "-e", f"{commit}^{{commit}}", accept=(0, 1, 128))
        if code == 0:
            return False
        self.close()
        with self._lock:
            self._trees = TreeCache(self.repo.hash_name)
        return True

    def put(self, kind: bytes, content: bytes) -> str:
        """Keep an object in memory until :meth:`flush`; return its hex id."""
        oid = object_id(self.repo.hash_name, kind, content).hex()
        self.keep(oid, kind, content)
        return oid

    def keep(self, oid: str, kind: bytes, content: bytes) -> None:
        """Keep an object whose hex id has been computed already."""
        with self._lock:
            if oid not in self._pending:
                self._pending[oid] = (kind, content)
                self._pending_bytes += len(content)
            full = self._pending_bytes > _PENDING_LIMIT
        if full:
            self.flush()

    def put_tree(self, tree: Mapping[bytes, Slot]) -> str:
        """Keep a tree; return its hex id."""
        content = format_tree(tree)
        oid = self.put(b"tree", content)
        with self._lock:
            self._trees.put(oid, content, tree)
        return oid

    def put_stream(self, oid: str, source: BinaryIO, size: int) -> bool:
        """Write a big blob to the store at once, in bounded memory.

        Returns false, and writes nothing, if what ``source`` holds is not ``oid`` after all.
        """
        with PackWriter(self._packs, self.repo.hash_name, 1) as writer:
            if writer.add_stream(bytes.fromhex(oid), source, size).hex() != oid:
                return False
            writer.finish()
        return True

    def write(self, objects: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write (raw id, kind, content) triples, after all that is kept, as one durable pack: all are here, or none."""
        self.flush()
        write_pack(self._packs, self.repo.hash_name, objects)

    def flush(self) -> None:
        """Write everything that is kept as one durable pack; who reads meanwhile is not held up."""
        with self._flushing:
            with self._lock:
                written = dict(self._pending)
            if not written:
                return
            write_pack(
                self._packs,
                self.repo.hash_name,
                [(bytes.fromhex(oid), kind, content) for oid, (kind, content) in written.items()],
            )
            with self._lock:
                for oid, (kind, content) in written.items():
                    del self._pending[oid]
                    self._pending_bytes -= len(content)
                    self._recent.put(oid, kind, content, written=True)
                self._trees.rest()

    def header(self, oid: str) -> tuple[bytes, int] | None:
        """Return kind and size in bytes of an object, ``None`` if it is not here."""
        with self._lock:
            kept = self._pending.get(oid) or self._written().written(oid)
        if kept is not None:
            return kept[0], len(kept[1])
        return self._cat.header(self._checked(oid))

    def headers(self, oids: Iterable[str]) -> dict[str, tuple[bytes, int]]:
        """Return hex id -> kind and size in bytes of those objects that are here."""
        wanted = {self._checked(oid) for oid in oids}
        with self._lock:
            recent = self._written()
            here = {oid: self._pending.get(oid) or recent.written(oid) for oid in wanted}
        found = {oid: (kept[0], len(kept[1])) for oid, kept in here.items() if kept is not None}
        try:
            return found | self._cat.headers_of_many([oid for oid in wanted if oid not in found])
        except Ended:  # killed since the last question: asked one by one it is started again
            headers = {oid: self.header(oid) for oid in wanted}
            return {oid: header for oid, header in headers.items() if header is not None}

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """Return hex id -> content of files, as :meth:`blob` of each; they are all in memory then."""
        wanted = {self._checked(oid) for oid in oids}
        with self._lock:
            waiting = [oid for oid in wanted if oid not in self._pending]
        found: dict[str, bytes] = {}
        with contextlib.suppress(Ended):  # as above
            found.update(
                (oid, content) for oid, kind, content in self._cat.contents_of_many(waiting) if kind == b"blob"
            )
        return found | {oid: self.blob(oid) for oid in wanted if oid not in found}

    def read(self, oid: str) -> tuple[bytes, bytes]:
        """Return kind and content of an object; raises :class:`Missing`."""
        with self._lock:
            kept = self._pending.get(oid) or self._recent.get(oid)
        if kept is not None:
            return kept
        found = self._cat.contents(self._checked(oid))
        if found is None:
            raise Missing(f"object {oid} is not here", hint=_GONE)
        with self._lock:
            self._recent.put(oid, *found, written=False)
        return found

    def blob(self, oid: str) -> bytes:
        """Return a file's content as it is stored."""
        return self._of_kind(oid, b"blob")

    def tree(self, oid: str) -> Mapping[bytes, Slot]:
        """Return a directory, name -> slot; not to be changed."""
        with self._lock:
            kept = self._trees.get(oid)
        if kept is not None:
            return kept
        if oid == self.empty_tree:
            return {}
        content = self._of_kind(oid, b"tree")
        tree = parse_tree(content, self.repo.hash_name)
        with self._lock:
            self._trees.put(oid, content, tree)
        return tree

    def warm(self, oids: Iterable[str]) -> None:
        """Read these directories at once, so that :meth:`tree` need not ask for each."""
        with self._lock:
            wanted = [oid for oid in oids if oid not in self._trees and oid not in self._pending]
        for oid, kind, content in self._cat.contents_of_many(wanted):
            if kind == b"tree":
                with self._lock:
                    self._trees.put(oid, content)

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree (of nothing for ``None``); raises :class:`Missing`."""
        if commit is None:
            return self.empty_tree
        return commit_tree(self._of_kind(commit, b"commit"), self.repo.hex_digits)

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here or in the user's repository."""
        found = self.header(commit)
        return found is not None and found[0] == b"commit"

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot, ``None`` if it is not here; raises :class:`Unsafe` if it is none."""
        with self._lock:
            self._written()
        try:
            kind, content = self.read(snapshot)
        except Missing:
            return None
        if kind != b"commit":
            raise Unsafe(f"{snapshot} is a {kind.decode()}, not a snapshot", hint="Nothing of it was used.")
        return parse_snapshot(snapshot, content)

    def load_many(self, snapshots: Iterable[SnapshotId]) -> list[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged."""
        wanted = [snapshot for snapshot in snapshots if self.repo.is_id(snapshot)]
        found: list[Snapshot] = []
        try:
            for oid, kind, content in self._contents_of_many(wanted):
                with contextlib.suppress(Unsafe):
                    if kind == b"commit":
                        found.append(parse_snapshot(SnapshotId(oid), content))
        except AutosyncError:  # git ends when it meets a damaged one; asked for one by one the others are to be had
            found = []
            for snapshot in wanted:
                with contextlib.suppress(AutosyncError):
                    loaded = self.load(snapshot)
                    found += [loaded] if loaded is not None else []
        return found

    def _written(self) -> RecentObjects:
        """Return what was written lately and is here still: other working copies of this store tidy it too."""
        try:
            tidied = os.stat(os.path.join(self.repo.store_dir, TIDY_LOCK)).st_mtime_ns
        except OSError:
            tidied = 0
        if tidied != self._tidied:
            self._tidied = tidied
            self._recent.clear()
            self._cat.close()  # it goes on seeing what it has open, deleted or not
        return self._recent

    def _contents_of_many(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield hex id, kind and content of those objects that are here, in this order."""
        with self._lock:
            recent = self._written()
            kept = {oid: found for oid in oids if (found := self._pending.get(oid) or recent.written(oid))}
        others = self._cat.contents_of_many([oid for oid in oids if oid not in kept])
        other = next(others, None)
        for oid in oids:
            if oid in kept:
                yield oid, *kept[oid]
            elif other is not None and other[0] == oid:
                yield other
                other = next(others, None)

    def _of_kind(self, oid: str, wanted: bytes) -> bytes:
        kind, content = self.read(oid)
        if kind != wanted:
            raise Unsafe(f"object {oid} is a {kind.decode()}, not a {wanted.decode()}", hint="Nothing of it was used.")
        return content

    def _checked(self, oid: str) -> str:
        if not self.repo.is_id(oid):
            raise Unsafe(f"{oid[:100]!r} is no {self.repo.hash_name} object id", hint="Nothing of it was used.")
        return oid
