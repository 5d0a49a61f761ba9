"""Reads the working copy's state: base plus whatever stands differently on disk."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from autosync.backends.git import nested
from autosync.backends.git.files import Torn, look
from autosync.backends.git.ground import Ground
from autosync.backends.git.objects import is_tree
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.backends.hg.basetree import BaseTrees
from autosync.backends.hg.files import Facts, Files
from autosync.backends.hg.footing import Footing
from autosync.backends.hg.ignore import Ignore
from autosync.backends.hg.naming import left_out, nameable
from autosync.backends.hg.repository import NULL, Repository, Survey
from autosync.backends.hg.server import Signature
from autosync.backends.hg.store import Store
from autosync.backends.hg.tracking import Tracking
from autosync.backends.hgext.frames import Value
from autosync.core.model import Base, Entry, RelPath, TreeId, parent_directories
from autosync.errors import Busy
from autosync.ports import Hold, Reading, Standing, hold_nothing

_ROOT = RelPath(b"")
_TRIES = 3

Previous = tuple[Base, TreeId]
_Settings = tuple[Mapping[bytes, Signature], FileSignature]


class Reader:
    """The looking at one working copy; ``base`` tells what is checked out.

    Once a file is in a snapshot it stays until it is deleted, also if a later ignore
    rule names it or a repository is made around it: on the other devices it would
    else be deleted.
    """

    def __init__(
        self, repo: Repository, store: Store, trees: BaseTrees, ignore: Ignore, base: Callable[[], Base]
    ) -> None:
        self._repo = repo
        self._store = store
        self._trees = trees
        self._ignore = ignore
        self._base = base
        self._files = Files(repo, store)
        self._tracking = Tracking(repo.root, store)
        self._last: Previous | None = None
        self._unreadable: frozenset[RelPath] = frozenset()
        self._settings: _Settings | None = None
        self._facts: Facts | None = None
        # The watcher asks about directories from its own thread.
        self._turn = threading.RLock()

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Heed other patterns of ours from the next look on."""
        with self._turn:
            self._ignore.use(patterns)

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that the ignore rules name and that are not tracked."""
        with self._turn:
            # What hg cannot have is not ignored: it is looked at, and its user told of it.
            inside = [path for path in paths if path and left_out(path) is not None]
            named = set(paths).difference(inside, [_ROOT])
            if inside:
                named |= self._survey((), inside).ignored | self._ignore.named(inside)
            if not named:
                return frozenset()
            footing = self._footing(self._base(), self._last)
            return frozenset(path for path in named if not footing.known(path))

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
            self._refresh()
            facts = self._facts or self._learned(self._survey((), ()))
            footing = self._footing(self._base(), self._last)
            ground = Ground(self._repo.root, footing, is_nested)
            before = {path: ground.look(path) for path in paths}
            seen = self._files.look([path for path, there in before.items() if there is not None], footing, facts)
            found: dict[RelPath, Standing] = {}
            for path, there in before.items():
                if there is None:
                    found[path] = Standing(entry=None, signature=None)
                    continue
                after = look(self._full(path))
                if path not in seen.torn and after is not None and _signature(after) == _signature(there):
                    entry = seen.entries[path] if path in seen.entries else self._store.entry(footing.tree, path)
                    found[path] = Standing(entry=entry, signature=_signature(after))
            return found

    def _full(self, path: RelPath) -> bytes:
        return self._repo.root + b"/" + path

    def read(self, paths: Collection[RelPath] | None, previous: Previous | None, hold: Hold = hold_nothing) -> Reading:
        """Return the working copy's state, reading only ``paths`` when ``previous`` allows.

        Raises :class:`Busy` if the base keeps changing meanwhile.
        """
        with self._turn:
            for _ in range(_TRIES):
                base = self._base()
                reading = self._read(base, paths, previous, hold)
                if reading is not None and self._base() == base:
                    self._last = (base, reading.tree)
                    return reading
        self._refuse_stripped(base)
        raise Busy("the checked out changeset keeps changing", hint="It is looked at again when that has settled.")

    def _refuse_stripped(self, base: Base) -> None:
        """Raise :class:`Busy` if the checked out changeset is gone: another working copy of its store stripped it."""
        if base.commit is None:
            return
        nodes: dict[bytes, Value] = {b"nodes": [bytes.fromhex(base.commit)]}
        if self._repo.server.ask("absent", nodes).texts(b"absent"):
            raise Busy(
                f"changeset {base.commit[:12]}, which is checked out here, was stripped from the store: run "
                "`hg update` to another one (`hg unbundle` of a file in .hg/strip-backup brings it back)",
                hint="No file is touched until then.",
            )

    def _read(
        self, base: Base, paths: Collection[RelPath] | None, previous: Previous | None, hold: Hold
    ) -> Reading | None:
        """Return what stands there, ``None`` if hg looked at another base than this one."""
        footing = self._footing(base, previous)
        hints = self._hints(paths, footing)
        ground = Ground(self._repo.root, footing, is_nested)
        places = ground.places(hint for hint in hints if not hint or nameable(hint))
        reachable = {path for path in places.files if not ground.denied(path)}
        new = [path for path in {*reachable, *hints} if path and not self._is_ours(path, footing)]
        survey = self._survey(places.directories, new)
        if survey.p1 != (NULL if base.commit is None else bytes.fromhex(base.commit)):
            return None
        footing = self._footing(base, previous)  # with what the survey told
        start = footing.base_tree if footing.moved else footing.tree
        found = self._unignored(reachable, survey.ignored, footing)
        edits: dict[RelPath, Entry | None] = {}
        # `hg add` of what was ignored touches nothing but the dirstate.
        unseen = [path for path in self._tracking.added if self._store.entry(footing.tree, path) is None]
        found |= self._tracking.related(unseen)
        if places.directories:
            if not footing.moved:
                edits.update(self._committed(places.directories, footing))
            found |= self._searched(places.directories, survey, footing, previous)
        denied = {path for path in {*found, *edits, *places.files} if ground.denied(path)}
        found -= denied
        edits.update((path, None) for path in found if not ground.reachable(path))
        seen = self._files.look(
            [path for path in found if ground.reachable(path)], footing, self._learned(survey), hold
        )
        edits.update(seen.entries)
        for path in seen.directories:  # None would take away all below it
            if is_tree(self._store.slot(start, path)):
                edits.pop(path, None)
        torn = seen.torn | _contradictions(edits)
        for path in {*torn, *denied, *seen.unreadable}:
            edits.pop(path, None)
        unnameable = self._unnameable(hints, survey, ground)
        self._note_unreadable(hints, {*found, *places.files}, denied | seen.unreadable | unnameable)
        tree = self._store.with_marks(self._store.splice(start, edits), self._tracking.marks(footing.base_tree))
        return Reading(base=base, tree=tree, torn=frozenset(torn), unreadable=self._unreadable)

    # -- asking hg ---------------------------------------------------------------------------
    def _survey(self, directories: Collection[RelPath], names: Collection[RelPath]) -> Survey:
        outdated = self._tracking.is_outdated()
        survey = self._repo.survey(directories, names, tracking=outdated)
        if outdated:
            self._tracking.learn(survey)
        self._ignore.heed(survey.rules)
        return survey

    def _learned(self, survey: Survey) -> Facts:
        self._facts = Facts(
            has_links=survey.has_links, has_executables=survey.has_executables, converts=survey.converts
        )
        return self._facts

    def _refresh(self) -> bool:
        """Notice that hg may store the same bytes as others now; return whether all must be looked at anew."""
        settings = self._repo.server.settings(), file_signature(os.path.join(self._repo.root, b".hgeol"))
        if settings == self._settings:
            return False
        first, self._settings = self._settings is None, settings
        self._facts = None
        self._files.forget()
        return not first

    # -- where to look -----------------------------------------------------------------------
    def _footing(self, base: Base, previous: Previous | None) -> Footing:
        base_tree = self._trees.tree_of(base.commit)
        moved = previous is None or previous[0].commit != base.commit
        tree = base_tree if previous is None else previous[1]
        return Footing(self._store, base_tree=base_tree, tree=tree, added=self._tracking.added, moved=moved)

    def _hints(self, paths: Collection[RelPath] | None, footing: Footing) -> Collection[RelPath]:
        """Return where to look, everywhere if the rules for looking have changed."""
        converts_otherwise = self._refresh()
        ignores_otherwise = self._ignore.changed()
        if paths is None:
            self._files.forget()
        elif not (footing.moved or converts_otherwise or ignores_otherwise or any(map(self._ignore.is_source, paths))):
            return set(paths)
        return {_ROOT}

    def _is_ours(self, path: RelPath, footing: Footing) -> bool:
        """Return whether ignore rules do not count for what stands at ``path``."""
        if footing.has_file(path):
            return True
        if not footing.known(path):
            return False
        found = look(os.path.join(self._repo.root, path))
        return found is None or stat.S_ISDIR(found.st_mode)  # a file in place of a directory of ours is new

    def _unignored(self, paths: Iterable[RelPath], by_hg: Collection[RelPath], footing: Footing) -> set[RelPath]:
        paths = set(paths)
        new = [path for path in paths if not self._is_ours(path, footing)]
        return paths.difference(self._ignore.named(new), (path for path in new if path in by_hg))

    def _committed(self, directories: Iterable[RelPath], footing: Footing) -> dict[RelPath, Entry | None]:
        """Return what takes the last state back to the base below ``directories``."""
        return {
            change.path: change.old
            for directory in directories
            for change in self._store.changes(footing.base_tree, footing.tree, under=directory)
        }

    def _searched(
        self, directories: Collection[RelPath], survey: Survey, footing: Footing, previous: Previous | None
    ) -> set[RelPath]:
        """Return what differs from the base below ``directories``, and what was synced without being committed.

        hg takes a file that was moved to where one of its size and second was for unchanged: what is known
        to differ is not asked of hg alone.
        """
        unknown = [path for path in survey.unknown if nameable(path)]
        found = self._unignored(unknown, (), footing)
        found.update(path for path in survey.dirty if nameable(path))
        if previous is not None:
            old_base = self._trees.tree_of(previous[0].commit)
            for directory in directories:
                changes = self._store.changes(old_base, previous[1], under=directory)
                found.update(c.path for c in changes if c.old is None or self._is_tracked(c.path, footing))
        return found

    def _is_tracked(self, path: RelPath, footing: Footing) -> bool:
        return self._store.entry(footing.base_tree, path) is not None

    # -- what cannot be read -----------------------------------------------------------------
    def _unnameable(self, hints: Iterable[RelPath], survey: Survey, ground: Ground) -> set[RelPath]:
        """Return what stands there under names that hg or other devices cannot have, but for other repositories'
        own directories."""
        new = {path for path in hints if path and path not in survey.ignored}.difference(self._ignore.named(hints))
        odd = {path: left_out(path) or path for path in new if not nameable(path)}
        there = {path for path, named in odd.items() if look(os.path.join(self._repo.root, named))}
        found = {left_out(path) for path in {*there, *survey.unknown, *survey.dirty} if not nameable(path)}
        return {path for path in found if path is not None and ground.reachable(path)}

    def _note_unreadable(
        self, hints: Collection[RelPath], looked_at: Collection[RelPath], unreadable: Collection[RelPath]
    ) -> None:
        if _ROOT in hints:
            self._unreadable = frozenset(unreadable)
        else:
            named = (left_out(path) for path in hints)
            self._unreadable = self._unreadable.difference(looked_at, hints, named).union(unreadable)


def is_nested(directory: bytes) -> bool:
    """Return whether ``directory`` is another repository's working copy: hg does not look into one of its
    own kind (pathutil.pathauditor), and we into none of git."""
    return os.path.isdir(os.path.join(directory, b".hg")) or nested.is_repository(directory)


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
