"""Snapshots and the history they stand on go from one hg working copy to another, between all versions of hg."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest
from hg_ends import End, ends, fetched, sent, served
from hg_repos import commit_all, copy_of, fingerprint, head, hg, isolate, make_repository, put, versions

from autosync.backends.hg.history import History
from autosync.core.model import CommitId, Kind, Snapshot, SnapshotId
from autosync.errors import Missing, Unreachable
from tests.figures import record

LINES = b"".join(b"line %d\n" % number for number in range(400))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    files = {"a": LINES, "b": b"b\n", "gone": b"g\n", "moved": LINES * 2, "d/e/f": b"f\n"}
    return make_repository(tmp_path_factory.mktemp("origin") / "r", files)


def everything(end: End) -> Snapshot:
    """Return a snapshot of edits of every sort, with what the user has told hg of them."""
    return end.snap(
        {
            b"a": LINES.replace(b"line 7\n", b"line seven\n"),
            b"b": (Kind.EXECUTABLE, b"b\n"),
            b"gone": None,
            b"moved": None,
            b"there": LINES * 2,
            b"link": (Kind.SYMLINK, b"../elsewhere"),
            b"new \xff": b"\0binary\xff" * 30,
            b"empty": b"",
            b"d/e/f": None,
            b"d/e": b"a file where a directory was\n",
            b"metadata": b"\1\nlike metadata\n",
        },
        marks={b"there": b"a\0moved", b"moved": b"r", b"new \xff": b"a", b"b": b"m\0a"},
        base=end.base("a bookmark"),
    )


@pytest.mark.parametrize(("sender", "reader"), [("7.2", "6.3.2"), ("6.3.2", "6.9.5"), ("6.9.5", "7.2")])
def test_versions_name_and_read_each_others_snapshots(
    origin: bytes, tmp_path: Path, request: pytest.FixtureRequest, sender: str, reader: str
) -> None:
    commands = versions(request.config.cache.mkdir("hg"))
    one, two = copy_of(origin, tmp_path / "one"), copy_of(origin, tmp_path / "two")
    with ends(one, two, by=[commands[sender], commands[reader]]) as (source, target):
        snapshot = everything(source)
        assert everything(target) == snapshot
        target.close()
        two = copy_of(origin, tmp_path / "again")
    before = fingerprint(two)
    with ends(one, two, by=[commands[sender], commands[reader]]) as (source, target):
        assert sent(snapshot, source, target) == snapshot
        assert target.files(snapshot) == source.files(snapshot)
        assert target.store.marks(snapshot.tree) == source.store.marks(snapshot.tree)
        put(one, "a", b"committed\n")
        commit_all(one)
        later = everything(source)
        with pytest.raises(Missing):
            sent(later, source, target)
        assert fetched(later, source, target) == later
        assert target.files(later) == source.files(later)
    assert {name: seen for name, seen in fingerprint(two).items() if not name.startswith((b"autosync", b"."))} == {
        name: seen for name, seen in before.items() if not name.startswith(b".")
    }


def test_changesets_travel_in_their_phases_and_keep_them(origin: bytes, tmp_path: Path) -> None:
    one, two = copy_of(origin, tmp_path / "one"), copy_of(origin, tmp_path / "two")
    hg(one, "phase", "--public", "-r", "0")
    for number, phase in enumerate(("--public", "--draft", "--secret")):
        put(one, "b", b"%d\n" % number)
        commit_all(one, phase)
        hg(one, "phase", "--force", phase, "-r", ".")
    phases = ("log", "-r", "1:", "-T", "{node} {phase}\n")
    before = hg(one, *phases)
    with ends(one, two) as (source, target):
        snapshot = source.snap({b"b": b"edited\n"})
        start = CommitId(head(two).hex())
        assert sent(snapshot, source, target, known=[start]) == snapshot
        assert snapshot.base.commit is not None
        assert head(two).hex() == start
        assert hg(two, *phases, check=False) == b""
        History(target.repository.server, target.store).bring(snapshot.base.commit)
    assert hg(one, *phases) == hg(two, *phases) == before
    assert [line.split()[1] for line in before.splitlines()] == [b"public", b"draft", b"secret"]


def test_what_has_just_come_is_not_sent_again_with_what_follows(origin: bytes, tmp_path: Path) -> None:
    """While it is on its way the peer goes on: the next is wanted before this one could be integrated."""
    large = os.urandom(100_000)
    with ends(copy_of(origin, tmp_path / "one"), copy_of(origin, tmp_path / "two")) as (source, target):
        first = source.snap({b"large": large})
        assert fetched(first, source, target) == first
        second = source.snap({b"large": large, b"note": b"saved meanwhile\n"}, count=2)
        packed = served(second, source, target.exchange.haves())
        assert len(packed) < 2000
        assert target.exchange.receive(second.id, io.BytesIO(packed)) == second
        assert target.files(second) == source.files(second)


def test_a_content_that_was_lost_is_sent_when_asked_again(origin: bytes, tmp_path: Path) -> None:
    """The reader is believed to have a text under its old name; it had it last in a rename that was stripped."""
    large = random.Random(4).randbytes(100_000)
    one = copy_of(origin, tmp_path / "one")
    put(one, "m", large)
    commit_all(one)
    two = copy_of(one, tmp_path / "two")
    with ends(one, two) as (source, target):
        source.tree_of(source.base().commit)
        target.tree_of(target.base().commit)
        target.store.flush()
        before = head(two).hex().encode()
        hg(two, "mv", "m", "z")
        commit_all(two)
        target.tree_of(target.base().commit)
        target.store.flush()
        hg(two, "--config", "extensions.strip=", "strip", "-q", "--no-backup", ".")
        assert head(two).hex().encode() == before
        hg(one, "mv", "m", "a2")
        commit_all(one)
        renamed = source.snap({b"note": b"n\n"})
        thin = served(renamed, source, target.exchange.haves())
        assert len(thin) < 10_000
        with pytest.raises(Missing):
            target.exchange.receive(renamed.id, io.BytesIO(thin))
        record("faults injected", 1)
        whole = served(renamed, source, target.exchange.haves())
        assert len(whole) > len(large)
        assert target.exchange.receive(renamed.id, io.BytesIO(whole)) == renamed
        assert target.exchange.haves()[0] == before.decode()


def test_the_id_of_the_working_directory_is_no_changeset(origin: bytes, tmp_path: Path) -> None:
    """hg itself has a node for it, and fails where one is looked up that a peer names."""
    nobodys = CommitId("f" * 40)
    with ends(copy_of(origin, tmp_path / "one"), copy_of(origin, tmp_path / "two")) as (source, target):
        assert not source.histories.here(nobodys)
        snapshot = source.snap({b"note": b"n\n"})
        packed = served(snapshot, source, [nobodys])
        assert target.exchange.receive(snapshot.id, io.BytesIO(packed)) == snapshot
    record("bad inputs refused", 1)


def test_a_transfer_that_breaks_off_leaves_nothing(origin: bytes, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - as it is called
            raise ConnectionResetError("the line is dead")

    with ends(copy_of(origin, tmp_path / "one")) as (end,):
        snapshot = end.snap({b"b": b"edited\n"})
        absent = SnapshotId("1" * 40)
        with pytest.raises(Unreachable, match="broke off: the line is dead"):
            end.exchange.receive(absent, Broken())
        assert end.store.load(absent) is None
        assert end.exchange.receive(snapshot.id, Broken()) == snapshot
        with pytest.raises(Missing, match="is not a snapshot of this workspace"):
            end.exchange.serve(absent, [], io.BytesIO())
