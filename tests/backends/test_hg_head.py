"""What is checked out, and what the user's hg is doing, is read from its files as hg itself tells it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hg_repos import DEBIAN, Vanilla, copy_of, fingerprint, head, hg, isolate, make_repository, opened, put, versions

from autosync.backends.hg.head import Head
from autosync.core.model import Base, CommitId
from tests.waiting import until

STATES = ("rebase", "histedit", "shelve", "transplant")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two heads, 1 (named branch default) and 2 (named branch other), in conflict about the file a."""
    root = make_repository(tmp_path_factory.mktemp("base") / "r", {"a": b"a\n", "b": b"b\n"})
    user = Vanilla(root)
    put(root, "a", b"one\n")
    user("commit", "-m", "one")
    user("update", "-q", "0")
    user("branch", "-q", "other")
    put(root, "a", b"two\n")
    user("commit", "-m", "two")
    user("update", "-q", "1")
    user.close()
    return root


@pytest.fixture
def root(base: bytes, tmp_path: Path) -> bytes:
    return copy_of(base, tmp_path / "r")


@contextmanager
def user_of(root: bytes, by: Sequence[str] = DEBIAN) -> Iterator[Vanilla]:
    user = Vanilla(root, by, extensions=STATES)
    try:
        yield user
    finally:
        user.close()


def asked(root: bytes) -> Base:
    """Return the base as hg itself tells it."""
    template = "{p1node}\n{branch}{if(activebookmark, ':{activebookmark}')}"
    node, branch = hg(root, "log", "-r", "wdir()", "-T", template).decode().split("\n")
    return Base(commit=None if node == "0" * 40 else CommitId(node), branch=branch)


class TestBase:
    def test_before_the_first_commit(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "empty")
        assert Head(root).base() == Base(commit=None, branch="default") == asked(root)
        assert Head(root).busy() is None

    @pytest.mark.parametrize("version", ["7.2", "6.9.5", "6.3.2"])
    @pytest.mark.parametrize("options", [(), ("--config", "format.use-dirstate-v2=1")])
    def test_it_is_what_hg_tells(
        self, tmp_path: Path, request: pytest.FixtureRequest, version: str, options: Sequence[str]
    ) -> None:
        by = versions(request.config.cache.mkdir("hg"))[version]
        slow = ("--config", "storage.dirstate-v2.slow-path=allow")
        root = make_repository(tmp_path / "r", by=by, options=(*options, *slow))
        with open(os.path.join(root, b".hg/hgrc"), "wb") as file:
            file.write(b"[storage]\ndirstate-v2.slow-path = allow\n")
        put(root, "a", b"a\n")
        hg(root, "commit", "-qAm", "first", by=by)
        with open(os.path.join(root, b".hg/dirstate"), "rb") as file:
            assert file.read().startswith(b"dirstate-v2\n") is bool(options)
        node = head(root) if not options else bytes.fromhex(hg(root, "log", "-r.", "-T{node}", by=by).decode())
        assert Head(root).base() == Base(commit=CommitId(node.hex()), branch="default")
        assert Head(root).parents() == (node, bytes(20))

    def test_branches_and_bookmarks(self, root: bytes) -> None:
        seen = Head(root)
        with user_of(root) as user:
            for command in (
                ("bookmark", "märk"),
                ("branch", "-q", "stäble/1"),
                ("commit", "-m", "on it"),
                ("update", "-q", "0"),
                ("bookmark", "x y"),
                ("update", "-q", "märk"),
                ("bookmark", "-d", "märk"),
                ("update", "-q", "null"),
            ):
                user(*command)
                assert seen.base() == asked(root), command

    @pytest.mark.parametrize("options", [(), ("-B",)])
    @pytest.mark.parametrize("where", [(), ("format.bookmarks-in-store=1",)])
    def test_a_share_is_its_own_working_copy(
        self, tmp_path: Path, options: Sequence[str], where: Sequence[str]
    ) -> None:
        configured = [word for one in where for word in ("--config", one)]
        source = make_repository(tmp_path / "source", {"a": b"a\n"}, options=configured)
        hg(source, "bookmark", "one")
        share = os.fsencode(tmp_path / "share")
        hg(source, "--config", "extensions.share=", "share", "-q", *options, source, share)
        assert Head(share).base() == asked(share)
        hg(share, "--config", "extensions.share=", "bookmark", "two")
        assert Head(share).base() == asked(share)
        assert Head(share).base().branch == "default:two"
        assert Head(source).base() == asked(source)
        if options or where:
            hg(source, "bookmark", "-d", "two")
            assert Head(share).base().branch == "default"
        assert set(Head(share).metadata_directories()) >= {os.path.join(share, b".hg")}
        with held(source, "--set-lock"):  # the lock of the store, which is the source's
            assert Head(share).busy() is None
            assert Head(source).busy() is None


