"""The private store survives every gc of the user's, stays small, and loses nothing that is in use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from gitdevice import Device, clone, git, new_repository

from autosync.backends.git.maintenance import PACKS, Maintenance
from autosync.backends.git.packs import Packs
from autosync.core.model import Base, CommitId, RelPath, Snapshot, SnapshotId
from autosync.errors import StateError, TransientError
from tests.figures import record

DAY = 24 * 3600.0
NOW = 1_800_000_000.0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(new_repository(tmp_path / "one"))
    yield device
    device.close()


def commit(device: Device, text: str, *options: str) -> CommitId:
    (device.root / "a.txt").write_text(text)
    git(device.root, "commit", "-qam", text, *options)
    head = device.base().commit
    assert head is not None
    return head


def collect_garbage(device: Device) -> None:
    """Do what takes the most away."""
    git(device.root, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(device.root, "gc", "-q", "--prune=now")


def is_whole(device: Device, snapshot: Snapshot) -> bool:
    """Return whether every object of the snapshot and of its base's history can be read."""
    try:
        git(device.repo.store_dir, "rev-list", "--objects", snapshot.id)
    except AssertionError:
        return False
    return device.store.load(snapshot.id) == snapshot


def object_ids(device: Device) -> set[str]:
    """Return what lies in the store itself."""
    packs = Path(os.fsdecode(device.repo.store_dir)) / "objects/pack"
    return {
        line.split()[0]
        for index in packs.glob("*.idx")
        for line in git(device.root, "verify-pack", "-v", str(index)).splitlines()
        if len(line.split()[0]) == 40
    }


def age(device: Device, seconds: float, names: set[str] | None = None) -> None:
    """Let packs (all, or these) have been written ``seconds`` before :data:`NOW`."""
    packs = Path(os.fsdecode(device.repo.store_dir)) / "objects/pack"
    for pack in packs.glob("*.pack"):
        if names is None or pack.name in names:
            os.utime(pack, (NOW - seconds, NOW - seconds))


def tidy(device: Device, *, now: float = NOW) -> None:
    Maintenance(device.repo, device.store, clock=lambda: now).tidy()


def pack_count(device: Device) -> int:
    return sum(name.endswith(".idx") for name in device.packs())


# -- the user's own garbage collection ---------------------------------------------------------


def test_snapshots_survive_an_amend_and_a_gc(device: Device) -> None:
    old = commit(device, "to be amended\n")
    snapshot = device.snap({"new/file": b"new\n"}, pin="keep/1")
    clean = device.snap({}, pin="keep/2")
    commit(device, "amended\n", "--amend")
    device.maintenance.secure(old)
    collect_garbage(device)
    assert git(device.root, "cat-file", "-e", old, accept=(1,)) == ""
    assert is_whole(device, snapshot)
    assert is_whole(device, clean)
    assert device.fsck() == ""


def test_without_it_they_would_not(device: Device) -> None:
    commit(device, "to be amended\n")
    snapshot = device.snap({"new/file": b"new\n"}, pin="keep/1")
    commit(device, "amended\n", "--amend")
    collect_garbage(device)
    assert not is_whole(device, snapshot)


def test_a_whole_branch_is_secured_once_it_is_left(device: Device) -> None:
    git(device.root, "checkout", "-q", "--detach")
    commits = [commit(device, f"{n}\n") for n in range(4)]
    snapshot = device.snap({"x": b"x"}, pin="keep/1")
    git(device.root, "checkout", "-q", "main")
    device.maintenance.secure(commits[-1])
    collect_garbage(device)
    assert is_whole(device, snapshot)
    assert object_ids(device) >= set(commits)


def test_what_a_branch_holds_is_not_copied(device: Device) -> None:
    old = commit(device, "second\n")
    before = device.packs()
    device.maintenance.secure(old)
    git(device.root, "branch", "keeper")
    git(device.root, "reset", "-q", "--hard", "HEAD~1")
    device.maintenance.secure(old)
    device.maintenance.secure(CommitId("1" * 40))
    assert device.packs() == before


