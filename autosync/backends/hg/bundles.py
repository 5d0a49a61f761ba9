"""Keeps bundles of the user's changesets, each by the changeset that it brings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import BinaryIO

from autosync.backends.hg.content import PART, Content
from autosync.backends.hg.database import Database
from autosync.backends.hg.objects import Kind, Objects, raw_id
from autosync.backends.hg.places import NODE
from autosync.backends.hgext.contents import SMALL
from autosync.core.model import CommitId


class Bundles:
    """The bundles of one private store, for any thread."""

    def __init__(self, database: Database, objects: Objects, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock

    def keep(self, commit: CommitId, bundle: BinaryIO, *, needs: Collection[CommitId]) -> None:
        """Write the bundle that brings ``commit``, all of a file; those of ``needs`` are kept as long as it is."""
        size = bundle.seek(0, os.SEEK_END)
        bundle.seek(0)
        with self._database.lock:
            if size > SMALL:
                oid = self._objects.pack(Kind.BUNDLE, size, iter(lambda: bundle.read(PART), b""))
            else:
                oid = self._objects.put(Kind.BUNDLE, bundle.read())
            needed = b"".join(sorted(raw_id(other, NODE) for other in needs))
            with self._database.writing() as connection:
                self._objects.write(connection)
                connection.execute(
                    "INSERT OR REPLACE INTO bundles (node, object, needs, born) VALUES (?, ?, ?, ?)",
                    (raw_id(commit, NODE), oid, needed, int(self._clock())),
                )
            self._objects.written()

    def open(self, commit: CommitId) -> Content | None:
        """Return the bundle that brings ``commit``, ``None`` if none is kept."""
        oid = self._object(commit)
        return None if oid is None else self._objects.open(Kind.BUNDLE, oid)

    def has(self, commit: CommitId) -> bool:
        """Return whether a bundle is kept that brings ``commit``."""
        return self._object(commit) is not None

    def commits(self) -> list[CommitId]:
        """Return the changesets for which a bundle is kept, the latest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT node FROM bundles ORDER BY born DESC") if connection else ()
            return [CommitId(node.hex()) for (node,) in rows]

    def _object(self, commit: CommitId) -> bytes | None:
        node = raw_id(commit, NODE)
        with self._database.reading() as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT object FROM bundles WHERE node = ?", (node,)).fetchone()
            return row[0] if row else None
