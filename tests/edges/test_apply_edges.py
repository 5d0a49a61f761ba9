"""Applying where names, kinds and permissions are odd: nothing is lost, and what cannot be done says why."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autosync.apply.rename import Kernel, Stepwise
from autosync.core.model import Entry, Kind
from tests.edges.test_apply import FORK, LONG_AGO, Copy, op

NOBODY = 65534
IN_THE_WAY = "a directory with files that are not part of this change stands here"
CHANGED = "it changed here meanwhile"


@pytest.fixture(params=[Kernel, Stepwise], ids=["kernel", "stepwise"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Copy]:
    copy = Copy(tmp_path / "copy", request.param(), quiet=0.1)
    yield copy
    copy.tree.close()


def contents(copy: Copy) -> dict[str, bytes]:
    """Return every file's content, a link's target with an arrow before it."""
    found: dict[str, bytes] = {}
    for name in copy.listing():
        path = copy.root / name
        if path.is_symlink():
            found[name] = b"->" + os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def as_nobody(copy: Copy, deed: Callable[[Copy], None]) -> None:
    """Do ``deed`` as a user to whom permissions apply."""
    for path in (copy.root, *copy.root.rglob("*")) if os.geteuid() == 0 else ():
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def child() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        deed(copy)

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0, "see the child's traceback"


@pytest.fixture
def open_copy() -> Iterator[Copy]:
    """A working copy in a directory that every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="copy-"))
    place.chmod(0o755)
    copy = Copy(place / "copy", Kernel(), quiet=0.1)
    yield copy
    copy.tree.close()
    shutil.rmtree(place)


# -- directories, links and files in each other's place ---------------------------------------------


@pytest.mark.parametrize("inside", ["untracked.txt", "build/ignored.o"])
def test_a_directory_that_holds_other_things_does_not_become_a_file(copy: Copy, inside: str) -> None:
    x, new, fine = copy.write("d/x", b"x"), copy.entry(b"new"), copy.entry(b"fine")
    copy.write(f"d/{inside}", b"precious")
    done, refused = copy.apply(op("d/x", x, None), op("d", None, new), op("fine", None, fine))
    assert done == {"d/x": None, "fine": fine}
    assert refused == {"d": IN_THE_WAY}
    assert (copy.root / "d" / inside).exists()
    shutil.rmtree(copy.root / "d" / inside.partition("/")[0]) if "/" in inside else (copy.root / "d" / inside).unlink()
    assert copy.apply(op("d", None, new)) == ({"d": new}, {})
    assert contents(copy) == {"d": b"new", "fine": b"fine"}


def test_a_file_that_the_user_made_does_not_become_a_directory(copy: Copy) -> None:
    copy.write("d", b"mine")
    new = copy.entry(b"new")
    done, refused = copy.apply(op("d/x", None, new), op("d/e/y", None, new), op("fine", None, new))
    assert done == {"fine": new}
    assert refused == dict.fromkeys(("d/x", "d/e/y"), "d is a file here")
    assert contents(copy) == {"d": b"mine", "fine": b"new"}


def test_a_link_and_a_directory_change_places(copy: Copy, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"not ours")
    (copy.root / "l").symlink_to(outside)
    link, x = copy.entry(os.fsencode(outside), Kind.SYMLINK), copy.entry(b"x")
    assert copy.apply(op("l", link, None), op("l/x", None, x), op("l/deep/y", None, x))[1] == {}
    assert contents(copy) == {"l/x": b"x", "l/deep/y": b"x"}
    assert copy.apply(op("l/deep/y", x, None), op("l/x", x, None), op("l", None, link))[1] == {}
    assert contents(copy) == {"l": b"->" + os.fsencode(outside)}
    assert [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("x", b"not ours")]