OPERATIONS = {
    "a rebase is in progress": [("rebase", "-q", "-r", "1", "-d", "2")],
    "a histedit is in progress": [("histedit", "-q", "1", "--commands", "plan")],
    "a graft is in progress": [("graft", "-q", "2")],
    "an unshelve is in progress": [("shelve", "-q"), ("update", "-q", "2"), ("unshelve", "-q")],
    "a transplant is in progress": [("transplant", "-q", "2")],
    "a merge is in progress": [("merge", "-q", "2")],
    "a merge has unresolved files": [("update", "-q", "-m", "2")],
    "a bisect is in progress": [("bisect", "--bad", "1")],
}
DIRTY = ("an unshelve is in progress", "a merge has unresolved files")


class TestBusy:
    @pytest.mark.parametrize("words", OPERATIONS)
    def test_an_operation_is_told_in_words(self, root: bytes, words: str) -> None:
        put(root, ".hg/plan", b"edit %s one\n" % hg(root, "log", "-r1", "-T{node|short}"))
        seen = Head(root)
        assert seen.busy() is None
        with user_of(root) as user:
            if words in DIRTY:
                put(root, "a", b"mine\n")
            merging = ("--config", "ui.merge=internal:fail")
            steps = [tuple(".hg/plan" if word == "plan" else word for word in step) for step in OPERATIONS[words]]
            for step in steps:
                user(*step, *merging, check=False)
            assert seen.busy() == words
            with opened(root) as repo:
                assert repo.standing().operation == words
            if words == "a merge has unresolved files":
                user("resolve", "-m", "a")
                assert seen.busy() is None

    def test_an_interrupted_update_or_transaction_is_told(self, root: bytes) -> None:
        seen = Head(root)
        put(root, ".hg/updatestate", b"0" * 40)
        assert seen.busy() == "an update was interrupted (`hg update` ends it)"
        with opened(root) as repo:
            assert repo.standing().operation == seen.busy()
        os.unlink(os.path.join(root, b".hg/updatestate"))
        put(root, ".hg/store/journal", b"")
        assert seen.busy() == "a transaction was interrupted (`hg recover` ends it)"
        with held(root, "--set-lock", check=False):
            assert seen.busy() is None

    def test_the_old_form_of_a_merge_is_read(self, root: bytes) -> None:
        seen = Head(root)
        put(root, ".hg/merge/state", b"0" * 40 + b"\na\0r\0" + b"0" * 40 + b"\n")
        assert seen.busy() is None
        put(root, ".hg/merge/state", b"0" * 40 + b"\na\0r\0x\nb\0u\0x\n")
        assert seen.busy() == "a merge has unresolved files"

    @pytest.mark.parametrize("garbage", [b"L", b"F\0\0\0\x09a", b"F\0\0\0\x01a", b"t\0\0\0\0", b"\0" * 40])
    def test_a_damaged_merge_state_is_no_bug(self, root: bytes, garbage: bytes) -> None:
        put(root, ".hg/merge/state2", garbage)
        assert Head(root).busy() is None


