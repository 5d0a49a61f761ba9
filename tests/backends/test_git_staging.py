"""Staged content is what git's own checkout would write."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_repos import commit_all, git, isolate, make_repository, parse_listing, put

from autosync.backends.git.repository import open_repository
from autosync.backends.git.settings import SettingsWatch
from autosync.backends.git.staging import Staging
from autosync.backends.git.store import Store
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.errors import Missing, TransientError, Unsafe

KINDS = {"100644": Kind.FILE, "100755": Kind.EXECUTABLE, "120000": Kind.SYMLINK, "160000": Kind.NESTED}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return make_repository(tmp_path / "repo", {"a.txt": b"one\n"})


class Stager:
    """Staging in one repository, into a new directory each time."""

    def __init__(self, root: bytes, scratch: Path) -> None:
        self.root = root
        self.scratch = scratch
        self.store = Store(open_repository(root))
        self.staging = Staging(self.store, SettingsWatch(self.store.repo))
        self.runs = 0

    def close(self) -> None:
        self.staging.close()
        self.store.close()

    def committed(self) -> list[tuple[RelPath, Entry]]:
        listing = parse_listing(git(self.root, "ls-tree", "-r", "-z", "HEAD"))
        return [(RelPath(p), Entry(kind=KINDS[mode], oid=ObjectId(oid))) for p, (mode, oid) in listing.items()]

    def entry(self, path: str, content: bytes, kind: Kind = Kind.FILE) -> tuple[RelPath, Entry]:
        """Return an entry that only our store knows, in memory."""
        return RelPath(path.encode()), Entry(kind=kind, oid=ObjectId(self.store.put(b"blob", content)))

    def stage(self, *entries: tuple[RelPath, Entry]) -> list[bytes | tuple[str]]:
        """Return what was written for each entry, a link as a tuple."""
        self.runs += 1
        directory = self.scratch / f"stage{self.runs}"
        directory.mkdir()
        self.staging.stage(entries, os.fsencode(directory))
        assert sorted(p.name for p in directory.iterdir()) == sorted(str(n) for n in range(len(entries)))
        found = (directory / str(n) for n in range(len(entries)))
        return [(os.readlink(p),) if p.is_symlink() else p.read_bytes() for p in found]


@pytest.fixture
def stager(root: bytes, tmp_path: Path) -> Iterator[Stager]:
    it = Stager(root, tmp_path)
    yield it
    it.close()


def test_plain_files_and_links(stager: Stager) -> None:
    assert stager.stage(
        stager.entry("a", b"text\n"),
        stager.entry("d/b", b"", Kind.EXECUTABLE),
        stager.entry("l", b"to/\xff", Kind.SYMLINK),
        stager.entry("caf\xe9\n.bin", b"\0\r\n"),
    ) == [b"text\n", b"", (os.fsdecode(b"to/\xff"),), b"\0\r\n"]


def assert_as_git_checks_out(root: bytes, tmp_path: Path) -> None:
    """All that is committed is staged as git itself writes it to a new place."""
    clone = tmp_path / "checkout"
    git(root, "checkout-index", "-a", f"--prefix={clone}/")
    stager = Stager(root, tmp_path)
    entries = stager.committed()
    staged = stager.stage(*entries)
    stager.close()
    for (path, _), written in zip(entries, staged, strict=True):
        there = clone / os.fsdecode(path)
        assert written == ((os.readlink(there),) if there.is_symlink() else there.read_bytes()), path


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"core.autocrlf": "true"},
        {"core.autocrlf": "input"},
        {"core.eol": "crlf"},
        {"core.eol": "crlf", "core.autocrlf": "input"},
        {"core.symlinks": "false"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "rules",
    [
        b"",
        b"* text=auto\n",
        b"*.txt text\n*.crlf eol=crlf\n*.lf eol=lf\n*.bin -text\n*.id ident\n",
        b"* text=auto eol=crlf\n*.up filter=up\n*.wide working-tree-encoding=UTF-16LE\n",
    ],
    ids=["none", "auto", "kinds", "filters"],
)
def test_files_are_as_git_checks_them_out(root: bytes, tmp_path: Path, rules: bytes, config: dict[str, str]) -> None:
    git(root, "config", "filter.up.smudge", "tr a-z A-Z")
    git(root, "config", "filter.up.clean", "tr A-Z a-z")
    contents = [b"one\ntwo\n", b"mixed\r\nends\n", b"none", b"", b"\0bin\n\r\n", b"$Id$\n", b"caf\xc3\xa9\n"]
    for number, content in enumerate(contents):
        for suffix in ("txt", "crlf", "lf", "bin", "id", "up"):
            put(root, f"d/f{number}.{suffix}", content)
    put(root, "run.sh", b"#!/bin/sh\n", executable=True)
    put(root, "x.wide", "wide\n".encode("utf-16-le"))
    os.symlink(b"d/f1.txt", root + b"/link")
    put(root, "d/.gitattributes" if rules.startswith(b"*.txt") else ".gitattributes", rules)
    commit_all(root)
    for key, value in config.items():
        git(root, "config", key, value)
    assert_as_git_checks_out(root, tmp_path)


MANY = 70
"""Files that one git writes together."""


@pytest.mark.parametrize("autocrlf", ["false", "true"])
def test_many_files_are_as_git_checks_them_out(root: bytes, tmp_path: Path, autocrlf: str) -> None:
    git(root, "config", "--global", "core.autocrlf", autocrlf)
    git(root, "config", "--global", "core.attributesFile", str(tmp_path / "attributes"))
    (tmp_path / "attributes").write_bytes(b"[0-9]* text eol=crlf\n")  # the names in the limbo have no rules
    put(root, ".gitattributes", b"*.bin -text\n*.txt text eol=crlf\n")
    for number in range(MANY):
        put(root, f"d/f{number}.bin", b"line %d\n" % number * (number % 5), executable=number % 7 == 0)
        put(root, f"d/f{number}.txt", b"text %d\n" % number)
    os.symlink(b"d/f1.bin", root + b"/link")
    commit_all(root)
    assert_as_git_checks_out(root, tmp_path)


def test_one_content_that_is_not_here_is_named_and_the_others_are_written_without_it(
    stager: Stager, tmp_path: Path
) -> None:
    entries = [stager.entry(f"f{number}", b"%d\n" % number) for number in range(MANY)]
    missing = (RelPath(b"missing"), Entry(kind=Kind.FILE, oid=ObjectId("0123456789" * 4)))
    with pytest.raises(Missing, match="object 0123456789012345678901234567890123456789 is not here"):
        stager.stage(*entries, missing)
    assert stager.stage(*entries) == [b"%d\n" % number for number in range(MANY)]


def test_many_files_are_written_without_a_git_that_writes_them(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is killed in the middle: what it has begun is begun anew."""
    entries = [stager.entry(f"f{number}", b"%d\n" % number) for number in range(MANY)]
    broken = tmp_path / "bin" / "git"
    broken.parent.mkdir()
    real = shutil.which("git")
    broken.write_text(
        '#!/bin/sh\ncase "$*" in *checkout-index*) printf half >"$GIT_WORK_TREE/3"; kill -9 $$;; esac\n'
        f'exec {real} "$@"\n'
    )
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    assert stager.stage(*entries) == [b"%d\n" % number for number in range(MANY)]


