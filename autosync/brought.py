"""Remembers what was brought into a working copy and is no part of its recorded state yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autosync.core.model import Base, Change, Entry, RelPath, Snapshot, TreeId, parent_directories
from autosync.ports import Backend


@dataclass(slots=True, kw_only=True)
class Brought:
    """What stands in the working copy because a peer's state could be applied in part only.

    At these paths files stand as in ``entries`` (``None``: deleted), not as in the recorded
    state.  Nobody here made that so: recorded as edits of this device they would clash with
    what their owners make of them next.  So a look leaves them out, and the next
    attempt goes on from there.
    """

    backend: Backend
    entries: dict[RelPath, Entry | None] = field(default_factory=dict)

    def standing(self, recorded: TreeId) -> TreeId:
        """Return the tree that is expected in the working copy."""
        return self.backend.splice(recorded, self.entries) if self.entries else recorded

    def note(self, recorded: TreeId, standing: Mapping[RelPath, Entry | None]) -> None:
        """Take note of everything that was brought on top of ``recorded``."""
        self.entries = dict(standing)
        if standing:
            self.entries = {c.path: c.new for c in self.backend.changes(recorded, self.standing(recorded))}

    def clear(self) -> None:
        """Take note that the recorded state has everything."""
        self.entries = {}

    def left_out(self, before: Snapshot, base: Base, found: TreeId) -> TreeId:
        """Return ``found``, which stands in the working copy on ``base``, as the user's own state.

        What he has edited or committed since it was brought is his; it is not waited with.
        """
        if not self.entries:
            return found
        expected = self.standing(before.tree)
        edits = self.backend.changes(expected, found)
        his = {c.path for c in edits}
        if base.commit != before.base.commit:
            old, new = self.backend.tree_of(before.base.commit), self.backend.tree_of(base.commit)
            his.update(c.path for c in self.backend.changes(old, new))
        standing = self.backend.changes(before.tree, expected)
        brought = [c for c in standing if c.path not in his]
        stays = _in_the_way(brought, edits) | _moved_aside(brought, [c for c in standing if c.path in his])
        own = {c.path: c.old for c in brought if c.path not in stays}
        self.entries = {path: self.entries[path] for path in own}
        return self.backend.splice(found, own)


def _moved_aside(brought: list[Change], edited: list[Change]) -> set[RelPath]:
    """Return where what had been moved for the sake of a path stands, if the user has edited what came there."""
    made_room = {c.old.oid for c in edited if c.old is not None}
    return {c.path for c in brought if c.old is None and c.new is not None and c.new.oid in made_room}


def _in_the_way(brought: list[Change], edits: tuple[Change, ...]) -> set[RelPath]:
    """Return what was deleted to make room for something in whose place the user has put his own since."""
    new = {c.path for c in edits if c.new is not None}
    above = {up for path in new for up in parent_directories(path)}
    restored = [c.path for c in brought if c.old is not None]
    return {path for path in restored if path in above or not new.isdisjoint(parent_directories(path))}
