"""A working copy that is offered what a member with the key, but ill will, has made by hand."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import resource
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from git_repos import base_of, fingerprint, make_repository

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.backends.git.thin import Loose
from autosync.brought import Brought
from autosync.core.events import AncestorMissing, BranchesDiverged, Integrated
from autosync.core.model import DeviceId, Snapshot, SnapshotId, Version, WorkspaceId
from autosync.errors import AutosyncError
from autosync.integrate import Integrator
from tests.system.rogue import FILE, Objects, Tree

FILES = {"a.txt": b"one\n", "d/b.txt": b"two\n", ".gitignore": b"*.o\n"}
KEPT: Tree = [(FILE, b"a.txt", bytes.fromhex("5626abf0f72e58d7a153368ba57db4c673c0e171"))]
"""Of :data:`FILES` the one that the hostile trees leave alone."""
WORKSPACE = WorkspaceId("0123456789abcdef" * 2)
LAPTOP, MALLORY = DeviceId("laptop-00000001"), "mallory-66666666"
WAYS = ("inline", "direct")
_CODES = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
MOST_MEMORY = 600 << 20
"""Bytes that a hostile input may cost, in our process or in one of git's."""
_ADDRESS_SPACE = 3 << 30


class Victim:
    """One device's working copy with what reads and applies snapshots, and a place outside it."""

    def __init__(self, place: Path) -> None:
        self.outside = place / "outside"
        self.outside.mkdir()
        self.root = make_repository(place / "copy", FILES)
        self.backend = open_git(self.root, workspace=WORKSPACE, remote=None)
        self.tree = WorkingTree(
            self.root,
            self.backend.metadata,
            standing=self.backend.standing,
            standings=self.backend.standings,
            stage=self.backend.stage,
        )
        self.head = str(base_of(self.root).commit)
        self.recorded: dict[SnapshotId, Snapshot] = {}
        reading = self.backend.read(None, None)
        self.ours = self.backend.record(
            tree=reading.tree,
            base=reading.base,
            version=Version.of({LAPTOP: 1}),
            parents=(),
            device="laptop",
            time=1_700_000_000,
        )
        self.integrator = Integrator(
            backend=self.backend,
            tree=self.tree,
            device=LAPTOP,
            name="laptop",
            load=self.backend.load,
            known=lambda: list(self.recorded.values()),
            lose=self.recorded.pop,
            recorded=self._keep,
            stood=self._keep,
            brought=Brought(backend=self.backend),
        )

    def _keep(self, snapshot: Snapshot) -> None:
        self.recorded[snapshot.id] = snapshot

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def take(self, wanted: SnapshotId, pack: bytes, *, way: str) -> Snapshot:
        """Get the snapshot as from an announcement or from a peer."""
        if way == "inline":
            return self.backend.absorb(wanted, pack)
        return self.backend.receive(wanted, io.BytesIO(pack))

    def integrate(self, theirs: Snapshot) -> Integrated | BranchesDiverged | AncestorMissing:
        """Bring the working copy to contain ``theirs``."""
        ended = self.integrator.integrate(self.ours, theirs, exact=True, above=0)
        if isinstance(ended, Integrated):
            self.ours = ended.current
        return ended

    def version(self) -> dict[str, int]:
        """Return a version that follows ours."""
        counters: dict[str, int] = {str(device): n for device, n in self.ours.version.counters}
        return counters | {MALLORY: counters.get(MALLORY, 0) + 1}

    def goes_on(self) -> None:
        """Prove that what is sound still arrives and is applied."""
        objects = Objects()
        name, content = b"proof-%d" % self.ours.version.count(DeviceId(MALLORY)), os.urandom(8)
        tree = objects.tree([*KEPT, (FILE, name, objects.blob(content))])
        wanted = objects.snapshot(tree, base=self.head, version=self.version())
        for way in WAYS:
            ended = self.integrate(self.take(wanted, packed(objects), way=way))
            assert isinstance(ended, Integrated), ended
            assert ended.complete, ended
        with open(os.path.join(self.root, name), "rb") as file:
            assert file.read() == content

    def metadata(self) -> Mapping[bytes, object]:
        """Return what is the user's in .git."""
        return fingerprint(self.root)


def packed(objects: Objects, *, without: Iterable[bytes] = ()) -> bytes:
    """Return all objects as a pack, each whole."""
    left_out = set(without)
    return sealed(*(entry(loose) for oid, loose in objects.made.items() if oid not in left_out))


def entry(loose: Loose, *, size: int | None = None) -> bytes:
    """Return an object as a pack holds it; ``size`` is what its header says."""
    return header(_CODES[loose.kind], len(loose.content) if size is None else size) + zlib.compress(loose.content, 1)


def header(code: int, size: int) -> bytes:
    """Return type and size (gitformat-pack(5))."""
    out = bytearray([code << 4 | size & 15])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)


def sealed(*entries: bytes, count: int | None = None) -> bytes:
    """Return a pack with a right checksum whatever is in it."""
    body = b"PACK" + struct.pack(">II", 2, len(entries) if count is None else count) + b"".join(entries)
    return body + hashlib.sha1(body).digest()  # noqa: S324 - git's


@functools.cache
def zeros(size: int) -> bytes:
    """Return the deflated form of ``size`` zero bytes, made in little memory."""
    deflater = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [deflater.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, deflater.compress(bytes(size & ((1 << 20) - 1))), deflater.flush()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What something cost in a process of its own; ``refusal`` is the title of the error it ended with."""

    refusal: str
    seconds: float
    memory: int


def cost_of(work: Callable[[], None]) -> Cost:
    """Do ``work`` in a fork with little address space; it must end, or be refused by an error of ours."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _measure(work, writing)
    os.close(writing)
    with open(reading, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert said, "it was killed"
    refusal, seconds, memory, trace = json.loads(said)
    assert not trace, trace
    return Cost(refusal=refusal, seconds=seconds, memory=memory)


def _measure(work: Callable[[], None], writing: int) -> None:
    refusal = trace = ""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time() + _of_children()
        try:
            work()
        except AutosyncError as error:
            refusal = error.title
        except BaseException:
            trace = traceback.format_exc()
        spent = time.process_time() + _of_children() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        gits = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if gits <= peak:  # a child that is made by vfork(2) counts with what its parent has
            gits = 0
        os.write(writing, json.dumps([refusal, spent, max(peak - before, gits) << 10, trace[-4000:]]).encode())
    finally:
        sys.stdout.flush()
        os._exit(0)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def victim(place: Path) -> Iterator[Victim]:
    """A victim, which afterwards still takes what is sound and whose .git nobody has touched."""
    attacked = Victim(place)
    before = attacked.metadata()
    try:
        yield attacked
        assert os.listdir(attacked.outside) == []
        assert attacked.metadata() == before
        attacked.goes_on()
        assert attacked.metadata() == before
    finally:
        attacked.close()
