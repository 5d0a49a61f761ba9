"""Both ends of an exchange between hg working copies, without the rest of the backend."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hg_repos import NOW, hg

from autosync.backends.git.network import Patience
from autosync.backends.hg.admitting import Admitting
from autosync.backends.hg.basetree import BaseTrees
from autosync.backends.hg.contents import Contents
from autosync.backends.hg.exchange import Exchange
from autosync.backends.hg.histories import Histories
from autosync.backends.hg.hub import Hub
from autosync.backends.hg.nodes import Namer
from autosync.backends.hg.recording import Differences, Recording
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.core.model import (
    Base,
    CommitId,
    DeviceId,
    Entry,
    Kind,
    RelPath,
    Snapshot,
    Version,
)

Content = bytes | tuple[Kind, bytes] | None


class End:
    """What the exchange sees of the working copy at ``root``."""

    def __init__(self, root: bytes, by: Sequence[str] | None = None, *, remote: str = "default") -> None:
        self.root = root
        self.repository = Repository(root, by)
        self.store = Store(os.path.join(root, b".hg", b"autosync"))
        contents, trees = Contents(self.repository, self.store), BaseTrees(self.repository, self.store)
        self.open, self.tree_of = contents.open, trees.tree_of
        self.histories = Histories(self.repository.server, self.store, self.tree_of)
        self.differences = Differences(self.store, self.open, self.tree_of)
        self.namer = Namer(self.repository.server)
        self.recording = Recording(self.namer, self.histories, self.differences)
        self.exchange = Exchange(
            self.histories, self.differences, Admitting(self.namer, self.histories, self.differences)
        )

        self.hub = Hub(root, self.store, self.histories, remote, hg=by, patience=Patience(silence=20.0, total=60.0))

    def close(self) -> None:
        self.hub.close()
        self.histories.close()
        self.store.close()
        self.repository.close()

    def entry(self, kind: Kind, content: bytes) -> Entry:
        return Entry(kind=kind, oid=self.store.put(content))

    def base(self, bookmark: str = "") -> Base:
        """Return what is checked out."""
        said = hg(self.root, "log", "-r", "wdir()", "-T", "{p1node}\n{branch}").decode()
        commit, named = said.split("\n")
        return Base(
            commit=None if set(commit) == {"0"} else CommitId(commit),
            branch=f"{named}:{bookmark}" if bookmark else named,
        )

    def snap(
        self,
        edits: Mapping[bytes, Content],
        *,
        marks: Mapping[bytes, bytes] | None = None,
        base: Base | None = None,
        count: int = 1,
        parents: Sequence[Snapshot] = (),
    ) -> Snapshot:
        """Return a recorded snapshot that has these edits over its base; bytes stand for a plain file."""
        base = base or self.base()
        entries: dict[RelPath, Entry | None] = {}
        for path, content in edits.items():
            kind, text = content if isinstance(content, tuple) else (Kind.FILE, content)
            entries[RelPath(path)] = None if text is None else self.entry(kind, text)
        tree = self.store.splice(self.tree_of(base.commit), entries)
        tree = self.store.with_marks(tree, {RelPath(path): mark for path, mark in (marks or {}).items()})
        return self.recording.record(
            tree=tree,
            base=base,
            version=Version.of({DeviceId("one-00000001"): count}),
            parents=tuple(parent.id for parent in parents),
            device="one",
            time=NOW + count,
        )

    def files(self, snapshot: Snapshot) -> dict[bytes, tuple[Kind, bytes]]:
        """Return everything in a snapshot."""
        return {bytes(path): (e.kind, self.open(e.oid).whole()) for path, e in self.store.entries(snapshot.tree)}


@contextmanager
def ends(*roots: bytes, by: Sequence[Sequence[str] | None] = ()) -> Iterator[list[End]]:
    """Open working copies, each by its hg, and close them again."""
    found = [End(root, hg) for root, hg in zip(roots, by or [None] * len(roots), strict=True)]
    try:
        yield found
    finally:
        for end in found:
            end.close()


def sent(snapshot: Snapshot, source: End, target: End, *, known: Sequence[CommitId] = ()) -> Snapshot:
    """Carry a snapshot inline from one to the other."""
    packed = source.exchange.pack(snapshot.id, limit=1 << 20, known=known)
    assert packed is not None
    return target.exchange.absorb(snapshot.id, packed)


def served(snapshot: Snapshot, source: End, have: Sequence[str]) -> bytes:
    """Return what ``source`` writes to one who has ``have``."""
    out = io.BytesIO()
    source.exchange.serve(snapshot.id, have, out)
    return out.getvalue()


def fetched(snapshot: Snapshot, source: End, target: End) -> Snapshot:
    """Let ``target`` fetch from ``source`` as a peer does."""
    return target.exchange.receive(snapshot.id, io.BytesIO(served(snapshot, source, target.exchange.haves())))
