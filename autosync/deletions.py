"""Keeps in what a look found the files whose deletion the brakes hold."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache

from autosync.core.brakes import Brakes
from autosync.core.model import Base, RelPath, Snapshot, TreeId, parent_directories
from autosync.core.operations import pair_renames
from autosync.errors import Missing
from autosync.ports import Backend, Reading


@dataclass(frozen=True, slots=True)
class Deletions:
    """Tells which of the files that are gone from a working copy were deleted without the user's word."""

    backend: Backend
    brakes: Brakes

    def kept(self, before: Snapshot | None, expected: TreeId | None, reading: Reading) -> Reading:
        """Return the reading, of what was ``expected`` on the base of ``before``, with what the brakes hold in it."""
        moved = before is None or before.base.commit != reading.base.commit
        start = cache(lambda: self._left(before, expected, reading.base) if moved else expected)
        if moved:
            self.brakes.forget_deletions(lambda: [change.path for change in self.backend.changes(None, start())])
        if expected == reading.tree:
            return reading
        changes = self.backend.changes(start(), reading.tree)
        gone = {c.path: c.old for c in changes if c.old is not None and c.new is None}
        if not gone:
            return reading
        for old in pair_renames(changes, key=lambda entry: entry.oid):
            gone.pop(old, None)
        for path in _taken(gone, [c.path for c in changes if c.old is None]):
            del gone[path]
        if before is not None and moved:
            known = {c.path for c in self.backend.changes(expected, reading.tree) if c.new is None}
            gone = {path: entry for path, entry in gone.items() if path in known}
        judged = self.brakes.judge_deletions(gone, lambda: len(self.backend.changes(None, reading.tree)))
        edits = {path: gone[path] for path in judged.held | judged.growing}
        if not edits:
            return reading
        tree = self.backend.splice(reading.tree, edits)
        return replace(reading, tree=tree, torn=reading.torn | judged.growing)

    def _left(self, before: Snapshot | None, expected: TreeId | None, base: Base) -> TreeId:
        """Return what a checkout of, or a commit as, ``base`` leaves: its tree, with what was and is uncommitted.

        What such a step deleted, the user deleted in his history too; a file that stands in neither commit it
        does not touch.
        """
        now = self.backend.tree_of(base.commit)
        if before is None:
            return now
        try:
            then = self.backend.tree_of(before.base.commit)
        except Missing:  # rewritten and pruned: who can tell what stood in it?
            return now
        stays = {c.path: c.new for c in self.backend.changes(now, expected) if c.old is None}
        if stays:
            new = {c.path for c in self.backend.changes(then, expected) if c.old is None}
            stays = {path: entry for path, entry in stays.items() if path in new}
        return self.backend.splice(now, stays) if stays else now


def _taken(gone: Collection[RelPath], new: Collection[RelPath]) -> list[RelPath]:
    """Return what of ``gone`` cannot stand beside ``new``: a folder has a file's name now, or the other way round."""
    files, folders = frozenset(new), {folder for path in new for folder in parent_directories(path)}
    return [path for path in gone if path in folders or not files.isdisjoint(parent_directories(path))]
