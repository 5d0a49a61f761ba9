"""What was: found by time and by name, told page by page, compared, brought back, and nothing lost by it."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.activities import Activity, Reporter
from autosync.backends.git.objects import format_snapshot, object_id
from autosync.cli.log import lines as log_lines
from autosync.cli.log import what
from autosync.cli.restore import undone
from autosync.core import events as ev
from autosync.core.commands import TakeSnapshot
from autosync.core.model import RelPath, Snapshot, SnapshotId
from autosync.core.retention import Retention
from autosync.core.timeline import SHORTEST
from autosync.errors import AutosyncError, Busy
from autosync.past.deeds import Deed, Deeds
from autosync.past.differences import difference, file_changes
from autosync.past.placing import place
from autosync.past.restoring import plan_of
from autosync.past.steps import finish
from autosync.past.telling import tell_copy, tell_difference, tell_history, tell_restoring, tell_state
from autosync.past.trail import ROOT, Row
from autosync.ports import Applied
from tests.backends.gitdevice import git
from tests.edges.past_scene import START, Files, PastScene, Vcs
from tests.edges.points import fast_directory
from tests.figures import record

TXT = RelPath(b"a.txt")


@pytest.fixture(params=["git", "hg"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PastScene]:
    vcs: Vcs = request.param
    scene = PastScene(tmp_path / "notes", vcs)
    yield scene
    scene.close()


@pytest.fixture
def git_scene(tmp_path: Path) -> Iterator[PastScene]:
    scene = PastScene(tmp_path / "notes", "git")
    yield scene
    scene.close()


def rows(scene: PastScene, path: bytes = ROOT) -> list[Row]:
    return [row for row in scene.trail.rows(path=RelPath(path)) if not path or row.changes]


def told(rows: list[Row]) -> list[list[tuple[str, bytes, bytes | None]]]:
    return [[(c.how.value, c.path, c.old_path) for c in row.changes] for row in rows]


# -- which state ---------------------------------------------------------------------------------
def test_a_time_means_what_stood_here_then(git_scene: PastScene) -> None:
    states = []
    for number in range(4):
        git_scene.put("a.txt", f"{number}\n")
        states.append(git_scene.record(after=60))
    first = int(START + 60) * 1000
    found = [git_scene.trail.find(first + after).snapshot for after in (0, 59_999, 60_000, 130_000, 10**12)]
    assert found == [states[0], states[0], states[1], states[2], states[3]]
    assert git_scene.trail.find(None).snapshot == states[3]
    with pytest.raises(AutosyncError, match="No snapshot is as old as") as caught:
        git_scene.trail.find(first - 1)
    name = states[0].id[:10]
    assert caught.value.hint.startswith(f"The oldest is {name} of ")
    assert f": write `{name}` in place of the time. " in caught.value.hint


def test_what_only_waited_to_be_merged_did_not_stand_here(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    start = git_scene.record()
    git_scene.put("b.txt", "b\n")
    mine = git_scene.record()
    theirs = git_scene.came("desktop", {"c.txt": "a.txt"}, onto=start)
    assert git_scene.trail.find(int(git_scene.now * 1000)).snapshot == mine
    assert theirs.id in {row.state.snapshot.id for row in rows(git_scene)}


def test_a_clock_that_was_set_back_shows_the_later_of_two_states(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "before\n")
    git_scene.record(after=100)
    wall = git_scene.now
    git_scene.performer.history._clock = lambda: wall - 50  # as a user sets it
    git_scene.put("a.txt", "after\n")
    later = git_scene.record()
    assert git_scene.trail.find(int((wall - 10) * 1000)).snapshot == later


def test_a_beginning_names_a_snapshot(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    made = git_scene.record()
    assert [git_scene.trail.find(made.id[:length]).snapshot for length in (4, 9, 40)] == [made] * 3
    for bad, words in (
        ("", "is no snapshot"),
        ("abc", "is no snapshot"),
        ("../x", "no snapshot"),
        ("0" * 40, "is kept"),
    ):
        with pytest.raises(AutosyncError, match=words):
            git_scene.trail.find(bad)


def test_a_beginning_that_many_share_lists_them(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    first = git_scene.record()
    parts = {"tree": first.tree, "base": first.base, "version": first.version, "parents": (), "device": "laptop"}
    alike: dict[str, list[int]] = {}
    for time in range(1_000_000_000, 1_001_000_000):  # about 65,536 for seven that begin with the same four characters
        oid = object_id("sha1", b"commit", format_snapshot(**parts, time=time)).hex()
        if len(times := alike.setdefault(oid[:SHORTEST], [])) == 6:
            break
        times.append(time)
    beginning = oid[:SHORTEST]
    for each in (*times, time):
        made = git_scene.backend.record(**parts, time=each)
        assert made.id.startswith(beginning)
        git_scene.performer.keep(made)
    with pytest.raises(AutosyncError, match=f"{beginning} may be any of 7 snapshots") as caught:
        git_scene.trail.find(beginning)
    assert caught.value.hint.count(" by laptop, ") == 5
    assert "and 2 more" in caught.value.hint


# -- one after the other ---------------------------------------------------------------------------
def test_a_file_is_followed_through_its_names(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "one\n")
    git_scene.put("other", "o\n")
    git_scene.record()
    git_scene.put("a.txt", "two\n")
    git_scene.record()
    os.rename(git_scene.path("a.txt"), git_scene.path("b.txt"))
    git_scene.record()
    git_scene.put("other", "oo\n")
    git_scene.record()
    os.mkdir(git_scene.path("d"))
    os.rename(git_scene.path("b.txt"), git_scene.path("d/c.txt"))
    git_scene.record()
    os.unlink(git_scene.path("d/c.txt"))
    git_scene.record()
    expected = [
        [("deleted", b"d/c.txt", None)],
        [("renamed", b"d/c.txt", b"b.txt")],
        [("renamed", b"b.txt", b"a.txt")],
        [("changed", b"a.txt", None)],
        [("added", b"a.txt", None)],
    ]
    assert told(rows(git_scene, b"d/c.txt")) == expected
    assert told(rows(git_scene, b"a.txt")) == [[("renamed", b"b.txt", b"a.txt")], *expected[3:]]


def test_a_folder_is_followed_through_its_names(git_scene: PastScene) -> None:
    git_scene.put("old/x", "x\n")
    git_scene.put("old/y", "y\n")
    git_scene.record()
    os.rename(git_scene.path("old"), git_scene.path("new"))
    git_scene.record()
    git_scene.put("new/z", "z\n")
    git_scene.record()
    assert told(rows(git_scene, b"new")) == [
        [("added", b"new/z", None)],
        [("renamed", b"new/x", b"old/x"), ("renamed", b"new/y", b"old/y")],
        [("added", b"old/x", None), ("added", b"old/y", None)],
    ]
    os.rename(git_scene.path("new/x"), git_scene.path("w"))
    git_scene.put("into/k", "k\n")
    git_scene.record()
    os.rename(git_scene.path("w"), git_scene.path("into/x"))  # into a folder that was there
    git_scene.record()
    assert len(rows(git_scene, b"into")) == 2


def test_pages_have_everything_once(git_scene: PastScene) -> None:
    for number in range(14):
        git_scene.put(f"{number % 3}", f"{number}\n")
        git_scene.record()
    os.rename(git_scene.path("0"), git_scene.path("name\n\xe9".encode() + b"\xff"))
    git_scene.record()
    for path in (b"", b"0", b"name\n\xc3\xa9\xff"):
        whole = finish(tell_history(git_scene.trail, RelPath(path), before=None, limit=500))
        assert whole["before"] is None
        listed: list[object] = []
        before: str | None = None
        while True:
            page = finish(tell_history(git_scene.trail, RelPath(path), before=before, limit=4))
            assert len(page["rows"]) <= 4
            listed += page["rows"]
            before = page["before"]
            if before is None:
                break
        assert listed == whole["rows"]
    assert len(whole["rows"]) == 6


def test_what_was_pruned_is_listed_as_such(git_scene: PastScene) -> None:
    scene = git_scene
    first = scene.record()
    scene.put("committed", "1\n")
    git(scene.root, "add", "-A")
    git(scene.root, "commit", "-q", "-m", "goes")
    gone = scene.record()
    scene.put("committed", "2\n")
    git(scene.root, "commit", "-q", "-a", "--amend", "-m", "stays")
    git(scene.root, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(scene.root, "gc", "-q", "--prune=now")
    again = scene.record()
    with pytest.raises(AutosyncError, match="no change that could be undone"):
        scene.trail.before_last_change()
    scene.put("later", "3\n")
    last = scene.record(after=60)
    told = [(row.state.snapshot.id, row.readable) for row in rows(scene)]
    assert told == [(last.id, True), (again.id, False), (gone.id, False), (first.id, True)]
    listed = finish(tell_history(scene.trail, ROOT, before=None, limit=500))["rows"]
    assert [row["readable"] for row in listed] == [True, False, False, True]
    assert [what(row).startswith("cannot be shown: a commit") for row in listed] == [False, True, True, False]
    assert [row.state.snapshot.id for row in rows(scene, b"later")] == [last.id]
    assert scene.trail.before_last_change().snapshot == again


def test_what_continues_a_state_that_was_let_go_is_compared_with_the_last_one_left(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    left = git_scene.record()
    git_scene.put("b.txt", "b\n")
    gone = git_scene.record()
    git_scene.put("c.txt", "c\n")
    last = git_scene.record()
    later = git_scene.backend.record(
        tree=last.tree, base=last.base, version=last.version, parents=(SnapshotId("0" * 40),), device="laptop", time=0
    )
    git_scene.performer.keep(later)
    let_go = [kept.pin for kept in git_scene.trail.kept if kept.snapshot in (gone.id, last.id)]
    git_scene.backend.repin(add={}, drop=let_go)
    row = rows(git_scene)[0]
    assert (row.state.snapshot, row.against) == (later, left)
    assert [c.path for c in row.changes] == [b"b.txt", b"c.txt"]
    with pytest.raises(AutosyncError, match=r"No snapshot .* is kept here"):
        git_scene.trail.find(gone.id)


# -- what differs, and what was there ----------------------------------------------------------------
def test_a_difference_leads_from_one_state_to_the_other(git_scene: PastScene) -> None:
    git_scene.put("text", "1\n2\n3\n")
    git_scene.put("binary", b"\0a")
    git_scene.put("run", "#!\n")
    git_scene.put("gone", "g")
    git_scene.put("large", b"l" * ((1 << 20) + 1))
    old = git_scene.record()
    git_scene.put("text", b"1\n2\xff\r\n3")
    git_scene.put("binary", b"\0b")
    git_scene.put("run", "#!\n", executable=True)
    os.unlink(git_scene.path("gone"))
    os.symlink("text", git_scene.path("link"))
    git_scene.put("large", b"L" * ((1 << 20) + 1))
    new = git_scene.record()
    page = finish(tell_difference(git_scene.trail, ROOT, old=old.id, new=None, after=None, limit=100))
    files = {file["path"]: file for file in page["files"]}
    assert (page["from"]["snapshot"], page["to"]["snapshot"], page["after"]) == (old.id, new.id, None)
    assert {path: file["omitted"] for path, file in files.items() if file["omitted"]} == {
        "binary": "binary",
        "large": "large",
    }
    assert files["text"]["hunks"][0]["lines"] == [" 1\n", "-2\n", "-3\n", "+2\udcff\r\n", "+3"]
    assert (files["run"]["old_kind"], files["run"]["kind"], files["run"]["hunks"]) == ("file", "executable", [])
    assert (files["gone"]["change"], files["gone"]["hunks"][0]["lines"]) == ("deleted", ["-g"])
    assert (files["link"]["kind"], files["link"]["hunks"][0]["lines"]) == ("symlink", ["+text"])
    listed: list[object] = []
    after: str | None = None
    while after is not None or not listed:
        part = finish(tell_difference(git_scene.trail, ROOT, old="parent", new=new.id, after=after, limit=2))
        listed += part["files"]
        after = part["after"]
    assert listed == page["files"]


def test_a_state_shows_its_folders_and_files(git_scene: PastScene) -> None:
    git_scene.put("d/text", "é\n")
    git_scene.put("d/e/binary", b"\xff\0")
    git_scene.put("d/run", "", executable=True)
    state = git_scene.record()
    os.unlink(git_scene.path("d/text"))
    git_scene.record()
    entry = tell_state(git_scene.trail, RelPath(b"d"), state.id)["entry"]
    assert entry["entries"] == [
        {"name": "e", "kind": "folder"},
        {"name": "run", "kind": "executable"},
        {"name": "text", "kind": "file"},
    ]
    text = tell_state(git_scene.trail, RelPath(b"d/text"), state.id)
    assert text["entry"] == {"kind": "file", "size": 3, "text": "é\n", "base64": None}
    assert text["row"]["summary"] == {"added": 3, "changed": 0, "deleted": 0, "renamed": 0}
    binary = tell_state(git_scene.trail, RelPath(b"d/e/binary"), state.id)["entry"]
    assert (binary["text"], base64.b64decode(binary["base64"])) == (None, b"\xff\0")
    with pytest.raises(AutosyncError, match="There was no d/x in snapshot"):
        tell_state(git_scene.trail, RelPath(b"d/x"), state.id)


# -- brought back ------------------------------------------------------------------------------------
def test_files_folders_links_and_modes_come_back(scene: PastScene) -> None:
    scene.put("a.txt", "old\n")
    scene.put("run", "#!\n", executable=True)
    scene.put("d/one", "1\n")
    scene.put("d/e/two", "2\n")
    scene.put("folder/x", "x\n")
    scene.put("file", "f\n")
    os.symlink("a.txt", scene.path("link"))
    then, state = scene.files(), scene.record()
    scene.put("a.txt", "new\n")
    os.chmod(scene.path("run"), 0o644)
    os.rename(scene.path("d"), scene.path("moved"))
    os.unlink(scene.path("link"))
    scene.put("link/now/a/folder", "")
    os.unlink(scene.path("folder/x"))
    os.rmdir(scene.path("folder"))
    os.symlink("a.txt", scene.path("folder"))
    os.unlink(scene.path("file"))
    scene.put("since", "s\n")
    now = scene.files()
    assert scene.restore(state.id, b"a.txt").refused == {}
    assert scene.files() == {**now, b"a.txt": ("file", b"old\n")}
    assert scene.restore(state.id, b"folder/x").refused == {}  # where a link stands now
    assert scene.files()[b"folder/x"] == ("file", b"x\n")
    assert scene.restore(state.id).refused == {}
    assert scene.files() == then
    scene.undo()
    scene.restore(scene.trail.find(None).snapshot.parents[0])
    assert scene.files() == then


def test_what_is_ignored_stays_where_it_is(git_scene: PastScene) -> None:
    git_scene.put(".gitignore", "*.o\n")
    git_scene.put("d/a.c", "a\n")
    state = git_scene.record()
    os.unlink(git_scene.path("d/a.c"))
    os.rmdir(git_scene.path("d"))
    git_scene.put("d", "a file now\n")
    as_file = git_scene.record()
    git_scene.restore(state.id)
    git_scene.put("d/b.o", "ignored\n")
    applied = git_scene.restore(as_file.id)
    assert list(applied.refused) == [b"d"]
    assert git_scene.files()[b"d/b.o"] == ("file", b"ignored\n")
    assert git_scene.restore(state.id).refused == {}
    assert git_scene.files() == {
        b".gitignore": ("file", b"*.o\n"),
        b"d/a.c": ("file", b"a\n"),
        b"d/b.o": ("file", b"ignored\n"),
    }


def test_what_is_saved_meanwhile_stays(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "old\n")
    git_scene.put("b.txt", "old\n")
    state = git_scene.record()
    git_scene.put("a.txt", "new\n")
    git_scene.put("b.txt", "new\n")
    git_scene.record()
    trail = git_scene.trail
    plan = plan_of(trail, trail.find(state.id), ROOT)
    git_scene.put("a.txt", "saved at this moment\n")
    applied = git_scene.restorer().restore(plan)
    assert dict(applied.refused) == {TXT: "it changed here meanwhile"}
    assert git_scene.files() == {b"a.txt": ("file", b"saved at this moment\n"), b"b.txt": ("file", b"old\n")}


def test_what_is_missing_because_its_deletion_is_held_back_comes_back(git_scene: PastScene) -> None:
    for number in range(60):
        git_scene.put(f"{number}", f"{number}\n")
    then, state = git_scene.files(), git_scene.record()
    for number in range(60):
        os.unlink(git_scene.path(f"{number}"))
    git_scene.now += 1
    event = git_scene.performer.local(TakeSnapshot(paths=None, current=state, above=0))
    assert isinstance(event, ev.SnapshotTaken)
    assert (event.changed, len(event.held)) == (False, 60)
    trail = git_scene.trail
    plan = plan_of(trail, trail.current(), ROOT, missing=[held.path for held in event.held])
    assert git_scene.restorer().restore(plan).refused == {}
    assert git_scene.files() == then
    assert git_scene.record() == state
    assert git_scene.performer.brakes.held == ()


def test_what_was_never_there_is_not_restored(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    git_scene.record()
    with pytest.raises(AutosyncError, match=r"There was no b\.txt in snapshot") as caught:
        git_scene.restore(None, b"b.txt")
    assert "`autosync log b.txt`" in caught.value.hint


def test_nothing_is_restored_in_the_middle_of_the_users_own_operation(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    git_scene.record()
    git_scene.put("a.txt", "b\n")
    git_scene.record()
    trail = git_scene.trail
    plan = plan_of(trail, trail.before_last_change(), ROOT)
    (git_scene.root / ".git/MERGE_HEAD").write_text(git_scene.backend.base().commit or "")
    with pytest.raises(Busy, match="so nothing was restored"):
        git_scene.restorer().restore(plan)
    assert git_scene.files() == {b"a.txt": ("file", b"b\n")}


def test_undoing_twice_does_it_again_and_changes_of_others_count(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "one\n")
    git_scene.record()
    with pytest.raises(AutosyncError, match="There is no change that could be undone"):
        git_scene.undo()
    git_scene.put("a.txt", "two\n")
    git_scene.record()
    seen = []
    for _ in range(4):
        git_scene.undo()
        seen.append(git_scene.files()[b"a.txt"][1])
    assert seen == [b"one\n", b"two\n", b"one\n", b"two\n"]
    trail = git_scene.trail
    then = trail.find(trail.kept[0].snapshot)
    assert dict(plan_of(trail, then, ROOT).taken_back) == {"laptop": 5}
    assert plan_of(trail, then, TXT).taken_back == {}


def delete_one_by_one(scene: PastScene, *names: str) -> None:
    """Have each of the files go in a snapshot of its own, as `rm -r` does."""
    for name in names:
        os.unlink(scene.path(name))
        scene.record(after=0.3)


def test_what_follows_at_once_is_one_change(git_scene: PastScene) -> None:
    for name in "abc":
        git_scene.put(name, name)
    git_scene.record()
    git_scene.put("other", "saved before\n")
    git_scene.record(after=5)
    before = git_scene.files()
    git_scene.now += 5
    delete_one_by_one(git_scene, "a", "b", "c")
    for expected in (before, {b"other": before[b"other"]}, before):
        git_scene.undo(after=0.1)
        assert git_scene.files() == expected


def test_it_is_told_of_how_many_snapshots_the_last_change_is(git_scene: PastScene) -> None:
    git_scene.put("a", "a")
    git_scene.put("b", "b")
    git_scene.record()
    git_scene.now += 5
    delete_one_by_one(git_scene, "a", "b")
    trail = git_scene.trail
    plan = plan_of(trail, trail.before_last_change(), ROOT)
    answer = tell_restoring(plan, Applied(done={}, refused={}), dry_run=True, snapshot=None)
    assert undone(answer) == "before the last change (2 snapshots)"


def test_a_file_that_is_saved_again_at_once_is_another_change(git_scene: PastScene) -> None:
    for content in ("one", "two", "three"):
        git_scene.put("a", content)
        git_scene.record(after=0.3)
    git_scene.undo(after=0.1)
    assert git_scene.files()[b"a"][1] == b"two"


def test_what_another_device_changed_at_the_same_time_is_another_change(git_scene: PastScene) -> None:
    git_scene.put("a", "a")
    git_scene.record()
    git_scene.put("b", "b")
    git_scene.record(after=5)
    there = git_scene.came("desktop", {"c": "a"})
    assert git_scene.trail.before_last_change().snapshot == git_scene.current != there


def test_what_is_restored_is_a_change_of_its_own(git_scene: PastScene) -> None:
    git_scene.put("a", "old")
    state = git_scene.record()
    git_scene.put("a", "new")
    git_scene.record(after=5)
    git_scene.put("b", "saved at once before")
    git_scene.now += 5
    git_scene.restore(state.id, b"a", after=0.1)
    git_scene.undo(after=0.1)
    assert {name: content for name, (_, content) in git_scene.files().items()} == {
        b"a": b"new",
        b"b": b"saved at once before",
    }


def test_a_conflict_that_is_finished_is_a_change_of_its_own(git_scene: PastScene) -> None:
    copy = "a (conflict, desktop, 2026-11-22 06.29.46).txt"
    for name in ("a.txt", copy, "b"):
        git_scene.put(name, "content")
    git_scene.record()
    git_scene.now += 5
    delete_one_by_one(git_scene, copy, "b")
    git_scene.undo(after=0.1)
    assert git_scene.files().keys() == {b"a.txt", b"b"}


def test_rows_say_what_was_undone_and_restored(git_scene: PastScene) -> None:
    git_scene.put("a", "old")
    state = git_scene.record()
    git_scene.put("a", "new")
    git_scene.record()
    git_scene.restore(state.id, b"a")
    git_scene.undo()
    rows = finish(tell_history(git_scene.trail, ROOT, before=None, limit=9))["rows"]
    assert [what(row) for row in rows] == [
        "changed a (undo)",
        f"changed a (restored from {state.id[:10]})",
        "changed a",
        what(rows[-1]),
    ]
    assert "(" not in what(rows[-1]).partition("at ")[0]


def test_of_many_deeds_the_latest_are_remembered(tmp_path: Path) -> None:
    deeds = Deeds(os.fsencode(tmp_path))
    for number in range(500):
        deeds.note(SnapshotId(f"{number:040x}"), ROOT, SnapshotId("a" * 40))
    kept = Deeds(os.fsencode(tmp_path)).read()
    assert 200 <= len(kept) <= 400
    assert f"{499:040x}" in kept
    (tmp_path / "brought-back").write_bytes(b"\xff\n" + b"b" * 40 + b" restored " + b"c" * 40 + b"\nabc undo")
    assert deeds.read() == {"b" * 40: Deed(undo=False, state=SnapshotId("c" * 40))}
    (tmp_path / "brought-back").unlink()
    (tmp_path / "brought-back").mkdir()
    deeds.note(SnapshotId("d" * 40), ROOT, SnapshotId("a" * 40))
    assert deeds.read() == {}


async def test_what_somebody_wrote_is_told_apart_from_what_went_or_was_brought_back(git_scene: PastScene) -> None:
    git_scene.put("a", "a")
    git_scene.put("b", "b")
    told: list[Activity] = []
    states = [git_scene.record()]
    os.unlink(git_scene.path("a"))
    git_scene.put("b", "changed")
    states.append(git_scene.record(after=5))
    git_scene.undo()
    states.append(git_scene.trail.current().snapshot)
    with ThreadPoolExecutor(1) as local:
        reporter = Reporter(
            workspace="notes", device="laptop", performer=git_scene.performer, local=local, happened=told.append
        )
        for before, after in pairwise(states):
            event = ev.SnapshotTaken(snapshot=after, changed=True)
            await reporter.report(TakeSnapshot(paths=None, current=before, above=0), event, after)
    assert [(each.paths, each.written) for each in told] == [(("a", "b"), ("b",)), (("a", "b"), ())]


def test_user_things_are_not_touched(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    state = git_scene.record()
    subprocess.run(["git", "add", "a.txt"], cwd=git_scene.root, check=True)
    git_scene.put("a.txt", "b\n")
    git_scene.record()
    kept = {name: (git_scene.root / ".git" / name).read_bytes() for name in ("index", "HEAD")}
    git_scene.restore(state.id)
    assert git_scene.files() == {b"a.txt": ("file", b"a\n")}
    assert {name: (git_scene.root / ".git" / name).read_bytes() for name in kept} == kept


def test_the_list_says_where_it_is_not_all_that_there_was() -> None:
    base = {"commit": None, "branch": None}
    kept = {
        "device": "laptop",
        "paths": [],
        "parents": ["p"],
        "against": "p",
        "base": base,
        "base_moved": False,
        "brought_back": None,
        "readable": True,
    }
    summary = dict.fromkeys(("added", "changed", "deleted", "renamed"), 0)
    ages = (0, 30, 61, 62, 1000, 1001)
    rows = [
        {**kept, "snapshot": f"{age:010}", "at_ms": (10_000 - age) * 1000, "summary": summary, "current": not age}
        for age in ages
    ]
    lines = list(log_lines(iter(rows), Retention(all_for=60, minutely_for=600), 10_000))
    assert [index for index, line in enumerate(lines) if line.startswith("  -- of what is older")] == [2, 5]
    assert ["minute" in lines[2], "hour" in lines[5], lines[0].startswith("* 0000000000")] == [True] * 3


# -- a copy elsewhere ------------------------------------------------------------------------------
def test_a_copy_is_put_where_nothing_stands(scene: PastScene, tmp_path: Path) -> None:
    scene.put("d/a", "a\n")
    odd = b"e/odd\xff" if scene.vcs == "hg" else b"e/odd\n\xff"  # hg takes no name with a newline
    scene.put(b"d/" + odd, b"\0")
    scene.put("d/run", "#!\n", executable=True)
    os.symlink("a", scene.path("d/link"))
    state = scene.record()
    os.unlink(scene.path("d/a"))
    scene.record()
    into = os.fsencode(tmp_path / "copy")
    answer = finish(tell_copy(lambda: scene.trail, RelPath(b"d"), state.id, into, dry_run=False))
    assert (answer["count"], answer["to"]) == (4, str(tmp_path / "copy"))
    assert sorted(os.listdir(into)) == [b"a", b"e", b"link", b"run"]
    assert (os.readlink(into + b"/link"), os.access(into + b"/run", os.X_OK)) == (b"a", True)
    assert Path(os.fsdecode(into + b"/" + odd)).read_bytes() == b"\0"
    with pytest.raises(AutosyncError, match="copy exists"):
        finish(place(scene.backend, state, RelPath(b"d/a"), into))
    with pytest.raises(AutosyncError, match=r"The folder .*/none does not exist"):
        finish(place(scene.backend, state, RelPath(b"d/a"), os.fsencode(tmp_path / "none/a")))
    assert finish(place(scene.backend, state, RelPath(b"d/a"), into + b"2", dry_run=True)).keys() == {b"d/a"}
    assert not os.path.lexists(into + b"2")
    finish(place(scene.backend, state, RelPath(b"d/a"), into + b"2"))
    assert Path(os.fsdecode(into + b"2")).read_bytes() == b"a\n"


def test_a_copy_that_cannot_be_finished_is_taken_away(git_scene: PastScene, tmp_path: Path) -> None:
    git_scene.put("d/a", "a\n")
    git_scene.put("d/b", "b\n")
    state = git_scene.record()
    steps = place(git_scene.backend, state, RelPath(b"d"), os.fsencode(tmp_path / "copy"))
    next(steps)
    assert len(os.listdir(tmp_path / "copy")) == 2
    steps.close()
    assert not (tmp_path / "copy").exists()


# -- whatever is done --------------------------------------------------------------------------------
NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d"])
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), NAMES, st.sampled_from(["1\n", "2\n", "x" * 99])),
        st.tuples(st.just("delete"), NAMES, st.just("")),
        st.tuples(st.just("restore"), st.integers(0, 99), NAMES),
        st.tuples(st.just("back"), st.integers(0, 99), st.just("")),
        st.tuples(st.just("undo"), st.just(0), st.just("")),
    ),
    min_size=2,
    max_size=6,
)


def do(scene: PastScene, deed: tuple[str, str | int, str], seen: list[tuple[Snapshot, Files]]) -> None:
    """Do what a user may."""
    kind, what, more = deed
    full = scene.path(what) if isinstance(what, str) else b""
    if kind == "save" and isinstance(what, str):
        if what.startswith("d/") and os.path.isfile(scene.path("d")):
            os.unlink(scene.path("d"))
        if not os.path.isdir(full):
            scene.put(what, more)
    elif kind == "delete" and os.path.isfile(full):
        os.unlink(full)
    elif kind in ("restore", "back") and isinstance(what, int) and seen:
        state, files = seen[what % len(seen)]
        name = more.encode()
        if not name or any(path == name or path.startswith(name + b"/") for path in files):
            assert scene.restore(state.id, name).refused == {}
            at = {p: f for p, f in scene.files().items() if not name or p == name or p.startswith(name + b"/")}
            assert at == {p: f for p, f in files.items() if not name or p == name or p.startswith(name + b"/")}
    elif kind == "undo" and len({tuple(sorted(files)) for _, files in seen}) > 1:
        scene.undo()


@pytest.mark.parametrize(("vcs", "examples"), [("git", 8), ("hg", 2)])
def test_each_state_that_was_seen_can_be_had_again(vcs: Vcs, examples: int, tmp_path: Path) -> None:
    number = 0
    with fast_directory(tmp_path) as directory:

        @settings(max_examples=examples)
        @given(DEEDS)
        def check(deeds: list[tuple[str, str | int, str]]) -> None:
            nonlocal number
            number += 1
            scene = PastScene(directory / str(number) / "notes", vcs)
            try:
                seen: list[tuple[Snapshot, Files]] = []
                for deed in deeds:
                    do(scene, deed, seen)
                    state = scene.record()
                    seen.append((state, scene.files()))
                for state, files in seen:
                    assert scene.restore(state.id).refused == {}
                    assert scene.files() == files
                assert scene.trail.find(seen[0][0].id).snapshot == seen[0][0]
                record("states restored", len(seen))
            finally:
                scene.close()

        check()


def test_nested_repositories_are_left_alone(git_scene: PastScene) -> None:
    git_scene.put("a.txt", "a\n")
    state = git_scene.record()
    sub = git_scene.root / "sub"
    subprocess.run(["git", "init", "-q", str(sub)], check=True)
    (sub / "s").write_text("s")
    subprocess.run(["git", "-C", str(sub), "add", "s"], check=True)
    who = ["-c", "user.name=u", "-c", "user.email=u@example.org"]
    subprocess.run(["git", "-C", str(sub), *who, "commit", "-q", "-m", "s"], check=True)
    subprocess.run(["git", "add", "sub"], cwd=git_scene.root, check=True, capture_output=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "with it"], cwd=git_scene.root, check=True)
    git_scene.put("a.txt", "b\n")
    new = git_scene.record()
    trail = git_scene.trail
    plan = plan_of(trail, trail.find(state.id), ROOT)
    changes = file_changes(git_scene.backend, state.tree, new.tree, ROOT)
    nested = next((c for c in changes if c.path == b"sub"), None)
    assert (plan.skipped, nested is not None) == ((b"sub",), True)
    assert nested is not None
    assert difference(git_scene.backend, nested.old, nested.new).omitted == "nested"
    git_scene.restorer().restore(plan)
    assert (sub / "s").read_text() == "s"
    assert (git_scene.root / "a.txt").read_text() == "a\n"


@pytest.mark.parametrize(
    ("name", "title", "hint"),
    [
        (
            b".git/config",
            "belongs to the repository itself, of which no snapshot has anything",
            "its own version control",
        ),
        (
            b"x.log",
            "There was no x.log in snapshot {}: an ignore rule names it",
            "`autosync explain x.log` tells which",
        ),
        (b"none", "There was no none in snapshot {}", "`autosync log none`"),
    ],
)
def test_what_is_in_no_snapshot_is_told_as_such(git_scene: PastScene, name: bytes, title: str, hint: str) -> None:
    git_scene.put(".gitignore", "*.log\n")
    git_scene.put("x.log", "x")
    state = git_scene.record()
    with pytest.raises(AutosyncError) as refused:
        plan_of(git_scene.trail, git_scene.trail.find(None), RelPath(name))
    assert refused.value.title.endswith(title.format(state.id[:10]))
    assert hint in refused.value.hint
