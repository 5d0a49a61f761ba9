"""Finds what the contents of new snapshots took the place of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autosync.backends.git.objects import Slot, is_tree, parse_tree
from autosync.backends.hg.objects import Kind, Objects
from autosync.errors import AutosyncError

_HASH = "sha256"
_NEW = """
SELECT id, state, coalesce(
    (SELECT state FROM snapshots AS earlier WHERE earlier.id = snapshots.parent),
    (SELECT state FROM commits WHERE node = snapshots.base))
FROM snapshots WHERE packed = 0 ORDER BY number LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """A snapshot whose contents were not looked at yet; all are raw ids.

    ``before`` is the state that it continues, or that of its base; ``None`` if neither is here.
    """

    snapshot: bytes
    state: bytes
    before: bytes | None


class Predecessors:
    """The looking at one store; what is damaged has taken no place and given none."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def new(self, count: int) -> list[New]:
        """Return so many new snapshots at most, oldest first."""
        with self._objects.database.reading() as connection:
            rows = connection.execute(_NEW, (count,)).fetchall() if connection else ()
            return [New(snapshot=oid, state=state, before=before) for oid, state, before in rows]

    def pairs(self, new: New) -> Iterator[tuple[Kind, bytes, bytes]]:
        """Yield kind, earlier and present id of everything in which a snapshot differs from what was before."""
        before = self._read(Kind.STATE, new.before) if new.before else None
        after = self._read(Kind.STATE, new.state)
        if before and after:
            yield from self._differing(before[:32], after[:32])
            if before[32:] != after[32:]:
                yield Kind.BLOB, before[32:], after[32:]

    def _differing(self, old: bytes, new: bytes) -> Iterator[tuple[Kind, bytes, bytes]]:
        if old == new:
            return
        yield Kind.TREE, old, new
        before = self._names(old)
        for name, slot in self._names(new).items():
            other = before.get(name)
            if other is None or other.oid == slot.oid or is_tree(other) != is_tree(slot):
                continue
            if is_tree(slot):
                yield from self._differing(other.oid, slot.oid)
            else:
                yield Kind.BLOB, other.oid, slot.oid

    def _names(self, tree: bytes) -> dict[bytes, Slot]:
        content = self._read(Kind.TREE, tree)
        return parse_tree(content, _HASH) if content else {}

    def _read(self, kind: Kind, oid: bytes) -> bytes | None:
        try:
            return self._objects.read(kind, oid)
        except AutosyncError:
            return None
