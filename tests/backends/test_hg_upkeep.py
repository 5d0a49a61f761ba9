"""The upkeep of a Mercurial working copy's private store: small, whole after every kill, clear about every trouble."""

from __future__ import annotations

import errno
import gc
import io
import os
import random
import resource
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hg_stores import HOUR, START, WEEK, Clock, bundled, contents, killed_at_work, node, snapshot_of, stored, written

from autosync.backends.hg.store import Store
from autosync.causes import shortage_of
from autosync.core.model import CommitId, RelPath, Snapshot
from autosync.errors import Busy, Missing, StateError
from autosync.turns import Turns
from tests.figures import record
from tests.system.mounts import needs_mounts, remount, tmpfs


@pytest.fixture
def metadata(tmp_path: Path) -> bytes:
    there = tmp_path / "it's"
    there.mkdir()
    return os.fsencode(there / "autosync")


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


def reopened(store: Store, clock: Clock) -> Store:
    """Return the store as the next run of the agent finds it."""
    store.close()
    return Store(store.metadata, clock=clock)


def counted(metadata: bytes, question: str) -> int:
    """Return what a question to the file itself answers."""
    connection = sqlite3.connect(path_of(metadata))
    try:
        return int(connection.execute(question).fetchone()[0])
    finally:
        connection.close()


# -- letting go -----------------------------------------------------------------------------------
def test_what_no_pin_holds_goes_when_it_is_old(store: Store, clock: Clock) -> None:
    one = written(store, {"a": b"first", "same": b"same"}, 1)
    two = written(store, {"a": b"second"}, 2, one)
    store.pin("current", two.id)
    first = store.put(b"first")
    store = reopened(store, clock)
    clock.advance(HOUR - 1)
    store.tidy(thorough=True)
    assert store.load(one.id) == one
    assert contents(store, one.tree) == {"a": b"first", "same": b"same"}
    store = reopened(store, clock)
    clock.advance(HOUR + 1)
    store.tidy(thorough=True)
    assert (store.load(one.id), store.content(first)) == (None, None)
    assert contents(store, two.tree) == {"a": b"second", "same": b"same"}
    with pytest.raises(Missing, match=f"state {one.tree} is not here"):
        store.changes(one.tree, two.tree)
    store.close()


def test_by_itself_it_lets_go_within_weeks(store: Store, clock: Clock) -> None:
    one = written(store, {"a": b"first"}, 1)
    store.tidy()
    store = reopened(store, clock)
    clock.advance(2 * WEEK - 10)
    store.tidy()
    assert store.load(one.id) == one
    clock.advance(20)
    store.tidy()  # once a week at most
    assert store.load(one.id) == one
    clock.advance(WEEK)
    store.tidy()
    assert store.load(one.id) is None
    store.close()


def test_a_clock_that_was_set_ahead_does_no_harm(store: Store, clock: Clock) -> None:
    one = written(store, {"a": b"first"}, 1)
    clock.advance(520 * WEEK)
    two = written(store, {"a": b"second"}, 2)
    store.pin("current", two.id)
    store.tidy()
    clock.now = START + 3 * WEEK
    store.tidy(thorough=True)
    assert (store.load(one.id), store.load(two.id)) == (None, two)


def test_nothing_is_deleted_while_others_are_at_work(store: Store, clock: Clock) -> None:
    one = written(store, {"a": b"first"}, 1)
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    asked = []

    @contextmanager
    def busy() -> Iterator[bool]:
        asked.append(store.load(one.id))
        yield False

    store.tidy(thorough=True, alone=busy)
    assert asked == [one]
    assert store.load(one.id) == one
    assert contents(store, one.tree) == {"a": b"first"}
    store.close()


@pytest.mark.parametrize("use", ["put again", "spliced", "asked for", "pinned", "written again"])
def test_what_comes_into_use_while_it_is_about_to_go_stays(store: Store, clock: Clock, use: str) -> None:
    one = written(store, {"a": b"first", "d/b": b"below"}, 1)
    oid = store.put(b"first")
    store = reopened(store, clock)
    clock.advance(2 * HOUR)

    @contextmanager
    def late() -> Iterator[bool]:
        if use == "put again":
            store.put(b"first")
        elif use == "spliced":
            store.splice(one.tree, stored(store, {"c": b"new"}))
        elif use == "asked for":
            store.changes(None, one.tree)
        elif use == "pinned":
            store.pin("current", one.id)
        else:
            store.write(one)
        yield True

    store.tidy(thorough=True, alone=late)
    assert store.content(oid) == b"first"
    if use != "put again":
        assert contents(store, one.tree) == {"a": b"first", "d/b": b"below"}
    assert (store.load(one.id) == one) is (use in {"pinned", "written again"})
    store.flush()
    if use == "asked for":  # it is remembered for as long as the agent runs
        store.tidy(thorough=True)
    else:
        store = reopened(store, clock)
        store.tidy(thorough=True)
    assert store.content(oid) == b"first"
    store.close()


