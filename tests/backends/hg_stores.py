"""Private stores of Mercurial working copies, for tests: filled, looked through, and killed while they write."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
from collections.abc import Mapping

from autosync.backends.hg.store import Store
from autosync.core.model import (
    Base,
    CommitId,
    DeviceId,
    Entry,
    Kind,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
)

START = 1_700_000_000.0
HOUR = 3600.0
WEEK = 7 * 24 * HOUR


class Clock:
    """A clock that goes when it is told to; in seconds since the epoch."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def node(*what: object) -> str:
    """Return a hex node that belongs to ``what`` alone."""
    return hashlib.sha1(repr(what).encode(), usedforsecurity=False).hexdigest()


def file(oid: ObjectId) -> Entry:
    return Entry(kind=Kind.FILE, oid=oid)


def stored(store: Store, files: Mapping[str, bytes]) -> dict[RelPath, Entry | None]:
    """Put contents and return them as edits."""
    return {RelPath(os.fsencode(path)): file(store.put(content)) for path, content in files.items()}


def snapshot_of(
    tree: TreeId, number: int, *, parents: tuple[SnapshotId, ...] = (), base: CommitId | None = None
) -> Snapshot:
    return Snapshot(
        id=SnapshotId(node("snapshot", number, tree)),
        tree=tree,
        base=Base(commit=base, branch="default"),
        version=Version(((DeviceId("laptop-00000001"), number),)),
        parents=parents,
        device="laptop",
        time=int(START) + number,
    )


def written(store: Store, files: Mapping[str, bytes], number: int, after: Snapshot | None = None) -> Snapshot:
    """Write the snapshot that adds ``files`` to the one before."""
    tree = store.splice(after.tree if after else None, stored(store, files))
    snapshot = snapshot_of(tree, number, parents=(after.id,) if after else ())
    store.write(snapshot)
    return snapshot


def contents(store: Store, tree: TreeId) -> dict[str, bytes | None]:
    """Return what the files of a tree hold."""
    return {os.fsdecode(path): store.content(entry.oid) for path, entry in store.entries(tree)}


def bundled(store: Store, commit: CommitId) -> bytes | None:
    """Return the bundle that is kept for a changeset."""
    bundle = store.bundle(commit)
    return None if bundle is None else bundle.whole()


def work(metadata: bytes, seed: int, say: int) -> None:
    """Write, pin, let go and tidy for ever; tell the pipe ``say`` the number of each state that is pinned."""
    clock = Clock()
    store = Store(metadata, clock=clock)
    pins = store.pins()
    last = store.load(pins["current"]) if pins else None
    first = last.version.counters[0][1] if last else 0
    chance = random.Random(seed)
    for number in itertools.count(first + 1):
        clock.now = START + number * HOUR
        edits = {f"d{chance.randrange(3)}/f{chance.randrange(5)}": chance.randbytes(20) * 30}
        if not chance.randrange(4):
            edits["large"] = chance.randbytes(1_200_000)
        last = written(store, edits, number, last)
        store.pin(f"keep/{number}-{number}-{last.id}", last.id)
        store.pin("current", last.id)
        os.write(say, b"%d\n" % number)  # what is promised from here on
        if not chance.randrange(3):
            kept = sorted(pin for pin in store.pins() if pin.startswith("keep/"))
            store.repin(add={}, drop=chance.sample(kept, len(kept) // 2))
            store.tidy(thorough=True)


def killed_at_work(metadata: bytes, seed: int, after: int) -> int:
    """Kill a process that is at :func:`work` once it has promised ``after`` states; return the last promise."""
    listen, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(metadata, seed, say)
        finally:  # else it would go on as a second test runner
            os._exit(1)
    os.close(say)
    try:
        with os.fdopen(listen, "rb") as promises:
            return int([promises.readline() for _ in range(after)][-1])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
