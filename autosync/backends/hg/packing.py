"""Rewrites contents of a store as deltas of what they took the place of."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from autosync.backends.git import delta
from autosync.backends.hg.objects import LARGE, Kind, Objects, compressed
from autosync.backends.hg.predecessors import Predecessors
from autosync.errors import AutosyncError

_LONGEST_CHAIN = 50
_MOST_COPIED = 128 << 20
"""Bytes that reading one content may copy: a large one gets a shorter chain."""
_LARGEST = 64 << 20
"""Bytes of a content; of two in memory at once, more would be felt."""
_LINE_BY_LINE = 2 << 20
"""Bytes of a content up to which lines that moved are looked for; beyond, only what is equal at both ends."""
_SHORT = 128
"""Bytes of a delta that need not be shorter."""
_WORTH = 2
"""A delta takes the place of a body that is this many times larger."""
_AT_ONCE = 100
"""Snapshots, or contents, that are rewritten in one transaction."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A content as it is stored; ``base`` is the number of what it is a delta of; ``large``: in a file of its own."""

    number: int
    id: bytes
    kind: Kind
    size: int
    base: int | None
    depth: int
    large: bool


_COLUMNS = "number, id, kind, size, base, depth, body IS NULL"
_FORGET_BODY = "DELETE FROM bodies WHERE place = (SELECT body FROM objects WHERE number = ?)"


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A content's new body, compressed: a delta of ``base``, whole if that is ``None``."""

    row: _Row
    base: int | None
    depth: int
    body: bytes


