"""Trees and snapshots as objects: what git writes is read, what git would not write is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from git_repos import Looking, git, isolate, make_repository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autosync.backends.git.objects import (
    Slot,
    entry_of,
    format_snapshot,
    format_tree,
    is_branch,
    object_id,
    parse_snapshot,
    parse_tree,
)
from autosync.core.model import Base, CommitId, DeviceId, Entry, Kind, ObjectId, RelPath, SnapshotId, TreeId, Version
from autosync.errors import Unsafe

A = b"\xaa" * 20


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"100644 a\0" + A[:-1], "malformed"),
        (b"100644 a\0" + A + b"x", "malformed"),
        (b"100644 \0" + A, "malformed"),
        (b"100644 a/b\0" + A, "malformed"),
        (b"junk", "malformed"),
        (b"100600 a\0" + A, "unknown mode 100600"),
        (b"100644 a\0" + A + b"100644 a\0" + A, "one name twice"),
        (b"100644 a\0" + A + b"40000 a\0" + A, "one name twice"),
        (b"100644 b\0" + A + b"100644 a\0" + A, "out of order"),
        (b"40000 a\0" + A + b"100644 a.b\0" + A, "out of order"),
        (b"40000 .git\0" + A, "the name .git"),
        (b"40000 ..\0" + A, "the name .."),
    ],
)
def test_a_tree_that_git_would_not_write_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(Unsafe, match=says):
        parse_tree(raw, "sha1")


def test_trees_of_old_tools_are_read_and_kept_as_they_are() -> None:
    raw = b"100664 a\0" + A + b"040000 b\0" + A
    tree = parse_tree(raw, "sha1")
    assert entry_of(tree[b"a"]) == Entry(kind=Kind.FILE, oid=ObjectId(A.hex()))
    assert entry_of(tree[b"b"]) is None
    assert format_tree(tree) == raw


_NAMES = st.binary(min_size=1, max_size=4).filter(lambda n: not {0, 47} & set(n) and n not in {b".", b"..", b".git"})
_SLOTS = st.builds(
    Slot, st.sampled_from([b"100644", b"100755", b"120000", b"160000", b"40000"]), st.binary(min_size=20, max_size=20)
)


@given(st.dictionaries(_NAMES, _SLOTS, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tree: dict[bytes, Slot]) -> None:
    assert parse_tree(format_tree(tree), "sha1") == tree


@given(st.dictionaries(_NAMES, _SLOTS.filter(lambda slot: any(slot.oid)), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_git_writes_the_same_tree(tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Slot]) -> None:
    root = make_repository(tmp_path_factory.mktemp("tree") / "repo")
    types = {b"40000": b"tree", b"160000": b"commit"}
    lines = b"".join(
        b"%s %s %s\t%s\0" % (slot.mode.rjust(6, b"0"), types.get(slot.mode, b"blob"), slot.oid.hex().encode(), name)
        for name, slot in tree.items()
    )
    by_git = git(root, "mktree", "-z", "--missing", input=lines).decode().strip()
    assert object_id("sha1", b"tree", format_tree(tree)).hex() == by_git


_PATHS = st.lists(st.sampled_from([b"a", b"b", b"a.b", b"a-"]), min_size=1, max_size=3).map(b"/".join).map(RelPath)
_ENTRIES = st.builds(
    lambda kind, content: (kind, content),
    st.sampled_from([Kind.FILE, Kind.EXECUTABLE, Kind.SYMLINK]),
    st.sampled_from([b"1", b"2"]),
)


@given(st.dictionaries(_PATHS, _ENTRIES, max_size=6), st.dictionaries(_PATHS, st.none() | _ENTRIES, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splice_and_changes_are_each_others_inverse(
    looking: Looking, start: dict[RelPath, tuple[Kind, bytes]], edits: dict[RelPath, tuple[Kind, bytes] | None]
) -> None:
    def stored(value: tuple[Kind, bytes] | None) -> Entry | None:
        return value and Entry(kind=value[0], oid=ObjectId(looking.store.put(b"blob", value[1])))

    def clean(files: dict[RelPath, Entry | None]) -> dict[RelPath, Entry | None]:
        """Leave out what would stand below a file."""
        real = {p for p, e in files.items() if e is not None}
        return {p: e for p, e in files.items() if e is None or not any(p.startswith(q + b"/") for q in real)}

    first = clean({path: stored(value) for path, value in start.items()})
    changed = clean({path: stored(value) for path, value in edits.items()})
    old = looking.trees.splice(None, first)
    new = looking.trees.splice(old, changed)

    wanted = dict(first)
    for path, entry in changed.items():
        gone = [p for p in wanted if p == path or p.startswith(path + b"/")]
        above = [p for p in wanted if path.startswith(p + b"/")]
        for other in (*gone, *(above if entry is not None else ())):
            wanted.pop(other, None)
        if entry is None:
            wanted.pop(path, None)
    wanted.update({path: entry for path, entry in changed.items() if entry is not None})
    assert {c.path: c.new for c in looking.trees.changes(None, new)} == wanted
    assert new == looking.trees.splice(None, wanted)

    difference = looking.trees.changes(old, new)
    assert [c.path for c in difference] == sorted(c.path for c in difference)
    assert looking.trees.splice(old, {c.path: c.new for c in difference}) == new
    assert looking.trees.splice(new, {c.path: c.old for c in difference}) == old


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    with Looking(make_repository(tmp_path / "repo")) as it:
        yield it


def test_a_path_cannot_be_file_and_directory(looking: Looking) -> None:
    entry = Entry(kind=Kind.FILE, oid=ObjectId("a" * 40))
    with pytest.raises(ValueError, match="b'a' cannot be a file and a directory"):
        looking.trees.splice(None, {RelPath(b"a"): entry, RelPath(b"a/b"): entry})


def test_equal_directories_are_never_opened(looking: Looking) -> None:
    unread = Slot(b"40000", b"\x11" * 20)
    entry = Entry(kind=Kind.FILE, oid=ObjectId("a" * 40))
    old = TreeId(looking.store.put_tree({b"big": unread, b"f": Slot(b"100644", A)}))
    new = looking.trees.splice(old, {RelPath(b"f"): entry})
    assert [change.path for change in looking.trees.changes(old, new)] == []
    new = looking.trees.splice(old, {RelPath(b"g/h"): entry})
    assert [change.path for change in looking.trees.changes(old, new)] == [b"g/h"]


ARGUMENTS = {
    "tree": TreeId("1" * 40),
    "base": Base(commit=CommitId("2" * 40), branch="refs/heads/über/topic"),
    "version": Version.of({DeviceId("my laptop=1-00000001"): 3, DeviceId("b-00000002"): 1}),
    "parents": (SnapshotId("3" * 40), SnapshotId("4" * 40)),
    "device": "my laptop\n<x>",
    "time": 1_700_000_000,
}


def made(**changes: object) -> bytes:
    return format_snapshot(**{**ARGUMENTS, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{}, {"base": Base(commit=None, branch="refs/heads/main")}, {"base": Base(commit=CommitId("2" * 40), branch=None)},
     {"parents": ()}, {"version": Version()}, {"device": "ba\udcffd"}, {"time": 0}],
)  # fmt: skip
def test_a_snapshot_is_read_as_it_was_written(changes: dict[str, object]) -> None:
    raw = made(**changes)
    parsed = parse_snapshot(SnapshotId("5" * 40), raw)
    for name, value in {**ARGUMENTS, **changes}.items():
        assert getattr(parsed, name) == value


_GOOD = made()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (_GOOD + b"\n", "is no snapshot"),
        (_GOOD.replace(b"autosync snapshot", b"a commit"), "is no snapshot"),
        (_GOOD.replace(b"Autosync-Format: 1", b"Autosync-Format: 2"), "has format 2, this autosync knows 1"),
        (_GOOD.replace(b"parent 2", b"parent 22"), "not in canonical form"),
        (_GOOD.replace(b"=3", b"=03"), "version is malformed"),
        (_GOOD.replace(b"=3", b"=-3"), "version is malformed"),
        (_GOOD.replace(b"=3", b"=99999999999999999"), "version is malformed"),
        (_GOOD.replace(b"=3", b"=9999999999999999"), "version is malformed"),
        (_GOOD.replace(b"b-00000002=1 ", b""), "not in canonical form"),
        (_GOOD.replace(b"1700000000", b"01700000000"), "not in canonical form"),
        (_GOOD.replace(b"1700000000", b"9999999999999"), "not in canonical form"),
        (_GOOD.replace(b"committer autosync", b"committer other"), "not in canonical form"),
        (_GOOD.replace(b"Autosync-Parents: 3", b"Autosync-Parents:  3"), "not in canonical form"),
        (_GOOD.replace(b"refs/heads/", b"refs/heads/../"), "impossible branch"),
        (_GOOD.replace(b"refs/heads/", b"refs/remotes/"), "impossible branch"),
        (b"x" * 70_000, "is no snapshot"),
    ],
)
def test_what_is_no_snapshot_is_refused(raw: bytes, says: str) -> None:
    if says == "not in canonical form" and b"b-00000002" not in raw:
        raw = _GOOD.replace(b"b-00000002=1 my%20laptop%3D1-00000001=3", b"my%20laptop%3D1-00000001=3 b-00000002=1")
    assert raw != _GOOD
    with pytest.raises(Unsafe, match=says):
        parse_snapshot(SnapshotId("5" * 40), raw)


@pytest.mark.parametrize("name", ["main", "a/b", "ü", "a.b", "x@y", "HEAD/x", "@", "a-"])
def test_branches_that_git_takes(tmp_path: Path, name: str) -> None:
    assert is_branch("refs/heads/" + name)
    git(make_repository(tmp_path / "r"), "check-ref-format", "refs/heads/" + name)


_BAD = ["", "a..b", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a/", "a b", "a~1", "a^", "a:b", "a?", "a*"]
_BAD += ["a[", "a\\b", "a@{b", "a\x7f", "a\n", "-a", "HEAD", "/a"]


@pytest.mark.parametrize("name", [*("refs/heads/" + bad for bad in _BAD), "main", "refs/tags/a", "HEAD"])
def test_branches_that_git_refuses(name: str) -> None:
    assert not is_branch(name)
