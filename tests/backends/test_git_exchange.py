"""Inline packs and streams between stores: everything arrives, nothing hostile stays."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from gitdevice import WORKSPACE, Device, clone, git, new_repository

from autosync.backends.git.objects import Slot
from autosync.core.model import Base, CommitId, Entry, Kind, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.errors import Missing, TransientError, Unreachable, Unsafe
from tests.system.mounts import needs_mounts, remount, tmpfs

FILE, TREE, LINK = b"100644", b"40000", b"120000"


class Pair:
    """Two devices with the same public history."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.one = Device(new_repository(directory / "one", None, *options))
        self.two = Device(clone(self.one.root, directory / "two"))

    def inline(self, snapshot: Snapshot) -> Snapshot:
        packed = self.one.exchange.pack(snapshot.id, limit=1 << 20)
        assert packed is not None
        return self.two.exchange.absorb(snapshot.id, packed)

    def stream(self, snapshot: Snapshot) -> Snapshot:
        packed = self.one.served(snapshot.id, list(self.two.exchange.haves()))
        return self.two.exchange.receive(snapshot.id, io.BytesIO(packed))

    def close(self) -> None:
        self.one.close()
        self.two.close()


@pytest.fixture(params=["sha1", "sha256"])
def any_pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(tmp_path, f"--object-format={request.param}")
    yield pair
    pair.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def test_what_the_user_has_pruned_is_not_offered(pair: Pair) -> None:
    one, two = pair.one, pair.two
    snapshot = one.snap({"a.txt": b"edited\n"})
    pair.stream(snapshot)
    (two.root / "a.txt").write_bytes(b"committed\n")
    git(two.root, "commit", "-qam", "goes")
    gone = two.snap({"a.txt": b"on what goes\n"})
    two.snapshots.pin("current", gone.id)
    assert {snapshot.id, gone.id} <= {*two.exchange.haves()}
    git(two.root, "reset", "-q", "--hard", "HEAD~1")
    git(two.root, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(two.root, "gc", "-q", "--prune=now")
    two.store.close()
    offered = two.exchange.haves()
    assert snapshot.id in offered
    assert not {gone.id, gone.base.commit} & {*offered}


def test_after_a_pack_that_built_on_what_is_not_here_only_refs_are_offered(pair: Pair) -> None:
    one, two = pair.one, pair.two
    before = pair.stream(one.snap({"a.txt": b"edited\n"}))
    (one.root / "a.txt").write_bytes(b"committed\n")
    git(one.root, "commit", "-qam", "is not there")
    after = one.snap({"a.txt": b"committed and edited\n"})
    thin = one.served(after.id, [*two.exchange.haves(), str(after.base.commit)])
    with pytest.raises(Missing):
        two.exchange.receive(after.id, io.BytesIO(thin))
    assert list(two.exchange.haves()) == [two.base().commit]
    assert pair.stream(after) == after
    assert {before.id, after.id} <= {*two.exchange.haves()}


@pytest.mark.parametrize("way", ["inline", "stream"])
def test_it_arrives_and_the_users_repository_knows_nothing(any_pair: Pair, way: str) -> None:
    one, two = any_pair.one, any_pair.two
    link = Entry(kind=Kind.SYMLINK, oid=ObjectId(one.store.put(b"blob", b"a.txt")))
    nested = Entry(kind=Kind.NESTED, oid=ObjectId(one.base().commit or ""))
    tree = one.trees.splice(
        one.snap({"a.txt": b"one\nTWO\nthree\n", "d/b.txt": None, "e/f/g": bytes(range(256)), "empty": b""}).tree,
        {RelPath(b"link"): link, RelPath(b"nested"): nested},
    )
    snapshot = one.record(tree)
    before = git(two.root, "for-each-ref"), git(two.root, "count-objects", "-v"), git(two.root, "status", "-s")
    assert getattr(any_pair, way)(snapshot) == snapshot
    assert (
        git(two.root, "for-each-ref"),
        git(two.root, "count-objects", "-v"),
        git(two.root, "status", "-s"),
    ) == before
    assert two.trees.changes(None, snapshot.tree) == one.trees.changes(None, snapshot.tree)
    two.snapshots.pin("got", snapshot.id)
    assert two.fsck() == ""
    assert two.leftovers() == []


def test_a_one_line_change_takes_about_400_bytes(pair: Pair) -> None:
    text = b"".join(b"line %d of the file\n" % i for i in range(500))
    (pair.one.root / "deep/er").mkdir(parents=True)
    (pair.one.root / "deep/er/file").write_bytes(text)
    for i in range(200):
        (pair.one.root / f"deep/er/other{i}").write_bytes(b"%d\n" % i)
    git(pair.one.root, "add", "-A")
    git(pair.one.root, "commit", "-qm", "second")
    packed = pair.one.exchange.pack(pair.one.snap({"deep/er/file": text.replace(b" 77 ", b" 7777 ")}).id, limit=8192)
    assert packed is not None
    assert len(packed) < 520


def test_what_has_moved_is_not_sent(pair: Pair) -> None:
    noise = os.urandom(100_000)
    for name in ("big", "dir/big2", "dir/sub/big3"):
        (pair.one.root / name).parent.mkdir(parents=True, exist_ok=True)
        (pair.one.root / name).write_bytes(noise + name.encode())
    git(pair.one.root, "add", "-A")
    git(pair.one.root, "commit", "-qm", "second")
    git(pair.two.root, "pull", "-q", str(pair.one.root), "main")
    base = pair.one.store.tree_of(pair.one.base().commit)
    moved = {RelPath(b"dir"): None, RelPath(b"big"): None}
    for old, new in (("big", "moved"), ("dir/big2", "new/big2"), ("dir/sub/big3", "new/deeper/sub/big3")):
        entry = pair.one.trees.entry(base, RelPath(old.encode()))
        assert entry is not None
        moved[RelPath(new.encode())] = entry
    snapshot = pair.one.record(pair.one.trees.splice(base, moved))
    packed = pair.one.exchange.pack(snapshot.id, limit=8192)
    assert packed is not None
    assert len(packed) < 800
    assert pair.two.exchange.absorb(snapshot.id, packed) == snapshot


def test_what_takes_long_to_read_is_left_to_the_peer(pair: Pair) -> None:
    assert pair.one.exchange.pack(pair.one.snap({"zeros": bytes(9 << 20)}).id, limit=1 << 20) is None
    many = pair.one.snap({f"many/{i}": b"%d" % i for i in range(800)})
    assert pair.one.exchange.pack(many.id, limit=8192) is None


def test_neither_absent_nor_foreign_objects_are_packed_or_served(pair: Pair, tmp_path: Path) -> None:
    commit = SnapshotId(pair.one.base().commit or "")
    blob = SnapshotId(pair.one.store.put(b"blob", b"x"))
    for wrong in (commit, blob, SnapshotId("0" * 40), SnapshotId("main"), SnapshotId("--all")):
        title = f"{wrong} is not a snapshot of this workspace"
        out = io.BytesIO()
        with pytest.raises(Missing) as caught:
            pair.one.exchange.serve(wrong, [], out)
        assert (caught.value.title, out.getvalue()) == (title, b"")
        with pytest.raises(Missing) as caught:
            pair.one.exchange.pack(wrong, limit=8192)
        assert caught.value.title == title


def test_the_workspace_of_another_worktree_is_not_served(pair: Pair, tmp_path: Path) -> None:
    git(pair.one.root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    linked = Device(tmp_path / "linked", workspace=WORKSPACE)
    secret = linked.snap({"secret": b"s"}, pin="current")
    ours = pair.one.snap({"ours": b"o"}, pin="current")
    both = pair.one.snap({"both": b"b"}, pin="both")
    linked.snapshots.pin("both", both.id)
    with pytest.raises(Missing) as caught:
        pair.one.served(secret.id, [])
    assert caught.value.title == f"{secret.id} is not a snapshot of this workspace"
    for snapshot in (ours, both):
        assert pair.two.exchange.receive(snapshot.id, io.BytesIO(pair.one.served(snapshot.id, []))) == snapshot
    linked.close()


def test_history_that_the_other_lacks_comes_along(pair: Pair) -> None:
    for n in range(3):
        (pair.one.root / "a.txt").write_bytes(b"commit %d\n" % n)
        git(pair.one.root, "commit", "-qam", f"commit {n}")
    snapshot = pair.one.snap({"a.txt": b"dirty\n"})
    packed = pair.one.exchange.pack(snapshot.id, limit=8192)
    assert packed is not None
    with pytest.raises(Missing) as caught:
        pair.two.exchange.absorb(snapshot.id, packed)
    assert "which is not here" in caught.value.title
    assert pair.stream(snapshot) == snapshot
    base = pair.one.base().commit
    assert base is not None
    assert pair.two.store.has_commit(base)
    assert pair.inline(pair.one.snap({"a.txt": b"dirtier\n"})).base.commit == base


def test_unknown_and_senseless_haves_are_passed_over(pair: Pair) -> None:
    snapshot = pair.one.snap({"a.txt": b"x\n"})
    blob = pair.one.store.put(b"blob", b"x\n")
    have = ["0" * 40, "HEAD", "--all", "", "x" * 9999, blob, *pair.two.exchange.haves(), *["1" * 40] * 5000]
    assert len(pair.one.served(snapshot.id, have)) < 600
    assert pair.two.exchange.receive(snapshot.id, io.BytesIO(pair.one.served(snapshot.id, have))) == snapshot


def test_haves_are_few_and_the_best_come_first(pair: Pair) -> None:
    one = pair.one
    head = one.base().commit
    assert list(one.exchange.haves()) == [head]
    for n in range(150):
        git(one.root, "update-ref", f"refs/heads/b{n}", git(one.root, "commit-tree", "-m", f"{n}", "HEAD^{tree}"))
        git(one.root, "update-ref", f"refs/remotes/o/r{n}", git(one.root, "commit-tree", "-m", f"r{n}", "HEAD^{tree}"))
    snapshots = [one.snap({"a": b"%d" % n}, pin=f"keep/{1000 - n}-0-x").id for n in range(140)][::-1]
    haves = list(one.exchange.haves())
    assert haves[0] == head
    assert haves[1:129] == snapshots[::-1][:128]
    assert len(haves) == len(set(haves)) == 256
    git(one.root, "checkout", "-q", "--detach", "refs/remotes/o/r3")
    assert one.exchange.haves()[0] == one.base().commit


def test_what_has_just_come_is_not_sent_again_with_what_follows(pair: Pair) -> None:
    """While it is on its way the peer goes on: the next is wanted before this one could be integrated."""
    large = os.urandom(100_000)
    first = pair.one.snap({"large.bin": large})
    pair.two.exchange.receive(first.id, io.BytesIO(pair.one.served(first.id, list(pair.two.exchange.haves()))))
    second = pair.one.snap({"large.bin": large, "note.txt": b"saved meanwhile\n"})
    packed = pair.one.served(second.id, list(pair.two.exchange.haves()))
    assert len(packed) < 2000
    assert pair.two.exchange.receive(second.id, io.BytesIO(packed)) == second


def test_a_shallow_clone_takes_part(pair: Pair, tmp_path: Path) -> None:
    (pair.one.root / "a.txt").write_bytes(b"second\n")
    git(pair.one.root, "commit", "-qam", "second")
    shallow = Device(clone(pair.one.root, tmp_path / "shallow", "--depth=1"))
    git(pair.two.root, "pull", "-q", str(pair.one.root), "main")
    snapshot = shallow.snap({"a.txt": b"from the shallow one\n"}, pin="current")
    shallow.maintenance.secure(cast(CommitId, shallow.base().commit))
    served = shallow.served(snapshot.id, list(pair.two.exchange.haves()))
    assert pair.two.exchange.receive(snapshot.id, io.BytesIO(served)) == snapshot
    theirs = pair.two.snap({"a.txt": b"back\n"})
    answer = pair.two.served(theirs.id, list(shallow.exchange.haves()))
    assert shallow.exchange.receive(theirs.id, io.BytesIO(answer)) == theirs
    shallow.close()


# -- hostile ---------------------------------------------------------------------------------

BAD_NAMES = [
    b".git", b".GIT", b".git ", b".git.", b".git::$DATA", b"git~1", ".g\u200cit".encode(), b".hg", b"hg8b6c~1", b"..",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_name_that_must_not_be_written_is_refused_at_any_depth(pair: Pair, name: bytes, depth: int) -> None:
    one, two = pair.one, pair.two
    oid = bytes.fromhex(one.store.put(b"blob", b"[alias]\n"))
    tree = raw_tree(one, [(FILE, name, oid)])
    for _ in range(depth):
        tree = raw_tree(one, [(TREE, b"d", bytes.fromhex(tree))])
    snapshot = one.record(tree)
    streamed = git_pack(one, snapshot)
    with pytest.raises(Unsafe):
        two.exchange.receive(snapshot.id, io.BytesIO(streamed))
    with pytest.raises(Unsafe):
        two.exchange.absorb(snapshot.id, plain_pack(one, [snapshot.id, *everything(one, tree)]))
    assert two.store.load(snapshot.id) is None
    assert two.store.header(tree) is None
    assert two.leftovers() == []


def raw_tree(device: Device, lines: list[tuple[bytes, bytes, bytes]]) -> TreeId:
    return TreeId(device.store.put(b"tree", b"".join(b"%s %s\0%s" % line for line in lines)))


def everything(device: Device, tree: str) -> list[str]:
    kind, content = device.store.read(tree)
    found = [tree]
    at = 0
    while kind == b"tree" and at < len(content):
        end = content.index(b"\0", at)
        if not content[at:].startswith(b"160000"):
            found += everything(device, content[end + 1 : end + 21].hex())
        at = end + 21
    return list(dict.fromkeys(found))


def git_pack(device: Device, snapshot: Snapshot) -> bytes:
    store = os.fsdecode(device.repo.store_dir)
    base = f"^{snapshot.base.commit}\n" if snapshot.base.commit else ""
    return subprocess.run(
        ["git", "-C", store, "pack-objects", "--revs", "--thin", "--stdout", "-q"],
        input=f"{snapshot.id}\n{base}".encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def plain_pack(device: Device, oids: list[str]) -> bytes:
    store = os.fsdecode(device.repo.store_dir)
    device.store.flush()
    return subprocess.run(
        ["git", "-C", store, "pack-objects", "--stdout", "-q", "--window=0"],
        input="".join(f"{oid}\n" for oid in oids).encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def test_malformed_trees_are_refused(pair: Pair) -> None:
    one, two = pair.one, pair.two
    oid = bytes.fromhex(one.store.put(b"blob", b"x"))
    sub = bytes.fromhex(raw_tree(one, [(FILE, b"x", oid)]))
    for lines in (
        [(FILE, b"a", oid), (FILE, b"a", oid)],
        [(FILE, b"b", oid), (FILE, b"a", oid)],
        [(FILE, b"a", oid), (TREE, b"a", sub)],
        [(FILE, b"", oid)],
        [(FILE, b"a/b", oid)],
        [(b"100666", b"a", oid)],
        [(b"0", b"a", oid)],
        [(TREE, b"a", oid)],
        [(FILE, b"a", sub)],
        [(LINK, b".gitmodules", oid)],
        [(FILE, b"a", oid[:7])],
    ):
        tree = raw_tree(one, lines)
        snapshot = one.record(tree)
        reached = [snapshot.id, tree, oid.hex()] + ([sub.hex()] if any(line[2] == sub for line in lines) else [])
        with pytest.raises(Unsafe):
            two.exchange.absorb(snapshot.id, plain_pack(one, reached))
        with pytest.raises(Unsafe):
            two.exchange.receive(snapshot.id, io.BytesIO(plain_pack(one, reached)))
        assert two.store.load(snapshot.id) is None
    assert two.leftovers() == []


def test_missing_and_surplus_objects_are_noticed(pair: Pair) -> None:
    one, two = pair.one, pair.two
    snapshot = one.snap({"new/x": b"x", "new/y": b"y"})
    whole = [oid for oid in [snapshot.id, *everything(one, snapshot.tree)] if two.store.header(oid) is None]
    assert len(whole) == 5
    for absent in whole:
        partial = plain_pack(one, [oid for oid in whole if oid != absent])
        expected = Unsafe if absent == snapshot.id else (Missing, Unsafe)
        with pytest.raises(expected):
            two.exchange.absorb(snapshot.id, partial)
        with pytest.raises(Missing):
            two.exchange.receive(snapshot.id, io.BytesIO(partial))
        assert two.store.load(snapshot.id) is None
    stranger = one.store.put(b"blob", b"stranger")
    with pytest.raises(Unsafe) as caught:
        two.exchange.absorb(snapshot.id, plain_pack(one, [*whole, stranger]))
    assert caught.value.title == (
        f"The pack that arrived for snapshot {snapshot.id} holds 1 objects that do not belong to it"
    )
    assert two.store.header(stranger) is None
    assert two.exchange.absorb(snapshot.id, plain_pack(one, whole)) == snapshot


def test_a_base_that_is_no_changeset_here_is_missing(pair: Pair) -> None:
    one, two = pair.one, pair.two
    tree = one.store.tree_of(one.base().commit)
    for absent in (CommitId("1" * 40), CommitId(tree)):
        snapshot = one.record(tree, base=Base(commit=absent, branch=None))
        with pytest.raises(Missing):
            two.exchange.absorb(snapshot.id, plain_pack(one, [snapshot.id]))
        with pytest.raises((Missing, Unsafe)):
            two.exchange.receive(snapshot.id, io.BytesIO(plain_pack(one, [snapshot.id])))
        assert two.store.load(snapshot.id) is None


def test_a_commit_that_is_no_snapshot_is_refused(pair: Pair) -> None:
    one, two = pair.one, pair.two
    (one.root / "a.txt").write_bytes(b"second\n")
    git(one.root, "commit", "-qam", "an ordinary commit")
    commit = SnapshotId(one.base().commit or "")
    tree = one.store.tree_of(one.base().commit)
    blob = git(one.root, "rev-parse", "HEAD:a.txt")
    for call in (lambda p: two.exchange.absorb(commit, p), lambda p: two.exchange.receive(commit, io.BytesIO(p))):
        with pytest.raises(Unsafe) as caught:
            call(plain_pack(one, [commit, tree, blob]))
        assert caught.value.title == f"{commit} is no snapshot"
    assert two.store.header(commit) is None
    for call in (lambda i: two.exchange.absorb(i, b""), lambda i: two.exchange.receive(i, io.BytesIO(b""))):
        for wrong in ("HEAD", "", "--all", "g" * 40, "ab" * 32):
            with pytest.raises(Unsafe) as caught:
                call(SnapshotId(wrong))
            assert caught.value.title == f"{wrong!r} is no sha1 object id"


def test_garbage_and_trailing_data_in_a_stream_are_refused(pair: Pair) -> None:
    snapshot = pair.one.snap({"a.txt": b"x\n"})
    good = git_pack(pair.one, snapshot)
    for bad in (b"", b"x", b"PACK", good[:-1], good[:40], good + b"x", good + os.urandom(300_000), good + good):
        with pytest.raises(Unsafe):
            pair.two.exchange.receive(snapshot.id, io.BytesIO(bad))
        assert pair.two.store.load(snapshot.id) is None
        assert pair.two.leftovers() == []
    assert pair.two.exchange.receive(snapshot.id, io.BytesIO(good)) == snapshot


def test_a_stream_larger_than_the_limit_is_refused(pair: Pair, tmp_path: Path) -> None:
    modest = Device(clone(pair.one.root, tmp_path / "modest"), receive_limit=10_000)
    snapshot = pair.one.snap({"noise": os.urandom(400_000)})
    with pytest.raises(Unsafe) as caught:
        modest.exchange.receive(snapshot.id, io.BytesIO(git_pack(pair.one, snapshot)))
    assert "pack exceeds maximum allowed size" in caught.value.title
    assert modest.leftovers() == []
    modest.close()


class Breaks(io.RawIOBase):
    """A connection that is reset after a while."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        part = self._content.read(min(size, 50))
        if not part:
            raise ConnectionResetError("Connection reset by peer")
        return part


def test_a_connection_that_breaks_is_unreachable(pair: Pair) -> None:
    snapshot = pair.one.snap({"a.txt": b"x\n"})
    with pytest.raises(Unreachable) as caught:
        pair.two.exchange.receive(snapshot.id, cast(BinaryIO, Breaks(git_pack(pair.one, snapshot)[:100])))
    assert caught.value.title == f"The transfer of snapshot {snapshot.id} broke off: Connection reset by peer"
    assert pair.two.leftovers() == []


class Full(io.BytesIO):
    """A peer that goes away."""

    def write(self, _: object, /) -> int:
        raise BrokenPipeError("gone")


def test_serving_ends_with_the_peer(pair: Pair) -> None:
    snapshot = pair.one.snap({"noise": os.urandom(1_000_000)})
    with pytest.raises(BrokenPipeError):
        pair.one.exchange.serve(snapshot.id, [], Full())


def test_a_store_that_cannot_serve_says_so(pair: Pair) -> None:
    tree = raw_tree(pair.one, [(FILE, b"a", bytes.fromhex("1" * 40))])
    snapshot = pair.one.record(tree)
    with pytest.raises(TransientError) as caught:
        pair.one.served(snapshot.id, [])
    assert caught.value.title == f"git pack-objects could not pack snapshot {snapshot.id}"


def test_a_git_that_is_killed_while_it_is_asked_is_a_passing_failure(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = pair.one.snap({"a.txt": b"x\n"})
    have = [git(pair.one.root, "rev-parse", "HEAD")] * 1000
    killed = tmp_path / "bin/git"
    killed.parent.mkdir()
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o755)
    pair.one.served(snapshot.id, have)  # so that the processes that answer questions run
    monkeypatch.setenv("PATH", f"{killed.parent}:{os.environ['PATH']}")
    with pytest.raises(TransientError) as caught:
        pair.one.served(snapshot.id, have)
    assert caught.value.title == f"git pack-objects could not pack snapshot {snapshot.id}"


def test_blemishes_of_old_histories_are_let_through(pair: Pair) -> None:
    one = pair.one
    tree = git(one.root, "rev-parse", "HEAD^{tree}")
    text = f"tree {tree}\nauthor A <a@b> 1 +99999\ncommitter A<a@b> 1 +0000\n\nimported\n"
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        cwd=one.root, input=text.encode(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    git(one.root, "reset", "-q", "--hard", done.stdout.decode().strip())
    snapshot = one.snap({"a.txt": b"x\n"})
    assert pair.stream(snapshot) == snapshot


def test_what_the_base_already_holds_is_not_judged(pair: Pair) -> None:
    # A public history may hold a name that no snapshot of ours may add.
    one = pair.one
    blob = bytes.fromhex(one.store.put(b"blob", b"x"))
    tree = one.tree({b".hg": Slot(FILE, blob), b"a": Slot(FILE, blob)})
    one.store.flush()
    commit = git(one.repo.store_dir, "commit-tree", "-m", "odd", tree)
    for device in (one, pair.two):
        git(device.root, "fetch", "-q", os.fsdecode(one.repo.store_dir) if device is one else str(one.root), commit)
        git(device.root, "update-ref", "refs/heads/odd", commit)
    snapshot = one.record(
        one.trees.splice(tree, {RelPath(b"a"): one.blob(b"y")}), base=Base(commit=CommitId(commit), branch=None)
    )
    assert pair.inline(snapshot) == snapshot


@needs_mounts
def test_a_full_disk_is_told_as_one_and_leaves_nothing(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=3m") as disk:
        one = Device(new_repository(tmp_path / "one"))
        two = Device(clone(one.root, disk / "two"))
        snapshot = one.snap({"big": os.urandom(4 << 20)})
        packed = one.served(snapshot.id, list(two.exchange.haves()))
        with pytest.raises(OSError, match="No space left on device") as caught:
            two.exchange.receive(snapshot.id, io.BytesIO(packed))
        assert caught.value.errno == errno.ENOSPC
        assert two.leftovers() == []
        remount(disk, "size=30m")
        assert two.exchange.receive(snapshot.id, io.BytesIO(packed)) == snapshot
        two.close()
        one.close()