def test_tidy_secures_what_nobody_asked_for(device: Device) -> None:
    git(device.root, "checkout", "-q", "-b", "topic")
    commit(device, "on the topic\n")
    snapshot = device.snap({"x": b"x"}, pin="keep/1")
    git(device.root, "checkout", "-q", "main")
    git(device.root, "branch", "-q", "-D", "topic")
    tidy(device)
    collect_garbage(device)
    assert is_whole(device, snapshot)
    assert device.fsck() == ""


def test_a_store_that_has_lost_something_still_works(device: Device, tmp_path: Path) -> None:
    old = commit(device, "to be lost\n")
    device.snap({"x": b"x"}, pin="keep/lost")
    commit(device, "amended\n", "--amend")
    collect_garbage(device)
    device.maintenance.secure(old)
    age(device, 30 * DAY)
    tidy(device)
    other = Device(clone(device.root, tmp_path / "other"))
    snapshot = other.snap({"y": b"y"})
    packed = other.exchange.pack(snapshot.id, limit=8192)
    assert packed is not None
    assert device.exchange.absorb(snapshot.id, packed) == snapshot
    other.close()


def test_history_that_is_not_whole_does_not_stop_the_upkeep(device: Device) -> None:
    tree = device.store.tree_of(device.base().commit)
    who = "A <a@example.org> 1 +0000"
    text = f"tree {tree}\nparent {'1' * 40}\nauthor {who}\ncommitter {who}\n\nits parent is gone\n"
    torn = CommitId(device.store.put(b"commit", text.encode()))
    device.record(tree, base=Base(commit=torn, branch=None), pin="keep/torn")
    kept = device.snap({"x": b"x"}, pin="keep/whole")
    gone = device.snap({"x": b"gone"})
    age(device, 30 * DAY)
    tidy(device)
    assert device.store.load(gone.id) is None
    assert is_whole(device, kept)


# -- many packs --------------------------------------------------------------------------------


def test_many_small_packs_become_few(device: Device) -> None:
    text = b"".join(b"line %d of a text\n" % i for i in range(300))
    snapshots = [device.snap({"big": text + b"%d\n" % n}, pin=f"keep/{n}") for n in range(PACKS + 1)]
    unpinned = device.snap({"big": b"young\n"})
    before = object_ids(device)
    size = sum(p.size for p in Packs(device.repo).list())
    tidy(device, now=0.0)
    assert pack_count(device) == 1
    assert object_ids(device) == before
    assert sum(p.size for p in Packs(device.repo).list()) < size / 3
    assert all(is_whole(device, snapshot) for snapshot in (*snapshots[::50], unpinned))
    assert device.fsck() == ""
    before_again = device.packs()
    tidy(device, now=0.0)
    assert device.packs() == before_again


def test_big_packs_are_left_alone(device: Device) -> None:
    device.snap({"noise": os.urandom(500_000)}, pin="keep/big")
    big = {name for name in device.packs() if name.endswith(".pack")}
    for n in range(PACKS):
        device.snap({"a.txt": b"%d\n" % n}, pin=f"keep/{n}")
    age(device, DAY)
    tidy(device)
    assert pack_count(device) == 2
    assert big <= set(device.packs())


