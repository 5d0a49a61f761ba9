"""Keeps a store small: lets go of what no pin holds, within weeks or at once, and gives the room back."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from autosync.backends.hg.living import InUse, Living
from autosync.backends.hg.objects import Kind, Objects
from autosync.backends.hg.packing import Packing
from autosync.ports import Alone

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
AGE = 2 * WEEK
"""Seconds for which everything is kept, referred to or not."""
_STAMP = "expired"
_AT_ONCE = 2000
"""Rows that are deleted while others wait."""
_PAGES = 500
"""That are given back to the file system while others wait."""
_OURS_AND_HIS = (
    "SELECT total(coalesce(length(bodies.body), size)) FROM objects LEFT JOIN bodies ON place = objects.body "
    "WHERE kind = ? OR (kind = ? AND id IN (SELECT id FROM files))"
)
_UNHELD = "DELETE FROM snapshots WHERE born <= ? AND id NOT IN (SELECT snapshot FROM pins)"
# Checked one by one: whatever came meanwhile, nothing is taken away that another is a delta of.
_UNNEEDED = "number = ? AND NOT EXISTS (SELECT 1 FROM objects AS other WHERE other.base = objects.number)"
_FORGET_BODY = f"DELETE FROM bodies WHERE place = (SELECT body FROM objects WHERE {_UNNEEDED})"  # noqa: S608 - all of it is here
_FORGET = f"DELETE FROM objects WHERE {_UNNEEDED}"  # noqa: S608


class Expiry:
    """The upkeep of one store; ``clock`` is in seconds since the epoch."""

    def __init__(self, objects: Objects, in_use: InUse, *, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._database = objects.database
        self._in_use = in_use
        self._clock = clock
        self._packing = Packing(objects)
        self._turn = threading.Lock()

    def shared(self) -> int:
        """Return about how many bytes of the store hg's own store has as well."""
        with self._database.reading() as connection:
            if connection is None:
                return 0
            (total,) = connection.execute(_OURS_AND_HIS, (Kind.BUNDLE, Kind.BLOB)).fetchone()
            return int(total)

    def tidy(self, *, thorough: bool, alone: Alone) -> None:
        """Pack what is new and let go of what has expired: once a week what is older than :data:`AGE`.

        ``thorough`` lets go of what is older than an hour, now.  Does nothing if another thread is
        at it; ``thorough`` waits for that one.
        """
        if not self._turn.acquire(blocking=thorough):
            return
        try:
            with self._database.reading() as connection:
                if connection is None:
                    return
            self._sweep()
            self._packing.run()
            if thorough:
                self._expire(HOUR, alone)
            elif self._is_due() and self._expire(AGE, alone):
                self._note_done()
            self._shrink()
        finally:
            self._turn.release()

    def _is_due(self) -> bool:
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            row = connection.execute("SELECT moment FROM moments WHERE name = ?", (_STAMP,)).fetchone()
            return row is None or abs(self._clock() - row[0]) >= WEEK  # in the future: a clock was set ahead

    def _note_done(self) -> None:
        with self._database.writing() as connection:
            stamp = (_STAMP, int(self._clock()))
            connection.execute("INSERT OR REPLACE INTO moments (name, moment) VALUES (?, ?)", stamp)

    # -- letting go ---------------------------------------------------------------------------
    def _expire(self, age: float, alone: Alone) -> bool:
        """Delete what is not needed, a part at a time; return whether all of it could be deleted."""
        horizon = int(self._clock() - age)
        living = Living(self._objects, horizon, self._in_use)
        living.look()
        self._packing.rebase(living.contents)
        dying, nodes = self._dying(living, horizon), self._forgotten(living, horizon)
        while True:
            with alone() as undisturbed:
                if not undisturbed:
                    return False
                with self._database.lock:
                    living.look()
                    self._delete(dying[-_AT_ONCE:], nodes[-_AT_ONCE:], living, horizon)
            del dying[-_AT_ONCE:], nodes[-_AT_ONCE:]
            if not dying and not nodes:
                return True

    def _dying(self, living: Living, horizon: int) -> list[tuple[int, bytes]]:
        """Return number and id of what is not needed any more; what is a delta of another comes after it."""
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            rows = connection.execute("SELECT number, id FROM objects WHERE born <= ? ORDER BY number", (horizon,))
            return [(number, oid) for number, oid in rows if oid not in living.contents]

    def _forgotten(self, living: Living, horizon: int) -> list[tuple[bytes, bytes]]:
        """Return the nodes of files that nothing needs any more, each with the id of the content."""
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            rows = connection.execute("SELECT node, id FROM files WHERE born <= ?", (horizon,))
            return [(node, oid) for node, oid in rows if oid not in living.contents]

    def _delete(
        self, dying: Sequence[tuple[int, bytes]], nodes: Sequence[tuple[bytes, bytes]], living: Living, horizon: int
    ) -> None:
        """Delete those that are still not needed, and the records of what is gone; ``living`` has looked just now."""
        gone = [(number, oid) for number, oid in reversed(dying) if oid not in living.contents]
        with self._database.writing() as connection:
            connection.execute(_UNHELD, (horizon,))
            for table, kept in (("commits", living.commits), ("bundles", living.bundles)):
                self._delete_others(connection, table, kept, horizon)
            connection.executemany(
                "DELETE FROM files WHERE node = ?", ((node,) for node, oid in nodes if oid not in living.contents)
            )
            for number, _ in gone:
                connection.execute(_FORGET_BODY, (number,))
                connection.execute(_FORGET, (number,))
        self._sweep()

    @staticmethod
    def _delete_others(connection: sqlite3.Connection, table: str, kept: set[bytes], horizon: int) -> None:
        rows = connection.execute(f"SELECT node FROM {table} WHERE born <= ?", (horizon,)).fetchall()  # noqa: S608
        others = (row for row in rows if row[0] not in kept)
        connection.executemany(f"DELETE FROM {table} WHERE node = ?", others)  # noqa: S608

    # -- room -----------------------------------------------------------------------------------
    def _sweep(self) -> None:
        """Delete the files of contents that are gone, and what killed processes have left."""
        with self._database.reading() as connection:  # nobody is writing one now
            assert connection is not None  # noqa: S101 - tidy has looked
            rows = connection.execute("SELECT id FROM objects WHERE body IS NULL")
            self._objects.large.keep_only({oid for (oid,) in rows})

    def _shrink(self) -> None:
        """Give the room of what was deleted back to the file system, a little at a time."""
        free = _PAGES + 1
        while free > _PAGES:
            with self._database.reading() as connection:
                assert connection is not None  # noqa: S101 - tidy has looked
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                # A script: execute() would end at the first of the pages, each of which is a row.
                connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