def test_what_a_pinned_snapshot_builds_on_stays(store: Store, clock: Clock) -> None:
    commits = [CommitId(node("commit", number)) for number in range(4)]
    trees = [store.splice(None, stored(store, {"a": b"base %d" % number})) for number in range(3)]
    places = {(RelPath(b"a"), bytes.fromhex(node("file", n))): store.put(b"base %d" % n) for n in range(3)}
    store.learn_files(places)
    for commit, tree in zip(commits, trees, strict=False):
        store.learn_commit_tree(commit, tree)
    snapshot = snapshot_of(store.splice(trees[1], stored(store, {"b": b"new"})), 1, base=commits[1])
    store.write(snapshot)
    store.pin("current", snapshot.id)
    store.keep_bundle(commits[0], io.BytesIO(b"zeroth"))
    store.keep_bundle(commits[1], io.BytesIO(b"first"), needs=[commits[0], commits[3]])
    store.keep_bundle(commits[2], io.BytesIO(b"second"))
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    assert store.commit_tree(commits[2]) == trees[2]  # somebody is about to build on it
    store.tidy(thorough=True)
    assert [store.commit_tree(commit) for commit in commits] == [None, trees[1], trees[2], None]
    assert [bundled(store, commit) for commit in commits] == [b"zeroth", b"first", b"second", None]
    store.flush()
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)
    assert [store.commit_tree(commit) for commit in commits] == [None, trees[1], None, None]
    assert [bundled(store, commit) for commit in commits] == [b"zeroth", b"first", None, None]
    assert list(store.known_files([file_node for _, file_node in places])) == [bytes.fromhex(node("file", 1))]
    assert contents(store, trees[1]) == {"a": b"base 1"}
    store.close()


def test_the_room_is_given_back(store: Store, metadata: bytes, clock: Clock) -> None:
    chance = random.Random(1)
    one = written(store, {f"f{number}": chance.randbytes(9000) for number in range(300)}, 1)
    two = written(store, {"a": b"small"}, 2)
    store.pin("current", two.id)
    store.tidy()
    assert store.load(one.id) == one
    assert store.size() > 2_700_000
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)
    assert store.size() < 200_000
    assert counted(metadata, "PRAGMA freelist_count") == 0
    store.close()


def test_what_hg_has_as_well_is_told(store: Store) -> None:
    chance = random.Random(1)
    both, ours = chance.randbytes(5000), chance.randbytes(7000)
    store.learn_files({(RelPath(b"a"), b"x" * 20): store.put(both)})
    store.put(ours)
    store.flush()
    assert 5000 <= store.shared() < 5100


# -- deltas ---------------------------------------------------------------------------------------
def edits(number: int, *, lines: int = 300, seed: int = 1) -> Iterator[bytes]:
    """Yield versions of one file, each with a few lines changed, put in or taken out."""
    chance = random.Random(seed)
    text = [chance.randbytes(20).hex().encode() + b"\n" for _ in range(lines)]
    for _ in range(number):
        yield b"".join(text)
        at = chance.randrange(len(text))
        text[at : at + chance.randrange(2)] = [chance.randbytes(20).hex().encode() + b"\n"]


def history(store: Store, versions: Iterator[bytes], after: Snapshot | None = None) -> list[Snapshot]:
    """Write and pin a snapshot for each version of a file, beside others that stay."""
    snapshots = [after] if after else [written(store, {f"d{n}/other": b"%d" % n for n in range(100)}, 0)]
    for number, content in enumerate(versions, len(snapshots)):
        snapshots.append(written(store, {"d5/file": content}, number, snapshots[-1]))
        store.pin(f"keep/{number}-0-x", snapshots[-1].id)
    return snapshots


def test_many_versions_of_a_file_take_little_and_are_whole(store: Store, metadata: bytes, clock: Clock) -> None:
    versions = list(edits(120))
    snapshots = history(store, iter(versions))
    before = store.size()
    store.tidy()
    assert store.size() < before / 6
    store = reopened(store, clock)
    for snapshot, content in zip(snapshots[1:], versions, strict=True):
        assert contents(store, snapshot.tree)["d5/file"] == content
    assert counted(metadata, "SELECT max(depth) FROM objects") == 50
    assert counted(metadata, "SELECT count(*) FROM objects WHERE base >= number") == 0
    store.close()


