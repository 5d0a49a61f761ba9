"""Finds out which contents of a store are still needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from autosync.backends.git.objects import is_tree, parse_tree
from autosync.backends.hg.objects import Kind, Objects
from autosync.backends.hg.places import NODE
from autosync.errors import AutosyncError


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What somebody is about to refer to: contents and changesets by their raw ids."""

    contents: Sequence[tuple[Kind, bytes]]
    commits: Collection[bytes]


InUse = Callable[[float], Use]
"""Returns what is not written yet and what was asked for since then (seconds since the epoch)."""

_HASH = "sha256"
_HELD = "SELECT state, base FROM snapshots WHERE id IN (SELECT snapshot FROM pins) OR born > ? ORDER BY born"


class Living:
    """What snapshots that are pinned or younger than ``horizon`` (seconds since the epoch) are made of.

    What is younger itself is needed too, with all that it refers to: somebody may be about to
    record it.  Each look adds what has come since the last one.
    """

    def __init__(self, objects: Objects, horizon: float, in_use: InUse) -> None:
        self._objects = objects
        self._in_use = in_use
        self._horizon = int(horizon)
        self.contents: set[bytes] = set()
        """Raw ids; also of files that hg's own store has."""
        self.commits: set[bytes] = set()
        self.bundles: set[bytes] = set()

    def look(self) -> None:
        """Add what is needed now."""
        use = self._in_use(self._horizon)
        self.commits.update(use.commits)
        with self._objects.database.reading() as connection:
            if connection is None:
                return
            held = connection.execute(_HELD, (self._horizon,)).fetchall()
            roots = [(Kind.STATE, state) for state, _ in held]
            self.commits.update(base for _, base in held if base is not None)
            for node, state, born in connection.execute("SELECT node, state, born FROM commits").fetchall():
                if born > self._horizon or node in self.commits:
                    roots.append((Kind.STATE, state))
                    self.commits.add(node)
            young = "SELECT kind, id FROM objects WHERE born > ? AND kind IN (?, ?)"
            roots += [
                (Kind(kind), oid) for kind, oid in connection.execute(young, (self._horizon, Kind.STATE, Kind.TREE))
            ]
            self._look_at_bundles(connection.execute("SELECT node, object, needs, born FROM bundles").fetchall())
        for kind, oid in (*roots, *use.contents):
            self._visit(kind, oid)

    def _look_at_bundles(self, rows: Iterable[tuple[bytes, bytes, bytes, int]]) -> None:
        kept = {node: (oid, needs) for node, oid, needs, _ in rows}
        wanted = [node for node, _, _, born in rows if born > self._horizon or node in self.commits]
        while wanted:
            node = wanted.pop()
            if node in kept and node not in self.bundles:
                oid, needs = kept[node]
                self.bundles.add(node)
                self.contents.add(oid)
                wanted += [needs[at : at + NODE] for at in range(0, len(needs), NODE)]

    def _visit(self, kind: Kind, oid: bytes) -> None:
        below = [(kind, oid)]
        while below:
            kind, oid = below.pop()
            if oid in self.contents:
                continue
            self.contents.add(oid)
            below += self._parts(kind, oid)

    def _parts(self, kind: Kind, oid: bytes) -> Iterator[tuple[Kind, bytes]]:
        if kind not in {Kind.STATE, Kind.TREE}:
            return
        try:
            content = self._objects.read(kind, oid)
        except AutosyncError:  # damaged: nothing can be had of it, and what else refers to its parts keeps them
            return
        if content is None:
            return
        if kind is Kind.STATE:
            yield Kind.TREE, content[:32]
            yield Kind.BLOB, content[32:]
            return
        for slot in parse_tree(content, _HASH).values():
            yield Kind.TREE if is_tree(slot) else Kind.BLOB, slot.oid
