"""Relates changesets to each other, also those that are kept as bundles, and brings these to the user's repository."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Iterator

from autosync.backends.hg.histories import place_of
from autosync.backends.hg.repository import NULL
from autosync.backends.hg.server import HgEnded, Server
from autosync.backends.hg.sharing import shares_of
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Value
from autosync.core.model import CommitId
from autosync.durable import make_directory
from autosync.errors import AutosyncError, Missing, Unsafe

_HINT = "It is asked for again from the other devices."
_MARKER = b"recording"
_GRAPHS = 8
"""Bundles whose changesets are remembered."""
_BACKUPS = 16
"""Of the bundles that hg makes when it strips, the latest ones."""
_UNLIMITED = 1 << 31

Graph = dict[CommitId, tuple[CommitId, ...]]
"""The parents of each changeset."""


class History:
    """The changesets of one working copy: those of the user's repository, and those of the store's bundles."""

    def __init__(self, server: Server, store: Store) -> None:
        self._server = server
        self._store = store
        self._graphs: OrderedDict[CommitId, Graph] = OrderedDict()

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here, in the user's repository or in a bundle of ours."""
        return self.in_repository(commit) or self._store.has_bundle(commit)

    def in_repository(self, commit: CommitId) -> bool:
        """Return whether a changeset is in the user's repository."""
        return not self._absent([commit])

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant`` (or is it).

        An ancestor that is not here, as after a strip, is none: hg has the whole history of what it has.
        Raises :class:`Missing` if ``descendant`` is not here.
        """
        graph = self._kept(descendant)
        reached = _ancestors(descendant, graph)
        if ancestor in reached or not self.in_repository(ancestor):
            return ancestor in reached
        return any(self._within(ancestor, border) for border in reached if border not in graph)

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor, ``None`` if there is none; of several the smallest.

        Raises :class:`Missing` if one of them is not here.
        """
        graph = {**self._kept(one), **self._kept(other)}
        mine, theirs = (_ancestors(commit, graph) for commit in (one, other))
        # What is common in the bundles, but for what another one of them contains.
        common = mine & theirs & graph.keys()
        heads = common - {parent for commit in common for parent in graph[commit]}
        # Both leave the bundles for the repository at a few changesets.
        covered: set[CommitId] = set().union(*(_ancestors(head, graph) for head in heads))
        left, right = (side - graph.keys() - covered for side in (mine, theirs))
        found = {each for a in left for b in right if (each := self._ancestor(a, b)) is not None}
        found = {each for each in found if not any(self._within(each, head) for head in covered - graph.keys())}
        heads.update(each for each in found if not any(self._within(each, other) for other in found - {each}))
        return min(heads, default=None)

    def bring(self, commit: CommitId) -> None:
        """Copy ``commit`` and its history from the store to the user's repository, in the phases they were sent with.

        Raises :class:`Missing`, :class:`Busy` and, for a bundle that is damaged or no history, :class:`Unsafe`.
        """
        wanted = [commit]
        while wanted:
            tip = wanted[-1]
            if self.in_repository(tip):
                wanted.pop()
                continue
            graph = self._graph(tip)
            missing = self._absent([parent for parents in graph.values() for parent in parents if parent not in graph])
            if missing:
                if set(missing) & set(wanted):
                    raise _missing(tip)
                wanted.append(missing[0])
                continue
            with self._on_disk(tip) as place, self.recording():
                self._server.ask("take-in", {b"place": place, b"tip": bytes.fromhex(tip)})

    def secure(self, commit: CommitId) -> None:
        """Keep a bundle of what of ``commit``'s history is not public, so that a strip takes nothing we need.

        If it is stripped already, as by `hg commit --amend`, it is taken from the backup that hg has made.
        Does nothing if it is gone.
        """
        if self._store.has_bundle(commit):
            return
        over = None if self.in_repository(commit) else self._backup(commit)
        if over is None and not self.in_repository(commit):
            return
        with self._scratch() as place:
            tip = bytes.fromhex(commit)
            public = self._server.ask("public", {b"node": tip, b"over": over}).texts(b"nodes")
            question: dict[bytes, Value] = {
                b"tip": tip,
                b"common": public,
                b"into": place,
                b"most": _UNLIMITED,
                b"over": over,
            }
            if self._server.ask("history", question).number(b"count"):
                with open(place, "rb") as file:
                    self._store.keep_bundle(commit, file)

    def _backup(self, commit: CommitId) -> bytes | None:
        """Return the bundle that hg has kept when it stripped a changeset, ``None`` if it is in none of the latest."""
        root = self._server.root
        found = []
        for each in (root, *shares_of(root, ())):  # whoever stripped it has the backup
            directory = os.path.join(each, b".hg", b"strip-backup")
            with contextlib.suppress(FileNotFoundError):
                found += [os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(b".hg")]
        latest = sorted(found, key=_written, reverse=True)[:_BACKUPS]
        node = bytes.fromhex(commit)
        for place in latest:
            with contextlib.suppress(Unsafe, FileNotFoundError):
                graph = self._server.ask("graph", {b"place": place}).texts(b"graph")
                if any(line.startswith(node) for line in graph):
                    return place
        return None

    # -- while hg records changesets ------------------------------------------------------
    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Note, for the time in which hg records changesets for us, that what it leaves when it is killed is ours."""
        make_directory(self._store.metadata)
        marker = os.path.join(self._store.metadata, _MARKER)
        os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            yield
        except HgEnded:
            with contextlib.suppress(AutosyncError):  # later, then
                self.recover()
            raise
        except (AutosyncError, OSError):
            os.unlink(marker)
            raise
        os.unlink(marker)

    def recover(self) -> None:
        """Undo what an hg of ours that was killed has recorded by half.  Raises :class:`Busy`."""
        marker = os.path.join(self._store.metadata, _MARKER)
        if os.path.lexists(marker):
            self._server.ask("recover")
            os.unlink(marker)

    # -- bundles ------------------------------------------------------------------------------
    def _kept(self, commit: CommitId) -> Graph:
        """Return the changesets, of bundles only, that lead from the user's repository to ``commit``."""
        graph: Graph = {}
        wanted = self._absent([commit])
        while wanted:
            bundle = self._graph(wanted.pop())
            graph.update((each, bundle[each]) for each in self._absent(list(bundle)))
            border = {parent for parents in graph.values() for parent in parents if parent not in graph}
            wanted = self._absent(sorted(border))
        return graph

    def _graph(self, tip: CommitId) -> Graph:
        """Return the changesets of the bundle that brings ``tip``.  Raises :class:`Missing`."""
        if tip not in self._graphs:
            with self._on_disk(tip) as place:
                found = self._server.ask("graph", {b"place": place}).texts(b"graph")
            nodes = [[CommitId(line[at : at + 20].hex()) for at in (0, 20, 40)] for line in found]
            null = CommitId(NULL.hex())
            self._graphs[tip] = {node: tuple(p for p in parents if p != null) for node, *parents in nodes}
            if tip not in self._graphs[tip]:
                raise _missing(tip)
            if len(self._graphs) > _GRAPHS:
                self._graphs.popitem(last=False)
        return self._graphs[tip]

    @contextlib.contextmanager
    def _on_disk(self, tip: CommitId) -> Iterator[bytes]:
        bundle = self._store.bundle(tip)
        if bundle is None:
            raise _missing(tip)
        with self._scratch() as place:
            with open(place, "wb") as file:
                for part in bundle.parts():
                    file.write(part)
            yield place

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[bytes]:
        """Give a path to a file without a name: nothing of it stays, even if we are killed."""
        make_directory(self._store.metadata)
        with tempfile.TemporaryFile(dir=self._store.metadata) as file:
            yield place_of(file)

    # -- questions --------------------------------------------------------------------------
    def _absent(self, commits: Collection[CommitId]) -> list[CommitId]:
        if not commits:
            return []
        nodes = [bytes.fromhex(commit) for commit in commits]
        return [CommitId(node.hex()) for node in self._server.ask("absent", {b"nodes": nodes}).texts(b"absent")]

    def _ancestor(self, one: CommitId, other: CommitId) -> CommitId | None:
        nodes = [bytes.fromhex(one), bytes.fromhex(other)]
        node = self._server.ask("ancestor", {b"nodes": nodes}).text(b"node")
        return None if node == NULL else CommitId(node.hex())

    def _within(self, ancestor: CommitId, descendant: CommitId) -> bool:
        return self._ancestor(ancestor, descendant) == ancestor


def _ancestors(commit: CommitId, graph: Graph) -> set[CommitId]:
    """Return a changeset with all ancestors in the graph, and the first ones outside of it."""
    found: set[CommitId] = set()
    wanted = [commit]
    while wanted:
        each = wanted.pop()
        if each not in found:
            found.add(each)
            wanted.extend(graph.get(each, ()))
    return found


def _written(path: bytes) -> float:
    """Return when a file was written (seconds since the epoch); one that is gone, long ago."""
    try:
        return os.path.getmtime(path)
    except OSError:
        return 0.0


def _missing(commit: CommitId) -> Missing:
    return Missing(f"changeset {commit} is not here (yet)", hint=_HINT)
