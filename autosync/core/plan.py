"""Merges the changes that two sides made to one tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.core.copies import conflict_name, parse_conflict_name
from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath, Snapshot, Version, parent_directories
from autosync.core.operations import Operation, operations, pair_renames

__all__ = [
    "Clash",
    "Conflict",
    "Labels",
    "MergeText",
    "Merged",
    "Operation",
    "Side",
    "labels_of",
    "merge_trees",
    "operations",
]

MergeText = Callable[[ObjectId, ObjectId, ObjectId], ObjectId | None]
"""``(ancestor, one, other)`` to their clean merge, ``None`` if there is none.  Symmetric in the last two."""

_REGULAR = frozenset({Kind.FILE, Kind.EXECUTABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Whose changes they are: the device, the time (seconds since the epoch) and id of its snapshot."""

    device: str
    time: int
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The two sides of a merge.  Where only one can have a name, the greater id has it: on every device the same."""

    ours: Side
    theirs: Side


def labels_of(ours: Snapshot, theirs: Snapshot) -> Labels:
    """Return whose changes the two sides of a merge of these snapshots are."""
    return Labels(ours=_side(ours, theirs.version), theirs=_side(theirs, ours.version))


def _side(snapshot: Snapshot, other: Version) -> Side:
    return Side(device=_makers(snapshot, other), time=snapshot.time, id=snapshot.id)


def _makers(snapshot: Snapshot, other: Version) -> str:
    """Return by name who made what ``snapshot`` has beyond ``other``, several joined by "+".

    A merge bears the names of all whose states it joined.  Of whom no later state is in it than in
    ``other``, he made none of the rest.  That the versions alone tell it gives the same names on
    every device, whichever states in between it has.
    """
    advanced = {device.rpartition("-")[0] for device, n in snapshot.version.counters if n > other.count(device)}
    named = snapshot.device.split("+")
    # A device that has another name since is not found: then it may be any of them.
    return "+".join(sorted(advanced)) if advanced and advanced <= set(named) else snapshot.device


class Clash(Enum):
    """Why two changes could not simply both be had."""

    CONTENT = "both sides changed the content"
    KIND = "both sides changed it, to different kinds of things"
    DELETED = "one side deleted it, the other changed it"
    RENAMED = "both sides renamed it, to different names"
    DIRECTORY = "a file on one side, a directory on the other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One path on which the sides disagreed.

    ``path`` holds what ``winner`` (a device) made of it; ``copy``, if there is one,
    holds what the other made.
    """

    path: RelPath
    clash: Clash
    winner: str
    copy: RelPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """``edits``, made to the ancestor's tree, give the merged tree; ``conflicts`` are in path order."""

    edits: Mapping[RelPath, Entry | None]
    conflicts: tuple[Conflict, ...]


def merge_trees(
    ours: Sequence[Change],
    theirs: Sequence[Change],
    *,
    merge_text: MergeText,
    labels: Labels,
    occupied: Callable[[RelPath], bool] = lambda _: False,
) -> Merged:
    """Return the merge of two sets of changes that were made to one tree.

    Both sides' work is kept whole: what cannot be merged stands in two files, what one
    side deleted and the other edited stays.  Swapping the sides gives the same result.
    ``occupied`` tells whether the ancestor has something at a path that neither
    side changed; no copy takes such a name.
    """
    sides = sorted(((labels.theirs, theirs), (labels.ours, ours)), key=_rank, reverse=True)
    (winner, winners), (loser, losers) = sides
    merge = _Merge(_Part(winner, winners), _Part(loser, losers), merge_text=merge_text, occupied=occupied)
    return merge.run()


def _rank(side: tuple[Side, Sequence[Change]]) -> tuple[str, str, int, str]:
    label, changes = side
    return (label.id, label.device, label.time, repr(changes))


def _sort(entry: Entry) -> Kind:
    """Return the entry's kind with the executable bit left out."""
    return Kind.FILE if entry.kind in _REGULAR else entry.kind


class _Part:
    """One side's changes, indexed."""

    def __init__(self, side: Side, changes: Sequence[Change]) -> None:
        self.side = side
        self.changes = {c.path: c for c in changes}
        self.renames = pair_renames(changes, key=lambda entry: (_sort(entry), entry.oid))
        self.copies = _copies(changes)
        self.aside = {p: c for p, c in self._set_aside() if c not in self.renames.values()}

    def new(self, path: RelPath, otherwise: Entry | None) -> Entry | None:
        change = self.changes.get(path)
        return otherwise if change is None else change.new

    def _set_aside(self) -> Iterator[tuple[RelPath, RelPath]]:
        """Yield each file that gave way to another version, with the conflict copy that it is now."""
        for path, copies in self.copies.items():
            change = self.changes.get(path)
            if change is not None and change.old is not None and change.new is not None:
                yield from ((path, c) for c in copies[:1] if _same_content(self.changes[c].new, change.old))


