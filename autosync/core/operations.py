"""Turns changes into operations on the files of a working copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autosync.core.model import Change, Entry, Kind, RelPath, parent_directories


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Bring one path from ``expected`` to ``new`` (``None`` = absent).

    With ``source``, ``new`` is to be had by renaming ``source`` (which is
    expected to be equal to ``new``), which frees ``source``.
    """

    path: RelPath
    expected: Entry | None
    new: Entry | None
    source: RelPath | None = None


def operations(changes: Sequence[Change]) -> tuple[Operation, ...]:
    """Return the operations that make ``changes`` in a working copy, in the order to perform them.

    A deletion and an addition of the same entry are one rename.  Deletions come
    first, for they may stand where a directory has to come, or the other way round;
    so no rename is made where one of its names lies in the way of another deletion.
    """
    deleted = {c.path for c in changes if c.old is not None and c.new is None}
    inhabited = {d for p in deleted for d in parent_directories(p)}
    moves = {
        new: old
        for old, new in pair_renames(changes, key=lambda entry: (entry.kind, entry.oid)).items()
        if new not in inhabited and deleted.isdisjoint(parent_directories(new))
    }
    moved = set(moves.values())
    plain = [
        Operation(path=c.path, expected=c.old, new=c.new, source=moves.get(c.path))
        for c in changes
        if c.path not in moved
    ]
    return tuple(sorted(plain, key=_turn))


def _turn(operation: Operation) -> tuple[int, bytes]:
    if operation.new is None:
        return (0, operation.path)
    return (1 if operation.source is not None else 2, operation.path)


def pair_renames(changes: Iterable[Change], *, key: Callable[[Entry], object]) -> dict[RelPath, RelPath]:
    """Return old name to new name of what was only renamed.

    Of several candidates those with the same last component belong together, then
    those in path order.
    """
    gone: defaultdict[object, list[RelPath]] = defaultdict(list)
    come: defaultdict[object, list[RelPath]] = defaultdict(list)
    for change in sorted(changes, key=lambda c: c.path):
        if change.old is not None and change.new is None and change.old.kind is not Kind.NESTED:
            gone[key(change.old)].append(change.path)
        elif change.old is None and change.new is not None and change.new.kind is not Kind.NESTED:
            come[key(change.new)].append(change.path)
    pairs: dict[RelPath, RelPath] = {}
    for content in gone.keys() & come.keys():
        by_name: defaultdict[bytes, list[RelPath]] = defaultdict(list)
        for new in reversed(come[content]):
            by_name[_basename(new)].append(new)
        for old in gone[content]:
            if same := by_name[_basename(old)]:
                pairs[old] = same.pop()
        taken = {pairs[old] for old in gone[content] if old in pairs}
        rest = (new for new in come[content] if new not in taken)
        pairs.update(zip((old for old in gone[content] if old not in pairs), rest, strict=False))
    return pairs


def _basename(path: RelPath) -> bytes:
    return path.rpartition(b"/")[2]
