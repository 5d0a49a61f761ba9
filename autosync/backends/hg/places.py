"""Remembers which content a file revision of hg has, and the trees of changesets."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping

from autosync.backends.hg.database import Database
from autosync.backends.hg.objects import TOUCH_EVERY, raw_id
from autosync.core.model import CommitId, ObjectId, RelPath, TreeId

_ASKED_AT_ONCE = 500
"""SQLite takes no more than 999 values in one question (SQLITE_MAX_VARIABLE_NUMBER of old versions)."""
NODE = 20


class Places:
    """What was learned about hg's own store, for any thread; kept in memory until it is written."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._files: dict[bytes, tuple[RelPath, bytes]] = {}
        self._where: dict[bytes, bytes] = {}
        self._commits: dict[bytes, bytes] = {}

    def known_files(self, nodes: Collection[bytes]) -> dict[bytes, ObjectId]:
        """Return the contents of those file nodes (20 bytes) that were learned."""
        with self._database.lock:
            found = {node: ObjectId(self._files[node][1].hex()) for node in nodes if node in self._files}
            wanted = [node for node in nodes if node not in found]
            with self._database.reading() as connection:
                for start in range(0, len(wanted) if connection else 0, _ASKED_AT_ONCE):
                    asked = wanted[start : start + _ASKED_AT_ONCE]
                    question = f"SELECT node, id FROM files WHERE node IN ({','.join('?' * len(asked))})"  # noqa: S608 - only question marks
                    assert connection is not None  # noqa: S101 - or there would be no turn
                    found.update((node, ObjectId(oid.hex())) for node, oid in connection.execute(question, asked))
            return found

    def learn_files(self, files: Mapping[tuple[RelPath, bytes], ObjectId]) -> None:
        """Remember the content of each (path, file node)."""
        with self._database.lock:
            for (path, node), oid in files.items():
                raw = raw_id(oid)
                self._files[node] = (path, raw)
                self._where[raw] = node

    def where(self, oid: ObjectId) -> tuple[RelPath, bytes] | None:
        """Return the path and file node at which hg's own store had that content last."""
        raw = raw_id(oid)
        with self._database.lock:
            if raw in self._where:
                node = self._where[raw]
                return self._files[node][0], node
            with self._database.reading() as connection:
                if connection is None:
                    return None
                row = connection.execute(
                    "SELECT path, node FROM files WHERE id = ? ORDER BY born DESC LIMIT 1", (raw,)
                ).fetchone()
                return (RelPath(row[0]), row[1]) if row else None

    def commit_tree(self, commit: CommitId) -> TreeId | None:
        """Return the tree that was learned for a changeset."""
        node = raw_id(commit, NODE)
        with self._database.lock:
            state = self._commits.get(node)
            if state is None:
                with self._database.reading() as connection:
                    if connection is not None:
                        row = connection.execute("SELECT state, born FROM commits WHERE node = ?", (node,)).fetchone()
                        state = row and row[0]
                        if row and self._clock() - row[1] > TOUCH_EVERY:
                            self._commits[node] = row[0]  # who asks for it is about to build on it
            return TreeId(state.hex()) if state else None

    def learn_commit_tree(self, commit: CommitId, tree: TreeId) -> None:
        """Remember the tree of a changeset."""
        with self._database.lock:
            self._commits[raw_id(commit, NODE)] = raw_id(tree)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what is kept as part of a transaction; it is kept until :meth:`written`."""
        now = int(self._clock())
        connection.executemany(
            "INSERT OR REPLACE INTO files (node, id, path, born) VALUES (?, ?, ?, ?)",
            ((node, oid, path, now) for node, (path, oid) in self._files.items()),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO commits (node, state, born) VALUES (?, ?, ?)",
            ((node, state, now) for node, state in self._commits.items()),
        )

    def written(self) -> None:
        """The transaction of :meth:`write` is on the disk: let go of what was kept."""
        self._files = {}
        self._where = {}
        self._commits = {}

    def in_use(self) -> dict[bytes, bytes]:
        """Return the trees that are kept, by their changesets: raw ids."""
        with self._database.lock:
            return dict(self._commits)

    @property
    def waiting(self) -> bool:
        """Whether anything is kept that is not written."""
        return bool(self._files or self._commits)