def test_changed_rules_count_at_once(stager: Stager) -> None:
    entry = stager.entry("d/a.txt", b"one\n")
    assert stager.stage(entry) == [b"one\n"]
    put(stager.root, "d/.gitattributes", b"*.txt eol=crlf\n")
    assert stager.stage(entry) == [b"one\r\n"]
    put(stager.root, "d/.gitattributes", b"")
    assert stager.stage(entry) == [b"one\n"]
    git(stager.root, "config", "core.autocrlf", "true")
    assert stager.stage(entry) == [b"one\r\n"]


def test_new_files_follow_the_umask(stager: Stager, tmp_path: Path) -> None:
    put(stager.root, ".gitattributes", b"*.c eol=crlf\n")
    before = os.umask(0o027)
    try:
        stager.stage(stager.entry("plain", b"x"), stager.entry("x.c", b"x\n"))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(os.lstat(tmp_path / "stage1" / name).st_mode) for name in ("0", "1")]
    assert modes == [0o640, 0o640]


def test_a_filter_of_the_files_own_choice_runs_only_if_the_user_has_it(stager: Stager, tmp_path: Path) -> None:
    put(stager.root, ".gitattributes", b"*.x filter=evil\n")
    put(stager.root, ".gitconfig", f'[filter "evil"]\n\tsmudge = touch {tmp_path}/ran\n'.encode())
    assert stager.stage(stager.entry("a.x", b"content")) == [b"content"]
    assert not (tmp_path / "ran").exists()


