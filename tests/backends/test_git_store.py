"""The private store: snapshots and pins that last, beside a repository that never notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from git_repos import Looking, added, commit_all, fingerprint, git, head, isolate, make_repository, put

from autosync.backends.git.merging import merge_text
from autosync.backends.git.recent import RecentObjects
from autosync.backends.git.repository import open_repository
from autosync.core.model import CommitId, ObjectId, RelPath, SnapshotId, TreeId
from autosync.errors import Busy, Missing, NotAWorkingCopy, Unsafe, Unsupported


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    with Looking(make_repository(tmp_path / "repo", {"a.txt": b"one\n", "src/m.c": b"int main;\n"})) as it:
        it.read()
        yield it


def test_the_same_content_has_the_same_id_in_two_clones(looking: Looking, tmp_path: Path) -> None:
    clone = os.fsencode(tmp_path / "clone")
    git(looking.root, "clone", "-q", looking.root, clone)
    with Looking(clone) as other:
        ids = []
        for each in (looking, other):
            put(each.root, "a.txt", b"two\n")
            put(each.root, "new", b"new\n")
            each.read()
            ids.append(each.record().id)
        assert ids[0] == ids[1]
        assert looking.record(time=1).id != ids[0]


def test_a_snapshot_survives_a_restart_and_is_whole(looking: Looking) -> None:
    put(looking.root, "src/new", b"new\n")
    looking.read("src/new")
    snapshot = looking.record()
    looking.snapshots.pin("latest", snapshot.id)
    with Looking(looking.root) as again:
        assert again.store.load(snapshot.id) == snapshot
        assert again.snapshots.pins() == {"latest": snapshot.id}
        assert again.content(snapshot.tree, "src/new") == b"new\n"
        log = again.repo.store.run("log", "-1", "--format=%an <%ae> %ad%n%P%n%B", "--date=iso", snapshot.id)
        assert log.decode() == (
            f"autosync <laptop@autosync> 2023-11-14 22:13:20 +0000\n{head(looking.root)}\nautosync snapshot\n\n"
            "Autosync-Format: 1\nAutosync-Device: laptop\nAutosync-Branch: refs/heads/main\n"
            "Autosync-Version: laptop-00000001=1\nAutosync-Parents: \n\n"
        )
        assert again.repo.store.run("fsck", "--strict") == b""


def test_a_snapshot_without_any_file_is_whole_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    with Looking(os.fsencode(tmp_path / "empty")) as it:
        it.read()
        it.snapshots.pin("latest", it.record().id)
        assert it.repo.store.run("fsck", "--strict") == b""


def test_what_is_not_a_snapshot_is_not_loaded(looking: Looking) -> None:
    assert looking.store.load(SnapshotId("1" * 40)) is None
    with pytest.raises(Unsafe, match="is no snapshot"):
        looking.store.load(SnapshotId(head(looking.root)))
    with pytest.raises(Unsafe, match="is a tree, not a snapshot"):
        looking.store.load(SnapshotId(looking.read()))
    for text in ("HEAD", "", "1" * 39, "1" * 41, "A" * 40, "--help", "1" * 40 + "\n" + "2" * 40, "é" * 40):
        with pytest.raises(Unsafe, match="is no sha1 object id"):
            looking.store.load(SnapshotId(text))


def test_pins_move_and_go(looking: Looking) -> None:
    first, second = looking.record(time=1).id, looking.record(time=2).id
    looking.snapshots.pin("peers/b-00000002", first)
    looking.snapshots.pin("peers/b-00000002", second)
    looking.snapshots.pin("latest", first)
    assert looking.snapshots.pins() == {"latest": first, "peers/b-00000002": second}
    looking.snapshots.unpin("latest")
    looking.snapshots.unpin("latest")
    looking.snapshots.unpin("peers/none")
    assert looking.snapshots.pins() == {"peers/b-00000002": second}
    looking.repo.store.run("pack-refs", "--all")
    looking.snapshots.pin("peers/b-00000002", first)
    assert looking.snapshots.pins() == {"peers/b-00000002": first}
    looking.snapshots.unpin("peers/b-00000002")
    assert looking.snapshots.pins() == {}
    with pytest.raises(Missing, match=f"snapshot {'1' * 40} is not here"):
        looking.snapshots.pin("latest", SnapshotId("1" * 40))


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a.lock", "a.", "a b", "ä", "a\n"])
def test_a_pin_has_a_plain_name(looking: Looking, name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a pin"):
        looking.snapshots.pin(name, looking.record().id)


def test_a_lock_left_by_a_killed_agent_is_cleared(looking: Looking) -> None:
    snapshot = looking.record().id
    looking.snapshots.pin("latest", snapshot)
    put(looking.repo.store_dir, looking.repo.pin_prefix + "latest.lock")
    put(looking.repo.store_dir, "packed-refs.lock")
    with Looking(looking.root) as again:
        with pytest.raises(Busy, match=r"latest\.lock exists"):  # who only looks may do so beside an agent
            again.snapshots.pin("latest", snapshot)
        again.snapshots.clear_locks()
        assert not os.path.exists(looking.repo.store_dir + b"/packed-refs.lock")
        again.snapshots.pin("latest", snapshot)
        assert again.snapshots.pins() == {"latest": snapshot}


def test_pins_that_cannot_be_listed_are_not_taken_for_none(looking: Looking) -> None:
    looking.snapshots.pin("latest", looking.record().id)
    pins = os.path.join(looking.repo.store_dir, os.fsencode(looking.repo.pin_prefix.rstrip("/")))
    shutil.rmtree(pins)
    assert looking.snapshots.pins() == {}
    os.symlink(os.path.basename(pins), pins)  # to itself
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        looking.snapshots.pins()


def test_linked_worktrees_share_a_store_and_not_their_pins(looking: Looking, tmp_path: Path) -> None:
    linked = os.fsencode(tmp_path / "linked")
    git(looking.root, "worktree", "add", "-q", linked)
    with Looking(linked) as other:
        assert other.repo.store_dir == looking.repo.store_dir
        assert other.repo.metadata != looking.repo.metadata
        put(linked, "a.txt", b"there\n")
        other.read()
        there, here = other.record(), looking.record()
        other.snapshots.pin("latest", there.id)
        looking.snapshots.pin("latest", here.id)
        assert (other.snapshots.pins(), looking.snapshots.pins()) == ({"latest": there.id}, {"latest": here.id})
        assert there.tree == added(looking.root)[0] or looking.content(there.tree, "a.txt") == b"there\n"


def test_the_store_moves_with_the_repository(looking: Looking, tmp_path: Path) -> None:
    snapshot = looking.record()
    moved = tmp_path / "moved"
    os.rename(looking.root, moved)
    with Looking(os.fsencode(moved)) as again:
        assert again.store.load(snapshot.id) == snapshot
        assert again.read() == snapshot.tree


def test_a_gc_of_the_users_takes_nothing_away(looking: Looking) -> None:
    put(looking.root, "staged", b"only in the index\n")
    git(looking.root, "add", "staged")
    looking.read("staged")
    snapshot = looking.record()
    git(looking.root, "rm", "-q", "--cached", "staged")
    os.unlink(os.path.join(looking.root, b"staged"))
    git(looking.root, "gc", "-q", "--prune=now")
    with Looking(looking.root) as again:
        assert again.content(snapshot.tree, "staged") == b"only in the index\n"
        assert again.repo.store.run("fsck", "--strict", "--no-dangling") == b""


def test_sha256(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a": b"1\n", "d/b": b"1\n"}, hash_name="sha256")
    with Looking(root) as looking:
        looking.read()
        put(root, "d/c", b"2\n")
        before = fingerprint(root)
        assert looking.read("d/c") == added(root)[0]
        snapshot = looking.record()
        assert len(snapshot.id) == 64
        assert looking.store.load(snapshot.id) == snapshot
        assert looking.repo.store.run("fsck", "--strict", "--no-dangling") == b""
        assert fingerprint(root) == before


def test_history_is_asked_of_both_repositories(looking: Looking) -> None:
    first = head(looking.root)
    second = commit_all(looking.root)
    git(looking.root, "checkout", "-q", "-b", "side", first)
    side = commit_all(looking.root, "side")
    git(looking.root, "checkout", "-q", "--orphan", "alone")
    alone = commit_all(looking.root, "alone")
    ask = looking.snapshots
    assert (ask.is_ancestor(first, second), ask.is_ancestor(second, first), ask.is_ancestor(side, side)) == (
        True,
        False,
        True,
    )
    assert (ask.merge_base(second, side), ask.merge_base(second, alone)) == (first, None)
    assert looking.store.has_commit(side)
    assert not looking.store.has_commit(CommitId("1" * 40))
    assert not looking.store.has_commit(CommitId(looking.read()))
    assert looking.store.tree_of(None) == git(looking.root, "hash-object", "-t", "tree", "/dev/null").decode().strip()
    assert not ask.is_ancestor(CommitId("1" * 40), first)
    with pytest.raises(Missing, match=f"changeset {'1' * 40} is not here"):
        ask.is_ancestor(first, CommitId("1" * 40))


def test_history_ends_where_a_shallow_clone_ends(looking: Looking, tmp_path: Path) -> None:
    first = commit_all(looking.root, "second")
    second = commit_all(looking.root, "third")
    shallow = os.fsencode(tmp_path / "shallow")
    git(looking.root, "clone", "-q", "--depth=2", "file://" + os.fsdecode(looking.root), shallow)
    with Looking(shallow) as clone:
        clone.read()
        clone.snapshots.pin("latest", clone.record().id)
        assert clone.snapshots.is_ancestor(first, second)
        assert not clone.snapshots.is_ancestor(second, first)
        assert clone.repo.store.run("fsck", "--strict") == b""


def test_many_threads_read_and_write(looking: Looking) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for step in range(30):
            content = b"%d %d\n" % (number, step)
            oid = looking.store.put(b"blob", content)
            if step % 10 == 0:
                looking.store.flush()
            if looking.store.blob(oid) != content:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_threads_move_one_pin(looking: Looking) -> None:
    snapshot = looking.record(time=1).id
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(looking.snapshots.pin, "latest", snapshot) for _ in range(100)]
    assert [future.result() for future in done] == [None] * 100
    assert looking.snapshots.pins() == {"latest": snapshot}


def test_much_new_content_does_not_stay_in_memory(looking: Looking) -> None:
    packs = os.path.join(looking.repo.store_dir, b"objects", b"pack")
    oids = [looking.store.put(b"blob", b"%d" % number + bytes(7 << 20)) for number in range(6)]
    assert len(os.listdir(packs)) == 2
    assert looking.store.blob(oids[0])[:1] == b"0"


# -- merging --------------------------------------------------------------------------------

BASE = b"1\n2\n3\n4\n5\n6\n7\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "merged"),
    [
        (BASE.replace(b"1", b"one"), BASE.replace(b"7", b"seven"), b"one\n2\n3\n4\n5\n6\nseven\n"),
        (BASE.replace(b"1", b"one"), BASE, BASE.replace(b"1", b"one")),
        (BASE.replace(b"1", b"one"), BASE.replace(b"1", b"one"), BASE.replace(b"1", b"one")),
        (BASE.replace(b"1", b"one"), BASE.replace(b"1", b"eins"), None),
        (b"", BASE.replace(b"7", b"seven"), None),
        (BASE.replace(b"1", b"\0"), BASE.replace(b"7", b"seven"), None),
        (BASE.replace(b"1", b"one"), BASE + b"8\n" * 8000 + b"\0", None),
        (BASE.replace(b"1", b"one" * (2 << 20)), BASE.replace(b"7", b"seven"), None),
    ],
)
def test_texts_merge_the_same_from_both_sides(
    looking: Looking, ours: bytes, theirs: bytes, merged: bytes | None
) -> None:
    base, left, right = (ObjectId(looking.store.put(b"blob", content)) for content in (BASE, ours, theirs))
    for one, other in ((left, right), (right, left)):
        oid = merge_text(looking.store, base, one, other)
        assert (oid and looking.store.blob(oid)) == merged
    assert [name for name in os.listdir(looking.repo.metadata) if name.startswith(b"merge-")] == []


# -- opening ----------------------------------------------------------------------------------


def test_what_is_no_working_copy_is_refused_in_words(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"sub/file": b"1\n"})
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "bare.git"], check=True)
    (tmp_path / "plain").mkdir()
    cases = {
        "none": "none is not a directory",
        "repo/sub/file": "repo/sub/file is not a directory",
        "plain": "plain is not a git working copy",
        "repo/sub": f"repo/sub lies inside the working copy {os.fsdecode(root)}",
        "bare.git": "bare.git is a bare repository: it has no files to sync",
        "repo/.git": "repo/.git lies inside a .git directory",
    }
    for path, title in cases.items():
        with pytest.raises(NotAWorkingCopy) as caught:
            open_repository(os.fsencode(tmp_path / path))
        assert caught.value.title == f"{tmp_path}/{title}"
        assert caught.value.hint


def test_what_git_itself_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a": b"1\n"})
    put(root, ".git/config", b"[core\n")
    with pytest.raises(NotAWorkingCopy, match=r"git cannot open .*bad config line 1"):
        open_repository(root)


def test_features_that_would_make_snapshots_wrong_are_refused(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a/x": b"1\n", "b/x": b"1\n"})
    git(root, "config", "uploadpack.allowFilter", "true")
    partial = os.fsencode(tmp_path / "partial")
    git(root, "clone", "-q", "--filter=blob:none", "--no-checkout", "file://" + os.fsdecode(root), partial)
    with pytest.raises(Unsupported, match="partial is a partial clone"):
        open_repository(partial)
    git(root, "sparse-checkout", "set", "a")
    with pytest.raises(Unsupported, match="repo is a sparse checkout"):
        open_repository(root)
    git(root, "sparse-checkout", "disable")
    assert open_repository(root).root == os.path.realpath(root)


def test_the_private_directory_is_private_and_outside_settings_do_not_reach_the_store(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a": b"1\n"})
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
        (hooks / name).chmod(0o755)
    git(root, "config", "--global", "core.hooksPath", str(hooks))
    git(root, "config", "--global", "safe.bareRepository", "explicit")
    git(root, "config", "--global", "init.templateDir", str(hooks))
    with Looking(root) as looking:
        assert os.stat(looking.repo.metadata).st_mode & 0o777 == 0o700
        looking.read()
        put(root, ".gitattributes", b"* text\n")
        put(root, "a", b"2\r\n")
        assert looking.content(looking.read("a", ".gitattributes"), "a") == b"2\n"
        looking.snapshots.pin("latest", looking.record().id)
        looking.repo.store.run("pack-refs", "--all")
        looking.snapshots.unpin("latest")
    assert not (tmp_path / "hook-ran").exists()


def test_a_store_that_lost_its_link_is_mended(looking: Looking) -> None:
    snapshot = looking.record()
    os.unlink(os.path.join(looking.repo.store_dir, b"objects", b"info", b"alternates"))
    shutil.rmtree(os.path.join(looking.repo.store_dir, b"objects", b"info"))
    with Looking(looking.root) as again:
        assert again.read() == snapshot.tree
        assert again.trees.slot(TreeId(snapshot.tree), RelPath(b"src/m.c")) is not None


def test_what_was_read_and_then_pruned_by_the_user_is_not_here_any_more(looking: Looking) -> None:
    put(looking.root, "a.txt", b"amended away\n")
    commit_all(looking.root, "goes")
    gone = CommitId(head(looking.root))
    assert looking.store.tree_of(gone) and looking.store.has_commit(gone)
    git(looking.root, "reset", "-q", "--hard", "HEAD~1")
    git(looking.root, "reflog", "expire", "--expire=now", "--all")
    git(looking.root, "gc", "-q", "--prune=now")
    looking.store.close()  # as after each look for what has expired: git itself goes on reading what it has open
    assert not looking.store.has_commit(gone)
    with pytest.raises(Missing):
        looking.store.tree_of(gone)


def test_objects_of_late_are_kept_up_to_a_limit() -> None:
    recent = RecentObjects()
    for number in range(40):
        recent.put(f"read {number}", b"blob", bytes(1 << 20), written=False)
    assert [number for number in range(40) if recent.get(f"read {number}")] == list(range(32, 40))
    recent.put("large", b"blob", bytes((1 << 20) + 1), written=True)
    recent.put("small", b"tree", b"of ours", written=True)
    assert recent.get("large") is None
    assert recent.written("small") == recent.get("small") == (b"tree", b"of ours")
    assert recent.get("read 39") is not None
    assert recent.written("read 39") is None
    recent.clear()
    assert recent.get("small") is None


def test_what_another_working_copy_let_go_of_is_not_taken_for_here(looking: Looking) -> None:
    oid = looking.store.put(b"blob", b"written here, and expired there\n")
    looking.store.flush()
    assert looking.store.header(oid) is not None
    packs = Path(os.fsdecode(looking.repo.store_dir), "objects", "pack")
    for file in packs.iterdir():
        file.unlink()
    Path(os.fsdecode(looking.repo.store_dir), "autosync-tidy.lock").write_bytes(b"")
    assert looking.store.headers([oid]) == {}
    assert looking.store.header(oid) is None


def test_snapshots_are_loaded_in_the_order_asked_for_wherever_they_are(looking: Looking) -> None:
    ids = []
    for number in range(6):
        put(looking.root, "a.txt", b"%d\n" % number)
        looking.read("a.txt")
        ids.append(looking.record().id)
        if number == 2:
            looking.store.close()
    asked = [ids[4], ids[0], ids[5], SnapshotId("0" * 40), ids[1]]
    assert [s.id for s in looking.store.load_many(asked)] == [ids[4], ids[0], ids[5], ids[1]]
