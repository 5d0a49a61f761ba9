"""Relates changesets to each other, also those that are kept as bundles, and brings these to the user's repository."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Iterator

from autosync.backends.hg.repository import NULL
from autosync.backends.hg.server import HgEnded, Server
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Value
from autosync.core.model import CommitId
from autosync.errors import AutosyncError, Missing

_HINT = "It is asked for again from the other devices."
_MARKER = b"recording"
_GRAPHS = 8
"""Bundles whose changesets are remembered."""
_NEAREST = 64
"""Unpublished ancestors among which one that is kept already is looked for."""
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
        return self.in_repository(commit) or self._store.bundle(commit) is not None

    def in_repository(self, commit: CommitId) -> bool:
        """Return whether a changeset is in the user's repository."""
        return not self._absent([commit])

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``ancestor`` is contained in ``descendant`` (or is it).  Raises :class:`Missing`."""
        return self.merge_base(ancestor, descendant) == ancestor

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return the nearest common ancestor, ``None`` if there is none; of several the smallest.

        Raises :class:`Missing` if one of them is not here.
        """
        kept = [self._kept(commit) for commit in (one, other)]
        graph: Graph = {}
        for each in kept:
            graph.update(each)
        mine, theirs = (_ancestors(commit, graph) for commit in (one, other))
        common = {commit for commit in mine & theirs if commit in graph}
        # What is common in the bundles, but for what another one of them contains.
        heads = common - {parent for commit in common for parent in graph[commit]}
        # Both histories leave the bundles for the repository in a few changesets each.
        covered: set[CommitId] = set().union(*(_ancestors(head, graph) for head in heads))
        left, right = ({commit for commit in side if commit not in graph} - covered for side in (mine, theirs))
        found = {self._ancestor(a, b) for a in left for b in right} - {None}
        heads.update(
            each
            for each in found
            if each is not None and not any(self._within(each, other) for other in found - {each})
        )
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
                self._server.ask("take-in", {b"place": place})

    def secure(self, commit: CommitId) -> None:
        """Keep a bundle of what of ``commit``'s history is not public, so that a strip takes nothing we need.

        Raises :class:`Missing`.
        """
        if self._store.bundle(commit) is not None:
            return
        found = self._server.ask("unpublished", {b"node": bytes.fromhex(commit), b"most": _NEAREST})
        nearest = [CommitId(node.hex()) for node in found.texts(b"nearest")]
        if not nearest:
            return
        kept = next((each for each in nearest if self._store.bundle(each) is not None), None)
        common = [*found.texts(b"public"), *([bytes.fromhex(kept)] if kept else [])]
        with self._scratch() as place:
            tip = bytes.fromhex(commit)
            question: dict[bytes, Value] = {b"tip": tip, b"common": common, b"into": place, b"most": _UNLIMITED}
            self._server.ask("history", question)
            with open(place, "rb") as file:
                self._store.keep_bundle(commit, file.read(), needs=[kept] if kept else [])

    # -- while hg records changesets ------------------------------------------------------
    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Note, for the time in which hg records changesets for us, that what it leaves when it is killed is ours."""
        os.makedirs(self._store.metadata, mode=0o700, exist_ok=True)
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
        """Return the changesets of the bundles that lead from the user's repository to ``commit``."""
        graph: Graph = {}
        wanted = self._absent([commit])
        while wanted:
            graph.update(self._graph(wanted.pop()))
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
                file.write(bundle)
            yield place

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[bytes]:
        """Give the name of a file in a directory of its own, which is gone afterwards."""
        os.makedirs(self._store.metadata, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=b"history-", dir=self._store.metadata) as directory:
            yield os.path.join(directory, b"bundle")

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

    def _within(self, ancestor: CommitId, descendant: CommitId | None) -> bool:
        return descendant is not None and self._ancestor(ancestor, descendant) == ancestor


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


def _missing(commit: CommitId) -> Missing:
    return Missing(f"changeset {commit} is not here (yet)", hint=_HINT)
