"""Commits of the agent are real ones, of the given tree, beside whatever else the user has pending."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_repos import (
    DEBIAN,
    both_locks_held,
    copy_of,
    fingerprint,
    isolate,
    killed_at,
    make_repository,
    put,
    rel,
    versions,
)
from hgdesk import Desk, desks

from autosync.backends.hg.server import HgEnded
from autosync.core.model import Base, CommitId, Entry, Kind, RelPath
from autosync.errors import Busy, Missing, Unsupported
from tests import figures

BASE = {"a": b"a\n", "d/b": b"line\n" * 20, "d/c": b"c\n", "gone": b"g\n", "kept": b"k\n"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["7.2", "6.9.5", "6.3.2"])
def by(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return versions(request.config.cache.mkdir("hg"))[request.param]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("start") / "r", BASE)


@pytest.fixture
def desk(start: bytes, tmp_path: Path) -> Iterator[Desk]:
    with desks(DEBIAN, copy_of(start, tmp_path / "r")) as (found,):
        yield found


def commit(desk: Desk, *paths: str | bytes, parent: CommitId | None = None) -> Base:
    """Commit what stands there, ``paths`` only if there are any; no file may change."""
    old, files = desk.base(), contents(desk.root)
    tree = desk.look()
    made = desk.committing.commit(rel(*paths) or None, message="auto: ö\n\nbody\n", tree=tree, extra_parent=parent)
    assert desk.base() == made
    assert made.branch == old.branch
    assert contents(desk.root) == files
    return made


def contents(root: bytes) -> dict[bytes, bytes]:
    found = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name != b".hg"]
        for name in files:
            with open(os.path.join(directory, name), "rb") as file:
                found[os.path.relpath(file.name, root)] = file.read()
    return found


def stir(desk: Desk) -> None:
    """Make one of each kind of difference, all of which an agent commits."""
    desk.put({"a": b"changed\n", "new": b"new\n", "d/x/deep": b"deep\n"})
    put(desk.root, "run", b"#!/bin/sh\n", executable=True)
    os.symlink(b"a", os.path.join(desk.root, b"link"))
    desk.hg("add", "new")
    desk.hg("mv", "d/b", "moved")
    desk.hg("cp", "d/c", "copied")
    desk.hg("rm", "gone")
    os.unlink(os.path.join(desk.root, b"kept"))


class TestCommitting:
    def test_as_the_user_would(self, start: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
        with desks(by, copy_of(start, tmp_path / "one"), copy_of(start, tmp_path / "two")) as (one, two):
            for each in (one, two):
                stir(each)
                each.hg("branch", "-q", "stäble")
                each.hg("bookmark", "mark")
            made = commit(one)
            two.hg("addremove", "-q", "-s", "100")
            two.hg("commit", "-m", "auto: ö\n\nbody\n")
            said = "{desc}|{user}|{branch}|{bookmarks}|{files}|{file_copies}|{phase}|{manifest}\n"
            told = ("log", "-r", ".", "-T", said)
            assert one.hg(*told) == two.hg(*told)
            assert one.hg("export", "--git").split(b"# Parent")[1] == two.hg("export", "--git").split(b"# Parent")[1]
            assert one.hg("log", "-r", "mark", "-T", "{node}").decode() == made.commit
            assert one.hg("log", "-r", ".", "-T", "{get(extras, 'autosync')}") == b"1"
            assert one.hg("status", "-C") == two.hg("status", "-C") == b""
            assert one.hg("verify", "-q") == b""
            ours, theirs = (float(each.hg("log", "-r", ".", "-T", "{date}")) for each in (one, two))
            assert abs(ours - theirs) < 3600

    def test_beside_what_else_is_pending(self, desk: Desk, by: tuple[str, ...]) -> None:
        with desks(by, desk.root) as (again,):
            stir(again)
            commit(again, "a", "moved", "d/b")
            assert again.hg("status", "-C") == b"A copied\n  d/c\nA new\nR gone\n! kept\n? d/x/deep\n? link\n? run\n"
            assert again.hg("log", "-r", ".", "-T", "{files} {file_copies}") == b"a d/b moved moved (d/b)"
            assert again.hg("verify", "-q") == b""

    def test_the_content_of_the_tree(self, desk: Desk) -> None:
        desk.put({"a": b"looked at\n"})
        tree = desk.look()
        desk.put({"a": b"later\n"})
        made = desk.committing.commit(None, message="one", tree=tree)
        assert desk.hg("cat", "-r", str(made.commit), "a") == b"looked at\n"
        assert desk.hg("status") == b"M a\n"

    def test_what_was_told_meanwhile(self, desk: Desk) -> None:
        desk.put({"a": b"1\n", "kept": b"1\n", "new": b"1\n"})
        os.unlink(os.path.join(desk.root, b"gone"))
        tree = desk.look()
        desk.hg("forget", "kept")
        desk.hg("rm", "d/c")
        desk.put({"gone": b"again\n"})
        desk.committing.commit(None, message="one", tree=tree)
        assert desk.hg("status") == b"A gone\nR d/c\nR kept\n"
        assert desk.hg("log", "-r", ".", "-T", "{files}") == b"a gone kept new"

    def test_nothing_new(self, desk: Desk) -> None:
        desk.hg("forget", "kept")
        before = desk.base(), desk.hg("log")
        assert commit(desk) == before[0]
        assert desk.hg("log") == before[1]

    def test_the_first_one(self, tmp_path: Path, by: tuple[str, ...]) -> None:
        with desks(by, make_repository(tmp_path / "empty")) as (desk,):
            desk.put({"a": b"a"})
            made = commit(desk)
            assert desk.hg("log", "-T", "{rev} {node} {files}") == f"0 {made.commit} a".encode()
            assert desk.hg("status") == b""

    def test_a_merge(self, start: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
        with desks(by, copy_of(start, tmp_path / "one"), copy_of(start, tmp_path / "two")) as (one, two):
            two.put({"a": b"theirs\n", "theirs": b"t\n"})
            two.hg("rm", "gone")
            theirs = commit(two).commit
            assert theirs is not None
            two.send_history(theirs, one)
            one.put({"kept": b"ours\n"})
            ours = commit(one).commit
            one.put({"a": b"theirs\n", "theirs": b"t\n", "extra": b"e\n"})
            os.unlink(os.path.join(one.root, b"gone"))
            made = commit(one, parent=theirs)
            assert one.hg("log", "-r", ".", "-T", "{p1node} {p2node}") == f"{ours} {theirs}".encode()
            assert one.hg("status") == one.hg("diff", "-r", theirs, "a", "theirs", "gone") == b""
            assert one.hg("verify", "-q") == b""
            assert one.history.is_ancestor(theirs, CommitId(str(made.commit)))

    def test_the_phase_that_the_user_wants(self, desk: Desk) -> None:
        with open(os.path.join(desk.root, b".hg/hgrc"), "w") as file:
            file.write("[phases]\nnew-commit = secret\n[ui]\nusername = Somebody <s@example.org>\n")
        desk.put({"a": b"1\n"})
        commit(desk)
        assert desk.hg("log", "-T", "{phase} {user}\n").splitlines()[0] == b"secret Somebody <s@example.org>"

    def test_no_hook_of_the_user_runs(self, desk: Desk, tmp_path: Path) -> None:
        with open(os.path.join(desk.root, b".hg/hgrc"), "w") as file:
            file.write("[hooks]\n")
            for name in ("precommit", "commit", "pretxncommit", "pretxnopen", "txnclose", "update", "prewlock"):
                file.write(f"{name} = touch {tmp_path}/ran\n")
        desk.put({"a": b"1\n"})
        commit(desk)
        assert not (tmp_path / "ran").exists()


class TestRefusing:
    def test_with_both_locks_held(self, desk: Desk) -> None:
        desk.put({"a": b"1\n"})
        tree = desk.look()
        with both_locks_held(desk.root) as holder:
            before = fingerprint(desk.root)
            with pytest.raises(Busy, match=f"process {holder.pid} on "):
                desk.committing.commit(None, message="one", tree=tree)
            after = fingerprint(desk.root)
        assert {name for name in after if after[name] != before.get(name)} <= {b"autosync", b"."}
        assert desk.committing.commit(None, message="one", tree=tree) == desk.base()

    def test_in_an_operation(self, desk: Desk) -> None:
        desk.put({"a": b"1\n"})
        tree, before = desk.look(), desk.hg("log")
        desk.hg("bisect", "--bad", "0")
        with pytest.raises(Busy, match="a bisect is in progress"):
            desk.committing.commit(None, message="one", tree=tree)
        assert desk.hg("log") == before

    def test_with_a_parent_that_is_not_here(self, desk: Desk) -> None:
        with pytest.raises(Missing):
            desk.committing.commit(None, message="one", tree=desk.look(), extra_parent=CommitId("12" * 20))

    def test_a_name_that_hg_cannot_have(self, desk: Desk) -> None:
        base = desk.base()
        entry = Entry(kind=Kind.FILE, oid=desk.store.put(b"odd\n"))
        tree = desk.store.splice(desk.tree_of(base.commit), {RelPath(b"new\nline"): entry})
        with pytest.raises(Unsupported, match="is a name that hg cannot have"):
            desk.committing.commit(None, message="odd", tree=tree)
        assert desk.base() == base

    def test_while_the_user_commits(self, desk: Desk) -> None:
        ours, theirs, number, before = [], 0, 0, desk.hg("log", "-T", "x").count(b"x")
        for turn in range(4):
            desk.put({"d/c": b"%d\n" % turn})
            argv = [*DEBIAN, "commit", "-q", "-m", f"theirs {turn}", "d/c"]
            with subprocess.Popen(argv, cwd=desk.root, stderr=subprocess.DEVNULL) as user:
                while user.poll() is None:
                    number += 1
                    desk.put({"a": b"%d\n" % number})
                    with contextlib.suppress(Busy):
                        message = f"ours {number}"
                        edits = {RelPath(b"a"): desk.standing(RelPath(b"a"))}
                        tree = desk.store.splice(desk.tree_of(desk.base().commit), edits)
                        desk.committing.commit(None, message=message, tree=tree)
                        ours.append(message)
                theirs += user.wait() == 0
        log = desk.hg("log", "-T", "{desc|firstline}\n").decode().splitlines()
        assert len(log) == before + len(ours) + theirs
        assert [line for line in reversed(log) if line.startswith("ours")] == ours
        assert theirs
        assert desk.hg("heads", "-T", "x") == b"x"
        assert desk.hg("verify", "-q") == b""

    @pytest.mark.parametrize(("call", "step"), [("write", 9), ("rename", 3), ("unlink", 9)])
    def test_hg_killed_at_any_moment(self, start: bytes, tmp_path: Path, call: str, step: int) -> None:
        stirred = copy_of(start, tmp_path / "stirred")
        with desks(DEBIAN, stirred) as (desk,):
            stir(desk)
        killed = 0
        for count in itertools.count(1, step):
            root = copy_of(stirred, tmp_path / f"at{count}")
            if not self.is_killed(root, call, count):
                break
            self.check_whole(root)
            killed += 1
        assert killed
        figures.record("kills survived", killed)

    def is_killed(self, root: bytes, call: str, count: int) -> bool:
        """Commit with an hg that is killed as it makes its ``count``-th system call of a kind, if it gets there."""
        with desks(killed_at(call, count), root) as (desk,):
            try:
                desk.committing.commit(None, message="ours", tree=desk.look())
            except HgEnded:
                return True
            return False

    def check_whole(self, root: bytes) -> None:
        """Go on after the kill: the commit is made, once, by us if it was not before."""
        with desks(DEBIAN, root) as (desk,):
            desk.history.recover()
            assert desk.hg("verify", "-q") == b""
            desk.committing.commit(None, message="ours", tree=desk.look())
            assert desk.hg("log", "-T", "{desc} ") == b"ours work "
            assert desk.hg("status") == b""
