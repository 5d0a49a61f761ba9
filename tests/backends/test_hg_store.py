"""The private store of a Mercurial working copy: trees with marks, snapshots and pins that last."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_stores import Clock, bundled, contents, file, node, snapshot_of, stored, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autosync.backends.hg.store import Store
from autosync.core.model import Base, Change, CommitId, Entry, Kind, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.errors import Missing, StateError, Unsafe
from tests.figures import record


@pytest.fixture
def metadata(tmp_path: Path) -> bytes:
    (tmp_path / ".hg").mkdir()
    return os.fsencode(tmp_path / ".hg" / "autosync")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(metadata: bytes, clock: Clock) -> Iterator[Store]:
    store = Store(metadata, clock=clock)
    yield store
    store.close()


def path_of(metadata: bytes) -> Path:
    return Path(os.fsdecode(metadata), "store.sqlite")


# -- snapshots and pins ---------------------------------------------------------------------------
def test_nothing_is_made_before_something_is_written(store: Store, metadata: bytes) -> None:
    some = SnapshotId("ab" * 20)
    assert (store.pins(), store.load(some), store.load_many([some]), store.size(), store.shared()) == (
        {},
        None,
        [],
        0,
        0,
    )
    assert (store.content(ObjectId("ab" * 32)), store.where(ObjectId("ab" * 32))) == (None, None)
    assert (store.known_files([b"x" * 20]), store.commit_tree(CommitId("ab" * 20))) == ({}, None)
    assert (store.bundle(CommitId("ab" * 20)), store.has_bundle(CommitId("ab" * 20))) == (None, False)
    store.unpin("current")
    store.flush()
    store.tidy(thorough=True)
    store.put(b"kept in memory")
    store.rest()
    assert not os.path.exists(metadata)


def test_only_its_owner_reads_it(store: Store, metadata: bytes) -> None:
    old = os.umask(0)
    try:
        store.put(random.Random(1).randbytes(2_000_000))
        store.flush()
    finally:
        os.umask(old)
    modes = {
        name: stat.S_IMODE(os.stat(os.path.join(metadata, name)).st_mode) for name in (b".", *os.listdir(metadata))
    }
    assert modes == {
        b".": 0o700,
        b"large": 0o700,
        b"store.sqlite": 0o600,
        b"store.sqlite-shm": 0o600,
        b"store.sqlite-wal": 0o600,
    }


def test_a_snapshot_survives_a_restart_and_is_whole(store: Store, metadata: bytes) -> None:
    tree = store.splice(None, stored(store, {"a": b"one\n", "d/b": b""}))
    snapshot = Snapshot(
        id=SnapshotId("0f" * 20),
        tree=store.with_marks(tree, {RelPath(b"a"): b"a\0d/b"}),
        base=Base(commit=CommitId("11" * 20), branch="n\udcffme:\N{SNOWMAN}"),
        version=snapshot_of(tree, 7).version,
        parents=(SnapshotId("22" * 20), SnapshotId("33" * 20)),
        device="lap\udc80top+desktop",
        time=1,
    )
    store.write(snapshot)
    store.pin("current", snapshot.id)
    store.close()
    with_new_handles = Store(metadata)
    for again in (store, with_new_handles):
        assert again.load(snapshot.id) == snapshot
        assert again.pins() == {"current": snapshot.id}
        assert contents(again, snapshot.tree) == {"a": b"one\n", "d/b": b""}
        assert again.marks(snapshot.tree) == {b"a": b"a\0d/b"}
    with_new_handles.close()


def test_the_same_content_has_the_same_ids_everywhere(store: Store) -> None:
    def hashed(kind: bytes, content: bytes) -> bytes:
        return hashlib.sha256(b"%s %d\0%s" % (kind, len(content), content)).digest()

    tree = store.splice(None, stored(store, {"a": b"hello\n", "d/b": b"x"}))
    # `git hash-object` of a SHA-256 repository says the same of the file.
    assert store.put(b"hello\n") == "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4"
    below = hashed(b"tree", b"100644 b\0" + hashed(b"blob", b"x"))
    files = hashed(b"tree", b"100644 a\0" + hashed(b"blob", b"hello\n") + b"40000 d\0" + below)
    marks = hashed(b"blob", b"a\0a\0\0d/b\0a\0a\0")
    assert tree == hashed(b"state", files + hashed(b"blob", b"")).hex()
    marked = store.with_marks(tree, {RelPath(b"d/b"): b"a\0a", RelPath(b"a"): b"a"})
    assert marked == hashed(b"state", files + marks).hex()
    assert store.marks_id(marked) == marks.hex()
    assert store.splice(None, {}) == store.with_marks(None, {}) == store.empty_tree
    assert store.empty_tree == hashed(b"state", hashed(b"tree", b"") + hashed(b"blob", b"")).hex()
    assert store.splice(tree, {RelPath(b"a"): None, RelPath(b"d"): None}) == store.empty_tree


def test_a_pin_moves_goes_and_holds_only_what_is_here(store: Store) -> None:
    one, two = (written(store, {"a": b"%d" % number}, number) for number in (1, 2))
    store.pin("current", one.id)
    store.pin("current", two.id)
    store.repin(add={"keep/1-1-x": one.id, "keep/2-2-y": two.id}, drop=["keep/0-0-z"])
    assert store.pins() == {"current": two.id, "keep/1-1-x": one.id, "keep/2-2-y": two.id}
    with pytest.raises(Missing, match="snapshot " + "ab" * 20 + " is not here"):
        store.repin(add={"keep/3-3-z": SnapshotId("ab" * 20)}, drop=["keep/1-1-x"])
    store.unpin("current")
    store.unpin("current")
    assert store.pins() == {"keep/1-1-x": one.id, "keep/2-2-y": two.id}
    for name in ("", "/a", "a/", "a b", "a/../b", "a//b", ".a", "a\n"):
        with pytest.raises(ValueError, match="is no name for a pin"):
            store.pin(name, one.id)


def test_many_are_loaded_without_what_is_not_here_or_damaged(store: Store, metadata: bytes) -> None:
    one, two = (written(store, {"a": b"%d" % number}, number) for number in (1, 2))
    with sqlite3.connect(path_of(metadata)) as other:
        other.execute("UPDATE snapshots SET said = '[1]' WHERE id = ?", (bytes.fromhex(two.id),))
    other.close()
    assert store.load_many([one.id, two.id, SnapshotId("ab" * 20), SnapshotId("junk")]) == [one]
    with pytest.raises(StateError, match=rf"store\.sqlite is damaged: snapshot {two.id} cannot be read"):
        store.load(two.id)


@pytest.mark.parametrize("forged", ["", "ab", "AB" * 20, "zz" * 20, "ab" * 32, "ab " * 20, "ab" * 10_000])
def test_what_is_no_id_is_refused(store: Store, forged: str) -> None:
    with pytest.raises(Unsafe) as caught:
        store.load(SnapshotId(forged))
    assert caught.value.title == f"{forged[:100]!r} is no id of 40 hex digits"
    record("bad inputs refused", 1)


# -- trees and marks ------------------------------------------------------------------------------
_PATHS = st.lists(st.sampled_from([b"a", b"b", b"a.b", b"a-"]), min_size=1, max_size=3).map(b"/".join).map(RelPath)
_VALUES = st.tuples(st.sampled_from([Kind.FILE, Kind.EXECUTABLE, Kind.SYMLINK]), st.sampled_from([b"1", b"2"]))


def _clean(files: dict[RelPath, Entry | None]) -> dict[RelPath, Entry | None]:
    """Leave out what would stand below a file."""
    real = {path for path, entry in files.items() if entry is not None}
    return {
        path: entry
        for path, entry in files.items()
        if entry is None or not any(path.startswith(other + b"/") for other in real)
    }


def _spliced(model: dict[RelPath, Entry | None], edits: dict[RelPath, Entry | None]) -> dict[RelPath, Entry | None]:
    """Do to a plain dict what splice does to a tree."""
    wanted = dict(model)
    for path, entry in edits.items():
        for other in list(wanted):
            below, above = other.startswith(path + b"/"), path.startswith(other + b"/")
            if other == path or below or (above and entry is not None):
                del wanted[other]
    wanted.update({path: entry for path, entry in edits.items() if entry is not None})
    return wanted


@given(
    st.dictionaries(_PATHS, _VALUES, max_size=6),
    st.dictionaries(_PATHS, st.none() | _VALUES, max_size=6),
    st.dictionaries(_PATHS, st.sampled_from([b"a", b"r", b"m\0x", b"a\0x"]), max_size=3),
    st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trees_are_as_a_plain_dict(
    store: Store,
    start: dict[RelPath, tuple[Kind, bytes]],
    edits: dict[RelPath, tuple[Kind, bytes] | None],
    marks: dict[RelPath, bytes],
    rested: bool,
) -> None:
    def put(value: tuple[Kind, bytes] | None) -> Entry | None:
        return value and Entry(kind=value[0], oid=store.put(value[1]))

    first = _clean({path: put(value) for path, value in start.items()})
    changed = _clean({path: put(value) for path, value in edits.items()})
    old = store.with_marks(store.splice(None, first), marks)
    new = store.splice(old, changed)
    wanted = _spliced(first, changed)
    if rested:
        store.flush()
        store.rest()

    assert list(store.entries(new)) == sorted(wanted.items())
    assert {path: store.entry(new, path) for path in {*wanted, *first, RelPath(b"none")}} == {
        path: wanted.get(path) for path in {*wanted, *first, RelPath(b"none")}
    }
    assert store.changes(old, new) == tuple(
        Change(path=path, old=first.get(path), new=wanted.get(path))
        for path in sorted(first.keys() | wanted.keys())
        if first.get(path) != wanted.get(path)
    )
    assert (store.marks(new), store.marks(old)) == (marks, marks)
    assert new == store.with_marks(store.splice(None, wanted), marks)
    assert store.splice(new, {change.path: change.old for change in store.changes(old, new)}) == old


def test_marks_are_apart_from_the_files(store: Store) -> None:
    tree = store.splice(None, stored(store, {"a": b"1"}))
    marked = store.with_marks(tree, {RelPath(b"a"): b"a"})
    assert marked != tree
    assert store.changes(tree, marked) == ()
    assert store.marks_id(tree) == store.marks_id(None) == store.marks_id(store.with_marks(marked, {}))
    assert store.marks_id(marked) != store.marks_id(tree)
    assert store.marks_id(marked) == store.marks_id(store.splice(marked, stored(store, {"b": b"2"})))
    assert store.with_marks(marked, {}) == tree
    with pytest.raises(Unsafe, match="the mark of a is none that hg makes"):
        store.with_marks(tree, {RelPath(b"a"): b"x"})


def test_marks_of_three_trees_are_joined_for_a_base(store: Store) -> None:
    base = store.splice(None, stored(store, {"old": b"1", "source": b"2"}))
    tree = store.splice(base, stored(store, {"new": b"3", "copy": b"2"}))
    origin = store.with_marks(tree, {RelPath(b"old"): b"r"})
    ours = store.with_marks(tree, {RelPath(b"old"): b"r", RelPath(b"new"): b"a"})
    theirs = store.with_marks(tree, {RelPath(b"copy"): b"a\0source", RelPath(b"source"): b"a"})
    joined = store.join_marks(tree, base=base, origin=origin, ours=ours, theirs=theirs)
    assert joined == store.join_marks(tree, base=base, origin=origin, ours=theirs, theirs=ours)
    assert store.marks(joined) == {b"copy": b"a\0source", b"new": b"a"}
    assert store.changes(tree, joined) == ()


def test_equal_directories_are_never_opened(store: Store) -> None:
    old = store.splice(None, {**stored(store, {"f": b"1"}), RelPath(b"big/x"): file(ObjectId("11" * 32))})
    store.flush()
    store.close()
    # Whoever opened it now would find nothing.
    with sqlite3.connect(path_of(store.metadata)) as other:
        other.execute("DELETE FROM objects WHERE size = ? AND kind = 2", (len(b"100644 x\0") + 32,))
        assert other.total_changes == 1
    other.close()
    again = Store(store.metadata)
    new = again.splice(old, stored(again, {"f": b"2"}))
    assert [change.path for change in again.changes(old, new)] == [b"f"]
    with pytest.raises(Missing, match=r"^tree [0-9a-f]{64} is not here"):
        list(again.entries(new))
    again.close()


@pytest.mark.parametrize("path", [b".git/config", b"a/..", b"a//b", b".", b"a\0b", b"/a"])
def test_a_name_that_could_not_be_read_again_is_refused(store: Store, path: bytes) -> None:
    with pytest.raises(Unsafe, match="has a name that cannot be stored"):
        store.splice(None, {RelPath(path): file(ObjectId("11" * 32))})
    record("bad inputs refused", 1)


def test_a_tree_that_is_not_here_is_missing(store: Store) -> None:
    with pytest.raises(Missing, match=f"state {'11' * 32} is not here"):
        store.changes(TreeId("11" * 32), None)


# -- contents -------------------------------------------------------------------------------------
def test_a_content_is_here_from_the_moment_it_is_put(store: Store) -> None:
    oid = store.put(b"x")
    assert store.content(oid) == b"x"
    store.flush()
    store.rest()
    assert store.content(oid) == b"x"
    assert store.content(ObjectId("ab" * 32)) is None
    tree = store.splice(None, {RelPath(b"a"): file(oid)})
    assert store.content(ObjectId(tree)) is None


def test_more_than_memory_should_hold_is_written_at_once(store: Store, metadata: bytes) -> None:
    oids = [store.put(bytes([number]) * (9 << 20)) for number in range(4)]
    other = Store(metadata)
    assert all(other.content(oid) is not None for oid in oids)
    other.close()


def test_a_large_content_is_a_file_of_its_own(store: Store, metadata: bytes, clock: Clock) -> None:
    large = [random.Random(number).randbytes(2_000_000) for number in range(2)]
    first = written(store, {"a": large[0]}, 1)
    second = written(store, {"a": large[1]}, 2)
    store.pin("current", second.id)
    names = [entry.oid for tree in (first.tree, second.tree) for _, entry in store.entries(tree)]
    assert sorted(os.listdir(os.path.join(metadata, b"large"))) == sorted(map(os.fsencode, names))
    assert path_of(metadata).stat().st_size < 1_000_000
    assert store.size() > 4_000_000
    Path(os.fsdecode(metadata), "large", "tmp-left-by-a-kill").write_bytes(b"x")
    clock.advance(7200)
    store.tidy(thorough=True)
    assert os.listdir(os.path.join(metadata, b"large")) == [os.fsencode(names[1])]
    assert contents(store, second.tree) == {"a": large[1]}
    assert store.load(first.id) is None


# -- what hg's own store has ----------------------------------------------------------------------
def test_what_was_learned_about_hg_stays(store: Store, metadata: bytes) -> None:
    files = {(RelPath(b"d/%d" % n), bytes.fromhex(node(n))): ObjectId(node(n) + "0" * 24) for n in range(1500)}
    commit, tree = CommitId("11" * 20), store.splice(None, stored(store, {"a": b"1"}))
    store.learn_files(files)
    store.learn_commit_tree(commit, tree)
    for _ in range(2):
        wanted = [file_node for _, file_node in files]
        assert store.known_files([*wanted, b"?" * 20]) == {place[1]: oid for place, oid in files.items()}
        assert [store.where(oid) for oid in files.values()] == list(files)
        assert store.where(ObjectId("ff" * 32)) is None
        assert store.commit_tree(commit) == tree
        assert store.commit_tree(CommitId("22" * 20)) is None
        store.flush()
        store.rest()
    again = Store(metadata)
    later = {(RelPath(b"moved"), b"~" * 20): files[RelPath(b"d/7"), bytes.fromhex(node(7))]}
    again.learn_files(later)
    assert again.where(next(iter(later.values()))) == next(iter(later))
    again.flush()
    assert again.where(next(iter(later.values()))) == next(iter(later))
    assert again.commit_tree(commit) == tree
    assert again.entry(tree, RelPath(b"a")) == file(store.put(b"1"))
    again.close()


def test_bundles_are_kept_by_what_they_bring(store: Store) -> None:
    large, small = random.Random(1).randbytes(3_000_000), b"bundle"
    store.keep_bundle(CommitId("11" * 20), io.BytesIO(large))
    store.keep_bundle(CommitId("22" * 20), io.BytesIO(small), needs=[CommitId("11" * 20)])
    store.rest()
    assert bundled(store, CommitId("11" * 20)) == large
    assert bundled(store, CommitId("22" * 20)) == small
    assert store.has_bundle(CommitId("22" * 20))
    assert not store.has_bundle(CommitId("33" * 20))
    assert store.shared() >= len(large)
