"""Reads the working copy's state: base plus whatever stands differently on disk."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from autosync.backends.git.contents import Contents
from autosync.backends.git.files import Torn, look
from autosync.backends.git.footing import Footing
from autosync.backends.git.ground import Ground, storable
from autosync.backends.git.ignore import Ignore
from autosync.backends.git.index import Index
from autosync.backends.git.indexfile import IndexFile
from autosync.backends.git.objects import is_tree
from autosync.backends.git.settings import SettingsWatch
from autosync.backends.git.status import dirty_paths
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import Base, Entry, Kind, RelPath, TreeId, parent_directories
from autosync.errors import Busy, Missing
from autosync.ports import Hold, Reading, Standing, hold_nothing

_ROOT = RelPath(b"")
_TRIES = 3

Previous = tuple[Base, TreeId]


class Reader:
    """The looking at one working copy; ``base`` tells what is checked out.

    Once a file is in a snapshot it stays until it is deleted, also if a later ignore
    rule names it or a repository is made around it: on the other devices it would
    else be deleted.
    """

    def __init__(self, trees: Trees[Store], settings: SettingsWatch, ignore: Ignore, base: Callable[[], Base]) -> None:
        self._trees = trees
        self._store = trees.store
        self._repo = trees.store.repo
        self._settings = settings
        self._ignore = ignore
        self._base = base
        self._index = Index(self._repo)
        self._index_file = IndexFile(self._repo)
        self._contents = Contents(self._store, settings)
        self._last: Previous | None = None
        self._unreadable: frozenset[RelPath] = frozenset()
        # The watcher asks about directories from its own thread, and a git process answers
        # one question at a time.
        self._turn = threading.RLock()

    def close(self) -> None:
        """End every process."""
        self._contents.close()

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Heed other patterns of ours from the next look on."""
        with self._turn:
            self._ignore.use(patterns)

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that the ignore rules name and that are not tracked."""
        with self._turn:
            strange = [path for path in paths if not self._synced(path)]
            if not strange:
                return frozenset()
            inside = [path for path in strange if storable(path) or not path]
            named = self._ignore.matches(inside) | (set(strange) - set(inside))
            if not named:
                return frozenset()
            footing = self._footing(self._base(), self._last)
            return frozenset(path for path in named if not footing.known(path))

    def _synced(self, path: RelPath) -> bool:
        """Return whether something stands at ``path`` in the last state: no rule counts for it, whatever git says."""
        return self._last is not None and self._trees.slot(self._last[1], path) is not None

    def standing(self, path: RelPath) -> Standing:
        """Return what stands at ``path``; raises :class:`Torn` if it changes meanwhile, or :class:`OSError`."""
        found = self.standings([path])
        if path not in found:
            raise Torn(path)
        return found[path]

    def standings(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        """Return what stands at ``paths``, but those that change while they are read.

        Raises :class:`PermissionError` where that cannot be told.
        """
        with self._turn:
            self._contents.refresh()
            footing = self._footing(self._base(), self._last)
            footing.warm(paths)
            ground = Ground(self._repo.root, footing)
            before = {path: ground.look(path) for path in paths}
            found = self._proven(before, footing)
            seen = self._contents.look([path for path in before if path not in found], footing)
            for path, there in before.items():
                if path in found or there is None:
                    continue
                after = look(self._full(path))
                if path not in seen.torn and after is not None and _signature(after) == _signature(there):
                    entry = seen.entries[path] if path in seen.entries else footing.entry(path)
                    found[path] = Standing(entry=entry, signature=_signature(after))
            return found

    def _proven(self, before: Mapping[RelPath, os.stat_result | None], footing: Footing) -> dict[RelPath, Standing]:
        """Return what stands at those paths whose files need not be read.

        Either there is none, or both the index and the last state say what is in it.
        """
        self._index_file.refresh(len(before))
        proven: dict[RelPath, Standing] = {}
        for path, there in before.items():
            if there is None:
                proven[path] = Standing(entry=None, signature=None)
            elif stat.S_ISREG(there.st_mode) and (oid := self._index_file.content(path, there)) is not None:
                entry = footing.entry(path)
                kind = Kind.EXECUTABLE if there.st_mode & stat.S_IXUSR else Kind.FILE
                if entry is not None and entry.oid == oid and entry.kind is kind:
                    proven[path] = Standing(entry=entry, signature=_signature(there))
        return proven

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Take note of files that were put there: in that state they need not be read."""
        with self._turn:
            self._contents.written(files)

    def _full(self, path: RelPath) -> bytes:
        return self._repo.root + b"/" + path

    def read(self, paths: Collection[RelPath] | None, previous: Previous | None, hold: Hold = hold_nothing) -> Reading:
        """Return the working copy's state, reading only ``paths`` when ``previous`` allows.

        Raises :class:`Busy` if the base keeps changing meanwhile.
        """
        with self._turn:
            return self._read_steadily(paths, previous, hold)

    def _read_steadily(self, paths: Collection[RelPath] | None, previous: Previous | None, hold: Hold) -> Reading:
        for _ in range(_TRIES):
            base = self._base()
            reading = self._read(base, paths, previous, hold)
            if self._base() == base:
                self._last = (base, reading.tree)
                return reading
        raise Busy("the checked out commit keeps changing", hint="It is looked at again when that has settled.")

    def _read(self, base: Base, paths: Collection[RelPath] | None, previous: Previous | None, hold: Hold) -> Reading:
        footing = self._footing(base, previous)
        if footing.moved:
            self._contents.forget()
        start = footing.base_tree if footing.moved else footing.tree
        ground = Ground(self._repo.root, footing)
        hints = self._hints(paths, footing)
        footing.warm(hints)
        places = ground.places(hints)
        edits: dict[RelPath, Entry | None] = {}
        found = self._unignored({path for path in places.files if not ground.denied(path)}, footing)
        if places.directories:
            if not footing.moved:
                edits.update(self._committed(places.directories, footing))
            found |= self._searched(places.directories, footing, previous)
            footing.warm(found)
        denied = {path for path in {*found, *edits, *places.files} if ground.denied(path)}
        found -= denied
        edits.update((path, None) for path in found if not ground.reachable(path))
        seen = self._contents.look(
            [path for path in found if ground.reachable(path) and not footing.frozen(path)], footing, hold
        )
        edits.update(seen.entries)
        for path in seen.directories:  # None would take away all below it
            if is_tree(self._trees.slot(start, path)):
                edits.pop(path, None)
        torn = seen.torn | _contradictions(edits)
        for path in {*torn, *denied, *seen.unreadable}:
            edits.pop(path, None)
        self._note_unreadable(hints, {*found, *places.files}, denied | seen.unreadable)
        tree = self._trees.splice(start, edits)
        return Reading(base=base, tree=tree, torn=frozenset(torn), unreadable=self._unreadable)

    def _note_unreadable(
        self, hints: Collection[RelPath], looked_at: Collection[RelPath], unreadable: Collection[RelPath]
    ) -> None:
        before = frozenset() if _ROOT in hints else self._unreadable.difference(looked_at)
        self._unreadable = before.union(unreadable)

    def _footing(self, base: Base, previous: Previous | None) -> Footing:
        moved = previous is None or previous[0].commit != base.commit
        if moved and previous is not None and previous[0].commit and self._store.is_gone(previous[0].commit):
            raise Missing(f"changeset {previous[0].commit} is not here any more", hint="All is read anew.")
        base_tree = self._store.tree_of(base.commit)
        self._index.refresh(base_tree)
        tree = base_tree if previous is None else previous[1]
        return Footing(self._trees, self._index, base_tree=base_tree, tree=tree, moved=moved)

    def _hints(self, paths: Collection[RelPath] | None, footing: Footing) -> Collection[RelPath]:
        """Return where to look, wider than ``paths`` if the rules for looking have changed."""
        attributes_changed = self._contents.refresh()
        ignores_changed = self._ignore.refresh()
        # Which of its names a file has when case does not count, only git knows.
        by_git = self._settings.values.ignore_case
        if paths is None or footing.moved or attributes_changed or ignores_changed or by_git:
            if paths is None:
                self._ignore.forget()
                self._contents.forget()
            return (_ROOT,)
        hints = set(paths)
        for path in paths:
            directory, name = os.path.split(path)
            if name == b".gitattributes":
                self._contents.forget()
                hints.add(RelPath(directory))
            elif name == b".gitignore":
                self._ignore.forget()
                hints.add(RelPath(directory))
        return hints

    def _unignored(self, paths: Iterable[RelPath], footing: Footing) -> set[RelPath]:
        paths = sorted(paths)
        return set(paths) - self._ignore.matches([path for path in paths if not self._is_ours(path, footing)])

    def _is_ours(self, path: RelPath, footing: Footing) -> bool:
        """Return whether ignore rules do not count for what stands at ``path``."""
        if not footing.known(path):
            return False
        if footing.indexed(path) is not None or footing.entry(path) is not None:
            return True
        found = look(os.path.join(self._repo.root, path))
        return found is None or stat.S_ISDIR(found.st_mode)  # a file in place of a directory of ours is new

    def _committed(self, directories: Iterable[RelPath], footing: Footing) -> dict[RelPath, Entry | None]:
        """Return what takes the last state back to the base below ``directories``."""
        return {
            change.path: change.old
            for directory in directories
            for change in self._trees.changes(footing.base_tree, footing.tree, under=directory)
        }

    def _searched(self, directories: Collection[RelPath], footing: Footing, previous: Previous | None) -> set[RelPath]:
        """Return what differs from the base below ``directories``, and what was synced without being committed."""
        dirty = dirty_paths(self._repo, [*directories], self._ignore.options())
        found = {path for path in dirty if storable(path) or footing.known(path)}
        if previous is not None:
            old_base = self._store.tree_of(previous[0].commit)
            for directory in directories:
                changes = self._trees.changes(old_base, previous[1], under=directory)
                found.update(change.path for change in changes if change.old is None)
        return found


def _signature(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def _contradictions(edits: Mapping[RelPath, Entry | None]) -> set[RelPath]:
    """Return the paths that were found as a file and as a directory, one after the other."""
    found: set[RelPath] = set()
    for path, entry in edits.items():
        if entry is not None:
            above = [parent for parent in parent_directories(path) if edits.get(parent) is not None]
            found.update((path, *above) if above else ())
    return found