def test_a_history_that_is_thinned_out_is_whole(store: Store, metadata: bytes, clock: Clock) -> None:
    versions = list(edits(120))
    snapshots = history(store, iter(versions))
    store.tidy()
    kept = [*range(0, 120, 7), 118]
    store.repin(add={}, drop=[f"keep/{n + 1}-0-x" for n in range(120) if n not in kept])
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)
    store = reopened(store, clock)
    for number in kept:
        assert contents(store, snapshots[number + 1].tree)["d5/file"] == versions[number]
    # Nothing is left only because something else is a delta of it: file, two directories and state of each.
    assert counted(metadata, "SELECT count(*) FROM objects WHERE kind = 1 AND size > 1000") == len(kept)
    assert counted(metadata, "SELECT count(*) FROM objects WHERE kind = 3") == len(kept)
    assert counted(metadata, "SELECT count(*) FROM bodies") == counted(metadata, "SELECT count(*) FROM objects")
    assert counted(metadata, "SELECT count(*) FROM objects WHERE base IS NOT NULL") > len(kept)
    store.close()


def test_back_and_forth_is_no_circle(store: Store, clock: Clock) -> None:
    one, two = edits(2)
    snapshots = history(store, iter([one, two, one, two, one]))
    store.tidy()
    store.repin(add={}, drop=["keep/1-0-x", "keep/3-0-x"])
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)
    assert [contents(store, snapshots[n].tree)["d5/file"] for n in (2, 4, 5)] == [two, two, one]
    store.close()


def test_a_large_file_that_grows_is_kept_once(store: Store, metadata: bytes, clock: Clock) -> None:
    chance = random.Random(1)
    versions = [chance.randbytes(3 << 20)]
    for _ in range(4):
        versions.append(versions[-1] + chance.randbytes(100))
    snapshots = history(store, iter(versions))
    assert len(os.listdir(os.path.join(metadata, b"large"))) == 5
    store.tidy()
    assert len(os.listdir(os.path.join(metadata, b"large"))) == 1
    store.repin(add={}, drop=["keep/1-0-x", "keep/2-0-x"])
    store = reopened(store, clock)
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)  # what the others were deltas of goes
    assert len(os.listdir(os.path.join(metadata, b"large"))) == 1
    for number in (2, 3, 4):
        assert contents(store, snapshots[number + 1].tree)["d5/file"] == versions[number]
    store.close()


def test_marks_of_many_files_take_little(store: Store, metadata: bytes) -> None:
    marks = {RelPath(b"directory/with/file-%s" % node(n).encode()): b"a" for n in range(200)}
    last = None
    for number in range(30):
        marks[RelPath(b"another-%d" % number)] = b"a"
        last = snapshot_of(store.with_marks(None, marks), number, parents=(last.id,) if last else ())
        store.write(last)
        store.pin(f"keep/{number}-0-x", last.id)
    store.tidy()
    assert counted(metadata, "SELECT count(*) FROM objects WHERE base IS NOT NULL") == 29
    assert last is not None
    assert store.marks(last.tree) == marks


def test_a_damaged_version_stays_as_it_is_and_hurts_no_other(store: Store, metadata: bytes, clock: Clock) -> None:
    versions = list(edits(5))
    snapshots = history(store, iter(versions))
    store = reopened(store, clock)
    broken = dict(store.entries(snapshots[3].tree))[RelPath(b"d5/file")].oid
    with sqlite3.connect(path_of(metadata)) as other:
        question = "UPDATE bodies SET body = x'00' WHERE place = (SELECT body FROM objects WHERE id = ?)"
        assert other.execute(question, (bytes.fromhex(broken),)).rowcount == 1
    other.close()
    clock.advance(2 * HOUR)
    store.tidy(thorough=True)
    with pytest.raises(StateError, match=rf"store\.sqlite is damaged: blob {broken} cannot be read"):
        store.content(broken)
    for number in (1, 2, 4, 5):
        assert contents(store, snapshots[number].tree)["d5/file"] == versions[number - 1]
    store.close()


# -- trouble --------------------------------------------------------------------------------------
def _junk(path: Path) -> None:
    path.write_bytes(b"this is no database, but long enough to be taken for one\n" * 100)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _cut(path: Path) -> None:
    os.truncate(path, 5000)


