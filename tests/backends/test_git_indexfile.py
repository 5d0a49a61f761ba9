"""Files that need not be read: what the user's index proves of them, and what was put there by us."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from git_repos import Looking, commit_all, git, isolate, make_repository, put

from autosync.backends.git.indexfile import MANY, IndexFile, is_older
from autosync.backends.git.repository import open_repository
from autosync.core.model import Entry, Kind, ObjectId, RelPath

LONG_AGO = 1_500_000_000
FILES = {f"d{n % 7}/sub/f{n:03}": b"content %03d\n" % n for n in range(MANY)} | {"long/" + "n" * 200: b"long\n"}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


def _aged(root: bytes) -> bytes:
    """Let all files be older than the index, as they are but in the first moments."""
    for name in FILES:
        os.utime(os.path.join(root, os.fsencode(name)), (LONG_AGO, LONG_AGO))
    git(root, "update-index", "-q", "--refresh")
    return root


def _proven(root: bytes) -> dict[str, str | None]:
    index = IndexFile(open_repository(root))
    index.refresh(MANY)
    return {
        name: index.content(RelPath(os.fsencode(name)), os.lstat(os.path.join(root, os.fsencode(name))))
        for name in FILES
    }


def _committed(root: bytes) -> dict[str, str]:
    listed = git(root, "ls-files", "-s", "-z").decode().split("\0")[:-1]
    return {line.partition("\t")[2]: line.split(" ")[1] for line in listed}


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
@pytest.mark.parametrize("version", ["2", "4"])
def test_every_unchanged_file_is_proven(tmp_path: Path, version: str, hash_name: str) -> None:
    root = _aged(make_repository(tmp_path / "repo", FILES, hash_name=hash_name))
    git(root, "update-index", "--index-version", version)
    assert _proven(root) == _committed(root)


def test_the_third_version_and_what_git_is_told_to_leave_alone(tmp_path: Path) -> None:
    root = _aged(make_repository(tmp_path / "repo", FILES))
    skipped, assumed, *_ = FILES
    git(root, "update-index", "--skip-worktree", skipped)  # which makes it version 3
    git(root, "update-index", "--assume-unchanged", assumed)
    assert _proven(root) == _committed(root) | {skipped: None, assumed: None}


def test_nothing_is_proven_by_an_index_as_young_as_the_files(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", FILES)
    now = os.stat(os.path.join(root, b".git/index")).st_mtime_ns
    for name in FILES:
        os.utime(os.path.join(root, os.fsencode(name)), ns=(now, now))
    git(root, "update-index", "-q", "--refresh")
    os.utime(os.path.join(root, b".git/index"), ns=(now, now))
    assert set(_proven(root).values()) == {None}


def test_times_in_whole_seconds_have_to_be_older() -> None:
    """As a memory card or another machine keeps them: within the second a file may have been written to again."""
    second = 1_000_000_000
    fine, coarse = struct.pack(">4I", 10, 5, 10, 100_000_000), struct.pack(">4I", 10, 0, 10, 0)
    assert is_older(fine, 10 * second + 130_000_000)
    assert not is_older(fine, 10 * second + 110_000_000)
    assert not is_older(coarse, 11 * second)
    assert is_older(coarse, 12 * second + 1)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"DIRC",
        b"DIRC\0\0\0\2\0\0\0\5tooshort",
        b"DIRC\0\0\0\4\0\0\0\5" + bytes(62),
        b"none of ours at all",
    ],
)
def test_a_torn_index_proves_nothing(tmp_path: Path, damage: bytes) -> None:
    root = _aged(make_repository(tmp_path / "repo", FILES))
    Path(os.fsdecode(root), ".git", "index").write_bytes(damage)
    assert set(_proven(root).values()) == {None}


def test_an_edit_that_hides_behind_size_and_time_is_seen(tmp_path: Path) -> None:
    root = _aged(make_repository(tmp_path / "repo", FILES))
    paths = [RelPath(os.fsencode(name)) for name in FILES]
    with Looking(root) as looking:
        looking.read()
        before = looking.reader.standings(paths)
        edited, made_executable, replaced, gone, *others = paths
        put(root, edited, b"CONTENT 000\n")
        os.utime(os.path.join(root, edited), (LONG_AGO, LONG_AGO))
        os.chmod(os.path.join(root, made_executable), 0o700)
        os.unlink(os.path.join(root, replaced))
        os.symlink(b"elsewhere", os.path.join(root, replaced))
        os.unlink(os.path.join(root, gone))
        after = looking.reader.standings(paths)
    assert [after[path].entry for path in others] == [before[path].entry for path in others]
    assert {entry.oid for path in others if (entry := after[path].entry)} <= set(_committed(root).values())
    changed = git(root, "hash-object", os.fsdecode(edited)).decode().strip()
    assert after[edited].entry == Entry(kind=Kind.FILE, oid=ObjectId(changed))
    was = before[made_executable].entry
    assert was is not None
    assert after[made_executable].entry == Entry(kind=Kind.EXECUTABLE, oid=was.oid)
    link = after[replaced].entry
    assert link is not None
    assert link.kind is Kind.SYMLINK
    assert after[gone].entry is None


def test_what_is_staged_only_is_not_taken_for_the_last_state(tmp_path: Path) -> None:
    root = _aged(make_repository(tmp_path / "repo", FILES))
    paths = [RelPath(os.fsencode(name)) for name in FILES]
    with Looking(root) as looking:
        looking.read()
        put(root, paths[0], b"new and staged\n")
        os.utime(os.path.join(root, paths[0]), (LONG_AGO, LONG_AGO))
        git(root, "add", "-A")
        staged = _committed(root)[os.fsdecode(paths[0])]
        assert looking.reader.standings(paths)[paths[0]].entry == Entry(kind=Kind.FILE, oid=ObjectId(staged))
        commit_all(root, "staged")


def test_files_that_were_put_there_together_are_known_until_they_change(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"kept": b"kept\n"})
    files = {RelPath(b"d/f%d" % n): b"put there %d\n" % n for n in range(70)}
    with Looking(root) as looking:
        looking.read()
        put_there = {}
        for path, content in files.items():
            put(root, path, content)
            full = os.path.join(root, path)
            os.utime(full, (LONG_AGO, LONG_AGO))
            entry = Entry(kind=Kind.FILE, oid=ObjectId(looking.store.put(b"blob", content)))
            put_there[path] = (entry, os.lstat(full))
        # What is told and not what stands there: so it shows that nothing is read.
        told = next(iter(files))
        other = Entry(kind=Kind.FILE, oid=ObjectId(looking.store.put(b"blob", b"told\n")))
        looking.reader.written({**put_there, told: (other, put_there[told][1])})
        assert looking.reader.standings(list(files)[:2])[told].entry == other
        put(root, told, files[told])  # written again, with the same content, size and time
        os.utime(os.path.join(root, told), (LONG_AGO, LONG_AGO))
        found = looking.reader.standings(list(files))
    assert {path: there.entry for path, there in found.items()} == {p: e for p, (e, _) in put_there.items()}


def test_nothing_is_taken_for_known_where_rules_convert_or_the_file_is_young(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitattributes": b"*.txt text\n"})
    names = [RelPath(b"f%d.txt" % n) for n in range(70)] + [RelPath(b"young%d" % n) for n in range(70)]
    with Looking(root) as looking:
        looking.read()
        wrong = Entry(kind=Kind.FILE, oid=ObjectId(looking.store.put(b"blob", b"wrong\n")))
        put_there = {}
        for path in names:
            put(root, path, b"right\r\n" if path.endswith(b".txt") else b"right\n")
            if path.endswith(b".txt"):
                os.utime(os.path.join(root, path), (LONG_AGO, LONG_AGO))
            else:
                coming = time.time_ns() + 60 * 10**9
                os.utime(os.path.join(root, path), ns=(coming, coming))
            put_there[path] = (wrong, os.lstat(os.path.join(root, path)))
        looking.reader.written(put_there)
        right = Entry(
            kind=Kind.FILE, oid=ObjectId(git(root, "hash-object", "--stdin", input=b"right\n").decode().strip())
        )
        assert {there.entry for there in looking.reader.standings(names).values()} == {right}
