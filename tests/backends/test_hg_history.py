"""Changesets are related to each other, brought and kept, wherever they are."""

from __future__ import annotations

import io
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_repos import DEBIAN, both_locks_held, copy_of, fingerprint, isolate, make_repository, versions
from hgdesk import Desk, desks

from autosync.core.model import CommitId
from autosync.errors import Busy, Missing, Unsafe
from tests import figures


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["7.2", "6.9.5", "6.3.2"])
def by(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return versions(request.config.cache.mkdir("hg"))[request.param]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("start") / "r", {"a": b"a\n", "b": b"b\n"})


@pytest.fixture
def pair(start: bytes, tmp_path: Path) -> Iterator[list[Desk]]:
    with desks(DEBIAN, copy_of(start, tmp_path / "one"), copy_of(start, tmp_path / "two")) as found:
        yield found


def commit(desk: Desk, content: bytes, *args: str) -> CommitId:
    """Return a new changeset."""
    desk.put({"a": content})
    desk.hg("commit", "-qA", "-m", content, *args)
    made = desk.base().commit
    assert made is not None
    return made


def tangle(desk: Desk, count: int) -> list[CommitId]:
    """Return changesets of a random history with merges, oldest first."""
    seeded = random.Random(7)
    made = [CommitId(desk.hg("log", "-r", "0", "-T", "{node}").decode())]
    for number in range(count):
        first, second = seeded.choice(made), seeded.choice(made)
        desk.hg("update", "-qC", first)
        if number % 3 == 2 and not desk.hg("log", "-r", f"({first}::{second}) or ({second}::{first})"):
            desk.hg("merge", "-q", "--tool", ":local", second)
        made.append(commit(desk, b"%d" % number))
    return made


class TestRelations:
    def test_with_a_part_in_a_bundle_as_with_all_in_the_repository(self, pair: list[Desk]) -> None:
        one, two = pair
        made = tangle(one, 14)
        one.hg("update", "-qC", "0")
        tips = [CommitId(line.decode()) for line in one.hg("log", "-r", "head()", "-T", "{node}\n").split()]
        for commit_id in made[1:7]:
            one.send_history(commit_id, two)
            two.history.bring(commit_id)
        for tip in set(tips) - set(made[:7]):
            one.send_history(tip, two, made[:7])
        asked = 0
        for first, second in itertools.product(tips + made[:7], repeat=2):
            expected = one.history.merge_base(first, second)
            assert two.history.is_ancestor(first, second) == one.history.is_ancestor(first, second)
            found = two.history.merge_base(first, second)
            if found != expected:  # one of several nearest ones
                heads = f"heads(::{first} and ::{second})"
                assert expected is not None
                assert found is not None
                assert {found, expected} <= set(one.hg("log", "-r", heads, "-T", "{node}\n").decode().split())
            asked += 1
        assert asked > 50
        assert two.hg("log", "-T", "x").count(b"x") < len(made)

    def test_of_what_is_not_here(self, pair: list[Desk]) -> None:
        one, two = pair
        first = two.base().commit
        unknown = commit(one, b"1")
        assert first is not None
        assert not two.history.has_commit(unknown)
        assert not two.history.is_ancestor(unknown, first)
        for ask in (two.history.is_ancestor, two.history.merge_base):
            with pytest.raises(Missing):
                ask(first, unknown)
        with pytest.raises(Missing):
            two.history.bring(unknown)

    def test_without_a_common_one(self, tmp_path: Path, pair: list[Desk]) -> None:
        one, _ = pair
        with desks(DEBIAN, make_repository(tmp_path / "other", {"x": b"x"})) as (other,):
            theirs, ours = other.base().commit, one.base().commit
            assert theirs is not None
            assert ours is not None
            other.send_history(theirs, one)
            assert one.history.merge_base(ours, theirs) is None
            assert not one.history.is_ancestor(ours, theirs)


