"""Lets go of what no pin holds: within weeks, or at once when asked to."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from autosync.backends.hg.living import Living
from autosync.backends.hg.objects import Kind, Objects
from autosync.ports import Alone

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
AGE = 2 * WEEK
"""Seconds for which everything is kept, referred to or not."""
_STAMP = "expired"
_AT_ONCE = 2000
"""Contents that are deleted while others wait."""
_PAGES = 500
"""That are given back to the file system while others wait."""


class Expiry:
    """The upkeep of one store; ``clock`` is in seconds since the epoch."""

    def __init__(self, objects: Objects, *, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._database = objects.database
        self._clock = clock
        self._turn = threading.Lock()

    def shared(self) -> int:
        """Return about how many bytes of the store hg's own store has as well."""
        with self._database.reading() as connection:
            if connection is None:
                return 0
            ours = (
                "SELECT total(length(body)) FROM objects WHERE kind = ? OR (kind = ? AND id IN (SELECT id FROM files))"
            )
            (total,) = connection.execute(ours, (Kind.BUNDLE, Kind.BLOB)).fetchone()
            return int(total)

    def tidy(self, *, thorough: bool, alone: Alone) -> None:
        """Let go of what has expired, once a week at most and after :data:`AGE`, or at once what is older than an hour.

        Does nothing if another thread is at it; ``thorough`` waits for that one.
        """
        if not self._turn.acquire(blocking=thorough):
            return
        try:
            with self._database.reading() as connection:
                if connection is None:
                    return
            if thorough or self._is_due():
                self._expire(HOUR if thorough else AGE, alone)
            self._shrink()
        finally:
            self._turn.release()

    def _is_due(self) -> bool:
        with self._database.writing() as connection:
            row = connection.execute("SELECT moment FROM moments WHERE name = ?", (_STAMP,)).fetchone()
            now = self._clock()
            if row is not None and abs(now - row[0]) < WEEK:  # else a clock was set ahead
                return False
            connection.execute("INSERT OR REPLACE INTO moments (name, moment) VALUES (?, ?)", (_STAMP, int(now)))
            return True

    def _expire(self, age: float, alone: Alone) -> None:
        horizon = self._clock() - age
        living = Living(self._objects, horizon)
        living.look()
        dying = self._dying(living, horizon)
        for start in range(0, max(1, len(dying)), _AT_ONCE):
            with alone() as undisturbed:
                if not undisturbed:
                    return
                with self._database.lock:
                    living.look()
                    self._delete(dying[start : start + _AT_ONCE], living, int(horizon))

    def _dying(self, living: Living, horizon: float) -> Sequence[tuple[int, bytes, bool]]:
        """Return number, id and whether it is a file of its own, of what is not needed any more."""
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            rows = connection.execute(
                "SELECT number, id, base, body IS NULL FROM objects WHERE born <= ?", (int(horizon),)
            ).fetchall()
            bases = dict(connection.execute("SELECT number, base FROM objects WHERE base IS NOT NULL").fetchall())
        needed: set[int] = set()
        for _, oid, base, _ in rows:
            below = base if oid in living.contents else None
            while below is not None and below not in needed:
                needed.add(below)
                below = bases.get(below)
        return [
            (number, oid, bool(large))
            for number, oid, _, large in rows
            if oid not in living.contents and number not in needed
        ]

    def _delete(self, dying: Sequence[tuple[int, bytes, bool]], living: Living, horizon: int) -> None:
        gone = [each for each in dying if each[1] not in living.contents]
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM snapshots WHERE born <= ? AND id NOT IN (SELECT snapshot FROM pins)", (horizon,)
            )
            connection.executemany("DELETE FROM objects WHERE number = ?", ((number,) for number, _, _ in gone))
            self._delete_unless(connection, "commits", living.commits, horizon)
            self._delete_unless(connection, "bundles", living.bundles, horizon)
        for _, oid, large in gone:
            if large:
                self._objects.large.delete(oid)

    def _delete_unless(self, connection: sqlite3.Connection, table: str, kept: set[bytes], horizon: int) -> None:
        rows = connection.execute(f"SELECT node FROM {table} WHERE born <= ?", (horizon,)).fetchall()  # noqa: S608 - our own names
        connection.executemany(
            f"DELETE FROM {table} WHERE node = ?",  # noqa: S608
            (row for row in rows if row[0] not in kept),
        )

    def _shrink(self) -> None:
        """Give the room of what was deleted back to the file system, a little at a time."""
        while True:
            with self._database.writing() as connection:
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                if not free:
                    break
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - tidy has looked
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