def test_weeks_are_not_mixed(device: Device) -> None:
    for n in range(PACKS // 2 + 1):
        device.snap({"a.txt": b"old %d\n" % n}, pin=f"keep/old{n}")
    old = {name for name in device.packs() if name.endswith(".pack")}
    for n in range(PACKS // 2 + 1):
        device.snap({"a.txt": b"new %d\n" % n}, pin=f"keep/new{n}")
    age(device, 0)
    age(device, 10 * DAY, old)
    tidy(device)
    times = [pack.time for pack in Packs(device.repo).list()]
    assert sorted(times) == [NOW - 10 * DAY, NOW]


def test_recording_and_reading_go_on_meanwhile(device: Device) -> None:
    for n in range(PACKS + 20):
        device.snap({"a.txt": b"%d\n" % n, f"f{n}": b"%d" % n}, pin=f"keep/{n}")
    stop = threading.Event()
    recorded: list[Snapshot] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set() or not recorded:
                recorded.append(device.snap({"a.txt": b"meanwhile %d\n" % len(recorded)}))
                device.snapshots.pin(f"keep/meanwhile{len(recorded)}", recorded[-1].id)
                for pin in list(device.snapshots.pins().values())[:20]:
                    snapshot = device.store.load(pin)
                    assert snapshot is not None
                    for change in device.trees.changes(device.store.tree_of(snapshot.base.commit), snapshot.tree):
                        assert change.new is not None
                        device.store.blob(change.new.oid)
        except BaseException as error:
            failures.append(error)

    other = Device(device.root)  # an agent's view with nothing cached
    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(3):
        Maintenance(other.repo, other.store).tidy()
    stop.set()
    thread.join()
    other.close()
    assert failures == []
    assert all(is_whole(device, snapshot) for snapshot in recorded[::10])
    assert device.fsck() == ""


# -- expiry ------------------------------------------------------------------------------------


def test_what_nothing_refers_to_goes_after_two_weeks(device: Device) -> None:
    gone = device.snap({"gone": b"gone" * 99}, pin="keep/gone")
    kept = device.snap({"kept": b"kept" * 99}, pin="keep/kept")
    device.snapshots.unpin("keep/gone")
    age(device, 13 * DAY)
    before = device.packs()
    tidy(device)
    assert device.packs() == before
    age(device, 15 * DAY)
    tidy(device)
    lost = {git(device.root, "hash-object", "--stdin", input="gone" * 99), gone.id, gone.tree}
    assert lost.isdisjoint(object_ids(device))
    assert device.store.load(gone.id) is None
    assert is_whole(device, kept)
    assert pack_count(device) == 1
    assert device.fsck() == ""


def test_a_git_that_is_killed_at_any_step_of_it_takes_nothing_away(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = device.snap({"kept": b"kept" * 99}, pin="keep/kept")
    based = device.record(kept.tree, base=Base(commit=commit(device, "x\n"), branch=None), pin="keep/based")
    device.snap({"gone": b"gone" * 99})
    age(device, 30 * DAY)
    left, real = tmp_path / "left", shutil.which("git")
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nn=$(cat {left})\necho $((n - 1)) >{left}\n[ $n = 1 ] && kill -9 $$\nexec {real} "$@"\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for step in count(1):
        left.write_text(f"{step}\n")
        with contextlib.suppress(TransientError):
            Maintenance(device.repo, device.store, clock=lambda: NOW).tidy(thorough=True)
        killed = int(left.read_text()) <= 0
        left.write_text("0\n")
        assert is_whole(device, kept), step
        assert is_whole(device, based), step
        if not killed:
            break
        record("kills survived", 1)
    assert step > 5


def test_a_young_snapshot_keeps_what_it_shares_with_an_old_one(device: Device) -> None:
    old = device.snap({"shared": b"shared" * 99, "dropped": b"dropped" * 99})
    age(device, 20 * DAY)
    names = set(device.packs())
    entry = device.trees.entry(old.tree, RelPath(b"shared"))
    assert entry is not None
    young = device.record(device.trees.splice(device.store.tree_of(device.base().commit), {RelPath(b"s"): entry}))
    age(device, DAY, set(device.packs()) - names)
    tidy(device)
    assert is_whole(device, young)
    assert device.store.load(old.id) is None
    assert pack_count(device) == 2


def test_bases_that_only_the_store_has_stay_while_a_pin_needs_them(device: Device) -> None:
    old = commit(device, "to be amended\n")
    snapshot = device.snap({"x": b"x"}, pin="keep/1")
    commit(device, "amended\n", "--amend")
    device.maintenance.secure(old)
    collect_garbage(device)
    for now in (NOW, NOW + 8 * DAY, NOW + 16 * DAY):
        age(device, 30 * DAY)
        tidy(device, now=now)
        assert is_whole(device, snapshot)
    device.snapshots.unpin("keep/1")
    age(device, 15 * DAY)
    tidy(device, now=NOW + 24 * DAY)
    assert not device.store.has_commit(old)
    assert object_ids(device) == set()
    assert pack_count(device) == 0


def test_what_the_user_has_committed_since_stays_ours_too(device: Device) -> None:
    snapshot = device.snap({"a.txt": b"soon committed\n"}, pin="keep/1")
    commit(device, "soon committed\n")
    age(device, 30 * DAY)
    tidy(device)
    git(device.root, "reset", "-q", "--hard", "HEAD~1")
    collect_garbage(device)
    assert is_whole(device, snapshot)


def test_a_fetched_branch_stays(device: Device, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "hub.git")
    author = Device(clone(device.root, tmp_path / "author"), str(tmp_path / "hub.git"))
    reader = Device(device.root, str(tmp_path / "hub.git"))
    commit(author, "second\n")
    author.exchange.push_branch("refs/heads/main")
    tip = reader.exchange.fetch_branch("refs/heads/main")
    assert tip is not None
    age(device, 30 * DAY)
    reader.snap({"gone": b"x"})
    age(device, 30 * DAY)
    tidy(device)
    assert git(device.repo.store_dir, "rev-list", "--objects", tip)
    author.close()
    reader.close()


def test_it_looks_through_old_packs_once_a_week(device: Device) -> None:
    device.snap({"x": b"1"}, pin="keep/1")
    age(device, 15 * DAY)
    tidy(device)
    unpinned = device.snap({"x": b"2"})
    age(device, 15 * DAY)
    tidy(device, now=NOW + 6 * DAY)
    assert device.store.load(unpinned.id) is not None
    tidy(device, now=NOW + 8 * DAY)
    assert device.store.load(unpinned.id) is None


def test_a_clock_that_was_ahead_for_a_while_does_not_end_the_upkeep(device: Device) -> None:
    device.snap({"x": b"1"}, pin="keep/1")
    age(device, 15 * DAY)
    tidy(device, now=NOW + 3650 * DAY)
    unpinned = device.snap({"x": b"2"})
    age(device, 15 * DAY)
    tidy(device)
    assert device.store.load(unpinned.id) is None


def test_stale_leftovers_go_and_young_ones_stay(device: Device) -> None:
    objects = Path(os.fsdecode(device.repo.store_dir)) / "objects"
    places = ("incoming-old", "pack/tmp_pack_old", "incoming-new", "pack/tmp_idx_new")
    paths = [objects / place for place in places]
    for path in paths:
        if path.name.startswith("incoming-"):
            (path / "pack").mkdir(parents=True)
        else:
            path.write_bytes(b"x")
        seconds = NOW - (2 * DAY if path.name.endswith("old") else 60)
        os.utime(path, (seconds, seconds))
    tidy(device)
    assert [path.exists() for path in paths] == [False, False, True, True]


def test_only_one_is_at_it(device: Device) -> None:
    old = device.snap({"x": b"x"})
    age(device, 30 * DAY)
    with open(os.path.join(device.repo.store_dir, b"autosync-tidy.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tidy(device)
        assert device.store.load(old.id) == old
    tidy(device)
    assert device.store.load(old.id) is None


def test_a_damaged_index_is_named(device: Device) -> None:
    device.snap({"x": b"x"}, pin="keep/1")
    packs = Path(os.fsdecode(device.repo.store_dir)) / "objects/pack"
    (index,) = packs.glob("*.idx")
    index.chmod(0o644)
    index.write_bytes(b"x" * 2000)
    with pytest.raises(StateError) as caught:
        tidy(device)
    assert caught.value.title == f"{index} is no index of version 2"
    assert caught.value.hint == f"Rebuild it: git index-pack {index.with_suffix('.pack')}"


def test_an_empty_repository_is_tidied(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    device = Device(tmp_path / "empty")
    tidy(device)
    snapshot = device.snap({"x": b"x"}, pin="keep/1")
    age(device, 30 * DAY)
    tidy(device)
    assert device.store.load(SnapshotId(snapshot.id)) == snapshot
    assert device.store.blob(git(tmp_path, "hash-object", "--stdin", input="x")) == b"x"
    device.close()
