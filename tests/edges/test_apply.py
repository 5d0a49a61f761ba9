"""Applying operations to real files, while other processes save, attack and kill."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import multiprocessing
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from autosync.apply import WorkingTree, looks
from autosync.apply.content import Stage
from autosync.apply.limbo import QUIET
from autosync.apply.rename import Kernel, Renames, Stepwise, probe
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.errors import AutosyncError, TransientError
from autosync.ports import Operation, Standing
from tests.figures import record
from tests.system.mounts import needs_mounts, tmpfs
from tests.waiting import PATIENCE

FORK = multiprocessing.get_context("fork")
LONG_AGO = 1_700_000_000


class Copy:
    """A working copy whose content is kept by its SHA-1: the least that applying needs."""

    def __init__(self, root: Path, renames: Renames | None = None, *, quiet: float = QUIET) -> None:
        self.root = root
        self.metadata = root / ".git" / "autosync"
        self.metadata.mkdir(parents=True, exist_ok=True)
        self.contents: dict[str, bytes] = {}
        self.renames = renames
        self.quiet = quiet
        self.tree = self._open()

    def _open(self, standing: Callable[[RelPath], Standing] | None = None, stage: Stage | None = None) -> WorkingTree:
        return WorkingTree(
            os.fsencode(self.root),
            os.fsencode(self.metadata),
            standing=standing or self.standing,
            standings=self.standings if standing is None else None,
            stage=stage or self.stage,
            renames=self.renames,
            quiet=self.quiet,
        )

    def restart(self, standing: Callable[[RelPath], Standing] | None = None, stage: Stage | None = None) -> WorkingTree:
        self.tree.close()
        self.tree = self._open(standing, stage)
        return self.tree

    def standings(self, paths: Sequence[RelPath]) -> dict[RelPath, Standing]:
        found = {}
        for path in paths:
            with contextlib.suppress(TransientError):
                found[path] = self.standing(path)
        return found

    def standing(self, path: RelPath) -> Standing:
        full = os.path.join(os.fsencode(self.root), path)
        try:
            found = os.lstat(full)
            if stat.S_ISLNK(found.st_mode):
                entry = self.entry(os.readlink(full), Kind.SYMLINK)
            elif stat.S_ISREG(found.st_mode):
                with open(full, "rb") as file:
                    found = os.fstat(file.fileno())
                    content = file.read()
                    if os.fstat(file.fileno()).st_mtime_ns != found.st_mtime_ns:
                        raise TransientError("it changes while it is read", hint="")
                entry = self.entry(content, Kind.EXECUTABLE if found.st_mode & 0o100 else Kind.FILE)
            else:
                entry = None
        except (FileNotFoundError, NotADirectoryError):
            return Standing(entry=None, signature=None)
        return Standing(entry=entry, signature=(found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode))

    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        for index, (_, entry) in enumerate(entries):
            target = os.path.join(directory, b"%d" % index)
            if entry.oid not in self.contents:
                raise AutosyncError(f"object {entry.oid} is not here", hint="")
            if entry.kind is Kind.SYMLINK:
                os.symlink(self.contents[entry.oid], target)
            else:
                with open(target, "wb") as file:
                    file.write(self.contents[entry.oid])

    def entry(self, content: bytes, kind: Kind = Kind.FILE) -> Entry:
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.contents[oid] = content
        return Entry(kind=kind, oid=ObjectId(oid))

    def write(self, name: str, content: bytes, mode: int = 0o644) -> Entry:
        """Put an old file there, as if the user had written it long ago."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return self.entry(content, Kind.EXECUTABLE if mode & 0o100 else Kind.FILE)

    def apply(self, *operations: Operation) -> tuple[dict[str, Entry | None], dict[str, str]]:
        applied = self.tree.apply(operations)
        return (
            {os.fsdecode(p): entry for p, entry in applied.done.items()},
            {os.fsdecode(p): reason for p, reason in applied.refused.items()},
        )

    def listing(self) -> list[str]:
        found = (str(p.relative_to(self.root)) for p in self.root.rglob("*"))
        return sorted(p for p in found if not p.startswith(".git"))

    def in_limbo(self) -> list[str]:
        return sorted(os.listdir(self.metadata / "limbo"))

    def sweep_until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> set[str]:
        """Sweep until the condition holds; return what was brought back."""
        back: set[str] = set()
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not reached; limbo holds {self.in_limbo()}"
            back |= {os.fsdecode(p) for p in self.tree.sweep()}
            time.sleep(0.02)
        return back