def test_no_hook_runs(stager: Stager, tmp_path: Path) -> None:
    for name in ("post-index-change", "post-checkout"):
        put(stager.root, f".git/hooks/{name}", f"#!/bin/sh\ntouch {tmp_path}/ran\n", executable=True)
    put(stager.root, ".gitattributes", b"*.c eol=crlf\n")
    assert stager.stage(stager.entry("x.c", b"x\n")) == [b"x\r\n"]
    assert not (tmp_path / "ran").exists()


def test_a_filter_that_fails_is_an_error_and_raw_content_is_never_written(stager: Stager, tmp_path: Path) -> None:
    git(stager.root, "config", "filter.crypt.smudge", "false")
    git(stager.root, "config", "filter.crypt.required", "true")
    put(stager.root, ".gitattributes", b"*.key filter=crypt\n")
    with pytest.raises(TransientError, match=r"the filter for a\.key failed"):
        stager.stage(stager.entry("a.key", b"secret"))
    assert [p.name for p in (tmp_path / "stage1").iterdir()] == []


def test_lfs_content_that_cannot_be_had_leaves_the_pointer_in_time(stager: Stager) -> None:
    git(stager.root, "lfs", "install", "--local", "--skip-repo")
    git(stager.root, "remote", "add", "origin", "http://127.0.0.1:9/nowhere.git")
    put(stager.root, ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 12345\n"
    start = time.monotonic()
    assert stager.stage(stager.entry("big.bin", pointer)) == [pointer]
    assert time.monotonic() - start < 20
    git(stager.root, "config", "filter.lfs.process", "no-such-program")
    git(stager.root, "config", "filter.lfs.smudge", "no-such-program")
    assert stager.stage(stager.entry("big.bin", pointer)) == [pointer]


def test_lfs_content_that_is_here_is_written(stager: Stager) -> None:
    git(stager.root, "lfs", "install", "--local", "--skip-repo")
    put(stager.root, ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    put(stager.root, "big.bin", b"large content")
    commit_all(stager.root)
    entries = dict(stager.committed())
    path = RelPath(b"big.bin")
    assert stager.store.blob(entries[path].oid).startswith(b"version https://git-lfs")
    assert stager.stage((path, entries[path])) == [b"large content"]


def test_a_big_file_is_written_in_bounded_memory(stager: Stager, tmp_path: Path) -> None:
    size = 64 << 20
    with open(tmp_path / "big", "wb") as file:
        file.truncate(size)
        file.seek(size - 4)
        file.write(b"end\n")
    oid = git(stager.root, "-c", "core.compression=1", "hash-object", "-w", str(tmp_path / "big")).decode().strip()
    before = _peak_kib()
    target = tmp_path / "staged"
    target.mkdir()
    stager.staging.stage([(RelPath(b"big"), Entry(kind=Kind.FILE, oid=ObjectId(oid)))], os.fsencode(target))
    assert subprocess.run(["cmp", tmp_path / "big", target / "0"], check=False).returncode == 0
    assert _peak_kib() - before < size / 1024 / 4


def _peak_kib() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def test_what_cannot_be_staged(stager: Stager) -> None:
    with pytest.raises(Missing, match="object 0123456789012345678901234567890123456789 is not here"):
        stager.stage((RelPath(b"a"), Entry(kind=Kind.FILE, oid=ObjectId("0123456789" * 4))))
    with pytest.raises(Unsafe, match="sub is a nested repository"):
        stager.stage((RelPath(b"sub"), Entry(kind=Kind.NESTED, oid=ObjectId("0123456789" * 4))))
    for target in (b"", b"a\0b"):
        with pytest.raises(Unsafe, match="cannot be the target of a link"):
            stager.stage(stager.entry("link", target, Kind.SYMLINK))


def test_content_survives_the_users_repository_without_it(stager: Stager) -> None:
    entry = stager.entry("a.c", b"only in the store\n")
    stager.store.flush()
    put(stager.root, ".gitattributes", b"*.c eol=crlf\n")
    assert stager.stage(entry) == [b"only in the store\r\n"]