def test_nothing_is_written_or_deleted_or_renamed_through_a_link(copy: Copy, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    x = copy.entry(b"x")
    (outside / "x").write_bytes(b"x")
    os.utime(outside / "x", (LONG_AGO, LONG_AGO))
    (copy.root / "l").symlink_to(outside)
    fine = copy.write("fine", b"x")
    refusals = copy.apply(
        op("l/x", x, None), op("l/y", None, fine, "fine"), op("z", None, x, "l/x"), op("l/new", None, x)
    )
    assert refusals == ({}, dict.fromkeys(("l/x", "l/y", "fine", "z", "l/new"), "l is a symbolic link here"))
    assert [p.name for p in outside.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_neither_file_nor_link_stays_and_nobody_waits_for_it(copy: Copy, kind: str) -> None:
    path = copy.root / "p"
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            here = os.getcwd()
            os.chdir(copy.root)  # a socket's path must be short
            listener.bind("p")
            os.chdir(here)
        else:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        inode = os.lstat(path).st_ino
        old, new, moved = copy.entry(b"old"), copy.entry(b"new"), copy.write("moved", b"moved")
        refused = f"a {kind} stands here"
        assert copy.apply(op("p", None, new)) == ({}, {"p": refused})
        assert copy.apply(op("p", None, moved, "moved")) == ({}, {"p": refused, "moved": refused})
        assert copy.apply(op("p", old, new)) == ({}, {"p": CHANGED})
        assert copy.apply(op("p", old, copy.entry(b"old", Kind.EXECUTABLE))) == ({}, {"p": CHANGED})
        assert copy.apply(op("p/x", None, new)) == ({}, {"p/x": "p is a file here"})
        assert copy.apply(op("p", old, None)) == ({"p": None}, {})  # of what is versioned nothing is there
        assert os.lstat(path).st_ino == inode


def test_a_conflict_copy_comes_with_the_version_that_it_stands_beside(copy: Copy) -> None:
    mine, yours, new = copy.write("a.txt", b"mine"), copy.entry(b"yours"), copy.entry(b"new")
    beside = "a (conflict, laptop, 2026-11-21 10.15.02).txt"
    with open(copy.root / ".a.txt.swp", "wb") as lock:
        lock.write(b"b0VIM 9.0".ljust(24, b"\0") + os.getpid().to_bytes(4, "little") + bytes(40))
        lock.write(os.uname().nodename.encode().ljust(40, b"\0"))
    operations = op("a.txt", mine, yours), op(beside, None, mine), op(beside.replace("a", "b", 1), None, new)
    done, refused = copy.apply(*operations)
    assert list(done) == [beside.replace("a", "b", 1)]
    assert refused[beside] == "it comes with the file whose other version it is"
    assert refused["a.txt"].startswith("open in vim here")
    (copy.root / ".a.txt.swp").unlink()
    assert copy.apply(*operations)[1] == {}
    assert contents(copy) == {"a.txt": b"yours", beside: b"mine", beside.replace("a", "b", 1): b"new"}


def test_a_conflict_copy_comes_with_its_file_into_a_directory_that_is_not_there_yet(copy: Copy) -> None:
    beside = "new/deep/a (conflict, laptop, 2026-11-21 10.15.02).txt"
    mine, yours = copy.entry(b"mine"), copy.entry(b"yours")
    assert copy.apply(op("new/deep/a.txt", None, yours), op(beside, None, mine))[1] == {}
    assert contents(copy) == {"new/deep/a.txt": b"yours", beside: b"mine"}


def test_a_file_that_went_with_its_directory_is_told_as_gone_and_gets_no_conflict_copy(copy: Copy) -> None:
    beside = "gone/a (conflict, laptop, 2026-11-21 10.15.02).txt"
    mine, yours = copy.entry(b"mine"), copy.entry(b"yours")
    done, refused = copy.apply(op("gone/a.txt", mine, yours), op(beside, None, mine))
    assert done == {}
    assert refused == {
        "gone/a.txt": "it disappeared here meanwhile",
        beside: "it comes with the file whose other version it is",
    }
    assert copy.listing() == []


# -- renames ----------------------------------------------------------------------------------------


def inode(copy: Copy, name: str) -> tuple[int, float]:
    found = os.lstat(copy.root / name)
    return found.st_ino, found.st_mtime


def test_renames_of_case_only_and_deep_ones_keep_inode_and_time(copy: Copy) -> None:
    deep = "/".join(["deep"] * 60)
    readme, x, y = copy.write("readme", b"r"), copy.write("Dir/x", b"x"), copy.write(f"{deep}/y", b"y")
    before = [inode(copy, n) for n in ("readme", "Dir/x", f"{deep}/y")]
    assert (
        copy.apply(
            op("README", None, readme, "readme"), op("dir/x", None, x, "Dir/x"), op("other/y", None, y, f"{deep}/y")
        )[1]
        == {}
    )
    assert [inode(copy, n) for n in ("README", "dir/x", "other/y")] == before
    assert copy.listing() == ["README", "dir", "dir/x", "other", "other/y"]
    assert copy.apply(op(f"{deep}/y", None, y, "other/y"))[1] == {}
    assert inode(copy, f"{deep}/y") == before[2]


@pytest.mark.parametrize("names", [("a", "b"), ("a", "A"), ("d/a", "a"), ("a", "b", "c"), ("d/a", "e/f/b", "a")])
def test_names_that_change_places_lose_nothing(copy: Copy, names: tuple[str, ...]) -> None:
    entries = [copy.write(n, n.encode()) for n in names]
    turned = [*entries[1:], entries[0]]
    assert copy.apply(*map(op, names, entries, turned))[1] == {}
    assert contents(copy) == {n: s.encode() for n, s in zip(names, [*names[1:], names[0]], strict=True)}


def test_a_writer_in_a_cycle_of_names_loses_nothing(copy: Copy) -> None:
    a, b = copy.write("a", b"A"), copy.write("b", b"B")
    with open(copy.root / "a", "r+b", buffering=0) as writer:
        copy.apply(op("a", a, b), op("b", b, a))
        writer.write(b"written late to what was a")
    copy.sweep_until(lambda: copy.in_limbo() == [])
    assert contents(copy) == {"a": b"written late to what was a", "b": b"A"}


# -- what stays as it is ------------------------------------------------------------------------------


def test_time_and_inode_stay_where_the_content_does(copy: Copy) -> None:
    script, same = copy.write("run", b"#!"), copy.write("same", b"same")
    before = inode(copy, "run"), inode(copy, "same")
    assert copy.apply(op("run", script, copy.entry(b"#!", Kind.EXECUTABLE)), op("same", None, same))[1] == {}
    assert (inode(copy, "run"), inode(copy, "same")) == before
    assert os.access(copy.root / "run", os.X_OK)


def test_other_names_of_a_file_are_not_touched(copy: Copy, tmp_path: Path) -> None:
    names = ("replaced", "deleted", "renamed", "chmod")
    old = {n: copy.write(n, n.encode()) for n in names}
    for name in names:
        os.link(copy.root / name, tmp_path / name)
    executable = copy.entry(b"chmod", Kind.EXECUTABLE)
    assert (
        copy.apply(
            op("replaced", old["replaced"], copy.entry(b"new")),
            op("deleted", old["deleted"], None),
            op("to", None, old["renamed"], "renamed"),
            op("chmod", old["chmod"], executable),
        )[1]
        == {}
    )
    copy.sweep_until(lambda: copy.in_limbo() == [])
    assert contents(copy) == {"replaced": b"new", "to": b"renamed", "chmod": b"chmod"}
    assert os.access(copy.root / "chmod", os.X_OK)
    for name in names:
        found = os.lstat(tmp_path / name)
        assert ((tmp_path / name).read_bytes(), found.st_mode & 0o777) == (name.encode(), 0o644)


def test_a_sparse_file_stays_sparse_when_it_is_renamed(copy: Copy) -> None:
    big = copy.write("big", b"")
    os.truncate(copy.root / "big", 64 << 20)
    os.utime(copy.root / "big", (LONG_AGO, LONG_AGO))
    entry = copy.standing(op("big", None, big).path).entry
    assert entry is not None
    assert copy.apply(op("d/bigger", None, entry, "big"))[1] == {}
    found = os.lstat(copy.root / "d/bigger")
    assert (found.st_size, found.st_blocks * 512 < 1 << 20) == (64 << 20, True)


def test_all_writers_of_one_file_are_heard(copy: Copy) -> None:
    old = copy.write("a", b"0" * 8)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(open(copy.root / "a", "r+b", buffering=0)) for _ in range(4)]
        copy.apply(op("a", old, copy.entry(b"new")))
        for number, writer in enumerate(writers):
            writer.seek(2 * number)
            writer.write(b"%d!" % number)
    copy.sweep_until(lambda: copy.in_limbo() == [])
    assert contents(copy) == {"a": b"0!1!2!3!"}


# -- odd names --------------------------------------------------------------------------------------

ODD = ["new\nline", "tab\t'\"\\", "\x1b[31m\x7f", "inv\udcff\udcfealid", " ", "-rf", "*?[x]", "~", "n" * 255, "é" * 127]


def test_odd_names_are_names(copy: Copy) -> None:
    paths = [f"{name}/{name}" for name in ODD]
    new, late = copy.entry(b"new"), copy.entry(b"LATE")
    old = [copy.write(p, b"old") for p in paths]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(open(copy.root / p, "r+b", buffering=0)) for p in paths]
        assert copy.apply(*(op(p, e, new) for p, e in zip(paths, old, strict=True))) == (dict.fromkeys(paths, new), {})
        copy.restart()  # the journal has the names
        for writer in writers:
            writer.write(b"LATE")
    assert copy.sweep_until(lambda: copy.in_limbo() == []) == set(paths)
    assert set(contents(copy).values()) == {b"LATE"}
    assert copy.apply(*(op(f"to/{n}", None, late, p) for n, p in zip(ODD, paths, strict=True)))[1] == {}
    assert copy.apply(*(op(f"to/{n}", late, None) for n in ODD))[1] == {}
    assert copy.listing() == []


