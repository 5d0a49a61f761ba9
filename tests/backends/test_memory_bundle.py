"""A forged bundle is refused for what is wrong with it, whoever sealed it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from autosync.backends.memory import MemoryWorkingCopy, bundle
from autosync.backends.memory.bundle import Bundle
from autosync.core.model import Base, DeviceId, Entry, Kind, ObjectId, RelPath, Snapshot, Version
from autosync.errors import Unsafe


def served() -> tuple[Snapshot, bytes]:
    """Return a snapshot with one changeset of history, and its bundle."""
    one = MemoryWorkingCopy("one")
    one.user.write(RelPath(b"a"), b"1")
    one.user.commit("first")
    one.user.write(RelPath(b"a"), b"2")
    reading = one.read(None, None)
    version = Version.of({DeviceId("one-1"): 1})
    snapshot = one.record(tree=reading.tree, base=reading.base, version=version, parents=(), device="one", time=1)
    return snapshot, bundle.pack(one.store, snapshot.id, [])


def sealed(body: bytes) -> bytes:
    """Return ``body`` with the checksum it needs."""
    return body + hashlib.sha256(body).digest()


def other_text(forged: Bundle) -> Bundle:
    return msgspec.structs.replace(forged, texts=(*forged.texts[:-1], b"other"))


def other_id(forged: Bundle) -> Bundle:
    return msgspec.structs.replace(forged, snapshot=replace(forged.snapshot, time=2))


def other_entry(forged: Bundle) -> Bundle:
    entry = Entry(kind=Kind.NESTED, oid=ObjectId("0" * 64))
    return msgspec.structs.replace(forged, edits=((RelPath(b"a"), entry),), texts=forged.texts[1:])


def other_changeset(forged: Bundle) -> Bundle:
    (commit, changeset, edits), *rest = forged.history
    return msgspec.structs.replace(forged, history=((commit, replace(changeset, message="x"), edits), *rest))


def unsafe_name(forged: Bundle) -> Bundle:
    (path, entry), *rest = forged.edits
    return msgspec.structs.replace(forged, edits=((RelPath(b".git/" + path), entry), *rest))


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (other_text, "1 of its contents belong to nothing"),
        (other_id, "its content is not what the id says"),
        (other_entry, "the tree .* is not what its id says"),
        (other_changeset, "the changeset .* is not what its id says"),
        (unsafe_name, "has a name that some file systems take for git's metadata"),
    ],
)
def test_what_is_forged_is_refused(forge: Callable[[Bundle], Bundle], reason: str) -> None:
    snapshot, packed = served()
    forged = forge(msgspec.msgpack.decode(packed[:-32], type=Bundle))
    two = MemoryWorkingCopy("two")
    with pytest.raises(Unsafe, match=reason):
        bundle.unpack(two.store, snapshot.id, sealed(msgspec.msgpack.encode(forged)))
    assert not (two.store.snapshots or two.store.changesets or two.store.texts)
    assert bundle.unpack(two.store, snapshot.id, packed) == snapshot


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x94\x01\x02\x03\x04", b"\x91" * 5000, b"\xa1\xff"])
def test_what_is_no_bundle_is_refused(body: bytes) -> None:
    snapshot, _ = served()
    two = MemoryWorkingCopy("two")
    with pytest.raises(Unsafe, match="it cannot be read"):
        bundle.unpack(two.store, snapshot.id, sealed(body))


def test_a_merge_brings_both_of_its_sides() -> None:
    one = MemoryWorkingCopy("one")
    one.user.write(RelPath(b"a"), b"1")
    first = one.user.commit("first").commit
    one.user.create_branch("topic")
    one.user.write(RelPath(b"a"), b"2")
    one.user.commit("second")
    one.user.checkout("topic")
    one.user.write(RelPath(b"b"), b"3")
    third = one.user.commit("third").commit
    one.user.checkout("main")
    one.user.write(RelPath(b"b"), b"3")
    reading = one.read(None, None)
    merge = one.commit(None, message="merge", tree=reading.tree, extra_parent=third)
    version = Version.of({DeviceId("one-1"): 1})
    snapshot = one.record(tree=reading.tree, base=merge, version=version, parents=(), device="one", time=1)
    two = MemoryWorkingCopy("two")
    assert bundle.unpack(two.store, snapshot.id, bundle.pack(one.store, snapshot.id, [])) == snapshot
    assert first is not None
    assert third is not None
    assert merge.commit is not None
    assert two.is_ancestor(third, merge.commit)
    assert two.merge_base(first, merge.commit) == first
    assert snapshot.base == Base(commit=merge.commit, branch="refs/heads/main")