def _copies(changes: Iterable[Change]) -> dict[RelPath, list[RelPath]]:
    """Return the conflict copies that were added, in order, by the path whose other version they are."""
    found: dict[RelPath, list[RelPath]] = {}
    for path in sorted(c.path for c in changes if c.old is None and c.new is not None):
        if (name := parse_conflict_name(path)) is not None:
            found.setdefault(name.original, []).append(path)
    return found


def _same_content(one: Entry | None, other: Entry | None) -> bool:
    return one is not None and other is not None and (_sort(one), one.oid) == (_sort(other), other.oid)


@dataclass(slots=True)
class _Row:
    """One file as the ancestor, the winner and the loser have it."""

    base: Entry | None
    winner: Entry | None
    loser: Entry | None


class _Merge:
    """The state of one merge; ``winner`` is the side whose version keeps a contested name."""

    def __init__(
        self, winner: _Part, loser: _Part, *, merge_text: MergeText, occupied: Callable[[RelPath], bool]
    ) -> None:
        self.winner, self.loser = winner, loser
        self.merge_text = merge_text
        self.occupied = occupied
        self.ancestor = {c.path: c.old for part in (winner, loser) for c in part.changes.values()}
        self.rows = {p: _Row(old, winner.new(p, old), loser.new(p, old)) for p, old in self.ancestor.items()}
        self.result: dict[RelPath, Entry] = {}
        self.conflicts: list[Conflict] = []
        self.names: set[RelPath] = set()

    def run(self) -> Merged:
        self._follow_renames(self.winner, self.loser)
        self._follow_renames(self.loser, self.winner)
        self._follow_set_aside(self.winner, self.loser)
        self._follow_set_aside(self.loser, self.winner)
        for path in sorted(self.rows):
            if (entry := self._settle(path, self.rows[path])) is not None:
                self.result[path] = entry
        while collisions := self._collisions():
            for path in collisions:
                self._separate(path)
        edits = {p: self.result.get(p) for p in sorted({*self.ancestor, *self.result})}
        return Merged(
            edits={p: new for p, new in edits.items() if new != self.ancestor.get(p)},
            conflicts=tuple(sorted(self.conflicts, key=lambda c: (c.path, c.clash.value))),
        )

    # -- renames -------------------------------------------------------------------------
    def _follow_renames(self, mover: _Part, other: _Part) -> None:
        """Let what ``other`` did to a file go with the file where ``mover`` renamed it."""
        for old, new in sorted(mover.renames.items()):
            if old not in other.changes:
                continue
            if old in other.renames:
                if mover is self.winner:
                    self._follow_both(old, new, other.renames[old])
            elif new not in other.changes:
                self._carry(old, new, mover, other)

    def _follow_both(self, old: RelPath, new: RelPath, losers: RelPath) -> None:
        """Both renamed ``old``: it gets the winner's name, unless one of the names is needed for something else."""
        row = _Row(self.ancestor[old], self.winner.new(new, None), self.loser.new(losers, None))
        if losers == new:
            self.rows[new] = row
        elif new not in self.loser.changes and losers not in self.winner.changes:
            self.rows[new] = row
            del self.rows[losers]
            self._report(new, Clash.RENAMED)

    def _carry(self, old: RelPath, new: RelPath, mover: _Part, other: _Part) -> None:
        base, edited, moved = self.ancestor[old], other.new(old, None), mover.new(new, None)
        if edited is None:
            self._report(new, Clash.DELETED, side=mover.side)
        elif base is not None and _sort(edited) is _sort(base):
            self.rows[new] = _Row(base, moved, edited) if mover is self.winner else _Row(base, edited, moved)
            self.rows[old] = _Row(base, None, None)

    def _follow_set_aside(self, mover: _Part, other: _Part) -> None:
        """Let what ``other`` did to a file go with it where ``mover`` has it as a conflict copy now.

        ``other`` may not have heard of the conflict, or have the file open: then each of
        his saves would make one more copy.
        """
        for path, copy in sorted(mover.aside.items()):
            base, edited, kept = self.ancestor[path], other.new(path, None), mover.new(path, None)
            if path not in other.changes or path in other.aside or copy in other.changes or edited in (None, kept):
                continue
            if base is not None and edited is not None and _sort(edited) is _sort(base):
                moved = mover.new(copy, None)
                self.rows[copy] = _Row(base, moved, edited) if mover is self.winner else _Row(base, edited, moved)
                self.rows[path] = _Row(base, kept, kept)

    # -- one path ------------------------------------------------------------------------
    def _settle(self, path: RelPath, row: _Row) -> Entry | None:
        """Return what stands at ``path`` after the merge."""
        base, winner, loser = row.base, row.winner, row.loser
        if winner in (loser, base):
            return loser
        if loser == base:
            return winner
        if winner is None or loser is None:
            self._report(path, Clash.DELETED, side=self.loser.side if winner is None else self.winner.side)
            return winner or loser
        if _sort(winner) is not _sort(loser):
            return self._keep_both(path, winner, loser, Clash.KIND)
        if winner.kind in _REGULAR and (merged := self._merge_files(base, winner, loser)) is not None:
            return merged
        return self._keep_both(path, winner, loser, Clash.CONTENT)

    def _merge_files(self, base: Entry | None, winner: Entry, loser: Entry) -> Entry | None:
        """Return the merge of two regular files that both differ from ``base``, ``None`` if there is none."""
        origin = base if base is not None and base.kind in _REGULAR else None
        before = Kind.FILE if origin is None else origin.kind
        kind = loser.kind if winner.kind is before else winner.kind
        if winner.oid == loser.oid or (origin is not None and loser.oid == origin.oid):
            return Entry(kind=kind, oid=winner.oid)
        if origin is None:
            return None
        if winner.oid == origin.oid:
            return Entry(kind=kind, oid=loser.oid)
        oid = self.merge_text(origin.oid, winner.oid, loser.oid)
        return None if oid is None else Entry(kind=kind, oid=oid)

    def _keep_both(self, path: RelPath, winner: Entry, loser: Entry, clash: Clash) -> Entry:
        """Give the loser's entry a name of its own, unless it has one as a conflict copy.

        If the winner's has one, it is the loser's that keeps the path.  A nested
        repository cannot be copied and keeps its name.
        """
        holder, copied, kept, other = self.winner, self.loser, winner, loser
        if Kind.NESTED in (loser.kind, winner.kind):
            gives_way = winner.kind is not Kind.NESTED
        else:
            gives_way = self._copy_of(path, winner) is not None and self._copy_of(path, loser) is None
        if gives_way:
            holder, copied, kept, other = self.loser, self.winner, loser, winner
        copy = None
        if other.kind is not Kind.NESTED and (copy := self._copy_of(path, other)) is None:
            copy = self._name_copy(path, copied.side)
            self.result[copy] = other
        self._report(path, clash, side=holder.side, copy=copy)
        return kept

    def _copy_of(self, path: RelPath, entry: Entry) -> RelPath | None:
        """Return the conflict copy of ``path`` that a side has added and that has this very entry."""
        for copy in sorted(set(self.winner.copies.get(path, [])).union(self.loser.copies.get(path, []))):
            row = self.rows[copy]
            if row.base is None and {row.winner, row.loser} <= {entry, None}:
                return copy
        return None

    # -- files where directories have to be ---------------------------------------------------
    def _collisions(self) -> list[RelPath]:
        return sorted({d for p in self.result for d in parent_directories(p) if d in self.result})

    def _separate(self, path: RelPath) -> None:
        """Move the file at ``path`` out of the way of the directory, or the files out of a nested repository."""
        entry = self.result[path]
        holder = self.winner if self.winner.new(path, None) is not None else self.loser
        other = self.loser if holder is self.winner else self.winner
        if entry.kind is Kind.NESTED:
            copy = self._name_copy(path, other.side)
            for inner in [p for p in self.result if p.startswith(path + b"/")]:
                self.result[RelPath(copy + inner[len(path) :])] = self.result.pop(inner)
            self._report(path, Clash.DIRECTORY, side=holder.side, copy=copy)
        else:
            copy = self._name_copy(path, holder.side)
            self.result[copy] = self.result.pop(path)
            self._report(path, Clash.DIRECTORY, side=other.side, copy=copy)

    # -- names and reports -------------------------------------------------------------------
    def _name_copy(self, path: RelPath, side: Side) -> RelPath:
        if not self.names:
            for known in self.ancestor:
                self.names.add(known)
                self.names.update(parent_directories(known))
        name = conflict_name(
            path, device=side.device, time=side.time, taken=lambda n: n in self.names or self.occupied(n)
        )
        self.names.add(name)
        return name

    def _report(self, path: RelPath, clash: Clash, *, side: Side | None = None, copy: RelPath | None = None) -> None:
        winner = self.winner.side if side is None else side
        self.conflicts.append(Conflict(path=path, clash=clash, winner=winner.device, copy=copy))
