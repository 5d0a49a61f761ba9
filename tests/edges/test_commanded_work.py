"""What is told to another version control of what was done, with a scripted one that writes down its calls."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.commanded.listing import Lister
from autosync.commanded.step import StepRunner
from autosync.commanded.work import CommandedWork
from autosync.core.commanded.commands import Action, Commands
from autosync.core.commanded.session import Finished, Perform, Work
from autosync.core.model import Kind, RelPath
from tests import figures

# It fails for every action or path that stands in the file `fail`, and prints what stands in `say <action>`.
SCRIPT = """\
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
with open(f"{here}/calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
fail = json.load(open(f"{here}/fail")) if os.path.exists(f"{here}/fail") else {}
if os.path.exists(f"{here}/say {sys.argv[1]}"):
    print(open(f"{here}/say {sys.argv[1]}").read())
if os.path.exists(f"{here}/do {sys.argv[1]}"):
    exec(open(f"{here}/do {sys.argv[1]}").read())
for word in sys.argv[1:]:
    if word in fail:
        sys.exit(fail[word])
"""


class Place:
    """A working copy, its scripted version control beside it, and what is to be tested."""

    def __init__(self, place: Path, *, without: tuple[Action, ...] = (), most_deleted: int | None = 3) -> None:
        self.aside = place / "aside"
        self.root = place / "root"
        self.aside.mkdir()
        self.root.mkdir()
        vcs = (sys.executable, str(self.aside / "vcs"))
        Path(vcs[1]).write_text(SCRIPT)
        words = {
            Action.ADD: ("{paths}",),
            Action.REMOVE: ("{path}",),
            Action.MODIFY: ("{paths}",),
            Action.MOVE: ("{old}", "{new}"),
            Action.COMMIT: ("{message}",),
        }
        commands = Commands(
            steps={a: ((*vcs, a.value, *words.get(a, ())),) for a in Action if a not in without}, time_limit=30.0
        )
        self.steps = StepRunner(os.fsencode(self.root), commands.time_limit)
        self.work = CommandedWork(
            lister=Lister(os.fsencode(self.root), ["*.tmp", "/own/"]),
            commands=commands,
            steps=self.steps,
            name="laptop",
            most_deleted=most_deleted,
        )

    def record(self, *, whole: bool = False, forced: bool = False) -> Finished:
        return self.work.perform(Perform(Work.RECORD, whole=whole, forced=forced))

    def calls(self) -> list[list[str]]:
        """Return what was run since the last time; of a commit the first line of its message."""
        log = self.aside / "calls"
        if not log.exists():
            return []
        found = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return [[action, *(word.split("\n")[0] for word in words)] for action, *words in found]

    def fail(self, **codes: int) -> None:
        (self.aside / "fail").write_text(json.dumps(codes))

    def say(self, action: str, text: str) -> None:
        (self.aside / f"say {action}").write_text(text)

    def begin(self, *names: str) -> None:
        """Have these files known."""
        for name in names:
            (self.root / name).write_text(name)
        self.record(whole=True)
        self.calls()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.steps.close()


def test_at_first_version_control_looks_itself(place: Place) -> None:
    (place.root / "a").write_text("x")
    assert place.record(whole=True) == Finished(work=Work.RECORD)
    assert place.calls() == [["remote-url"], ["startup"], ["status"]]


def test_each_edit_is_told_and_committed_if_status_says_so(place: Place) -> None:
    assert place.calls() == []
    place.begin("a", "b", "c")
    (place.root / "-new").write_text("x")
    (place.root / "a").write_text("changed")
    (place.root / "b").unlink()
    (place.root / "c").rename(place.root / "d")
    place.say("status", "M a")
    assert place.record() == Finished(work=Work.RECORD, to_push=True)
    assert place.calls() == [
        ["move", "c", "d"],
        ["remove", "b"],
        ["add", "./-new"],
        ["modify", "a"],
        ["status"],
        ["commit", "Add 1 file, Change 1 file, Rename 1 file, Remove 1 file"],
    ]
    place.say("status", "")
    assert place.record() == Finished(work=Work.RECORD)
    assert place.calls() == [["status"]]


def test_what_the_user_has_committed_himself_is_to_be_pushed(place: Place) -> None:
    place.begin("a")
    (place.root / "a").write_text("changed")
    assert place.record() == Finished(work=Work.RECORD, to_push=True)
    assert [call[0] for call in place.calls()] == ["modify", "status"]


@pytest.mark.parametrize(("code", "is_done"), [(1, True), (2, False), (128, False)])
def test_the_exit_code_of_status(place: Place, code: int, is_done: bool) -> None:
    place.begin("a")
    (place.root / "a").write_text("changed")
    place.fail(status=code)
    finished = place.record()
    assert finished.done is is_done
    assert ("commit" in [call[0] for call in place.calls()]) is is_done


def test_a_commit_that_fails_is_tried_again_with_all_that_it_is_about(place: Place) -> None:
    place.begin("a", "b")
    place.say("status", "M")
    (place.root / "a").write_text("changed")
    place.fail(commit=1)
    finished = place.record()
    assert not finished.done
    assert finished.problem is not None
    assert "failed with exit code 1" in finished.problem.title
    place.fail()
    (place.root / "b").write_text("changed")
    assert place.record() == Finished(work=Work.RECORD, to_push=True)
    assert place.calls()[-1] == ["commit", "Change a; Change b"]
    figures.record("faults injected", 1)


def test_a_path_that_is_not_taken_is_named_and_told_again_and_the_rest_is_committed(place: Place) -> None:
    place.begin("a")
    place.say("status", "M")
    for name in ("bad", "good"):
        (place.root / name).write_text(name)
    place.fail(bad=1)
    finished = place.record()
    assert finished.done
    assert finished.to_push
    assert finished.problem is not None
    assert finished.problem.title.startswith("bad is left out: `")
    assert place.work.refused == {b"bad"}
    told = [["add", "bad", "good"], ["add", "bad"], ["add", "good"], ["status"]]
    assert place.calls()[:4] == told
    place.fail()
    assert place.record().problem is None
    assert place.calls()[0] == ["add", "bad"]
    assert place.work.refused == frozenset()
    figures.record("faults injected", 1)


def test_a_rename_that_is_not_taken_is_told_as_two_halves(place: Place) -> None:
    place.begin("a")
    (place.root / "a").rename(place.root / "b")
    place.fail(move=1)
    assert place.record().problem is None
    assert place.calls()[:3] == [["move", "a", "b"], ["remove", "a"], ["add", "b"]]


def test_what_a_pull_writes_is_told_to_nobody(place: Place) -> None:
    place.begin("a", "gone")
    (place.aside / "do pull").write_text("open('a', 'w').write('theirs'); open('new', 'w').close(); os.unlink('gone')")
    assert place.work.perform(Perform(Work.PULL)) == Finished(work=Work.PULL, touched=True)
    assert place.record() == Finished(work=Work.RECORD)
    assert place.calls() == [["fetch"], ["pull"], ["status"]]
    (place.aside / "do pull").unlink()
    assert place.work.perform(Perform(Work.PULL)) == Finished(work=Work.PULL)


def test_a_pull_that_fails_halfway_wrote_files_all_the_same(place: Place) -> None:
    place.begin("a")
    (place.aside / "do pull").write_text("open('a', 'w').write('<<<<<<<')")
    place.fail(pull=1)
    finished = place.work.perform(Perform(Work.PULL))
    assert (finished.touched, finished.done) == (True, False)
    assert place.record() == Finished(work=Work.RECORD)
    assert place.calls() == [["fetch"], ["pull"], ["status"]]


def test_what_was_done_while_it_fetched_is_committed_before_files_are_touched(place: Place) -> None:
    place.begin("a", "b")
    place.say("status", "D a")
    (place.aside / "do fetch").write_text("os.unlink('a')")
    assert place.work.perform(Perform(Work.PULL)) == Finished(work=Work.PULL, to_push=True)
    assert [call[0] for call in place.calls()] == ["fetch", "remove", "status", "commit", "pull"]
    (place.aside / "do fetch").write_text("open('b', 'w').write('changed')")
    place.fail(commit=1)
    finished = place.work.perform(Perform(Work.PULL))
    assert not finished.done
    assert finished.problem is not None
    assert [call[0] for call in place.calls()] == ["fetch", "modify", "status", "commit"]
    place.fail(fetch=1)
    assert place.work.perform(Perform(Work.PULL)).problem is not None
    assert [call[0] for call in place.calls()] == ["fetch"]
    place.fail()
    place.work.may_commit = False
    assert place.work.perform(Perform(Work.PULL)).problem is None
    assert [call[0] for call in place.calls()] == ["fetch", "pull"]


def test_a_push_tells_where_to_without_the_password(place: Place) -> None:
    place.say("remote-url", "https://me:s3cret@example.org/notes\nmore")
    assert place.work.perform(Perform(Work.PUSH)) == Finished(work=Work.PUSH)
    assert place.work.remote == "https://example.org/notes"
    assert place.calls() == [["remote-url"], ["remote-url"], ["push"]]
    place.fail(push=1, **{"remote-url": 1})
    assert place.work.perform(Perform(Work.PUSH)).problem is not None
    assert place.work.remote == "https://example.org/notes"


def test_many_deletions_at_once_wait_for_the_users_word(place: Place) -> None:
    place.begin("a", "b", "c", "d", "e")
    for name in "abc":
        (place.root / name).unlink()
    finished = place.record()
    assert finished.halted
    assert finished.problem is not None
    assert finished.problem.title == "3 of 5 files are gone (a, b, c …); that was not committed"
    assert place.calls() == []
    place.say("status", "D")
    assert place.record(forced=True).to_push
    assert [call[0] for call in place.calls()] == ["remove", "remove", "remove", "status", "commit"]


def test_without_status_what_was_told_decides(tmp_path: Path) -> None:
    place = Place(tmp_path, without=(Action.STATUS, Action.STARTUP, Action.MOVE, Action.MODIFY))
    place.fail(commit=1)
    # Nobody knows whether there is anything to commit: that it fails means that there is not.
    assert place.record(whole=True) == Finished(work=Work.RECORD)
    assert place.record() == Finished(work=Work.RECORD)
    (place.root / "a").write_text("x")
    assert not place.record().done
    place.fail()
    assert place.record().to_push
    (place.root / "a").rename(place.root / "b")
    assert place.record().to_push
    assert [call[:2] for call in place.calls()][-3:] == [["remove", "a"], ["add", "b"], ["commit", "Rename a to b"]]
    place.steps.close()


def test_startup_that_fails_holds_no_commit_up(place: Place) -> None:
    place.fail(startup=1)
    place.say("status", "M")
    finished = place.record(whole=True)
    assert finished.done
    assert finished.to_push
    assert finished.problem is not None


def test_the_listing_leaves_out_metadata_what_is_ignored_and_what_is_no_file(place: Place) -> None:
    for name in (".hg", ".git", "own", "sub/.svn", "sub/CVS", "sub/dir"):
        (place.root / name).mkdir(parents=True)
        (place.root / name / "x").write_text("x")
    for name in (".fslckout", ".fslckout-journal", "_FOSSIL_", "a.tmp", "a", "sub/.fslckout"):
        (place.root / name).write_text("x")
    os.mkfifo(place.root / "pipe")
    (place.root / "link").symlink_to("sub")
    (place.root / "exe").write_text("x")
    (place.root / "exe").chmod(0o755)
    lister = place.work.lister
    found = lister.list_all({})
    assert {path: seen.kind for path, seen in found.items()} == {
        b"a": Kind.FILE,
        b"exe": Kind.EXECUTABLE,
        b"link": Kind.SYMLINK,
        b"sub/.fslckout": Kind.FILE,
        b"sub/dir/x": Kind.FILE,
    }
    assert lister.marks() == {b".hg", b".git", b".fslckout", b"_FOSSIL_"}
    asked = [RelPath(path) for path in (b"a", b"own", b"own/x", b"link", b"a.tmp", b".git/x", b"gone")]
    assert lister.ignored(asked) == {b"own", b"own/x", b"a.tmp", b".git/x"}


def test_a_directory_that_cannot_be_listed_is_not_taken_for_empty(place: Place) -> None:
    (place.root / "a").write_text("x")
    lister = place.work.lister
    seen = lister.list_all({})[RelPath(b"a")]
    # Deeper than a path can be (PATH_MAX): root may read everything, but not this.
    part, path = "d" * 250, b""
    directory = os.open(place.root, os.O_RDONLY)
    for _ in range(18):
        os.mkdir(part, dir_fd=directory)
        below = os.open(part, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory, path = below, path + part.encode() + b"/"
    os.close(directory)
    deep = RelPath(path + b"x")
    assert lister.list_all({deep: seen}) == {RelPath(b"a"): seen, deep: seen}
    shutil.rmtree(place.root / part)
    assert lister.list_all({deep: seen}) == {RelPath(b"a"): seen}
    with pytest.raises(FileNotFoundError):
        Lister(os.fsencode(place.root / "gone"), ()).list_all({})


def test_the_bad_ones_of_many_are_found_in_few_steps_and_not_all_of_too_many(place: Place) -> None:
    place.begin("a")
    names = [f"file {n:03}" for n in range(256)]
    for name in names:
        (place.root / name).write_text(name)
    place.fail(**{"file 007": 1})
    finished = place.record()
    assert finished.problem is not None
    assert finished.problem.title.startswith("file 007 is left out")
    assert place.work.refused == {b"file 007"}
    assert len(place.calls()) == 1 + 2 * 8 + 1  # halves of halves, and `status`
    place.fail(**dict.fromkeys(names, 1))
    for name in names:
        (place.root / name).write_text("changed")
    assert place.record().problem is not None
    assert len(place.work.refused) == 256
    assert len(place.calls()) < 80


def test_a_message_is_never_longer_than_an_argument_may_be(place: Place) -> None:
    place.begin()
    place.say("status", "A")
    for n in range(60):
        below = place.root.joinpath(*(["ä" * 100] * 12))
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{n}").write_text("x")
    assert place.record() == Finished(work=Work.RECORD, to_push=True)