def _noise(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(size - 4096))


@pytest.mark.parametrize("damage", [_junk, _zeros, _cut, _noise])
def test_a_damaged_file_is_told_as_one(store: Store, metadata: bytes, damage: Callable[[Path], None]) -> None:
    snapshot = written(store, {f"f{n}": random.Random(n).randbytes(3000) for n in range(20)}, 1)
    store.pin("current", snapshot.id)
    store.close()
    damage(path_of(metadata))
    again = Store(metadata)
    with pytest.raises(StateError) as caught:
        contents(again, snapshot.tree)
    again.close()
    place = os.fsdecode(metadata)
    assert caught.value.title.startswith(f"{place}/store.sqlite is damaged: ")
    assert caught.value.hint == (
        f"No file of yours is lost. Stop autosync, move it away (`cd {shlex.quote(place)} && mkdir damaged && "
        "mv store.sqlite* damaged/`) and start autosync again: it begins anew; "
        "of the history of snapshots only what other devices have is left."
    )
    subprocess.run(["sh", "-c", caught.value.hint.split("`")[1]], check=True)
    anew = written(again, {"a": b"1"}, 2)
    assert contents(again, anew.tree) == {"a": b"1"}
    again.close()
    record("bad inputs refused", 1)


def test_a_content_that_is_not_what_was_written_is_never_given_out(store: Store, metadata: bytes) -> None:
    oids = [store.put(bytes([n]) * 50) for n in range(2)] + [store.put(random.Random(1).randbytes(2_000_000))]
    store.flush()
    store.close()
    with sqlite3.connect(path_of(metadata)) as other:
        other.execute("UPDATE objects SET body = (SELECT max(body) FROM objects) WHERE body IS NOT NULL")
    other.close()
    large = Path(os.fsdecode(metadata), "large", oids[2])
    large.write_bytes(large.read_bytes()[:-10])
    with pytest.raises(StateError, match=f"blob {oids[0]} is not what was written"):
        store.content(oids[0])
    with pytest.raises(StateError, match=f"blob {oids[2]} cannot be read"):
        store.content(oids[2])
    large.unlink()
    with pytest.raises(StateError, match=f"blob {oids[2]} cannot be read"):
        store.content(oids[2])
    assert store.content(oids[1]) == b"\1" * 50


def test_the_file_of_a_newer_autosync_is_left_alone(store: Store, metadata: bytes) -> None:
    store.put(b"x")
    store.flush()
    store.close()
    with sqlite3.connect(path_of(metadata)) as other:
        other.execute("PRAGMA user_version = 2")
    other.close()
    with pytest.raises(StateError) as caught:
        store.pins()
    assert caught.value.title == f"{path_of(metadata)} was written by a newer autosync (format 2; this one knows 1)"
    assert caught.value.hint == "Update autosync on this device."


def test_the_log_of_a_file_that_is_gone_is_not_taken_for_that_of_a_new_one(store: Store, metadata: bytes) -> None:
    old = written(store, {"a": b"1"}, 1)
    log = path_of(metadata).with_name("store.sqlite-wal")
    shutil.copy(log, log.with_suffix(".copy"))
    store.close()
    path_of(metadata).unlink()
    log.with_suffix(".copy").rename(log)
    new = written(store, {"a": b"2"}, 2)
    assert (store.load(old.id), store.load(new.id)) == (None, new)


def test_nothing_is_written_to_a_file_that_was_moved_away(store: Store, metadata: bytes, clock: Clock) -> None:
    snapshot = written(store, {"a": b"1"}, 1)
    path_of(metadata).rename(path_of(metadata).with_suffix(".away"))
    with pytest.raises(StateError, match=r"store\.sqlite was deleted or replaced while autosync used it"):
        store.pin("current", snapshot.id)
    again = Store(metadata, clock=clock)
    written(again, {"a": b"2"}, 2)
    with pytest.raises(StateError, match=r"store\.sqlite was deleted or replaced while autosync used it"):
        store.pin("current", snapshot.id)
    again.close()


