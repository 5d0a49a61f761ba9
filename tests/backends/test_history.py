"""History on a real store: bounded, whole, safe from clocks and kills, and small."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from gitdevice import LAPTOP, clone, git, new_repository

from autosync.backends.git.backend import GitBackend, open_git
from autosync.backends.git.leftlocks import sole_writer
from autosync.backends.git.maintenance import Maintenance
from autosync.backends.git.pins import Pins
from autosync.core.model import DeviceId, RelPath, Snapshot, SnapshotId, Version, WorkspaceId
from autosync.core.retention import DAY, HOUR, NEWEST, Retention, kept_by
from autosync.errors import Busy
from autosync.history import History
from autosync.turns import Turns
from tests.figures import record

WORKSPACE = WorkspaceId("0" * 32)
START = float(int(time.time()))
"""The packs that are written have real times: to the upkeep, whose time goes on, they all look old."""


@dataclass
class Hours:
    """What the device's clock shows, and what has passed in truth; in seconds."""

    shown: float = START
    passed: float = 0.0

    def pass_by(self, seconds: float) -> None:
        self.shown += seconds
        self.passed += seconds


class Copy:
    """One working copy with its history, under a time of its own."""

    def __init__(self, root: Path, time: Hours, retention: Retention | None = None) -> None:
        self.root = root
        self.time = time
        self.retention = retention
        self.count = 0
        self.start()

    def start(self) -> None:
        """Start an agent."""
        self.backend: GitBackend = open_git(os.fsencode(self.root), workspace=WORKSPACE, remote=None)
        upkeep = Maintenance(self.backend.repo, self.backend.store, clock=lambda: self.time.shown)
        self.backend._maintenance = upkeep
        self.history = History(
            self.backend, retention=self.retention, clock=lambda: self.time.shown, elapsed=lambda: self.time.passed
        )
        self.current = self.history.open()

    def restart(self) -> None:
        self.backend.close()
        self.start()

    def save(self, content: bytes, path: str = "a.txt", *, device: DeviceId = LAPTOP) -> Snapshot:
        """Save a file, and take and keep the snapshot."""
        (self.root / path).write_bytes(content)
        before = self.current
        paths = None if before is None else [RelPath(os.fsencode(path))]
        reading = self.backend.read(paths, None if before is None else (before.base, before.tree))
        self.count += 1
        snapshot = self.backend.record(
            tree=reading.tree,
            base=reading.base,
            version=(before.version if before else Version()).bump(device),
            parents=(before.id,) if before else (),
            device="laptop",
            time=self.count,  # what a snapshot itself says of time has no part in its age
        )
        self.history.keep(snapshot)
        self.history.settle_on(snapshot.id)
        self.current = snapshot
        return snapshot

    def ages(self) -> list[float]:
        """Return the ages of what is kept, in seconds, the oldest first."""
        kept = kept_by(self.backend.pins())
        return [(START + self.time.passed) - each.moment / 1000 for each in kept]

    def is_whole(self, snapshot: SnapshotId) -> bool:
        done = subprocess.run(
            ["git", "-C", os.fsdecode(self.backend.repo.store_dir), "rev-list", "--objects", "--quiet", snapshot],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    copy = Copy(new_repository(tmp_path / "one"), Hours())
    yield copy
    copy.backend.close()


def history_lines(copy: Copy) -> list[str]:
    return git(copy.backend.repo.store_dir, "for-each-ref", "--format=%(refname)").splitlines()


# -- tiers ---------------------------------------------------------------------------------------


def test_forty_days_of_saves_stay_few_and_whole(copy: Copy) -> None:
    chance = random.Random(40)
    most = 0
    for day in range(40):
        for _ in range(7):
            for _ in range(chance.randrange(1, 4)):
                copy.save(b"%d %d\n" % (day, chance.randrange(10**9)) * 20, chance.choice(["a.txt", "d/b.txt", "c"]))
                copy.time.pass_by(chance.uniform(1, 20))
            copy.time.pass_by(chance.uniform(1800, 5400))
        copy.time.pass_by(6 * HOUR)
        if day % 4 == 3:
            copy.history.tidy(thorough=day % 8 == 7)
            assert_tiers(copy.ages())
        if day % 10 == 5:
            copy.restart()
        most = max(most, len(copy.ages()))
    record("seeds run", 1)
    assert copy.count > 500
    assert most <= NEWEST + 30 * 8 + 4 * 7 * 3
    assert max(copy.ages()) <= 30 * DAY + HOUR
    copy.history.tidy(thorough=True)
    pinned = frozenset(copy.backend.pins().values())
    git(copy.backend.repo.store_dir, "rev-list", "--objects", "--quiet", *pinned)
    assert {snapshot.id for snapshot in copy.history.known()} == pinned


def assert_tiers(ages: list[float]) -> None:
    """Assert that beyond the newest hundred there is one an hour or a minute, and nothing older than a month."""
    old = ages[: max(0, len(ages) - NEWEST)]
    moments = [START * 1000 + (0 - age) * 1000 for age in old]
    assert all(age <= 30 * DAY for age in old)
    hours = [m // 3_600_000 for m, age in zip(moments, old, strict=True) if age > DAY]
    assert all(hours.count(hour) <= 2 for hour in hours)  # the hours of the ages are not those of the clock


def test_a_clock_ten_years_ahead_and_back_takes_nothing(copy: Copy) -> None:
    for _ in range(NEWEST + 20):
        copy.save(b"%d\n" % copy.count)
        copy.time.pass_by(HOUR)
    for jump in (3650 * DAY, -3650 * DAY, -3650 * DAY, 3650 * DAY):
        copy.time.shown += jump
        before = frozenset(copy.backend.pins())
        assert copy.history.tidy().snapshots_after == copy.count
        copy.restart()
        copy.history.tidy()
        assert frozenset(copy.backend.pins()) >= before
        copy.save(b"after a jump %d\n" % copy.count)
    moments = [kept.moment for kept in kept_by(copy.backend.pins())]
    assert moments == sorted(set(moments))
    assert copy.history.tidy().snapshots_after == copy.count


def test_the_last_save_is_always_kept(copy: Copy) -> None:
    copy.retention = Retention(all_for=0, minutely_for=0, hourly_for=0, quota=0)
    copy.restart()
    for _ in range(NEWEST + 5):
        last = copy.save(b"%d\n" % copy.count)
    copy.time.pass_by(365 * DAY)
    tidied = copy.history.tidy(thorough=True)
    assert (tidied.snapshots_before, tidied.snapshots_after) == (NEWEST + 5, NEWEST)
    assert tidied.bytes_after is not None
    assert tidied.bytes_after < tidied.bytes_before
    copy.restart()
    assert copy.current == last


def test_a_rehearsal_changes_nothing(copy: Copy) -> None:
    copy.retention = Retention(all_for=0, minutely_for=0, hourly_for=0)
    copy.restart()
    for _ in range(NEWEST + 5):
        copy.save(b"%d\n" % copy.count)
    copy.time.pass_by(DAY)
    before, files = copy.backend.pins(), os.listdir(os.path.join(copy.backend.repo.store_dir, b"objects/pack"))
    tidied = copy.history.tidy(rehearse=True)
    assert (tidied.snapshots_before, tidied.snapshots_after, tidied.bytes_after) == (NEWEST + 5, NEWEST, None)
    assert copy.backend.pins() == before
    assert os.listdir(os.path.join(copy.backend.repo.store_dir, b"objects/pack")) == files


def test_the_quota_takes_the_oldest_and_gives_the_room_back(copy: Copy) -> None:
    noise = random.Random(1)
    for _ in range(NEWEST + 60):
        copy.save(noise.randbytes(20_000))
        copy.time.pass_by(60)
    copy.time.pass_by(3 * HOUR)
    copy.history.tidy(thorough=True)
    size = copy.backend.size()
    copy.retention = Retention(quota=size * 3 // 4)
    copy.restart()
    kept = [each.snapshot for each in kept_by(copy.backend.pins())]
    tidied = copy.history.tidy()
    left = [each.snapshot for each in kept_by(copy.backend.pins())]
    assert tidied.bytes_after is not None
    assert tidied.bytes_after <= size * 3 // 4
    assert NEWEST <= len(left) < len(kept)
    assert left == kept[-len(left) :]
    assert all(copy.is_whole(snapshot) for snapshot in left[::20])


# -- what is in use ------------------------------------------------------------------------------


def test_where_a_peer_was_and_what_a_merge_would_start_from_stay(copy: Copy) -> None:
    peer, hostile = DeviceId("desk-00000002"), DeviceId("../../x")
    copy.retention = Retention(all_for=0, minutely_for=0, hourly_for=0)
    copy.restart()
    common = copy.save(b"common\n")
    theirs = copy.save(b"theirs\n", device=peer)
    copy.current = common
    for _ in range(NEWEST + 10):
        copy.save(b"ours %d\n" % copy.count)
        copy.time.pass_by(60)
    copy.time.pass_by(400 * DAY)
    unknown = SnapshotId("1" * 40)
    copy.history.tidy({peer: theirs.id, hostile: common.id, DeviceId("new-00000003"): unknown}, thorough=True)
    assert copy.backend.pins()["peers/desk-00000002"] == theirs.id
    assert [pin for pin in copy.backend.pins() if pin.startswith("peers/")] == ["peers/desk-00000002"]
    copy.restart()
    copy.history.tidy(thorough=True)
    kept = {each.snapshot for each in kept_by(copy.backend.pins())}
    assert {common.id, theirs.id} <= kept
    assert copy.is_whole(common.id)
    assert copy.is_whole(theirs.id)


def test_peers_that_nobody_hears_of_are_not_kept_for_without_end(copy: Copy) -> None:
    snapshot = copy.save(b"x\n").id
    for number in range(64):
        copy.backend.pin(f"peers/old-{number:08}", snapshot)
    copy.history.tidy({DeviceId("new-00000001"): snapshot})
    noted = [pin for pin in copy.backend.pins() if pin.startswith("peers/")]
    assert len(noted) == 64
    assert "peers/new-00000001" in noted


# -- pins ----------------------------------------------------------------------------------------


def test_what_an_older_autosync_kept_is_taken_over(copy: Copy) -> None:
    snapshots = [copy.save(b"%d\n" % n) for n in range(5)]
    for pin, snapshot in copy.backend.pins().items():
        copy.backend.unpin(pin)
        copy.backend.pin(f"keep/{snapshot}", snapshot)
    copy.backend.pin("current", snapshots[-1].id)
    copy.restart()
    assert copy.current == snapshots[-1]
    assert {s.id for s in copy.history.known()} == {s.id for s in snapshots}
    copy.history.tidy()
    kept = kept_by(copy.backend.pins())
    assert [each.snapshot for each in kept] == [s.id for s in snapshots]
    assert [round(b.moment - a.moment) for a, b in pairwise(kept)] == [60_000] * 4
    copy.save(b"after\n")
    assert kept_by(copy.backend.pins())[-1].moment > kept[-1].moment


def test_ten_thousand_pins_are_one_file_and_are_not_read_at_the_start(copy: Copy) -> None:
    last = copy.save(b"x\n")
    moment = kept_by(copy.backend.pins())[0].moment
    many = {f"keep/{moment + 1 + n}-0-{n:040x}": SnapshotId(f"{n:040x}") for n in range(10_000)}
    copy.backend.repin(add=many, drop=())
    files = [p for p in (Path(os.fsdecode(copy.backend.repo.store_dir)) / "refs").rglob("*") if p.is_file()]
    assert [p.name for p in files] == ["current"]
    copy.restart()
    assert copy.current == last
    assert len(copy.backend.pins()) == 10_002
    copy.backend.repin(add={}, drop=list(many)[5_000:])
    copy.save(b"y\n")
    assert len(kept_by(copy.backend.pins())) == 5_002


def test_a_kill_at_any_moment_of_repinning_loses_no_pin(copy: Copy) -> None:
    snapshots = [copy.save(b"%d\n" % n) for n in range(3)]
    copy.backend.repin(add={}, drop=())
    snapshots += [copy.save(b"%d\n" % n) for n in range(3, 6)]
    pins = kept_by(copy.backend.pins())
    for step in range(1, 100):
        before = copy.backend.pins()
        drop = [pins[step % 2].pin] if step < 3 else []
        added = {f"keep/{pins[-1].moment + step}-0-{snapshots[0].id}": snapshots[0].id}
        loose = f"keep/{pins[-1].moment + 1000 + step}-0-{snapshots[1].id}"
        copy.backend.pin(loose, snapshots[1].id)
        killed = repin_and_die(copy, added, drop, step)
        after = Pins(copy.backend.repo, pause=0)
        after.clear_locks()
        left = after.read()
        assert {pin: s for pin, s in before.items() if pin not in drop}.items() <= left.items()
        assert left.keys() <= before.keys() | added.keys() | {loose}
        assert left[loose] == snapshots[1].id
        after.repin(add={}, drop=added)
        if not killed:
            break
        record("kills survived", 1)
    assert step > 8
    assert git(copy.backend.repo.store_dir, "for-each-ref").count("\n") == len(after.read()) - 1


def repin_and_die(copy: Copy, add: dict[str, SnapshotId], drop: list[str], step: int) -> bool:
    """Repin in a child that is gone before its ``step``-th call of the file system; return whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(call):  # type: ignore[no-untyped-def]
            def wrapped(*args, **kwargs):  # type: ignore[no-untyped-def]
                nonlocal left
                left -= 1
                if not left:
                    os._exit(9)
                return call(*args, **kwargs)

            return wrapped

        for name in ("open", "rename", "unlink", "fsync", "close", "stat"):
            setattr(os, name, counted(getattr(os, name)))
        Pins(copy.backend.repo).repin(add=add, drop=drop)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_the_lock_of_another_process_is_respected(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    copy.save(b"x\n")
    with (
        sole_writer(copy.backend.repo, []),
        pytest.raises(Busy, match="another agent moves refs of"),
    ):
        copy.backend.repin(add={}, drop=())
    lock = Path(os.fsdecode(copy.backend.repo.store_dir)) / "packed-refs.lock"
    lock.touch()
    monkeypatch.setattr(time, "sleep", lambda _: lock.write_bytes(b"of a git that lives"))
    with pytest.raises(Busy, match=r"packed-refs\.lock exists"):
        copy.backend.repin(add={}, drop=())
    assert lock.read_bytes() == b"of a git that lives"


@pytest.mark.parametrize("age", [-3600, 0, 3600])
def test_the_lock_of_a_killed_agent_goes_whatever_the_clock_says(copy: Copy, age: int) -> None:
    copy.save(b"x\n")
    lock = Path(os.fsdecode(copy.backend.repo.store_dir)) / "packed-refs.lock"
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    Pins(copy.backend.repo, pause=0).repin(add={}, drop=())
    assert not lock.exists()
    assert len(copy.backend.pins()) == 2


def test_others_packed_refs_stay(copy: Copy) -> None:
    snapshot = copy.save(b"x\n")
    store = copy.backend.repo.store_dir
    git(store, "tag", "-a", "-m", "note", "v1", copy.backend.base().commit or "")
    git(store, "update-ref", "refs/autosync/pins/worktrees/other/keep/1-1-x", snapshot.id)
    git(store, "pack-refs", "--all")
    before = git(store, "show-ref", "-d")
    copy.backend.repin(add={f"keep/5-5-{snapshot.id}": snapshot.id}, drop=())
    copy.backend.unpin(f"keep/5-5-{snapshot.id}")
    assert git(store, "show-ref", "-d") == before


def test_pins_are_read_whole_while_they_are_moved(copy: Copy) -> None:
    snapshot = copy.save(b"x\n").id
    fixed = {f"keep/{n}-0-{snapshot}": snapshot for n in range(300)}
    missing: list[set[str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            missing.append(fixed.keys() - copy.backend.pins().keys())

    for pin in list(fixed)[:50]:
        copy.backend.pin(pin, snapshot)
    copy.backend.repin(add=dict(list(fixed.items())[50:]), drop=())
    reader = threading.Thread(target=read)
    reader.start()
    for n in range(30):
        copy.backend.pin(f"keep/{1000 + n}-0-{snapshot}", snapshot)
        copy.backend.repin(add={}, drop=[f"keep/{1000 + n - 1}-0-{snapshot}"])
    done.set()
    reader.join()
    assert not any(missing)


# -- beside the work -----------------------------------------------------------------------------


def test_one_is_alone_only_while_nobody_works() -> None:
    turns = Turns()
    with turns.together(), turns.together(), turns.alone(0) as alone:
        assert not alone
    with turns.alone(0) as alone:
        assert alone
        began = threading.Event()

        def work() -> None:
            with turns.together():
                began.set()

        worker = threading.Thread(target=work)
        worker.start()
        assert not began.wait(0.05)
    worker.join(10)
    assert began.is_set()


def test_saves_go_on_while_everything_is_rewritten_and_all_of_them_stay_whole(copy: Copy) -> None:
    copy.retention = Retention(all_for=60, minutely_for=60, hourly_for=60)
    copy.restart()
    for _ in range(NEWEST):
        copy.save(b"%d\n" % copy.count, f"f{copy.count % 7}")
        copy.time.pass_by(60)
    copy.time.pass_by(DAY)
    first = kept_by(copy.backend.pins())[0].snapshot
    packs = os.path.join(copy.backend.repo.store_dir, b"objects/pack")
    failures: list[BaseException] = []
    done = threading.Event()

    def tidy() -> None:
        try:
            for _ in range(3):
                copy.history.tidy(thorough=True)
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=tidy)
    thread.start()
    saved = []
    while not done.is_set():
        with copy.history.turns.together():
            saved.append(copy.save(b"%d\n" % (copy.count % 13), f"f{copy.count % 7}"))
    thread.join()
    assert failures == []
    assert len(saved) > 3
    # However quickly saves follow each other: what was let go of is gone, and nothing lies there twice.
    assert copy.backend.load(first) is None
    assert len(os.listdir(packs)) < 3 * len(saved) + 12
    for pinned in set(copy.backend.pins().values()):
        assert copy.is_whole(pinned)


# -- size ----------------------------------------------------------------------------------------


def test_the_store_is_within_a_small_factor_of_gits_own(tmp_path: Path) -> None:
    chance = random.Random(3)
    files = {f"d{n % 10}/f{n}.txt": text(chance) for n in range(100)}
    copy = Copy(new_repository(tmp_path / "one", files), Hours())
    plain = clone(copy.root, tmp_path / "plain")
    before = objects_bytes(plain)
    copy.save(files["d0/f0.txt"], "d0/f0.txt")
    stream, start = "", f"from {copy.backend.base().commit}\n"
    for number in range(300):
        name = chance.choice(sorted(files))
        lines = files[name].splitlines(keepends=True)
        lines[chance.randrange(len(lines))] = b"%d\n" % chance.randrange(10**12)
        files[name] = b"".join(lines)
        tree = copy.save(files[name], name).tree
        stream += f"commit refs/heads/main\ncommitter u <u@example.org> {number} +0000\ndata 1\nx\n{start}"
        stream += f'M 040000 {tree} ""\n\n'
        start = ""
    alternates = plain / ".git/objects/info/alternates"
    alternates.write_text(f"{os.fsdecode(copy.backend.repo.store_dir)}/objects\n")
    git(plain, "fast-import", "--quiet", input=stream)
    git(plain, "repack", "-q", "-a", "-d")
    alternates.unlink()
    git(plain, "gc", "-q", "--prune=now")
    theirs = objects_bytes(plain) - before
    copy.time.pass_by(2 * HOUR)
    copy.history.tidy(thorough=True)
    ours = objects_bytes(Path(os.fsdecode(copy.backend.repo.store_dir)).parent, "store.git/objects")
    assert len(kept_by(copy.backend.pins())) >= 100
    assert ours < 3 * theirs, (ours, theirs)
    copy.backend.close()


def text(chance: random.Random) -> bytes:
    return b"".join(b"%d %d\n" % (chance.randrange(10**6), n) for n in range(60))


def objects_bytes(root: Path, below: str = ".git/objects") -> int:
    return sum(p.stat().st_size for p in (root / below).rglob("pack-*.pack"))
