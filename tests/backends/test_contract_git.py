"""The contract over git, and what only git can show."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("contract")

from contract import *  # noqa: E402, F403
from contract.fleet import contents, look, pair, rel, snap  # noqa: E402
from contract.hubs import TestSnapshotHub  # noqa: E402, F401
from contract.takenaway import TestTakenAway  # noqa: E402, F401
from gitfleet import GitFleet  # noqa: E402


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitFleet]:
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[init]\n\tdefaultBranch = main\n[advice]\n\taddEmbeddedRepo = false\n"
        "[user]\n\tname = A User\n\temail = user@example.org\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    directory = tmp_path / "fleet"
    directory.mkdir()
    fleet = GitFleet(bytes(directory))
    yield fleet
    fleet.close()


def test_looking_and_recording_leave_the_repository_byte_for_byte(fleet: GitFleet) -> None:
    one, two = pair(fleet)
    one.write("a.txt", b"staged\n")
    one.git("add", "a.txt")
    one.write("a.txt", b"edited\n")
    one.write("new", b"new\n")
    git_dir = Path(one.at(".git").decode())
    before = {p: p.read_bytes() for p in git_dir.rglob("*") if p.is_file() and "autosync" not in p.parts}
    snapshot = snap(one)
    one.backend.pin("current", snapshot.id)
    packed = one.backend.pack(snapshot.id, limit=8192)
    assert packed is not None
    two.backend.absorb(snapshot.id, packed)
    after = {p: p.read_bytes() for p in git_dir.rglob("*") if p.is_file() and "autosync" not in p.parts}
    assert after == before
    assert contents(two, snapshot.tree)[rel("a.txt")][1] == b"edited\n"


def test_a_commit_leaves_the_staged_files_alone(fleet: GitFleet) -> None:
    one, _ = pair(fleet)
    start = look(one)
    one.write("d/b.txt", b"staged\n")
    one.git("add", "d/b.txt")
    one.write("a.txt", b"edited\n")
    edited = look(one, ["a.txt"], start)
    one.backend.commit([rel("a.txt")], message="only a.txt", tree=edited.tree)
    assert one.status() == [b"", b"M  d/b.txt"]
    assert one.git("log", "-1", "--format=%s").strip() == b"only a.txt"


def test_what_the_user_collects_is_still_here(fleet: GitFleet) -> None:
    one, two = pair(fleet)
    one.write("a.txt", b"second\n")
    second = one.commit("second").commit
    assert second is not None
    one.write("d/b.txt", b"dirty\n")
    snapshot = snap(one)
    one.backend.pin("current", snapshot.id)
    one.git("commit", "-q", "--amend", "-m", "amended")
    one.backend.secure(second)
    one.git("reflog", "expire", "--expire=now", "--all")
    one.git("gc", "-q", "--prune=now")
    assert one.git("cat-file", "-t", second, accept=(128,)) == b""
    one.reopen()
    assert one.backend.has_commit(second)
    assert contents(one, snapshot.tree)[rel("d/b.txt")][1] == b"dirty\n"
    with (Path(one.at(".git/bundle").decode())).open("w+b") as pipe:
        one.backend.serve(snapshot.id, two.backend.haves(), pipe)
        pipe.seek(0)
        assert two.backend.receive(snapshot.id, pipe) == snapshot
    one.git("fsck", "--strict")


def test_what_a_snapshot_on_the_same_base_brought_is_not_sent_again(fleet: GitFleet) -> None:
    one, two = pair(fleet)
    one.write("large", random.Random(1).randbytes(100_000))
    first = snap(one)
    one.write("small", b"more\n")
    second = snap(one)
    sizes = []
    for have in ([], [first.id]):
        answer = io.BytesIO()
        one.backend.serve(second.id, [*two.backend.haves(), *have], answer)
        sizes.append(len(answer.getvalue()))
    assert sizes[0] > 100_000
    assert sizes[1] < 10_000
