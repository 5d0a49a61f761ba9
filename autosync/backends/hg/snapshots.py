"""Keeps snapshots by their id, and the pins that hold them."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping

from autosync.backends.hg.database import Database
from autosync.backends.hg.objects import raw_id
from autosync.backends.hg.places import NODE
from autosync.core.model import Base, CommitId, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.retention import is_keeping
from autosync.errors import AutosyncError, Missing

_COLUMNS = "id, state, base, said"
_PIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_Row = tuple[bytes, bytes, bytes | None, str]


class Snapshots:
    """The snapshots and pins of one working copy, for any thread."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def write(self, connection: sqlite3.Connection, snapshot: Snapshot) -> None:
        """Keep a snapshot as part of a transaction; what was kept before is young again."""
        base = snapshot.base.commit
        connection.execute(
            "INSERT INTO snapshots (id, state, base, parent, said, born) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET born = excluded.born",
            (
                raw_id(snapshot.id, NODE),
                raw_id(snapshot.tree),
                None if base is None else raw_id(base, NODE),
                raw_id(snapshot.parents[0], NODE) if snapshot.parents else None,
                json.dumps(
                    [
                        snapshot.base.branch,
                        list(snapshot.version.counters),
                        list(snapshot.parents),
                        snapshot.device,
                        snapshot.time,
                    ],
                    separators=(",", ":"),
                ),
                int(self._clock()),
            ),
        )

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot, ``None`` if it is not here.  Raises :class:`StateError` if it is damaged."""
        oid = raw_id(snapshot, NODE)
        with self._database.reading() as connection:
            if connection is None:
                return None
            row = connection.execute(f"SELECT {_COLUMNS} FROM snapshots WHERE id = ?", (oid,)).fetchone()  # noqa: S608
            return self._parsed(row) if row else None

    def load_many(self, snapshots: Collection[SnapshotId]) -> list[Snapshot]:
        """Return those of ``snapshots`` that are here and not damaged."""
        found = []
        for snapshot in snapshots:
            try:
                loaded = self.load(snapshot)
            except AutosyncError:
                continue
            found += [loaded] if loaded is not None else []
        return found

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name`` until the pin moves or goes.  Raises :class:`Missing` if it is not here."""
        self.repin(add={name: snapshot}, drop=())

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins."""
        with self._database.reading() as connection:
            if connection is None:
                return {}
            rows = connection.execute("SELECT name, snapshot FROM pins")
            return {name: SnapshotId(snapshot.hex()) for name, snapshot in rows}

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        with self._database.reading() as connection:
            here = connection and connection.execute("SELECT 1 FROM pins WHERE name = ?", (name,)).fetchone()
        if here:
            self.repin(add={}, drop=(name,))

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Let go of the pins ``drop``, and add those of ``add``, at once.

        Raises :class:`Missing`, with nothing changed, if a snapshot to be pinned is not here.
        """
        for name in (*add, *drop):
            if not _PIN.fullmatch(name) or ".." in name:
                raise ValueError(f"{name!r} is no name for a pin")
        # What is announced next must not be numbered once more after a power cut; the history's own may go.
        waiting = not all(map(is_keeping, (*add, *drop)))
        with self._database.writing(waiting=waiting) as connection:
            connection.executemany("DELETE FROM pins WHERE name = ?", ((name,) for name in drop))
            for name, snapshot in add.items():
                oid = raw_id(snapshot, NODE)
                if connection.execute("SELECT 1 FROM snapshots WHERE id = ?", (oid,)).fetchone() is None:
                    raise Missing(
                        f"snapshot {snapshot} is not here", hint="It is asked for again from the other devices."
                    )
                connection.execute("INSERT OR REPLACE INTO pins (name, snapshot) VALUES (?, ?)", (name, oid))

    def _parsed(self, row: _Row) -> Snapshot:
        oid, state, base, said = row
        try:
            branch, counters, parents, device, seconds = json.loads(said)
            return Snapshot(
                id=SnapshotId(oid.hex()),
                tree=TreeId(state.hex()),
                base=Base(commit=None if base is None else CommitId(base.hex()), branch=branch),
                version=Version(tuple((DeviceId(name), count) for name, count in counters)),
                parents=tuple(SnapshotId(parent) for parent in parents),
                device=device,
                time=seconds,
            )
        except (ValueError, TypeError) as error:
            raise self._database.damaged(f"snapshot {oid.hex()} cannot be read ({error})") from error
