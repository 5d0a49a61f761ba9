"""Parent, branch, bookmark and what hg was told move as a whole or not at all, and no file is touched."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_repos import (
    DEBIAN,
    both_locks_held,
    commit_all,
    copy_of,
    fingerprint,
    hg,
    isolate,
    killed_at,
    make_repository,
    put,
    rel,
    versions,
)
from hgdesk import Desk, desks

from autosync.backends.hg.server import HgEnded
from autosync.core.model import Base, CommitId, TreeId
from autosync.errors import Busy, Diverged, Missing, Unsafe
from tests import figures

BASE = {"a": b"a\n", "d/b": b"line\n" * 20, "d/c": b"c\n", "gone": b"g\n", "kept": b"k\n", "was/dir": b"w\n"}


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
def roots(start: bytes, tmp_path: Path) -> tuple[bytes, bytes]:
    return copy_of(start, tmp_path / "one"), copy_of(start, tmp_path / "two")


@pytest.fixture
def pair(roots: tuple[bytes, bytes]) -> Iterator[list[Desk]]:
    with desks(DEBIAN, *roots) as found:
        yield found


def told(desk: Desk) -> None:
    """Tell hg one thing of each kind, and change files."""
    desk.put({"a": b"changed\n", "new": b"new\n", "unknown": b"u\n", "d/x/deep": b"deep\n"})
    for args in (
        ["add", "new", "d/x/deep"],
        ["mv", "d/b", "moved"],
        ["cp", "d/c", "copied"],
        ["rm", "gone"],
        ["forget", "kept"],
        ["rm", "was/dir"],
    ):
        desk.hg(*args)
    put(desk.root, "was", b"a file now\n")
    desk.hg("add", "was")
    desk.hg("cp", "-f", "a", "d/c")  # a copy onto what is in the base


def committed(desk: Desk, *args: str) -> CommitId:
    """Commit everything as the user would."""
    desk.hg("commit", "-qA", "-m", "work", *args)
    commit = desk.base().commit
    assert commit is not None
    return commit


def follow(one: Desk, two: Desk) -> None:
    """Bring the other to what the one has, as an agent does: files first."""
    tree = one.send_tree(one.look(), two)
    tip, known = one.base().commit, two.base().commit
    if tip is not None and not two.history.has_commit(tip):
        one.send_history(tip, two, [known] if known else [])
    two.mirror(one)
    two.land(one.base(), tree)
    assert two.seen() == one.seen()


class TestAsOnTheSender:
    def test_what_hg_was_told(self, roots: tuple[bytes, bytes], by: tuple[str, ...]) -> None:
        with desks(by, *roots) as (one, two):
            told(one)
            follow(one, two)
            one.hg("forget", "was")
            os.unlink(os.path.join(one.root, b"was"))
            one.hg("revert", "-q", "--all", "--no-backup")
            follow(one, two)
            assert two.hg("status", "-mard") == b""
            two.hg("debugstate")
            assert two.hg("verify", "-q") == b""

    def test_a_commit_and_what_is_beside_it(self, roots: tuple[bytes, bytes], by: tuple[str, ...]) -> None:
        with desks(by, *roots) as (one, two):
            told(one)
            committed(one)
            follow(one, two)
            told_again = [["mv", "moved", "moved on"], ["rm", "copied"], ["add", "late"]]
            one.put({"late": b"late\n"})
            for args in told_again:
                one.hg(*args)
            follow(one, two)
            one.hg("update", "-qC", "0")
            follow(one, two)
            assert two.hg("verify", "-q") == b""

    def test_branches_and_bookmarks(self, roots: tuple[bytes, bytes], by: tuple[str, ...]) -> None:
        with desks(by, *roots) as (one, two):
            one.hg("branch", "-q", "stäble/2")
            follow(one, two)
            one.put({"a": b"on a branch\n"})
            one.hg("bookmark", "mark one")
            committed(one)
            follow(one, two)
            one.hg("bookmark", "other")
            one.put({"a": b"again\n"})
            committed(one)
            follow(one, two)
            one.hg("update", "-q", "default")
            follow(one, two)
            one.hg("update", "-q", "mark one")
            follow(one, two)
            assert two.hg("bookmarks", "-T", "{bookmark} {node}\n") == one.hg("bookmarks", "-T", "{bookmark} {node}\n")
            assert two.hg("verify", "-q") == b""

    def test_from_nothing_and_back(self, tmp_path: Path, roots: tuple[bytes, bytes]) -> None:
        empty = make_repository(tmp_path / "empty")
        with desks(DEBIAN, roots[0], empty) as (one, two):
            follow(one, two)
            one.hg("update", "-q", "null")
            follow(one, two)
            one.hg("bookmark", "early")
            follow(one, two)
            assert two.base() == Base(commit=None, branch="default:early")

    def test_a_dirstate_of_the_second_version(self, tmp_path: Path, by: tuple[str, ...]) -> None:
        options = ("--config", "format.use-dirstate-v2=1", "--config", "storage.dirstate-v2.slow-path=allow")
        root = make_repository(tmp_path / "one", options=options)
        with open(os.path.join(root, b".hg/hgrc"), "w") as file:
            file.write("[storage]\ndirstate-v2.slow-path = allow\n")
        for name, content in BASE.items():
            put(root, name, content)
        commit_all(root)
        with desks(by, root, copy_of(root, tmp_path / "two")) as (one, two):
            told(one)
            follow(one, two)
            committed(one)
            follow(one, two)


class TestPhases:
    def test_they_are_as_at_the_sender(self, roots: tuple[bytes, bytes], by: tuple[str, ...]) -> None:
        with desks(by, *roots) as (one, two):
            for phase in ("--public", "--draft", "--secret"):
                one.put({"a": phase.encode()})
                committed(one)
                one.hg("phase", "--force", phase, "-r", ".")
            follow(one, two)
            template = ("log", "-T", "{rev} {node} {phase}\n")
            assert two.hg(*template) == one.hg(*template)
            assert b"3 " in two.hg(*template)
            assert two.hg("verify", "-q") == b""

    def test_a_landing_changes_none(self, pair: list[Desk]) -> None:
        one, two = pair
        one.hg("phase", "--public", "-r", ".")
        one.put({"a": b"1"})
        committed(one)
        follow(one, two)
        assert two.hg("log", "-T", "{phase} ") == b"draft draft "


class TestRefusing:
    def attempt(self, desk: Desk, new: Base, kind: type[Exception], match: str, old: Base | None = None) -> None:
        """Try to land, which must leave everything as it is."""
        tree, old = desk.look(), old or desk.base()
        desk.store.flush()
        before = desk.seen(), desk.hg("bookmarks"), shown(desk)
        for try_it in (
            lambda: desk.landing.check_landing(old, new),
            lambda: desk.landing.land(old, new, tree=tree),
        ):
            with pytest.raises(kind, match=match):
                try_it()
            assert (desk.seen(), desk.hg("bookmarks"), shown(desk)) == before

    def test_a_bookmark_with_changesets_of_its_own(self, pair: list[Desk]) -> None:
        one, two = pair
        one.hg("bookmark", "topic")
        one.put({"a": b"one\n"})
        theirs = committed(one)
        two.hg("bookmark", "topic")
        two.put({"a": b"two\n"})
        committed(two)
        two.hg("update", "-q", "0")
        one.send_history(theirs, two)
        self.attempt(two, Base(commit=theirs, branch="default:topic"), Diverged, "topic has changesets here")
        two.history.bring(theirs)
        self.attempt(two, Base(commit=theirs, branch="default:topic"), Diverged, "topic has changesets here")

    def test_a_bookmark_that_a_pull_has_moved_stays_ahead(self, pair: list[Desk]) -> None:
        _, two = pair
        two.hg("bookmark", "topic")
        two.put({"a": b"1"})
        between = committed(two)
        two.put({"a": b"2"})
        ahead = committed(two)
        two.hg("update", "-q", "0")
        two.hg("bookmark", "topic", "-f")
        with open(os.path.join(two.root, b".hg/bookmarks"), "w") as file:
            file.write(f"{ahead} topic\n")
        two.land(Base(commit=between, branch="default:topic"), two.tree_of(between))
        assert two.hg("bookmarks", "-T", "{node}") == ahead.encode()

    def test_an_operation(self, pair: list[Desk]) -> None:
        _, two = pair
        first = two.base()
        two.put({"a": b"1"})
        second = committed(two)
        two.hg("bisect", "--bad", ".")
        self.attempt(two, first, Busy, "a bisect is in progress")
        two.hg("bisect", "--reset")
        two.land(first, two.look())
        assert two.base() != Base(commit=second, branch="default")

    def test_elsewhere(self, pair: list[Desk]) -> None:
        _, two = pair
        old = two.base()
        two.put({"a": b"1"})
        committed(two)
        self.attempt(two, Base(commit=old.commit, branch="default:x"), Busy, "has just changed", old)
        self.attempt(two, old, Busy, "has just changed", Base(commit=two.base().commit, branch="other"))
        self.attempt(two, old, Busy, "has just changed", Base(commit=two.base().commit, branch="default:mark"))

    def test_what_is_not_here(self, pair: list[Desk]) -> None:
        one, two = pair
        one.put({"a": b"1"})
        first = committed(one)
        self.attempt(two, Base(commit=first, branch="default"), Missing, first)

    @pytest.mark.parametrize("branch", ["tip", "default:.", "12", "default:a\nb", "default: x", "null:x"])
    def test_names_that_hg_cannot_have(self, pair: list[Desk], branch: str) -> None:
        _, two = pair
        commit = two.base().commit
        self.attempt(two, Base(commit=commit, branch=branch), Unsafe, "cannot be the name")
        figures.record("bad inputs refused", 1)

    def test_both_locks_held(self, pair: list[Desk]) -> None:
        _, two = pair
        first = two.base()
        two.put({"a": b"1"})
        committed(two)
        tree = two.look()
        moved = Base(commit=first.commit, branch="default:mark")
        two.repo.standing()
        with both_locks_held(two.root) as holder:
            before = fingerprint(two.root)
            for new in (first, moved):
                with pytest.raises(Busy, match=f"process {holder.pid} on "):
                    two.landing.check_landing(two.base(), new)
                with pytest.raises(Busy, match=f"process {holder.pid} on "):
                    two.landing.land(two.base(), new, tree=tree)
            assert changed_files(before, fingerprint(two.root)) <= {b"autosync", b".", b"autosync/landing"}
        two.land(moved, tree)


def shown(desk: Desk) -> dict[bytes, bytes | None]:
    """Return the small files that say where the user is."""
    found: dict[bytes, bytes | None] = {}
    for name in (b"branch", b"bookmarks", b"bookmarks.current", b"dirstate"):
        try:
            with open(os.path.join(desk.root, b".hg", name), "rb") as file:
                found[name] = file.read()
        except FileNotFoundError:
            found[name] = None
    found.pop(b"dirstate")  # `hg status` writes what it has found out
    return found


def changed_files(before: dict[bytes, object], after: dict[bytes, object]) -> set[bytes]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


class TestShares:
    @pytest.mark.parametrize("options", [("-B",), (), ("-B", "--config", "format.use-share-safe=0")])
    def test_a_share(self, start: bytes, tmp_path: Path, by: tuple[str, ...], options: tuple[str, ...]) -> None:
        source, share = copy_of(start, tmp_path / "source"), os.fsencode(tmp_path / "share")
        hg(source, "--config", "extensions.share=", "share", "-q", *options, source, share)
        with desks(by, copy_of(start, tmp_path / "one"), share, source) as (one, two, other):
            one.hg("bookmark", "mark")
            one.put({"a": b"1\n"})
            told(one)
            committed(one)
            one.put({"a": b"2\n"})
            one.hg("mv", "copied", "moved on")
            tree = one.send_tree(one.look(), two)
            tip, known = one.base().commit, two.base().commit
            assert tip is not None
            assert known is not None
            one.send_history(tip, two, [known])
            two.mirror(one)
            there = other.hg("id", "-inb"), other.hg("status")
            two.land(one.base(), tree)
            assert two.seen() == one.seen()
            assert (other.hg("id", "-inb"), other.hg("status")) == there
            expected = one.hg("bookmarks", "-T", "{bookmark} {node}\n")
            assert two.hg("bookmarks", "-T", "{bookmark} {node}\n") == expected
            assert other.hg("bookmarks", "-T", "{bookmark} {node}\n") == (expected if "-B" in options else b"")
            assert not other.base().branch.partition(":")[2]
            assert two.hg("verify", "-q") == b""

    def test_the_lock_of_the_source_is_held(self, start: bytes, tmp_path: Path) -> None:
        """A bookmark that both share cannot move then; nothing waits, and nothing has changed."""
        source, share = copy_of(start, tmp_path / "source"), os.fsencode(tmp_path / "share")
        hg(source, "--config", "extensions.share=", "share", "-q", "-B", source, share)
        with desks(DEBIAN, share) as (desk,):
            old, tree = desk.base(), desk.look()
            new = Base(commit=old.commit, branch="default:mark")
            with both_locks_held(source) as holder:
                with pytest.raises(Busy, match=f"process {holder.pid} on "):
                    desk.landing.land(old, new, tree=tree)
                assert desk.base() == old
            desk.land(new, tree)


class TestWhatIsTold:
    def test_what_was_told_meanwhile_stays(self, pair: list[Desk]) -> None:
        one, _ = pair
        told(one)
        one.put({"late": b"l\n", "later": b"l\n"})
        tree = one.look()
        one.hg("add", "late")
        one.hg("rm", "-A", "--force", "kept", check=False)
        base = one.base()
        bare = one.store.with_marks(tree, {})
        one.landing.land(base, base, tree=bare, ours=tree)
        assert one.hg("status", "-a") == b"A late\n"
        one.landing.land(base, base, tree=bare)
        assert one.hg("status", "-a") == b""

    def test_what_was_taken_back_meanwhile_stays_so(self, pair: list[Desk]) -> None:
        one, two = pair
        one.put({"new": b"n\n"})
        one.hg("add", "new")
        one.hg("rm", "gone")
        tree = one.look()
        one.hg("forget", "new")
        one.hg("revert", "gone")
        base = one.base()
        one.landing.land(base, base, tree=tree, ours=tree)
        assert one.hg("status") == b"? new\n"
        two.put({"a": b"moved on\n"})
        tip = committed(two)
        two.send_history(tip, one, [base.commit] if base.commit else [])
        one.landing.land(base, two.base(), tree=tree, ours=tree)
        assert one.hg("status") == b"M a\n? new\n"

    def test_marks_that_hg_would_not_make(self, pair: list[Desk]) -> None:
        _, two = pair
        marks = {"d": b"a", "a/below": b"a", "x": b"a", "x/y": b"a", "fine": b"a", "nowhere": b"r"}
        two.put({"fine": b"f\n"})
        tree = two.store.with_marks(two.look(), dict(zip(rel(*marks), marks.values(), strict=True)))
        two.landing.land(two.base(), two.base(), tree=tree)
        assert two.hg("status") == b"A fine\n! x/y\n"
        two.hg("forget", "x/y")
        assert two.hg("files").count(b"\n") == len(BASE) + 1

    def test_nothing_is_written_for_nothing(self, pair: list[Desk]) -> None:
        _, two = pair
        told(two)
        tree = two.look()
        before = fingerprint(two.root)
        two.landing.land(two.base(), two.base(), tree=tree)
        two.landing.check_landing(two.base(), two.base())
        assert fingerprint(two.root) == before


class TestKills:
    def test_hg_killed_at_any_moment(self, start: bytes, tmp_path: Path) -> None:
        one = copy_of(start, tmp_path / "one")
        with desks(DEBIAN, one) as (desk,):
            old = desk.base()
            desk.hg("branch", "-q", "other")
            desk.hg("bookmark", "mark")
            told(desk)
            committed(desk)
            desk.hg("mv", "moved", "moved on")
            new, tree, expected = desk.base(), desk.look(), desk.seen()
            desk.store.flush()
            desk.hg("bookmark", "-i")
            desk.hg("bookmark", "-d", "mark")
            desk.hg("debugsetparents", str(old.commit))
            desk.hg("debugrebuilddirstate")
            desk.hg("branch", "-q", "default", "-f")
            assert desk.base() == old
            ours = desk.look()
            desk.store.flush()
        killed = 0
        for count in itertools.count(1):
            two = copy_of(one, tmp_path / f"at{count}")
            if not self.is_killed(killed_at("rename", count), two, (old, new), tree, ours):
                break
            with desks(DEBIAN, two) as (desk,):
                desk.hg("status")
                desk.landing.recover()
                assert desk.base() in (old, new)
                if desk.base() == new:
                    assert desk.seen() == expected
                desk.landing.land(desk.base(), new, tree=tree)
                assert desk.seen() == expected
                assert os.listdir(desk.store.metadata).count(b"landing") == 0
            killed += 1
        assert killed >= 4
        figures.record("kills survived", killed)

    def is_killed(self, by: tuple[str, ...], root: bytes, way: tuple[Base, Base], tree: TreeId, ours: TreeId) -> bool:
        with desks(by, root) as (desk,):
            try:
                desk.landing.land(*way, tree=tree, ours=ours)
            except HgEnded:
                return True
            return False

    def test_a_full_disk(self, start: bytes, tmp_path: Path) -> None:
        """Nothing has moved when the dirstate cannot be written."""
        root = copy_of(start, tmp_path / "one")
        full = ("-e", "trace=rename", "-e", "inject=rename:error=ENOSPC:when=4")
        failing = ("strace", "-qq", "-o", "/dev/null", *full, *DEBIAN)
        with desks(failing, root) as (desk,):
            old, tree = desk.base(), desk.tree_of(desk.base().commit)
            new = Base(commit=old.commit, branch="other:mark")
            told(desk)
            before = desk.seen(), shown(desk)
            with pytest.raises(OSError, match="No space left"):
                desk.landing.land(old, new, tree=tree)
            assert (desk.seen(), shown(desk)) == before
            desk.landing.recover()
            assert (desk.seen(), shown(desk)) == before
            desk.landing.land(old, new, tree=tree)
            assert desk.base() == new