class TestBringing:
    def test_in_steps(self, pair: list[Desk]) -> None:
        one, two = pair
        commits = [commit(one, b"%d" % number) for number in range(3)]
        for before, each in zip([None, *commits], commits, strict=False):
            one.send_history(each, two, [before] if before else [])
        assert two.history.is_ancestor(commits[0], commits[2])
        two.history.bring(commits[2])
        assert [two.history.in_repository(each) for each in commits] == [True] * 3
        assert two.hg("verify", "-q") == b""
        two.history.bring(commits[2])

    def test_no_hook_of_the_user_runs(self, pair: list[Desk], tmp_path: Path) -> None:
        one, two = pair
        with open(os.path.join(two.root, b".hg/hgrc"), "w") as file:
            file.write("[hooks]\n")
            for name in (
                "changegroup",
                "incoming",
                "pretxnopen",
                "pretxnclose",
                "txnclose",
                "pretxnchangegroup",
                "commit",
            ):
                file.write(f"{name} = touch {tmp_path}/ran\n")
        new = commit(one, b"1")
        one.send_history(new, two)
        two.history.bring(new)
        assert not (tmp_path / "ran").exists()

    def test_with_both_locks_held(self, pair: list[Desk]) -> None:
        one, two = pair
        new = commit(one, b"1")
        one.send_history(new, two)
        two.repo.standing()
        with both_locks_held(two.root) as holder:
            with pytest.raises(Busy, match=f"process {holder.pid} on "):
                two.history.bring(new)
            assert two.history.merge_base(new, new) == new
        two.history.bring(new)
        assert two.history.in_repository(new)

    def test_never_a_snapshot(self, pair: list[Desk]) -> None:
        one, two = pair
        new = commit(two, b"changed\n")
        place = os.path.join(two.root, b".hg", b"plain")
        two.hg("bundle", "-q", "--base", "null", "-t", "none-v2", place)
        with open(place, "rb") as file:
            one.store.keep_bundle(new, file)
        before = fingerprint(one.root)
        with pytest.raises(Unsafe, match="no history with its phases"):
            one.history.bring(new)
        assert stored(before) == stored(fingerprint(one.root))

    def test_nothing_damaged(self, pair: list[Desk]) -> None:
        one, two = pair
        two.put({"a": b"long line\n" * 50})
        new = commit(one, b"long line\n" * 40 + b"end\n")
        one.send_history(new, two)
        bundle = two.store.bundle(new)
        whole = bundle and bundle.whole()
        assert whole is not None
        before = stored(fingerprint(two.root))
        tried = 0
        for at in range(0, len(whole), 11):
            two.store.keep_bundle(new, io.BytesIO(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]))
            try:
                two.history.bring(new)
            except (Unsafe, Missing):
                assert stored(fingerprint(two.root)) == before
                tried += 1
            else:  # what was flipped says nothing: the number of changesets, a phase
                two.hg("--config", "extensions.strip=", "strip", "-q", "--no-backup", new)
                before = stored(fingerprint(two.root))
        assert tried > 30
        figures.record("bad inputs refused", tried)


class TestSecuring:
    def test_what_is_stripped_later(self, pair: list[Desk], by: tuple[str, ...]) -> None:
        one, _ = pair
        with desks(by, one.root) as (desk,):
            desk.hg("phase", "--public", "-r", ".")
            first, second = commit(desk, b"1"), commit(desk, b"2", "--secret")
            before = desk.hg("log", "-T", "{node} {phase}\n")
            desk.history.secure(second)
            desk.history.secure(second)
            desk.hg("--config", "extensions.strip=", "strip", "-q", "--no-backup", first)
            assert desk.history.has_commit(second)
            assert not desk.history.in_repository(second)
            assert desk.history.is_ancestor(first, second)
            desk.history.bring(second)
            assert desk.hg("log", "-T", "{node} {phase}\n") == before

    def test_what_is_amended_already(self, pair: list[Desk], by: tuple[str, ...]) -> None:
        one, _ = pair
        with desks(by, one.root) as (desk,):
            first, second = commit(desk, b"1"), commit(desk, b"2")
            amended = commit(desk, b"3", "--amend")
            assert not desk.history.in_repository(second)
            assert not desk.history.is_ancestor(second, amended)
            desk.history.secure(second)
            assert desk.history.merge_base(second, amended) == first
            desk.history.bring(second)
            assert desk.hg("verify", "-q") == b""
            assert [name for name in os.listdir(os.path.join(desk.root, b".hg")) if name.startswith(b"hg-bundle")] == []

    def test_what_is_gone_or_public(self, pair: list[Desk]) -> None:
        one, two = pair
        gone = commit(two, b"1")
        one.history.secure(gone)
        assert not one.history.has_commit(gone)
        base = one.base().commit
        assert base is not None
        one.hg("phase", "--public", "-r", ".")
        one.history.secure(base)
        assert one.store.bundle(base) is None


def stored(found: dict[bytes, tuple[str, int, int]]) -> dict[bytes, str]:
    """Return the content of the files that hold history."""
    parts = (b"store/data", b"store/00", b"store/phase")
    return {name: digest for name, (digest, _, _) in found.items() if name.startswith(parts) and digest}
