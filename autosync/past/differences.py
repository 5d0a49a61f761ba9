"""Says in which files two trees differ, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.core.linediff import Hunk, hunks, is_text
from autosync.core.model import Change, Entry, Kind, RelPath, TreeId
from autosync.core.operations import pair_renames
from autosync.errors import Missing
from autosync.ports import Backend

LARGEST = 1 << 20
"""Bytes of a file up to which its lines are compared."""


class How(Enum):
    """What became of a file."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that differs; ``old_path`` is where it was before it was renamed."""

    path: RelPath
    how: How
    old: Entry | None
    new: Entry | None
    old_path: RelPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the content of one file differs.

    ``omitted`` tells why there are no hunks although it does: ``binary``, ``large``, ``nested`` (a submodule:
    its commits are in the entries) or ``missing`` (the content is not here any more).
    """

    hunks: tuple[Hunk, ...] = ()
    omitted: str | None = None


def is_within(path: RelPath, around: RelPath) -> bool:
    """Return whether ``path`` is ``around`` or lies below it; all paths lie below the root."""
    return not around or path == around or path.startswith(around + b"/")


def file_changes(backend: Backend, old: TreeId | None, new: TreeId | None, path: RelPath) -> tuple[FileChange, ...]:
    """Return what differs at or below ``path``, in path order, renames told as such."""
    found = told(backend.changes(old, new))
    return tuple(c for c in found if any(is_within(each, path) for each in (c.path, c.old_path) if each is not None))


def told(changes: Sequence[Change]) -> tuple[FileChange, ...]:
    """Return ``changes`` with those that rename a file as one."""
    moves = pair_renames(changes, key=lambda entry: (entry.kind, entry.oid))
    old_paths = {new: old for old, new in moves.items()}
    return tuple(_told(change, old_paths) for change in changes if change.path not in moves)


def _told(change: Change, old_paths: Mapping[RelPath, RelPath]) -> FileChange:
    old_path = old_paths.get(change.path)
    if old_path is not None:
        return FileChange(path=change.path, how=How.RENAMED, old=change.new, new=change.new, old_path=old_path)
    how = How.ADDED if change.old is None else How.DELETED if change.new is None else How.CHANGED
    return FileChange(path=change.path, how=how, old=change.old, new=change.new)


def name_before(backend: Backend, old: TreeId | None, changes: Sequence[FileChange], path: RelPath) -> RelPath:
    """Return the name that the file or folder ``path`` had in the tree ``old``, given what ``changes`` since.

    A folder was renamed if nothing stood at its name and a file in it came from the same place in another.
    """
    for change in changes:
        if change.how is How.RENAMED and change.old_path is not None and is_within(change.path, path):
            below = change.path[len(path) :]
            stem = change.old_path[: len(change.old_path) - len(below)]
            if change.old_path.endswith(below) and stem and not occupied(backend, old, path):
                return RelPath(stem)
    return path


def occupied(backend: Backend, tree: TreeId | None, path: RelPath) -> bool:
    """Return whether ``tree`` has a file at ``path``, or a folder with files."""
    return bool(backend.changes(backend.splice(tree, {path: None}), tree)) if path else True


def below(backend: Backend, tree: TreeId, path: RelPath) -> dict[RelPath, Entry]:
    """Return the files at and below ``path`` in a tree."""
    without = backend.splice(tree, {path: None}) if path else None
    return {c.path: c.new for c in backend.changes(without, tree) if c.new is not None}


def difference(backend: Backend, old: Entry | None, new: Entry | None) -> Difference:
    """Return how the content of two entries differs; an absent one counts as empty."""
    if Kind.NESTED in [entry.kind for entry in (old, new) if entry is not None]:
        return Difference(omitted="nested")
    if old is not None and new is not None and old.oid == new.oid:
        return Difference()
    try:
        before, after = (_content(backend, entry) for entry in (old, new))
    except Missing:
        return Difference(omitted="missing")
    if before is None or after is None:
        return Difference(omitted="large")
    if not is_text(before) or not is_text(after):
        return Difference(omitted="binary")
    return Difference(hunks=hunks(before, after))


def _content(backend: Backend, entry: Entry | None) -> bytes | None:
    return b"" if entry is None else backend.content(entry.oid, limit=LARGEST)
