"""Opens the SQLite file of a private store, and gives its errors as ours."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sqlite3
import tempfile
import threading
from collections.abc import Iterator

from autosync.durable import make_directory, sync_directory
from autosync.errors import Busy, StateError

NAME = b"store.sqlite"
_BESIDE = (b"-wal", b"-shm")
"""SQLite's own files, by what is added to the name: the log of what was written last, and its index."""
SCHEMA = 1
"""The layout of the tables (``PRAGMA user_version``); that of a newer one is refused."""

_TABLES = """
CREATE TABLE objects (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,      -- SHA-256 of git's object form
    kind INTEGER NOT NULL,        -- autosync.backends.hg.objects.Kind
    born INTEGER NOT NULL,        -- when it was last put; in seconds since the epoch, as everywhere here
    size INTEGER NOT NULL,        -- bytes of the content
    base INTEGER,                 -- number of the object that the body is a delta of
    depth INTEGER NOT NULL,       -- deltas to apply until the content is there
    body INTEGER                  -- its place; NULL: a file of its own holds it
);
CREATE TABLE bodies (             -- apart: what is rewritten goes to the end, and leaves whole pages empty
    place INTEGER PRIMARY KEY, body BLOB NOT NULL -- compressed by zlib
);
CREATE INDEX deltas ON objects (base) WHERE base IS NOT NULL;
CREATE INDEX large ON objects (id) WHERE body IS NULL;
CREATE TABLE files (              -- where hg's own store has a content
    node BLOB PRIMARY KEY, id BLOB NOT NULL, path BLOB NOT NULL, born INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX places ON files (id);
CREATE TABLE commits (            -- trees of changesets
    node BLOB PRIMARY KEY, state BLOB NOT NULL, born INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE bundles (
    node BLOB PRIMARY KEY, object BLOB NOT NULL, needs BLOB NOT NULL, born INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, state BLOB NOT NULL, base BLOB, parent BLOB,
    said TEXT NOT NULL, born INTEGER NOT NULL, packed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX unpacked ON snapshots (number) WHERE packed = 0;
CREATE TABLE pins (name TEXT PRIMARY KEY, snapshot BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE moments (name TEXT PRIMARY KEY, moment INTEGER NOT NULL) WITHOUT ROWID;
"""
PATIENCE = 10.0
"""Seconds to wait for another process, of which there is none."""
_PROBE = 1 << 16
_LOG_LIMIT = 4 << 20
"""Bytes of the log (the file ``-wal``) that are left between two large transactions."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_NOT_ALLOWED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR})


class Database:
    """``store.sqlite`` in ``directory``, for any thread: one at a time; made when something is first written.

    A damaged file raises :class:`StateError`; what the machine does not allow, :class:`OSError`.
    """

    def __init__(self, directory: bytes, *, patience: float = PATIENCE) -> None:
        self.directory = directory
        self._patience = patience
        self.path = os.path.join(directory, NAME)
        self.lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def close(self) -> None:
        """Release the file; the next use opens it again."""
        with self.lock:
            if self._connection is not None:
                with self._explained():
                    self._connection.close()  # the last one to close moves the log into the file
                self._connection = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give the connection, ``None`` if nothing was ever written; others wait until the end of the block."""
        with self.lock, self._explained():
            if self._connection is None and not os.path.exists(self.path):
                yield None
            else:
                yield self._open()

    @contextlib.contextmanager
    def writing(self, *, waiting: bool = True) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction, which is on the disk at the end of the block, or not at all.

        Without ``waiting`` a power cut may take it away again as long as no other one has followed.
        """
        with self.lock, self._explained():
            connection = self._open()
            self._demand_file()
            if connection.in_transaction:  # part of a larger one of this thread
                yield connection
                return
            connection.execute(f"PRAGMA synchronous = {'FULL' if waiting else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    connection.execute("ROLLBACK")
                raise

    def size(self) -> int:
        """Return the bytes that the file and its log take on the disk."""
        total = 0
        for suffix in (b"", *_BESIDE):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(self.path + suffix).st_blocks * 512
        return total

    def damaged(self, what: str) -> StateError:
        """Return the error for a file that holds what was never written to it."""
        place = shlex.quote(os.fsdecode(self.directory))
        return StateError(
            f"{os.fsdecode(self.path)} is damaged: {what}",
            hint="No file of yours is lost. Stop autosync, move it away "
            f"(`cd {place} && mkdir damaged && mv store.sqlite* damaged/`) and start autosync again: "
            "it begins anew; of the history of snapshots only what other devices have is left.",
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if not os.path.exists(self.path):
            make_directory(self.directory)
            for suffix in _BESIDE:  # the log of a file that was taken away would be played into the new one
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path + suffix)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._opened = _identity(self.path)
        return connection

    def _demand_file(self) -> None:
        """Raise if the file that is open has another name now, or none: what is written to it would be lost."""
        if _identity(self.path) != self._opened:
            raise StateError(
                f"{os.fsdecode(self.path)} was deleted or replaced while autosync used it",
                hint="Put it back, or leave it so; then restart autosync.",
            )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise StateError(
                f"{os.fsdecode(self.path)} was written by a newer autosync (format {version}; this one knows {SCHEMA})",
                hint="Update autosync on this device.",
            )
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before there is a table, or it says nothing
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}").fetchone()
        if not version:  # new, or its maker was killed before it had tables
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
            sync_directory(self.directory)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
            if code in _DAMAGED:
                raise self.damaged(str(error)) from error
            if code in _LOCKED:
                raise Busy(
                    f"{os.fsdecode(self.path)} is in use by another process",
                    hint="If another autosync runs for this working copy, stop one of them.",
                ) from error
            if code == sqlite3.SQLITE_FULL:
                raise _os_error(errno.ENOSPC, self.path) from error
            if code == sqlite3.SQLITE_NOMEM:
                raise _os_error(errno.ENOMEM, self.path) from error
            if code in _NOT_ALLOWED:
                self._probe()
                raise _os_error(errno.EIO, self.path) from error
            raise

    def _probe(self) -> None:
        """Do what SQLite did, to learn the error that it does not tell.  Raises :class:`OSError`."""
        with tempfile.TemporaryFile(dir=self.directory, buffering=0) as file, contextlib.ExitStack() as handles:
            file.write(bytes(_PROBE))
            os.fsync(file.fileno())
            for _ in _BESIDE:  # as many as SQLite has open at once
                handles.callback(os.close, os.dup(file.fileno()))
        if not os.access(self.path, os.R_OK | os.W_OK):  # to open it would end our locks on it, fcntl(2)
            raise _os_error(errno.EACCES, self.path)


def _os_error(number: int, path: bytes) -> OSError:
    return OSError(number, os.strerror(number), path)


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