@contextmanager
def held(root: bytes, *which: str, check: bool = True) -> Iterator[None]:
    """Let another process hold locks, as the user's hg does."""
    paths = [b".hg/wlock"] * ("--set-wlock" in which) + [b".hg/store/lock"] * ("--set-lock" in which)
    command = [*DEBIAN, "--config", "ui.interactive=1", "debuglocks", *which]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        until(lambda: all(os.path.lexists(os.path.join(root, path)) for path in paths))
        yield
    finally:
        process.communicate(b"y\n")
    assert not check or process.returncode == 0


class TestLocks:
    def test_a_lock_alone_is_a_reason_to_wait_if_files_may_be_changing(self, root: bytes) -> None:
        seen = Head(root)
        before = fingerprint(root)
        with held(root, "--set-wlock"):
            assert (seen.busy() or "").startswith("hg is at work here: process ")
        with held(root, "--set-lock"):
            assert seen.busy() is None
        with held(root, "--set-wlock", "--set-lock"):
            assert seen.busy() is None
            put(root, ".hg/updatestate", b"0" * 40)
            assert (seen.busy() or "").startswith("hg is at work here: process ")
            os.unlink(os.path.join(root, b".hg/updatestate"))
            assert seen.busy(), "until it has let go of the lock, what is checked out may not have been told"
        assert seen.busy() is None
        assert {path for path in before if before[path][0]} == {p for p, (d, *_) in fingerprint(root).items() if d}

    def test_the_lock_of_a_process_that_has_died_is_none(self, root: bytes) -> None:
        with held(root, "--set-wlock"):
            owner = os.readlink(os.path.join(root, b".hg/wlock"))
        ended = subprocess.Popen(["true"])
        ended.wait()
        host = owner.rpartition(b":")[0]
        lock = os.path.join(root, b".hg/wlock")
        os.symlink(b"%s:%d" % (host, ended.pid), lock)
        assert Head(root).busy() is None
        put(root, ".hg/updatestate", b"0" * 40)
        assert Head(root).busy() == "an update was interrupted (`hg update` ends it)"
        os.unlink(os.path.join(root, b".hg/updatestate"))
        for other, words in (
            (b"%s:%d" % (host, os.getpid()), f"process {os.getpid()} on "),
            (b"elsewhere/4026531836:%d" % ended.pid, f"process {ended.pid} on elsewhere holds"),
            (b"%s:99999999999999999999" % host, "process 99999999999999999999 on "),
            (b"somebody else", "somebody holds"),
        ):
            os.unlink(lock)
            os.symlink(other, lock)
            assert words in (Head(root).busy() or ""), other
        os.unlink(lock)
        put(root, ".hg/wlock", b"%s:%d" % (host, os.getpid()))  # as where there are no links
        assert "holds the lock" in (Head(root).busy() or "")

    def test_an_update_is_waited_for_until_it_has_said_where_it_is(self, root: bytes, tmp_path: Path) -> None:
        seen = Head(root)
        before = seen.base()
        at, go = tmp_path / "at", tmp_path / "go"
        os.mkfifo(go)
        with open(os.path.join(root, b".hg/hgrc"), "wb") as file:
            file.write(f"[hooks]\nupdate = touch {at}; cat {go}\n".encode())
        process = subprocess.Popen([*DEBIAN, "update", "-q", "-r", "2"], cwd=root)
        until(at.exists)
        with open(os.path.join(root, b"a"), "rb") as file:
            assert file.read() == b"two\n"
        assert (seen.busy() or "").startswith("hg is at work here: process ")
        go.write_bytes(b"")
        assert process.wait() == 0
        assert seen.busy() is None
        assert seen.base() == asked(root) != before

    def test_a_commit_whose_editor_is_open_is_not_waited_for(self, root: bytes, tmp_path: Path) -> None:
        put(root, "a", b"changed\n")
        at, go = tmp_path / "at", tmp_path / "go"
        os.mkfifo(go)
        editor = f"sh -c 'touch {at}; cat {go} >$1' -"
        process = subprocess.Popen([*DEBIAN, "--config", f"ui.editor={editor}", "commit"], cwd=root)
        until(at.exists)
        assert Head(root).busy() is None
        go.write_bytes(b"words\n")
        assert process.wait() == 0
        assert Head(root).base() == asked(root)