def op(path: str, expected: Entry | None, new: Entry | None, source: str | None = None) -> Operation:
    return Operation(
        path=RelPath(os.fsencode(path)),
        expected=expected,
        new=new,
        source=None if source is None else RelPath(os.fsencode(source)),
    )


@pytest.fixture(params=[Kernel, Stepwise], ids=["kernel", "stepwise"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """Every test runs with renameat2 and with what stands in for it."""
    return Copy(tmp_path / "copy", request.param())


# -- what is done --------------------------------------------------------------------------------


def test_every_kind_of_operation(copy: Copy) -> None:
    old, gone = copy.write("a.txt", b"old"), copy.write("gone/deep/x", b"gone")
    moved, script = copy.write("from/name", b"moved"), copy.write("run.sh", b"#!", 0o644)
    new, link = copy.entry(b"new"), copy.entry(b"a.txt", Kind.SYMLINK)
    executable = copy.entry(b"#!", Kind.EXECUTABLE)
    inode = os.lstat(copy.root / "from/name").st_ino
    done, refused = copy.apply(
        op("a.txt", old, new),
        op("gone/deep/x", gone, None),
        op("to/there/name", None, moved, source="from/name"),
        op("run.sh", script, executable),
        op("made/here", None, new),
        op("link", None, link),
    )
    assert refused == {}
    assert done == {
        "a.txt": new,
        "gone/deep/x": None,
        "from/name": None,
        "to/there/name": moved,
        "run.sh": executable,
        "made/here": new,
        "link": link,
    }
    assert copy.listing() == ["a.txt", "link", "made", "made/here", "run.sh", "to", "to/there", "to/there/name"]
    assert (copy.root / "a.txt").read_bytes() == b"new"
    assert os.readlink(copy.root / "link") == "a.txt"
    there = os.lstat(copy.root / "to/there/name")
    assert (there.st_ino, there.st_mtime) == (inode, LONG_AGO)
    assert stat.S_IMODE(os.lstat(copy.root / "run.sh").st_mode) == 0o755


def test_applying_twice_is_done_twice(copy: Copy) -> None:
    old, new = copy.write("a", b"old"), copy.entry(b"new")
    operations = (op("a", old, new), op("b", None, new), op("never/there", old, None))
    first = copy.apply(*operations)
    assert first == ({"a": new, "b": new, "never/there": None}, {})
    assert copy.apply(*operations) == first


@pytest.mark.parametrize(("mode", "kind", "expected"), [(0o640, Kind.EXECUTABLE, 0o750), (0o775, Kind.FILE, 0o664)])
def test_who_may_read_and_write_stays(copy: Copy, mode: int, kind: Kind, expected: int) -> None:
    old = copy.write("a", b"old", mode)
    assert copy.apply(op("a", old, copy.entry(b"new", kind)))[1] == {}
    assert stat.S_IMODE(os.lstat(copy.root / "a").st_mode) == expected


def test_new_files_follow_umask_and_a_set_group_id_directory(copy: Copy) -> None:
    shared = copy.root / "shared"
    shared.mkdir()
    group = 4711 if os.geteuid() == 0 else os.getegid()
    os.chown(shared, -1, group)
    shared.chmod(0o2775)
    before = os.umask(0o027)
    try:
        copy.apply(op("shared/a", None, copy.entry(b"x", Kind.EXECUTABLE)))
    finally:
        os.umask(before)
    found = os.lstat(shared / "a")
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o750, group)


def test_extended_attributes_stay_on_a_replaced_file(copy: Copy) -> None:
    old = copy.write("a", b"old")
    os.setxattr(copy.root / "a", "user.tag", b"blue")
    copy.apply(op("a", old, copy.entry(b"new")))
    assert os.getxattr(copy.root / "a", "user.tag") == b"blue"


def test_rules_for_writing_files_are_there_before_the_files(copy: Copy) -> None:
    staged: list[tuple[list[bytes], bool]] = []

    def stage(entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        staged.append(([p for p, _ in entries], (copy.root / "d/.gitattributes").exists()))
        copy.stage(entries, directory)

    tree = copy.restart(stage=stage)
    x = copy.entry(b"x")
    assert tree.apply([op("a", None, x), op("d/.gitattributes", None, x), op("d/z", None, x)]).refused == {}
    assert staged == [([b"d/.gitattributes"], False), ([b"a", b"d/z"], True)]


def test_names_that_change_places(copy: Copy) -> None:
    a, b = copy.write("a", b"A"), copy.write("b", b"B")
    assert copy.apply(op("a", a, b), op("b", b, a))[1] == {}
    assert ((copy.root / "a").read_bytes(), (copy.root / "b").read_bytes()) == (b"B", b"A")


def test_a_file_becomes_a_directory_and_back(copy: Copy) -> None:
    x, y = copy.write("a", b"x"), copy.entry(b"y")
    assert copy.apply(op("a", x, None), op("a/b/c", None, y))[1] == {}
    assert copy.listing() == ["a", "a/b", "a/b/c"]
    assert copy.apply(op("a/b/c", y, None), op("a", None, x))[1] == {}
    assert copy.listing() == ["a"]


def test_a_file_comes_where_only_empty_directories_stand(copy: Copy) -> None:
    (copy.root / "a" / "b" / "c").mkdir(parents=True)
    (copy.root / "a" / "d").mkdir()
    assert copy.apply(op("a", None, copy.entry(b"x")))[1] == {}
    assert copy.listing() == ["a"]


@pytest.mark.parametrize("other", ["a/b/untracked", "a/link"])
def test_no_directory_goes_as_long_as_one_holds_anything(copy: Copy, other: str) -> None:
    (copy.root / "a" / "b").mkdir(parents=True)
    (copy.root / "a" / "c").mkdir()
    (copy.root / other).symlink_to(copy.root)
    before = copy.listing()
    assert copy.apply(op("a", None, copy.entry(b"x")))[1] == {
        "a": "a directory with files that are not part of this change stands here"
    }
    assert copy.listing() == before


def test_directories_that_others_still_need_stay(copy: Copy) -> None:
    x = copy.write("d/x", b"x")
    copy.write("kept/untracked", b"u")
    y = copy.write("kept/y", b"y")
    (copy.root / "empty").mkdir()
    inode = os.lstat(copy.root / "d").st_ino
    copy.apply(op("d/x", x, None), op("d/z", None, y), op("kept/y", y, None))
    assert copy.listing() == ["d", "d/z", "empty", "kept", "kept/untracked"]
    assert os.lstat(copy.root / "d").st_ino == inode


# -- what is refused -------------------------------------------------------------------------------


def test_what_the_user_changed_is_left_alone(copy: Copy) -> None:
    old, new = copy.entry(b"old"), copy.entry(b"new")
    for name in ("edited", "deleted", "renamed"):
        copy.write(name, b"mine")
    done, refused = copy.apply(
        op("edited", old, new),
        op("deleted", old, None),
        op("to", None, old, source="renamed"),
        op("gone", old, new),
        op("edited", None, new),
    )
    reason = "it changed here meanwhile"
    assert done == {}
    assert refused == dict.fromkeys(("edited", "deleted", "renamed", "to", "gone"), reason)
    assert copy.listing() == ["deleted", "edited", "renamed"]


def test_a_file_is_replaced_only_when_a_later_write_would_show_in_its_time(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = copy.write("a", b"old"), copy.entry(b"new")
    os.utime(copy.root / "a")
    written = os.stat(copy.root / "a").st_mtime_ns
    assert copy.apply(op("a", old, new)) == ({"a": new}, {})
    assert time.time_ns() - written >= 12_000_000

    def standing(path: RelPath) -> Standing:
        os.utime(copy.root / "a")
        return copy.standing(path)

    tree = copy.restart(standing=standing)
    # Or a busy machine may have let it grow old before it is looked at.
    monkeypatch.setattr(looks, "time_ns", lambda: os.stat(copy.root / "a").st_mtime_ns + 1)
    assert tree.apply([op("a", new, old)]).refused == {b"a": "it is being written to"}
    assert (copy.root / "a").read_bytes() == b"new"


def test_what_changes_after_many_were_looked_at_together_is_left_alone(copy: Copy) -> None:
    names = ["edited", "fresh", "gone", "made", "quiet"]
    old = {name: copy.write(name, b"old") for name in names if name != "made"}
    new = copy.entry(b"new")

    class Meddled(Copy):
        def standings(self, paths: Sequence[RelPath]) -> dict[RelPath, Standing]:
            os.utime(self.root / "fresh")
            found = super().standings(paths)
            (self.root / "edited").write_bytes(b"mine")
            (self.root / "gone").unlink()
            (self.root / "made").write_bytes(b"mine")
            return found

    copy.tree.close()
    meddled = Meddled(copy.root)
    meddled.contents = copy.contents
    done, refused = meddled.apply(*(op(name, old.get(name), new) for name in names))
    assert done == {"fresh": new, "quiet": new}
    changed, appeared = "it changed here meanwhile", "it appeared here meanwhile"
    assert refused == {"edited": changed, "gone": changed, "made": appeared}
    assert {name: (copy.root / name).read_bytes() for name in ("edited", "made")} == dict.fromkeys(
        ("edited", "made"), b"mine"
    )
    meddled.tree.close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".git/hooks/post-checkout", "a name that some file systems take for git's metadata"),
        ("d/.GIT/config", "a name that some file systems take for git's metadata"),
        ("../out", "a name that leads to another directory"),
        ("a//b", "an empty name"),
        ("link/x", "link is a symbolic link here"),
        ("file/x", "file is a file here"),
        ("sub/x", "sub is a repository of its own here"),
        ("full", "a directory with files that are not part of this change stands here"),
        ("n" * 256, "the name is too long for this file system"),
    ],
)
def test_paths_that_are_never_written(copy: Copy, tmp_path: Path, path: str, reason: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (copy.root / "link").symlink_to(outside)
    copy.write("file", b"f")
    copy.write("full/u", b"u")
    (copy.root / "sub" / ".git").mkdir(parents=True)
    before = copy.listing()
    done, refused = copy.apply(op(path, None, copy.entry(b"evil")), op("fine", None, copy.entry(b"good")))
    assert refused == {path: reason}
    assert list(done) == ["fine"]
    assert copy.listing() == sorted([*before, "fine"])
    assert list(outside.iterdir()) == []


def test_directories_made_for_a_refused_file_go_again_and_no_others(copy: Copy) -> None:
    (copy.root / "empty").mkdir()
    missing = Entry(kind=Kind.FILE, oid=ObjectId("0" * 40))
    nested = Entry(kind=Kind.NESTED, oid=ObjectId("1" * 40))
    done, refused = copy.apply(
        op("empty/new/x", copy.entry(b"not there"), copy.entry(b"x")),
        op("a", None, missing),
        op("b", copy.entry(b"a file"), nested),
        op("c", None, copy.entry(b"c")),
    )
    assert list(done) == ["c"]
    assert refused == {
        "empty/new/x": "it changed here meanwhile",
        "a": f"object {'0' * 40} is not here",
        "b": "a nested repository is left to you",
    }
    assert copy.listing() == ["c", "empty"]


def test_a_submodules_directory_comes_and_goes_and_what_is_in_it_stays(copy: Copy) -> None:
    nested, later = (Entry(kind=Kind.NESTED, oid=ObjectId(digit * 40)) for digit in "12")
    (copy.root / "checked out/.git").mkdir(parents=True)
    (copy.root / "full").mkdir()
    (copy.root / "full/of files").touch()
    (copy.root / "empty").mkdir()
    done, refused = copy.apply(*(op(p, None, nested) for p in ("new/sub", "empty", "checked out", "full")))
    assert done == dict.fromkeys(("new/sub", "empty", "checked out"), nested)
    assert refused == {"full": "it changed here meanwhile"}
    assert copy.apply(op("checked out", nested, later), op("empty", nested, later))[1] == {}
    done, refused = copy.apply(*(op(p, nested, None) for p in ("new/sub", "empty", "checked out", "gone")))
    assert done == dict.fromkeys(("new/sub", "empty", "checked out", "gone"))
    assert refused == {}
    assert copy.listing() == ["checked out", "checked out/.git", "full", "full/of files"]


def test_a_vanished_root_is_an_error_that_passes(copy: Copy) -> None:
    shutil.move(copy.root, copy.root.with_name("elsewhere"))
    with pytest.raises(TransientError, match=r"The folder .*copy cannot be opened: No such file or directory"):
        copy.apply(op("a", None, copy.entry(b"x")))


def test_a_full_disk_while_content_is_prepared_refuses_the_rest(copy: Copy) -> None:
    old, new = copy.write("a", b"old"), copy.entry(b"new")

    def stage(entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        copy.stage(entries[:1], directory)
        raise OSError(errno.ENOSPC, "No space left on device")

    tree = copy.restart(stage=stage)
    applied = tree.apply([op("gone", old, None), op("a", old, new), op("b", None, new)])
    assert applied.done == {b"gone": None}
    assert applied.refused == {b"a": "the disk is full", b"b": "the disk is full"}
    assert copy.listing() == ["a"]
    assert copy.in_limbo() == []


@needs_mounts
def test_a_full_disk_stops_the_rest_and_loses_nothing(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=2m") as disk:
        copy = Copy(disk / "copy")
        small, big = copy.write("a", b"small"), copy.entry(b"b" * 1_500_000)
        other = copy.write("z", b"old")
        done, refused = copy.apply(op("a", small, None), op("big", None, big))
        assert (done, refused) == ({"a": None, "big": big}, {})
        done, refused = copy.apply(op("more", None, copy.entry(b"c" * 1_500_000)), op("z", other, big))
        assert done == {}
        assert refused == {"more": "the disk is full", "z": "the disk is full"}
        assert copy.listing() == ["big", "z"]
        assert (copy.root / "z").read_bytes() == b"old"
        (copy.root / "big").unlink()
        assert copy.apply(op("z", other, big)) == ({"z": big}, {})
        copy.tree.close()


@needs_mounts
def test_another_file_system_below_the_root_is_refused(copy: Copy) -> None:
    with tmpfs(copy.root / "mounted"):
        done, refused = copy.apply(op("mounted/a", None, copy.entry(b"x")))
        assert (done, refused) == ({}, {"mounted/a": "another file system is mounted there"})


# -- late writers ----------------------------------------------------------------------------------


def test_quiet_files_leave_the_limbo(copy: Copy) -> None:
    old, gone = copy.write("a", b"old"), copy.write("b", b"gone")
    copy.apply(op("a", old, copy.entry(b"new")), op("b", gone, None))
    assert copy.in_limbo() != []
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set()
    assert (copy.root / "a").read_bytes() == b"new"


def test_many_quiet_files_leave_the_limbo_together_and_a_late_write_among_them_does_not(copy: Copy) -> None:
    old = [copy.write(f"d{n % 3}/f{n}", b"old %d" % n) for n in range(300)]
    with open(copy.root / "d1/f10", "r+b", buffering=0) as writer:
        done, refused = copy.apply(*(op(f"d{n % 3}/f{n}", old[n], copy.entry(b"new %d" % n)) for n in range(300)))
        assert (len(done), refused) == (300, {})
        writer.write(b"late")
        assert copy.sweep_until(lambda: b"late" in (copy.root / "d1/f10").read_bytes()) == {"d1/f10"}
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set()
    done, refused = copy.apply(
        *(op(f"d{n % 3}/f{n}", copy.entry(b"new %d" % n), old[n]) for n in range(300) if n != 10)
    )
    assert (len(done), refused) == (299, {})
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set()
    assert {p.read_bytes() for p in copy.root.glob("d?/*")} == {b"old %d" % n for n in range(300) if n != 10} | {
        b"late10"
    }


def test_what_a_kill_left_of_a_batch_that_was_let_go_goes_at_the_next_start(copy: Copy) -> None:
    left = copy.metadata / "limbo" / "3.over"
    left.mkdir()
    (left / "0").write_bytes(b"old")
    copy.restart()
    assert copy.in_limbo() == []


@pytest.mark.parametrize("new", [b"new", None], ids=["replaced", "deleted"])
def test_a_late_write_becomes_the_file(copy: Copy, new: bytes | None) -> None:
    old = copy.write("d/a", b"old")
    with open(copy.root / "d/a", "r+b", buffering=0) as writer:
        copy.apply(op("d/a", old, None if new is None else copy.entry(new)))
        writer.write(b"late")
        assert copy.sweep_until(
            lambda: (copy.root / "d/a").exists() and b"late" in (copy.root / "d/a").read_bytes()
        ) == {"d/a"}
        writer.write(b" and later")  # he goes on in the same file
    assert (copy.root / "d/a").read_bytes() == b"late and later"
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set()


def test_a_late_write_stands_beside_what_the_user_saved_since(copy: Copy) -> None:
    old = copy.write("a.txt", b"old")
    with open(copy.root / "a.txt", "r+b", buffering=0) as writer:
        copy.apply(op("a.txt", old, copy.entry(b"new")))
        copy.write("tmp", b"saved since")
        os.rename(copy.root / "tmp", copy.root / "a.txt")
        writer.write(b"late")
    (beside,) = copy.sweep_until(lambda: len(copy.listing()) == 2)
    assert re.fullmatch(r"a \(conflict, saved late, .*\)\.txt", beside)
    assert (copy.root / beside).read_bytes() == b"late"
    assert (copy.root / "a.txt").read_bytes() == b"saved since"


def test_a_file_that_is_only_touched_late_is_no_late_write(copy: Copy) -> None:
    old = copy.write("a", b"old")
    with open(copy.root / "a", "r+b") as writer:
        copy.apply(op("a", old, copy.entry(b"new")))
        os.utime(writer.fileno())
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set()
    assert (copy.root / "a").read_bytes() == b"new"


def test_a_file_that_is_open_for_writing_is_kept_until_it_is_closed(copy: Copy) -> None:
    copy.quiet = 0.0
    copy.restart()
    old = copy.write("a", b"old")
    with open(copy.root / "a", "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 3) as view:
        view[0:1] = b"O"
        os.utime(file.fileno(), (LONG_AGO, LONG_AGO))
        old = copy.entry(b"Old")
        copy.apply(op("a", old, copy.entry(b"new")))
        view[1:3] = b"LD"  # neither the size nor, with the page already dirty, the time shows it
        os.utime(file.fileno(), (LONG_AGO, LONG_AGO))
        copy.tree.sweep()
        assert copy.in_limbo() != [] or (copy.root / "a").read_bytes() == b"OLD"
    copy.sweep_until(lambda: copy.in_limbo() == [])
    assert (copy.root / "a").read_bytes() == b"OLD"


def test_a_second_agent_is_refused(copy: Copy) -> None:
    with pytest.raises(AutosyncError) as caught:
        Copy(copy.root)
    assert caught.value.title == f"another autosync agent (pid {os.getpid()}) looks after {copy.root}"
    assert caught.value.hint == (
        f"Remove the path from one of the two configurations, or end the other agent: kill {os.getpid()}"
    )
    copy.restart()


def test_a_restart_goes_on_looking_after_the_limbo(copy: Copy) -> None:
    old = copy.write("a", b"old")
    with open(copy.root / "a", "r+b", buffering=0) as writer:
        copy.apply(op("a", old, copy.entry(b"new")))
        copy.restart()
        assert copy.tree.keeps()
        writer.write(b"late")
    assert copy.sweep_until(lambda: (copy.root / "a").read_bytes() == b"late") == {"a"}
    copy.restart()
    copy.sweep_until(lambda: copy.in_limbo() == [])
    assert not copy.tree.keeps()


# -- races --------------------------------------------------------------------------------------------


def _save(path: Path, content: bytes, style: int) -> bytes:
    """Save as programs do: replace by a rename, truncate and write, or write in place; return what that replaced.

    Read before, it may be something else by then, that was brought back meanwhile.
    """
    if style == 0:
        temporary = path.with_name(".save~")
        temporary.write_bytes(content)
        directory = os.open(path.parent, os.O_RDONLY)
        Kernel().exchange(directory, os.fsencode(temporary.name), directory, os.fsencode(path.name))
        os.close(directory)
        replaced = temporary.read_bytes()
        temporary.unlink()
        return replaced
    with open(os.open(path, os.O_RDWR), "r+b", buffering=0) as file:
        replaced = file.readall()
        if style == 1:
            file.truncate(0)
        file.seek(0)
        file.write(content)
        file.truncate(len(content))
    return replaced


HOT = [f"hot{n}.txt" for n in range(24)]


def _writer(root: Path, enough: Event, results: multiprocessing.connection.Connection) -> None:
    """Save numbered contents until it is ``enough``; report their number and all that they replaced."""
    chance = random.Random(1)
    seen: set[bytes] = set()
    number = 0
    while number < 1000 or not enough.is_set():
        seen.add(_save(root / chance.choice(HOT), b"user %06d\n" % number, chance.randrange(3)))
        number += 1
        time.sleep(chance.random() * 0.002)
    results.send((number, seen))
    results.close()


def test_no_save_is_lost_in_a_thousand_races(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy")
    enough = FORK.Event()
    for name in HOT:
        copy.write(name, b"start\n")
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_writer, args=(copy.root, enough, theirs))
    process.start()
    theirs.close()
    known: set[bytes] = set()
    swaps = refused = 0
    while not ours.poll():
        standing: dict[str, Entry] = {}
        for name in HOT:
            with contextlib.suppress(TransientError):
                if (entry := copy.standing(RelPath(name.encode())).entry) is not None:
                    standing[name] = entry
                    known.add(copy.contents[entry.oid])  # as a snapshot would
        new = {name: copy.entry(b"peer %d %s\n" % (swaps, name.encode())) for name in standing}
        done, left = copy.apply(*[op(name, standing[name], new[name]) for name in standing])
        swaps, refused = swaps + len(done), refused + len(left)
        if swaps > 500 and refused > 50:
            enough.set()
        for back in copy.tree.sweep():
            known.add((copy.root / os.fsdecode(back)).read_bytes())
    count, seen = ours.recv()
    known |= seen
    process.join()
    copy.sweep_until(lambda: copy.in_limbo() == [])
    known.update(p.read_bytes() for p in copy.root.iterdir() if p.is_file())
    found = {int(number) for number in re.findall(rb"user (\d{6})\n", b"".join(known))}
    lost = sorted(set(range(count)) - found)
    print(f"{swaps} swaps, {refused} refused, {len(lost)} lost")
    record("races tried", swaps + refused)
    assert lost == []


def _swap_link(root: Path, outside: Path, stop: Event) -> None:
    """Put a symbolic link and a directory at ``root/d`` by turns, as fast as it goes."""
    directory, link = root / "d", root / "l"
    link.symlink_to(outside)
    (directory / "stays").touch()  # an empty directory would be removed
    kernel = Kernel()
    descriptor = os.open(root, os.O_RDONLY)
    while not stop.is_set():
        kernel.exchange(descriptor, b"d", descriptor, b"l")
    directory.lstat()


def test_a_link_that_is_swapped_in_leads_nowhere(tmp_path: Path) -> None:
    copy, outside = Copy(tmp_path / "copy"), tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    victim = copy.write("d/victim", b"precious")
    stop = FORK.Event()
    process = FORK.Process(target=_swap_link, args=(copy.root, outside, stop))
    process.start()
    evil = copy.entry(b"evil")
    done = refused = 0
    try:
        deadline = time.monotonic() + 60
        while done < 100 or refused < 100:
            assert time.monotonic() < deadline
            for operation in (
                op(f"d/new{done}", None, evil),
                op("d/victim", victim, None),
                op("d/victim", None, victim),
                op("d/victim", victim, evil),
                op("d/victim", evil, victim),
                op(f"d/moved{done}", None, victim, source="d/victim"),
                op("d/victim", None, victim, source=f"d/moved{done}"),
            ):
                count = len(copy.apply(operation)[0])
                done, refused = done + count, refused + (count == 0)
    finally:
        stop.set()
        process.join()
    assert [p.name for p in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_bytes() == b"precious"


def _apply_for_ever(root: Path, renames: type[Renames], ready: Event) -> None:
    """Replace, delete and make files by turns until somebody ends it."""
    copy = Copy(root, renames())
    copy.contents.update({copy.entry(version(n, r)).oid: version(n, r) for n in range(40) for r in range(3)})
    ready.set()
    while True:
        for old, new in ((0, 1), (1, 2), (2, 0)):
            before = [copy.entry(version(n, old)) for n in range(40)]
            after = [copy.entry(version(n, new)) for n in range(40)]
            copy.apply(
                *[op(f"d{n}/f", before[n], after[n]) for n in range(20)],
                *[op(f"d{n}/f", before[n], None) for n in range(20, 40)],
            )
            copy.apply(*[op(f"d{n}/f", None, after[n]) for n in range(20, 40)])


def version(number: int, revision: int) -> bytes:
    """Return the content of file ``number`` at ``revision``."""
    return b"file %d revision %d\n" % (number, revision)


@pytest.mark.parametrize("renames", [Kernel, Stepwise])
def test_a_kill_at_any_moment_leaves_whole_files(tmp_path: Path, renames: type[Renames]) -> None:
    copy = Copy(tmp_path / "copy", quiet=0.05)
    for number in range(40):
        copy.write(f"d{number}/f", version(number, 0))
    chance = random.Random(2)
    for _ in range(12):
        copy.tree.close()  # one process alone looks after a working copy
        ready = FORK.Event()
        process = FORK.Process(target=_apply_for_ever, args=(copy.root, renames, ready))
        process.start()
        try:
            assert ready.wait(PATIENCE)
            time.sleep(chance.random() * 0.08)
        finally:
            process.kill()
            process.join()
        copy.tree = copy._open()
        for number in range(40):
            path = copy.root / f"d{number}/f"
            whole = {version(number, r) for r in range(3)}
            if path.exists():
                assert path.read_bytes() in whole
            else:
                assert number >= 20 or renames is Stepwise
            copy.write(f"d{number}/f", version(number, 0))
        copy.sweep_until(lambda: copy.in_limbo() == [])
        beside = [p for p in copy.listing() if "conflict" in p]
        assert beside == [] or renames is Stepwise
        for name in beside:
            (copy.root / name).unlink()
    record("kills survived", 12)


class _Dying(Kernel):
    """Lets the user save between the look and the swap, and the agent die right after it."""

    def exchange(self, staged_dir: int, staged: bytes, target_dir: int, target: bytes) -> None:
        with open(os.open(target, os.O_WRONLY | os.O_TRUNC, dir_fd=target_dir), "wb") as file:
            file.write(b"saved in between")
        super().exchange(staged_dir, staged, target_dir, target)
        os._exit(9)


def test_what_a_kill_left_swapped_but_unverified_goes_back(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", _Dying())
    old, new = copy.write("a", b"old"), copy.entry(b"new")
    process = FORK.Process(target=copy.apply, args=(op("a", old, new),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert (copy.root / "a").read_bytes() == b"new"
    copy.renames = Kernel()
    copy.restart()
    assert copy.sweep_until(lambda: (copy.root / "a").read_bytes() != b"new") == {"a"}
    assert (copy.root / "a").read_bytes() == b"saved in between"


# -- renames -------------------------------------------------------------------------------------------


def test_probe_finds_the_kernels_renames_here(tmp_path: Path) -> None:
    assert isinstance(probe(os.fsencode(tmp_path)), Kernel)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=[Kernel, Stepwise], ids=["kernel", "stepwise"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Renames, Path, int]]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield request.param(), tmp_path, descriptor
    os.close(descriptor)


def test_a_move_never_replaces(directory: tuple[Renames, Path, int]) -> None:
    renames, path, fd = directory
    (path / "a").write_bytes(b"a")
    (path / "b").write_bytes(b"b")
    (path / "d").mkdir()
    for source in (b"a", b"d"):
        with pytest.raises(FileExistsError):
            renames.move(fd, source, fd, b"b")
    renames.move(fd, b"d", fd, b"e")
    renames.move(fd, b"a", fd, b"c")
    assert sorted(p.name for p in path.iterdir()) == ["b", "c", "e"]
    assert (path / "b").read_bytes() == b"b"


def test_an_exchange_needs_both(directory: tuple[Renames, Path, int]) -> None:
    renames, path, fd = directory
    (path / "a").write_bytes(b"a")
    with pytest.raises(FileNotFoundError):
        renames.exchange(fd, b"a", fd, b"b")
    assert (path / "a").read_bytes() == b"a"
    (path / "b").symlink_to("x")
    renames.exchange(fd, b"a", fd, b"b")
    assert (path / "b").read_bytes() == b"a"
    assert os.readlink(path / "a") == "x"
    assert sorted(p.name for p in path.iterdir()) == ["a", "b"]
