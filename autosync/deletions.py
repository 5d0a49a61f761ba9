"""Keeps in what a look found the files whose deletion the brakes hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from autosync.core.brakes import Brakes
from autosync.core.model import Base, Entry, RelPath, Snapshot, TreeId, parent_directories
from autosync.core.operations import pair_renames
from autosync.errors import Missing
from autosync.ports import Backend, Reading


@dataclass(frozen=True, slots=True)
class DeletionGuard:
    """Tells which of the files that are gone from a working copy its user deleted without saying so anywhere else."""

    backend: Backend
    brakes: Brakes

    def keep(self, before: Snapshot | None, expected: TreeId | None, reading: Reading) -> Reading:
        """Return the reading, of what was ``expected`` on the base of ``before``, with what the brakes hold in it."""
        start = self.backend.tree_of(reading.base.commit) if before is None else expected
        if start == reading.tree:
            return reading
        step = self._step(before, reading.base)
        if step and not self._may_be_gone(*step, start, reading.tree):
            return reading
        changes = self.backend.changes(start, reading.tree)
        gone = {c.path: c.old for c in changes if c.old is not None and c.new is None}
        renames = pair_renames(changes, key=lambda entry: entry.oid) if gone else {}
        moved = {old: gone.pop(old) for old in renames}
        if gone and step:
            gone = self._not_by_history(gone, *step)
            moved = self._not_by_history(moved, *step)
        if not gone:
            return reading
        judged = self.brakes.judge_deletions(gone, lambda: len(self.backend.changes(None, reading.tree)))
        kept = {path: gone[path] for path in judged.held | judged.growing}
        if not kept:
            return reading
        new = [c.path for c in changes if c.old is None]
        # What was moved to where it cannot be sent stays where it was.
        while back := {p: e for p, e in moved.items() if p not in kept and renames[p] in _in_place(kept, new)}:
            kept |= back
        in_place = _in_place(kept, new)
        if judged.held:
            self.brakes.hold_in_place(in_place, moved=kept.keys() - judged.held)
        edits = {**dict.fromkeys(in_place), **kept}
        return replace(reading, tree=self.backend.splice(reading.tree, edits), torn=reading.torn | judged.growing)

    def _step(self, before: Snapshot | None, base: Base) -> tuple[TreeId | None, TreeId] | None:
        """Return the trees between which what is checked out has moved, ``None`` if it has not.

        The first is ``None`` if its commit was rewritten and pruned: nobody can tell what stood in it.
        """
        if before is None or before.base.commit == base.commit:
            return None
        now = self.backend.tree_of(base.commit)
        try:
            return self.backend.tree_of(before.base.commit), now
        except Missing:
            return None, now

    def _may_be_gone(self, then: TreeId | None, now: TreeId, expected: TreeId | None, found: TreeId) -> bool:
        """Return whether anything is gone that no step from ``then`` to ``now`` took, without a look at what that did.

        A checkout may differ in tens of thousands of paths, and what is uncommitted is little.
        """
        uncommitted = self.backend.changes(now, found)
        loose = {c.path for c in self.backend.changes(then, expected) if c.old is None}
        return any(c.new is None for c in uncommitted) or not loose <= {c.path for c in uncommitted if c.old is None}

    def _not_by_history(self, gone: Mapping[RelPath, Entry], then: TreeId | None, now: TreeId) -> dict[RelPath, Entry]:
        """Return what of ``gone`` no checkout or commit has deleted or replaced, as that would have left it.

        What such a step deleted, the user deleted in his history too; a file that stands in neither commit it
        does not touch.
        """
        steps = {change.path: change.new for change in self.backend.changes(then, now)}
        left = {path: steps.get(path, entry) for path, entry in gone.items()}
        replaced = _in_place([path for path, new in steps.items() if new is not None], left)
        return {path: entry for path, entry in left.items() if entry is not None and path not in replaced}


def _in_place(some: Collection[RelPath], others: Collection[RelPath]) -> frozenset[RelPath]:
    """Return those of ``others`` that cannot stand beside ``some``: one needs a folder where the other has a file."""
    files = frozenset(some)
    folders = {folder for path in files for folder in parent_directories(path)}
    return frozenset(p for p in others if p in folders or not files.isdisjoint(parent_directories(p)))