class Packing:
    """The rewriting of one store's contents; by one thread at a time, beside those that read and write.

    A delta is always one of an older content (by its number), so that no two are deltas of each
    other, and what others are deltas of becomes none, so that no chain gets longer than its depth
    says.  A delta is applied once before it takes the place of anything.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._database = objects.database
        self._predecessors = Predecessors(objects)

    def run(self) -> None:
        """Rewrite what came with new snapshots since the last time."""
        while new := self._predecessors.new(_AT_ONCE):
            rewritten: dict[bytes, _Rewritten] = {}
            bases: set[int | None] = set()
            for each in new:
                for kind, earlier, present in self._predecessors.pairs(each):
                    if present in rewritten:
                        continue
                    made = self._improved(kind, earlier, present, rewritten)
                    if made is not None and made.row.number not in bases:
                        rewritten[present] = made
                        bases.add(made.base)
            self._write(rewritten.values(), packed=[each.snapshot for each in new])

    def rebase(self, living: Collection[bytes]) -> None:
        """Make of ``living`` contents that are deltas of others, deltas of living ones, or whole."""
        rows = self._deltas_and_bases()
        heirs: dict[int, _Row] = {}
        waiting: list[_Rewritten] = []
        for number in sorted(rows):
            row = rows[number]
            if row.base is None or row.id not in living or rows[row.base].id in living:
                continue
            above = rows[row.base]
            while above.base is not None and above.id not in living:
                above = rows[above.base]
            target = above if above.id in living else heirs.get(above.number)
            made = self._moved(row, target)
            if made is None:
                continue
            if made.base is None:
                heirs[above.number] = replace(row, depth=0)
            waiting.append(made)
            if len(waiting) >= _AT_ONCE:
                self._write(waiting)
                waiting = []
        self._write(waiting)

    def _improved(
        self, kind: Kind, earlier: bytes, present: bytes, rewritten: dict[bytes, _Rewritten]
    ) -> _Rewritten | None:
        """Return a content as a delta of what was before, ``None`` if it is one or that is not worth it."""
        base, row = self._row(earlier), self._row(present)
        if base is None or row is None or row.base is not None or base.number >= row.number or self._is_base(row):
            return None
        depth = 1 + (rewritten[earlier].depth if earlier in rewritten else base.depth)
        if max(base.size, row.size) > _LARGEST or depth > max(1, min(_LONGEST_CHAIN, _MOST_COPIED // (row.size + 1))):
            return None
        old, new = self._read(kind, earlier), self._read(kind, present)
        if old is None or new is None:
            return None
        body = _delta(old, new)
        if body is None or len(body) * _WORTH > self._stored(row):
            return None
        return _Rewritten(row, base.number, depth, body)

    def _moved(self, row: _Row, target: _Row | None) -> _Rewritten | None:
        """Return a content as a delta of ``target`` or whole, ``None`` if it is damaged."""
        content = self._read(row.kind, row.id)
        if content is None:
            return None
        whole = compressed(content)
        old = None if target is None else self._read(target.kind, target.id)
        body = None if old is None else _delta(old, content)
        if target is None or body is None or len(body) * _WORTH > len(whole):
            return _Rewritten(row, None, 0, whole)
        return _Rewritten(row, target.number, 1 + target.depth, body)

    def _write(self, rewritten: Collection[_Rewritten], *, packed: Iterable[bytes] = ()) -> None:
        with self._database.writing() as connection:
            for each in rewritten:
                place = self._objects.store_body(connection, each.row.id, each.body)
                connection.execute(_FORGET_BODY, (each.row.number,))
                connection.execute(
                    "UPDATE objects SET base = ?, depth = ?, body = ? WHERE number = ?",
                    (each.base, each.depth, place, each.row.number),
                )
            connection.executemany("UPDATE snapshots SET packed = 1 WHERE id = ?", ((oid,) for oid in packed))
        for each in rewritten:
            if each.row.large:
                self._objects.large.delete(each.row.id)

    def _deltas_and_bases(self) -> dict[int, _Row]:
        """Return all rows that are deltas or that others are deltas of, by their number."""
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - whoever tidies has looked
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM objects WHERE base IS NOT NULL "  # noqa: S608
                "OR number IN (SELECT base FROM objects WHERE base IS NOT NULL)"
            )
            return {row[0]: _parsed(row) for row in rows}

    def _row(self, oid: bytes) -> _Row | None:
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - whoever tidies has looked
            row = connection.execute(f"SELECT {_COLUMNS} FROM objects WHERE id = ?", (oid,)).fetchone()  # noqa: S608
            return _parsed(row) if row else None

    def _is_base(self, row: _Row) -> bool:
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - whoever tidies has looked
            return connection.execute("SELECT 1 FROM objects WHERE base = ?", (row.number,)).fetchone() is not None

    def _stored(self, row: _Row) -> int:
        """Return the bytes that a content takes now."""
        if row.large:
            return self._objects.large.size_of(row.id)
        with self._database.reading() as connection:
            assert connection is not None  # noqa: S101 - whoever tidies has looked
            (length,) = connection.execute(
                "SELECT length(body) FROM bodies WHERE place = (SELECT body FROM objects WHERE number = ?)",
                (row.number,),
            ).fetchone()
            return int(length)

    def _read(self, kind: Kind, oid: bytes) -> bytes | None:
        try:
            return self._objects.read(kind, oid)
        except AutosyncError:  # a damaged content stays as it is, for whoever asks for it to be told
            return None


def _parsed(row: tuple[int, bytes, int, int, int | None, int, int]) -> _Row:
    number, oid, kind, size, base, depth, large = row
    return _Row(number, oid, Kind(kind), size, base, depth, bool(large))


def _delta(base: bytes, target: bytes) -> bytes | None:
    """Return the compressed delta, ``None`` if there is none that can be applied."""
    instructions = delta.encode(base, target, lines=False)  # mostly one place was edited, and this is quick
    if len(instructions) > _SHORT and max(len(base), len(target)) <= _LINE_BY_LINE:
        instructions = delta.encode(base, target)
    try:
        if delta.apply(base, instructions) != target:
            return None
    except delta.BadDelta:  # more instructions than anybody may ask for
        return None
    body = zlib.compress(instructions, 6)
    return body if len(body) <= LARGE else None