def test_paths_may_be_as_long_as_the_kernel_takes_them(copy: Copy) -> None:
    room = 4095 - len(os.fsencode(copy.root)) - 1  # PATH_MAX counts the NUL at the end
    path = ("d" * 199 + "/") * (room // 200) + "f" * (room % 200 or 1)
    old, new = copy.entry(b"old"), copy.entry(b"new")
    assert copy.apply(op(path, None, old)) == ({path: old}, {})
    os.utime(copy.root / path, (LONG_AGO, LONG_AGO))
    assert copy.apply(op(path, old, new)) == ({path: new}, {})
    os.utime(copy.root / path, (LONG_AGO, LONG_AGO))
    assert copy.apply(op("short", None, new, path)) == ({path: None, "short": new}, {})
    assert copy.listing() == ["short"]
    done, refused = copy.apply(op(path + "g" * 200, None, new), op("fine", None, new))
    assert refused == {path + "g" * 200: "the name is too long for this file system"}
    assert done == {"fine": new}


# -- permissions --------------------------------------------------------------------------------------


def _read_only_files(copy: Copy) -> None:
    entries: dict[str, Entry] = {n: copy.entry(n.encode()) for n in ("replaced", "deleted", "renamed", "chmod")}
    new, executable = copy.entry(b"new"), copy.entry(b"chmod", Kind.EXECUTABLE)
    assert (
        copy.apply(
            op("replaced", entries["replaced"], new),
            op("deleted", entries["deleted"], None),
            op("to", None, entries["renamed"], "renamed"),
            op("chmod", entries["chmod"], executable),
        )[1]
        == {}
    )
    assert contents(copy) == {"replaced": b"new", "to": b"renamed", "chmod": b"chmod"}
    modes = {n: stat.S_IMODE(os.lstat(copy.root / n).st_mode) for n in ("replaced", "to", "chmod")}
    assert modes == {"replaced": 0o444, "to": 0o444, "chmod": 0o555}
    copy.sweep_until(lambda: copy.in_limbo() == [])


def test_read_only_files_are_replaced_and_stay_read_only(open_copy: Copy) -> None:
    for name in ("replaced", "deleted", "renamed", "chmod"):
        open_copy.write(name, name.encode(), 0o444)
    as_nobody(open_copy, _read_only_files)


def _read_only_directories(copy: Copy) -> None:
    old, gone, moved = (copy.entry(n) for n in (b"old", b"gone", b"moved"))
    new = copy.entry(b"new")
    operations = (
        op("d/old", old, new),
        op("d/gone", gone, None),
        op("d/moved to", None, moved, "d/moved"),
        op("d/made", None, new),
        op("d/sub/made", None, new),
        op("free/made", None, new),
    )
    done, refused = copy.apply(*operations)
    assert done == {"free/made": new}
    assert set(refused.values()) == {"no permission to write there"}
    assert set(refused) == {"d/old", "d/gone", "d/moved to", "d/moved", "d/made", "d/sub/made"}
    assert contents(copy) == {"d/old": b"old", "d/gone": b"gone", "d/moved": b"moved", "free/made": b"new"}
    (copy.root / "d").chmod(0o755)
    assert copy.apply(*operations)[1] == {}
    assert contents(copy) == {
        "d/old": b"new",
        "d/moved to": b"moved",
        "d/made": b"new",
        "d/sub/made": b"new",
        "free/made": b"new",
    }


def test_read_only_directories_are_left_alone_and_named(open_copy: Copy) -> None:
    for name in ("old", "gone", "moved"):
        open_copy.write(f"d/{name}", name.encode())
    (open_copy.root / "d").chmod(0o555)
    as_nobody(open_copy, _read_only_directories)
