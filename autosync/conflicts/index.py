"""Keeps the list of conflict copies of a working copy, found by their names in its tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from autosync.core.copies import MARK, ConflictName, original_of, parse_conflict_name
from autosync.core.model import Change, Entry, RelPath, Snapshot, TreeId, parent_directories
from autosync.errors import Missing
from autosync.ports import Backend

Changes = Callable[[TreeId | None, TreeId | None], Sequence[Change]]


class ConflictIndex:
    """The conflict copies of one working copy.

    The whole tree is looked through once, then only what differs from snapshot to
    snapshot.  :meth:`follow` and :meth:`take_news` are called in the working copy's thread;
    :attr:`copies` and :attr:`tree` may be read in any.
    """

    def __init__(self, changes: Changes) -> None:
        self.copies: Mapping[RelPath, ConflictName] = {}
        """Each copy's path, a file's or (where files were in the way of a nested repository) a directory's."""
        self.begin: Snapshot | None = None
        """The state whose copies are no news; by default the one that is followed first."""
        self.tree: TreeId | None = None
        """The tree that the list belongs to."""
        self._changes = changes
        self._files: dict[RelPath, set[RelPath]] = {}
        self._news: dict[RelPath, RelPath | None] = {}

    def follow(self, now: Snapshot) -> None:
        """Bring the list to the state ``now``.  Raises :class:`AutosyncError` if its tree cannot be read."""
        if self.tree is None:
            try:
                self._advance((self.begin or now).tree)
            except Missing:  # pruned by the user since
                self._advance(now.tree)
        known = self.copies
        self._advance(now.tree)
        gone: dict[RelPath, list[RelPath]] = {}
        for copy in sorted(known.keys() - self.copies.keys(), reverse=True):
            gone.setdefault(known[copy].original, []).append(copy)
        for copy, name in self.copies.items():
            if copy not in known:
                before = gave_way.pop() if (gave_way := gone.get(name.original)) else None
                if before in self._news:  # of which nobody was told
                    before = self._news.pop(before)
                self._news[copy] = before
        self._news = {copy: before for copy, before in self._news.items() if copy in self.copies}

    def take_news(self) -> dict[ConflictName, RelPath | None]:
        """Return the copies that have come since the last call and are still there.

        Each with the copy of the same file in whose place it came, if it did: where two devices
        merged the same by different ways, their copies may have different names, and one of them stays.
        """
        news, self._news = self._news, {}
        return {self.copies[copy]: before for copy, before in news.items()}

    def _advance(self, tree: TreeId) -> None:
        if tree == self.tree:
            return
        touched: set[RelPath] = set()
        try:
            changes = self._changes(self.tree, tree)
        except Missing:
            if self.tree is None:
                raise
            # What it was is gone: all is looked through once more.
            changes = self._changes(None, tree)
            touched.update(self._files)
            self._files = {copy: set() for copy in touched}
        for change in changes:
            for name in names_in(change.path):
                files = self._files.setdefault(name.copy, set())
                (files.discard if change.new is None else files.add)(change.path)
                touched.add(name.copy)
        for copy in touched:
            if not self._files[copy]:
                del self._files[copy]
        if touched:
            self.copies = listed(self._files)
        self.tree = tree


def names_in(path: RelPath) -> Iterator[ConflictName]:
    """Yield each conflict copy that ``path`` is, or lies in."""
    if bytes(path).find(MARK) >= 0:
        for candidate in (path, *parent_directories(path)):
            if (name := parse_conflict_name(candidate)) is not None:
                yield name


def listed(copies: Iterable[RelPath]) -> dict[RelPath, ConflictName]:
    """Return what the names of ``copies`` tell, in the order of the originals."""
    names = [name for copy in copies if (name := parse_conflict_name(copy)) is not None]
    names.sort(key=lambda n: (n.original, n.time, n.device, len(n.copy), n.copy))
    return {name.copy: name for name in names}


def original_beside(root: bytes, name: ConflictName) -> RelPath:
    """Return the path whose other version a copy is: of a shortened name what is beside it, else what is left."""
    if not name.shortened:
        return name.original
    try:
        beside = os.listdir(os.path.join(root, name.copy.rpartition(b"/")[0]))
    except OSError:
        beside = []
    return original_of(name, beside) or name.original


def files_at(backend: Backend, tree: TreeId, path: RelPath) -> dict[bytes, Entry]:
    """Return what ``tree`` has at ``path``: ``b""`` to a file's entry, or ``b"/name"`` to each one's below it."""
    without = backend.splice(tree, {path: None})
    return {c.path[len(path) :]: c.new for c in backend.changes(without, tree) if c.new is not None}


def shown(path: RelPath) -> str:
    """Return a path as it is shown to people."""
    return path.decode("utf-8", "backslashreplace")