def test_another_process_that_uses_it_is_told(metadata: bytes, clock: Clock) -> None:
    store = Store(metadata, clock=clock, patience=0.01)
    store.put(b"x")
    store.flush()
    store.close()
    code = (
        "import sqlite3, sys; other = sqlite3.connect(sys.argv[1]); "
        "other.execute('BEGIN IMMEDIATE'); print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path_of(metadata))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(Busy, match=r"store\.sqlite is in use by another process"):
            written(store, {"a": b"1"}, 1)
        other.communicate(b"\n")
    snapshot = written(store, {"a": b"1"}, 1)
    assert store.load(snapshot.id) == snapshot
    store.close()


@needs_mounts
def test_a_full_disk_is_told_as_one_and_loses_nothing(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=3m") as disk:
        store = Store(os.fsencode(disk / "autosync"))
        first = written(store, {"a": b"1"}, 1)
        store.pin("current", first.id)
        chance = random.Random(1)
        for many in ({f"f{n}": chance.randbytes(9000) for n in range(500)}, {"large": chance.randbytes(4 << 20)}):
            tree = store.splice(first.tree, stored(store, many))
            snapshot = snapshot_of(tree, 2)
            for _ in range(2):
                with pytest.raises(OSError, match="No space left on device") as caught:
                    store.write(snapshot)
                assert caught.value.errno == errno.ENOSPC
                told = shortage_of(caught.value, store.metadata)
                assert told is not None
                assert told.title.startswith(f"The disk {disk} is full")
            assert store.load(snapshot.id) is None
            assert contents(store, first.tree) == {"a": b"1"}
            remount(disk, "size=40m")
            store.write(snapshot)
            store.rest()
            assert contents(store, snapshot.tree) == {"a": b"1", **many}
            remount(disk, f"size={store.size() + (1 << 20)}")
        store.close()
        record("faults injected", 4)


def test_a_lack_of_open_files_is_told_as_one(store: Store) -> None:
    first = written(store, {"a": b"1"}, 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for left in range(3):  # the file, its log and the log's index are needed
        store.rest()
        tree = store.splice(first.tree, stored(store, {"b": b"%d" % left}))
        snapshot = snapshot_of(tree, 2 + left)
        store.rest()
        gc.collect()  # nothing may be closed meanwhile
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                store.write(snapshot)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert caught.value.errno == errno.EMFILE
        store.write(snapshot)
        assert contents(store, snapshot.tree) == {"a": b"1", "b": b"%d" % left}
        record("faults injected", 1)


@needs_mounts
def test_a_disk_that_is_read_only_is_told_as_one(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk") as disk:
        store = Store(os.fsencode(disk / "autosync"))
        snapshot = written(store, {"a": b"1"}, 1)
        store.rest()
        remount(disk, "ro")
        with pytest.raises(OSError, match="Read-only file system") as caught:
            store.pin("current", snapshot.id)
        told = shortage_of(caught.value, store.metadata)
        assert told is not None
        assert told.title == f"{disk} is mounted read-only"
        remount(disk, "rw")
        store.pin("current", snapshot.id)
        store.close()
        record("faults injected", 1)


# -- many threads, and kills ----------------------------------------------------------------------
def test_threads_work_beside_each_other_and_the_upkeep(store: Store, clock: Clock) -> None:
    turns = Turns()

    def work(name: str) -> Snapshot:
        last = None
        for number in range(25):
            with turns.together():
                clock.advance(HOUR)
                content = b"%s %d\n" % (name.encode(), number)
                last = written(store, {f"{name}/{number % 3}": content * 50, "same": b"same"}, number, last)
                store.pin(name, last.id)
            assert store.load(last.id) == last
            found = contents(store, last.tree)
            assert found[f"{name}/{number % 3}"] == content * 50
            assert found["same"] == b"same"
        assert last is not None
        return last

    with ThreadPoolExecutor(5) as pool:
        working = [pool.submit(work, name) for name in ("one", "two", "three", "four")]
        while not all(job.done() for job in working):
            store.tidy(thorough=True, alone=turns.alone)
        made = [job.result() for job in working]
    store = reopened(store, clock)
    store.tidy(thorough=True)
    assert set(store.pins().values()) == {snapshot.id for snapshot in made}
    for snapshot in made:
        assert len(contents(store, snapshot.tree)) == 4
    assert counted(store.metadata, "SELECT count(*) FROM snapshots") <= 8
    store.close()


def test_a_kill_at_any_moment_leaves_every_pinned_snapshot(metadata: bytes) -> None:
    chance = random.Random(1)
    for kill in range(12):
        promised = killed_at_work(metadata, seed=kill, after=chance.randrange(1, 6))
        store = Store(metadata)
        pins = store.pins()
        current = store.load(pins["current"])
        assert current is not None
        assert current.version.counters[0][1] >= promised
        for pinned in {*pins.values()}:
            snapshot = store.load(pinned)
            assert snapshot is not None
            assert all(content is not None for content in contents(store, snapshot.tree).values())
        store.close()
    record("kills survived", 12)
