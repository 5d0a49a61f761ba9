"""Keeps contents by their id: in memory until they are written, then compressed, whole or as deltas."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import IntEnum

from autosync.backends.git.objects import object_id
from autosync.backends.git.pack import Packer, packer_for
from autosync.backends.hg.chains import Broken, Chains
from autosync.backends.hg.content import Content, Packed
from autosync.backends.hg.database import Database
from autosync.backends.hg.large import LargeFiles
from autosync.backends.hgext.contents import SMALL
from autosync.errors import Unsafe

PENDING_LIMIT = 32 << 20
"""Bytes kept in memory before they are written without waiting for a snapshot."""
LARGE = 1 << 20
"""Bytes, compressed, above which a content is a file of its own."""
TOUCH_EVERY = 600
"""Seconds; what is put again is noted as young no more often than this."""
_HASH = "sha256"
_PART = 1 << 20
_STREAM = (
    "SELECT size, (SELECT body FROM bodies WHERE place = objects.body) FROM objects"
    " WHERE id = ? AND kind = ? AND base IS NULL AND size > ?"
)


class Kind(IntEnum):
    """What a content is; its id depends on it."""

    BLOB = 1
    TREE = 2
    STATE = 3
    BUNDLE = 4


_NAMES = {Kind.BLOB: b"blob", Kind.TREE: b"tree", Kind.STATE: b"state", Kind.BUNDLE: b"bundle"}


def raw_id(hexadecimal: str, size: int = 32) -> bytes:
    """Return an id of ``size`` bytes from its (small) hex digits.  Raises :class:`Unsafe` for anything else."""
    try:
        raw = bytes.fromhex(hexadecimal)
    except ValueError:
        raw = b""
    if len(raw) != size or raw.hex() != hexadecimal:
        raise Unsafe(f"{hexadecimal[:100]!r} is no id of {2 * size} hex digits", hint="Nothing of it was used.")
    return raw


class Objects:
    """The contents of one private store, by their raw id, for any thread; ``clock`` is in seconds since the epoch."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.large = LargeFiles(database.directory)
        self._chains = Chains(self.large)
        self.clock = clock
        self._pending: dict[bytes, tuple[Kind, bytes]] = {}
        self._pending_bytes = 0

    def put(self, kind: Kind, content: bytes) -> bytes:
        """Keep a content in memory until :meth:`flush`; return its id."""
        oid = object_id(_HASH, _NAMES[kind], content)
        with self.database.lock:
            if oid not in self._pending:
                self._pending[oid] = (kind, content)
                self._pending_bytes += len(content)
                if self._pending_bytes > PENDING_LIMIT:
                    self.flush()
        return oid

    def pack(self, kind: Kind, size: int, parts: Iterable[bytes]) -> bytes:
        """Write a content of ``size`` bytes at once, without ever holding it; return its id.

        Whoever does so records it before long.  Raises :class:`EOFError` if the parts are not so many bytes.
        """
        digest = _digest(kind, size)
        made = self.large.make(_packed(parts, size, digest))
        try:
            oid = digest.digest()
            with self.database.writing() as connection:
                if not self._touch(connection, oid):
                    self._insert(connection, oid, kind, size, self._place(connection, oid, made))
        finally:
            self.large.discard(made)
        return oid

    def flush(self) -> None:
        """Write everything that is kept, in one transaction."""
        with self.database.lock:
            if self._pending:
                with self.database.writing() as connection:
                    self.write(connection)
                self.written()

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what is kept as part of a transaction; it is kept until :meth:`written`."""
        for oid, (kind, content) in self._pending.items():
            self._write(connection, oid, kind, content)

    def written(self) -> None:
        """The transaction of :meth:`write` is on the disk: let go of what was kept."""
        self._pending = {}
        self._pending_bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether anything is kept that is not written."""
        return bool(self._pending)

    def in_use(self) -> list[tuple[Kind, bytes]]:
        """Return what is kept in memory: whoever put it is about to record it."""
        with self.database.lock:
            return [(kind, oid) for oid, (kind, _) in self._pending.items()]

    def read(self, kind: Kind, oid: bytes) -> bytes | None:
        """Return a content, ``None`` if it is not here.  Raises :class:`StateError` if it is damaged."""
        with self.database.lock:
            kept = self._pending.get(oid)
            if kept is not None:
                return kept[1] if kept[0] is kind else None
            with self.database.reading() as connection:
                if connection is None:
                    return None
                row = connection.execute("SELECT number FROM objects WHERE id = ? AND kind = ?", (oid, kind)).fetchone()
                if row is None:
                    return None
                try:
                    content = self._chains.content(connection, row[0])
                except Broken as error:
                    what = f"{_NAMES[kind].decode()} {oid.hex()} cannot be read ({error})"
                    raise self.database.damaged(what) from error
        if object_id(_HASH, _NAMES[kind], content) != oid:
            raise self.database.damaged(f"{_NAMES[kind].decode()} {oid.hex()} is not what was written")
        return content

    def open(self, kind: Kind, oid: bytes) -> Content | None:
        """Return a content, ``None`` if it is not here; a large one is read when its parts are asked for.

        Raises :class:`StateError` if it is damaged.
        """
        with self.database.lock:
            if oid not in self._pending:
                with self.database.reading() as connection:
                    found = connection and connection.execute(_STREAM, (oid, kind, SMALL)).fetchone()
                if found:
                    return self._packed(kind, oid, *found)
            content = self.read(kind, oid)
        return None if content is None else Content(content)

    def read_many(self, kind: Kind, oids: Collection[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Yield those of ``oids`` that are here, each with its content."""
        for oid in oids:
            content = self.read(kind, oid)
            if content is not None:
                yield oid, content

    def has(self, oid: bytes) -> bool:
        """Return whether a content is here."""
        with self.database.lock:
            if oid in self._pending:
                return True
            with self.database.reading() as connection:
                return (
                    connection is not None
                    and connection.execute("SELECT 1 FROM objects WHERE id = ?", (oid,)).fetchone() is not None
                )

    def _write(self, connection: sqlite3.Connection, oid: bytes, kind: Kind, content: bytes) -> None:
        if not self._touch(connection, oid):
            place = self.store_body(connection, oid, compressed(content))
            self._insert(connection, oid, kind, len(content), place)

    def _touch(self, connection: sqlite3.Connection, oid: bytes) -> bool:
        """Return whether a content is written, which is young then."""
        now = int(self.clock())
        row = connection.execute("SELECT number, born FROM objects WHERE id = ?", (oid,)).fetchone()
        if row is not None and now - row[1] > TOUCH_EVERY:
            connection.execute("UPDATE objects SET born = ? WHERE number = ?", (now, row[0]))
        return row is not None

    def _insert(self, connection: sqlite3.Connection, oid: bytes, kind: Kind, size: int, place: int | None) -> None:
        connection.execute(
            "INSERT INTO objects (id, kind, born, size, depth, body) VALUES (?, ?, ?, ?, 0, ?)",
            (oid, kind, int(self.clock()), size, place),
        )

    def _place(self, connection: sqlite3.Connection, oid: bytes, made: bytes) -> int | None:
        """Return the place of what was made, as :meth:`store_body` does."""
        if os.path.getsize(made) > LARGE:
            self.large.name(made, oid)
            return None
        with open(made, "rb") as file:
            return self.store_body(connection, oid, file.read())

    def _packed(self, kind: Kind, oid: bytes, size: int, body: bytes | None) -> Content:
        what = f"{_NAMES[kind].decode()} {oid.hex()} cannot be read"
        try:
            stream = self.large.open(oid) if body is None else body
        except FileNotFoundError as error:
            raise self.database.damaged(f"{what} ({error})") from error
        return Packed(
            stream,
            size,
            lambda: (_digest(kind, size), oid),
            lambda said: self.database.damaged(f"{what} ({said})"),
        )

    def store_body(self, connection: sqlite3.Connection, oid: bytes, body: bytes) -> int | None:
        """Write a compressed content as part of a transaction; return its place, ``None`` for a file of its own."""
        if len(body) > LARGE:
            self.large.write(oid, body)
            return None
        return connection.execute("INSERT INTO bodies (body) VALUES (?)", (body,)).lastrowid


def _digest(kind: Kind, size: int) -> hashlib._Hash:
    return hashlib.sha256(b"%s %d\0" % (_NAMES[kind], size), usedforsecurity=False)


def _packed(parts: Iterable[bytes], size: int, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the zlib stream of a large content; ``digest`` gets all of it."""
    packer: Packer | None = None
    for part in parts:
        digest.update(part)
        size -= len(part)
        packer = packer or packer_for(part)
        yield packer.compress(part)
    yield (packer or zlib.compressobj()).flush()
    if size:
        raise EOFError("the content is not as large as it was")


def compressed(content: bytes) -> bytes:
    """Return a content as it is stored: small ones as small as can be, large ones quickly."""
    if len(content) < 1 << 16:
        return zlib.compress(content, 6)
    # Part by part: what makes all of it at once holds two copies of the result.
    view, out = memoryview(content), io.BytesIO()
    packer = packer_for(view[:_PART])
    for start in range(0, len(view), _PART):
        out.write(packer.compress(view[start : start + _PART]))
    out.write(packer.flush())
    return out.getvalue()
