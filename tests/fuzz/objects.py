"""The targets that read what version control exchanges: objects, deltas, packs and bundles."""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import subprocess
from collections.abc import Sequence

import msgspec

from autosync.backends.git import delta
from autosync.backends.git.admission import parse_arriving
from autosync.backends.git.exchange import Exchange
from autosync.backends.git.network import Patience
from autosync.backends.git.objects import (
    format_snapshot,
    format_tree,
    object_id,
    parse_tree,
)
from autosync.backends.git.pack import index_bytes
from autosync.backends.git.packs import Pack, Packs
from autosync.backends.git.refnames import RefNames
from autosync.backends.git.repository import Repository, open_repository
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Bounds, Loose, Outgoing, decode, encode
from autosync.backends.memory import MemoryWorkingCopy, bundle
from autosync.core.model import Base, CommitId, DeviceId, RelPath, SnapshotId, TreeId, Version, WorkspaceId
from autosync.errors import Missing, StateError, Unsafe
from tests.fuzz.formats import scratch
from tests.fuzz.target import Broken, Target, same

A = b"\xaa" * 20
OLD = b"".join(b"line %d of a text that is long enough\n" % i for i in range(60))
NEW = OLD.replace(b"line 7 ", b"something else ")
SMALL = Bounds(packed=1 << 20, unpacked=4 << 20, objects=500)


def _tree(content: bytes) -> bool:
    try:
        found = parse_tree(content, "sha1")
    except Unsafe:
        return False
    return same(content, format_tree(found))


def _snapshot(content: bytes) -> bool:
    try:
        found = parse_arriving(SnapshotId("a" * 40), content)
    except Unsafe:
        return False
    again = format_snapshot(
        tree=found.tree,
        base=found.base,
        version=found.version,
        parents=found.parents,
        device=found.device,
        time=found.time,
    )
    return same(content, again)


def snapshot_commit(tree: str, base: str | None) -> bytes:
    """Return the commit object of a sound snapshot."""
    return format_snapshot(
        tree=TreeId(tree),
        base=Base(commit=None if base is None else CommitId(base), branch="refs/heads/main"),
        version=Version.of({DeviceId("laptop-0a1b2c3d"): 3}),
        parents=(SnapshotId("d" * 40),),
        device="laptop",
        time=1_700_000_000,
    )


def _delta(content: bytes) -> bool:
    try:
        stated = delta.sizes(content)[1]
        if stated > 1 << 20:  # whoever applies a delta has paid for its size before
            return False
        made = delta.apply(OLD, content)
    except delta.BadDelta:
        return False
    if len(made) != stated:
        raise Broken(f"{len(made)} bytes, not {stated}")
    return same(made, delta.apply(OLD, delta.encode(OLD, made)))


def _pack(content: bytes) -> bool:
    """Read the body of a pack: the checksum is put right, else nothing would get past it."""
    try:
        found = decode(content + hashlib.sha1(content).digest(), "sha1", _old, SMALL)  # noqa: S324
    except (Unsafe, Missing):
        return False
    again = encode([Outgoing(object=loose) for loose in found.values()], "sha1", limit=SMALL.unpacked)
    return again is None or same(found, decode(again, "sha1", _old, Bounds(packed=SMALL.unpacked)))


def _old(oid: bytes, size: int) -> Loose | None:
    return Loose(kind=b"blob", content=OLD) if size == len(OLD) and oid[0] < 0x80 else None


def _pack_seeds() -> Sequence[bytes]:
    packed = encode(
        [
            Outgoing(object=Loose(kind=b"blob", content=NEW), base=(bytes(20), OLD)),
            Outgoing(object=Loose(kind=b"tree", content=b"100644 a\0" + A)),
        ],
        "sha1",
        limit=1 << 20,
    )
    return [(packed or b"")[:-20], b"PACK" + struct.pack(">II", 2, 0)]


def _pack_index(content: bytes) -> bool:
    repo, _ = _place()
    directory = os.path.join(repo.store_dir, b"objects", b"pack")
    file = os.path.join(directory, b"fuzzed.idx")
    with open(file, "wb") as out:
        out.write(content)
    try:
        found = Packs(repo).objects([Pack(name=b"fuzzed", size=0, time=0)])
    except StateError:
        return False
    finally:
        os.unlink(file)
    if any(len(oid) != 40 for oid in found):
        raise Broken("an id of a wrong length")
    return True


