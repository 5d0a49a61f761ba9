"""The contract over the backend in memory, and what only that one can show."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("contract")

from contract import *  # noqa: E402, F403
from contract.fleet import entries, operation, pair, rel  # noqa: E402
from contract.hubs import TestSnapshotHub  # noqa: E402, F401
from memoryfleet import MemoryFleet  # noqa: E402

from autosync.errors import AutosyncError, Missing, Refused, TransientError  # noqa: E402


@pytest.fixture
def fleet() -> MemoryFleet:
    return MemoryFleet()


def test_a_file_that_is_being_written_is_torn_and_stays_as_it_was(fleet: MemoryFleet) -> None:
    site, _ = pair(fleet)
    before = site.backend.read(None, None)
    site.write("a.txt", b"half")
    site.write("d/b.txt", b"whole\n")
    site.write("new", b"half")
    site.copy.user.writing |= {rel("a.txt"), rel("new")}
    for torn in (
        site.backend.read(None, None),
        site.backend.read([rel("a.txt"), rel("d"), rel("new")], (before.base, before.tree)),
    ):
        assert torn.torn == {b"a.txt", b"new"}
        assert [change.path for change in site.backend.changes(before.tree, torn.tree)] == [b"d/b.txt"]
    with pytest.raises(TransientError, match="changes while it is read"):
        site.backend.standing(rel("a.txt"))
    entry = site.copy.user.entry_at(rel("a.txt"))
    applied = site.tree.apply([operation("a.txt", entry, None)])
    assert applied.refused == {b"a.txt": "it is being written"}


def test_what_was_not_recorded_does_not_survive_a_crash(fleet: MemoryFleet) -> None:
    site, _ = pair(fleet)
    site.write("a.txt", b"edited\n")
    reading = site.backend.read(None, None)
    site.copy.crash()
    with pytest.raises(Missing, match="is not in this store"):
        entries(site, reading.tree)


def test_a_checkout_keeps_local_changes_or_refuses(fleet: MemoryFleet) -> None:
    site, _ = pair(fleet)
    site.branch("topic")
    site.write("a.txt", b"second\n")
    site.commit("second")
    site.write("d/b.txt", b"dirty\n")
    site.checkout("topic")
    assert site.files()[rel("a.txt")][1] == b"a\n"
    assert site.files()[rel("d/b.txt")][1] == b"dirty\n"
    site.write("a.txt", b"dirty\n")
    with pytest.raises(AutosyncError, match="would be lost"):
        site.checkout("main")
    assert site.files()[rel("a.txt")][1] == b"dirty\n"


@pytest.mark.parametrize("untracked", ["x", "x/y/z", "x/y"])
def test_a_checkout_never_takes_away_an_untracked_file(fleet: MemoryFleet, untracked: str) -> None:
    site, _ = pair(fleet)
    site.branch("topic")
    site.write("x/y", b"committed\n")
    site.commit("second")
    site.checkout("topic")
    site.write(untracked, b"untracked\n")
    with pytest.raises(AutosyncError, match="would be lost"):
        site.checkout("main")
    assert site.files()[rel(untracked)][1] == b"untracked\n"


def test_nothing_is_written_where_something_else_stands(fleet: MemoryFleet) -> None:
    site, _ = pair(fleet)
    with pytest.raises(IsADirectoryError):
        site.write("d", b"x")
    with pytest.raises(NotADirectoryError):
        site.write("a.txt/x", b"x")


def test_without_a_commit_there_is_nothing_to_amend_or_to_branch_off(fleet: MemoryFleet) -> None:
    site = fleet.new("one")
    with pytest.raises(AutosyncError, match="no commit to amend"):
        site.amend("x")
    with pytest.raises(AutosyncError, match="needs a commit to start at"):
        site.branch("topic")


def test_without_a_hub_it_is_refused(fleet: MemoryFleet) -> None:
    site, _ = pair(fleet)
    site.copy.hub = None
    with pytest.raises(Refused, match="has no hub"):
        site.backend.list_hub()


def test_content_that_is_not_here_is_not_written(fleet: MemoryFleet) -> None:
    one, two = pair(fleet)
    one.write("a.txt", b"edited\n")
    entry = one.copy.user.entry_at(rel("a.txt"))
    assert two.tree.apply([operation("new", None, entry)]).refused == {b"new": "its content is not here"}
