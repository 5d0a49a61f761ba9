"""What the system did not allow, in words: what, where, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from autosync.backends.git.cli import GitFailed, git_failure
from autosync.causes import PASSING, STARVED, bytes_in_words, error_said, shortage_of
from autosync.core.commands import ListHub
from autosync.errors import AutosyncError, Shortage, Unreachable
from autosync.failures import failure


@pytest.mark.parametrize(
    ("number", "title", "hint"),
    [
        (errno.EDQUOT, "The disk quota for {mount} is used up", "`quota -s` shows it"),
        (errno.EROFS, "{mount} is mounted read-only", "Mount it for writing again"),
        (errno.EIO, "The disk reports an error at {path}", "`dmesg`"),
        (errno.EACCES, "No permission for {path}", "`ls -ld` shows who has it"),
        (errno.EPERM, "No permission for {path}", "Give it to the user"),
        (errno.ENOTCONN, "The file system of {path} does not answer: Transport endpoint", "mount it again"),
        (errno.ESTALE, "The file system of {path} does not answer: Stale file handle", "mount it again"),
        (errno.EMFILE, "The agent needs more open files than its limit of ", "LimitNOFILE="),
        (errno.ENFILE, "All programs together have as many files open", "fs.file-max"),
        (errno.ENOMEM, "The machine is out of memory", "Close some programs"),
        (errno.EAGAIN, "No more processes can be started", "ulimit -u"),
        (errno.ENOSPC, "", "Make room there"),
    ],
)
def test_each_cause_names_the_place_and_the_way_out(number: int, title: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "not there" / "file"
    mount = tmp_path
    while not mount.is_mount():
        mount = mount.parent
    for error in (OSError(number, "x", str(path)), OSError(number, "x"), OSError(number, "x", "relative")):
        told = shortage_of(error, os.fsencode(path))
        assert told is not None
        assert told.title.startswith(title.format(mount=mount, path=path))
        assert hint in told.hint


def test_what_does_not_pass_is_no_shortage() -> None:
    assert shortage_of(OSError(errno.EBADF, "x", "/x"), b"/") is None
    assert shortage_of(OSError("x"), b"/") is None
    assert failure(ListHub(), OSError(errno.EBADF, "Bad file descriptor"), b"/").title == (
        "ListHub failed unexpectedly: Bad file descriptor"
    )


def test_a_shortage_halts_at_once_and_others_when_they_are_no_news() -> None:
    assert not failure(ListHub(), OSError(errno.EROFS, "x", "/"), b"/").transient
    assert not failure(ListHub(), Shortage("No room", hint="Make some."), b"/").transient
    assert failure(ListHub(), Unreachable("Away", hint="Wait."), b"/").transient


@pytest.mark.parametrize("number", sorted(STARVED))
def test_git_met_it(number: int) -> None:
    said = f"error: unable to write file x: {os.strerror(number)}\nfatal: sorry".encode()
    failed = git_failure(["add"], 128, said, b"/repository")
    assert isinstance(failed, OSError)
    assert (failed.errno, failed.filename) == (number, b"/repository")
    assert number in PASSING


def test_git_failed_by_itself() -> None:
    assert error_said("fatal: bad object") is None
    failed = git_failure(["add", "x"], 128, b"fatal: bad object", b"/repository")
    assert isinstance(failed, GitFailed)
    assert failed.title == "git add x failed with exit code 128: fatal: bad object"
    denied = git_failure(["add"], 128, b"error: open('x'): Permission denied\nfatal: no", b"/repository")
    assert isinstance(denied, AutosyncError)
    assert denied.title == "git add has no permission: error: open('x'): Permission denied"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4096, "4.1 kB"),
        (40_000, "40 kB"),
        (6 << 20, "6.3 MB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert bytes_in_words(count) == words