# -- a whole inline pack, against a real store ------------------------------------------------
@functools.cache
def _place() -> tuple[Repository, Exchange]:
    root = os.path.join(os.fsencode(scratch()), b"repository")
    settings = ["-c", "user.name=u", "-c", "user.email=u@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    with open(os.path.join(root, b"a.txt"), "wb") as file:
        file.write(OLD)
    subprocess.run(["git", *settings, "-C", root, "add", "-A"], check=True)
    dated = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    subprocess.run(["git", *settings, "-C", root, "commit", "-qm", "first"], check=True, env={**os.environ, **dated})
    repo = open_repository(root)
    exchange = Exchange(
        repo, Store(repo), WorkspaceId("0" * 32), None, "refs/autosync", names=RefNames(), patience=Patience()
    )
    return repo, exchange


def _head(repo: Repository) -> str:
    done = subprocess.run(["git", "-C", repo.root, "rev-parse", "HEAD"], capture_output=True, check=True)
    return done.stdout.decode().strip()


def _inline(content: bytes) -> bool:
    """Absorb the objects ``content`` describes: kind (1 byte), length (2 bytes), content, again and again.

    The last commit among them is the snapshot that is asked for.
    """
    _, exchange = _place()
    objects, wanted, at = [], "0" * 40, 0
    while at + 3 <= len(content):
        kind = (b"commit", b"tree", b"blob")[content[at] % 3]
        size = int.from_bytes(content[at + 1 : at + 3])
        part = content[at + 3 : at + 3 + size]
        at += 3 + size
        objects.append(Outgoing(object=Loose(kind=kind, content=part)))
        if kind == b"commit":
            wanted = object_id("sha1", kind, part).hex()
    packed = encode(objects, "sha1", limit=1 << 20)
    try:
        found = exchange.absorb(SnapshotId(wanted), packed or b"")
    except (Unsafe, Missing):
        return False
    return same(wanted, found.id)


def _inline_seeds() -> Sequence[bytes]:
    repo, _ = _place()
    head = _head(repo)
    blob = object_id("sha1", b"blob", NEW)
    tree = b"100644 a.txt\0" + blob
    inner = b"40000 .git\0" + object_id("sha1", b"tree", tree) + tree
    found = []
    for parts in ([(2, NEW), (1, tree)], [(2, NEW), (1, tree), (1, inner)]):
        root = object_id("sha1", b"tree", parts[-1][1]).hex()
        parts.append((0, snapshot_commit(root, head)))
        found.append(b"".join(struct.pack(">BH", kind, len(part)) + part for kind, part in parts))
    return found


# -- the bundles of the memory backend --------------------------------------------------------
def _bundle(content: bytes) -> bool:
    source, wanted, _ = _bundled()
    store = MemoryWorkingCopy("two").store
    try:
        found = bundle.unpack(store, wanted, content + hashlib.sha256(content).digest())
    except (Unsafe, Missing):
        if store.snapshots or store.changesets or store.texts:
            raise Broken("something refused was stored") from None
        return False
    return same(source.snapshots[wanted], found)


@functools.cache
def _bundled() -> tuple[bundle.ObjectStore, SnapshotId, bytes]:
    one = MemoryWorkingCopy("one")
    one.user.write(RelPath(b"a"), b"1")
    one.user.commit("first")
    one.user.write(RelPath(b"b/c"), b"2")
    reading = one.read(None, None)
    version = Version.of({DeviceId("one-1"): 1})
    made = one.record(tree=reading.tree, base=reading.base, version=version, parents=(), device="one", time=1)
    return one.store, made.id, bundle.pack(one.store, made.id, [])[:-32]


def _bundle_seeds() -> Sequence[bytes]:
    packed = _bundled()[2]
    sound = msgspec.msgpack.decode(packed, type=bundle.Bundle)
    emptied = msgspec.structs.replace(sound, history=())
    doubled = msgspec.structs.replace(sound, edits=(*sound.edits, (RelPath(b"b"), sound.edits[0][1])))
    return [packed, msgspec.msgpack.encode(emptied), msgspec.msgpack.encode(doubled)]


TARGETS = (
    Target(name="tree", feed=_tree, seeds=lambda: [b"100644 a\0" + A + b"40000 b\0" + A, b"120000 l\0" + A]),
    Target(name="snapshot", feed=_snapshot, seeds=lambda: [snapshot_commit("b" * 40, "c" * 40)]),
    Target(name="delta", feed=_delta, seeds=lambda: [delta.encode(OLD, NEW), delta.encode(OLD, b"x")]),
    Target(name="pack", feed=_pack, seeds=_pack_seeds),
    Target(name="pack-index", feed=_pack_index, seeds=lambda: [index_bytes([(A, 1, 12)], A, "sha1")]),
    Target(name="inline", feed=_inline, seeds=_inline_seeds),
    Target(name="bundle", feed=_bundle, seeds=_bundle_seeds),
)
