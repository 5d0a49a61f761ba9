"""Whose turn it is to commit, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autosync.core.branchturns import FAILED_FIRST, MERGE_FIRST, MERGE_MOST, MERGES_OVER, BranchTurns
from autosync.core.commands import Command, Commit, MergeBranch, SyncBranch
from autosync.core.model import Base, CommitId, DeviceId, Snapshot, SnapshotId, TreeId, Version


def made_by(device: str) -> Snapshot:
    return Snapshot(
        id=SnapshotId("1" * 40),
        tree=TreeId("2" * 40),
        base=Base(commit=CommitId("3" * 40), branch="refs/heads/main"),
        version=Version(),
        parents=(),
        device=device,
        time=0,
    )


OURS = replace(made_by("laptop"), version=Version.of({DeviceId("laptop-00000001"): 1}))
THEIRS = replace(made_by("desktop"), id=SnapshotId("4" * 40), version=Version.of({DeviceId("desktop-00000001"): 1}))


def turns(*, hub: bool = True) -> BranchTurns:
    return BranchTurns(name="laptop", commit_after=10.0, hub=hub)


def due(turn: BranchTurns, now: float) -> Command | None:
    return turn.command(made_by("laptop"), now, above=0)


@pytest.mark.parametrize(("device", "at"), [("laptop", 10.0), ("laptop+server", 10.0), ("desktop+laptop", 30.0)])
def test_the_first_by_name_commits_first(device: str, at: float) -> None:
    turn = turns()
    turn.edited(made_by(device), 0.0)
    assert turn.due == at
    assert due(turn, at - 1) is None
    assert isinstance(due(turn, at), Commit)
    assert turn.due is None


def test_after_a_commit_the_hub_is_next_if_there_is_one() -> None:
    turn = turns()
    turn.edited(made_by("laptop"), 0.0)
    turn.settled(11.0, committed=True, behind=False)
    assert isinstance(due(turn, 11.0), SyncBranch)
    turn = turns(hub=False)
    turn.edited(made_by("laptop"), 0.0)
    turn.settled(11.0, committed=True, behind=False)
    assert turn.due is None


def test_what_follows_another_device_is_that_ones_to_commit() -> None:
    turn = turns()
    turn.edited(made_by("laptop"), 0.0)
    turn.followed()
    assert turn.due is None


def test_what_the_hubs_branch_was_merged_with_is_still_to_be_committed() -> None:
    turn = turns()
    turn.looked_at_hub(0.0)
    assert isinstance(due(turn, 0.0), SyncBranch)
    turn.edited(made_by("laptop"), 1.0)  # the merge, as the turn ends
    turn.settled(1.0, committed=False, behind=False)
    assert turn.due == 11.0
    assert isinstance(due(turn, 11.0), Commit)


def test_a_hub_that_moved_on_meanwhile_is_taken_in_again() -> None:
    turn = turns()
    turn.looked_at_hub(0.0)
    turn.settled(1.0, committed=False, behind=True)
    assert due(turn, 10.0) is None
    assert isinstance(due(turn, 11.0), SyncBranch)


def test_of_many_merges_each_waits_longer_than_the_last() -> None:
    """Several devices that merge each other's merges come to an end: one is heard by all before the next begins."""
    turn, theirs = turns(hub=False), THEIRS
    now, waits = 1000.0, []
    for _ in range(12):
        turn.diverged(theirs, now, rank=1)
        assert turn.due is not None
        waits.append(turn.due - now)
        assert turn.command(OURS, turn.due - 0.001, above=0) is None
        now = turn.due
        assert turn.command(OURS, now, above=0) == MergeBranch(current=OURS, theirs=theirs, above=0)
        turn.merged(now)
        assert turn.due is None
    assert waits[:4] == [0.0, 2 * MERGE_FIRST, 4 * MERGE_FIRST, 8 * MERGE_FIRST]
    assert waits[-1] == 2 * MERGE_MOST
    turn.diverged(theirs, now + MERGES_OVER + 1, rank=1)
    assert turn.due == now + MERGES_OVER + 1


def test_what_another_device_merged_meanwhile_is_not_merged_again() -> None:
    turn, theirs = turns(hub=False), THEIRS
    turn.diverged(theirs, 1.0, rank=0)
    assert turn.command(replace(OURS, version=OURS.version.join(theirs.version)), 1.0, above=0) is None
    assert turn.due is None


def test_a_merge_for_which_git_was_busy_stays_due() -> None:
    turn, theirs = turns(hub=False), THEIRS
    turn.diverged(theirs, 1.0, rank=0)
    turn.put_back(1.1)
    assert turn.due == 1.0
    assert turn.failed("git is broken", 1.2) == 0
    assert turn.failed("git is broken", 1.3) == 1
    assert turn.reason == "git is broken"
    assert turn.due == 1.3 + 2 * FAILED_FIRST
    turn.edited(made_by("laptop"), 1.4)
    assert turn.command(OURS, 5.0, above=0) == MergeBranch(current=OURS, theirs=theirs, above=0)
    turn.hurry()
    assert turn.due == 1.0
    turn.merged(6.0)
    turn.diverged(theirs, 6.0, rank=50)
    assert isinstance(turn.command(OURS, 12.0, above=0), Commit)


def test_a_commit_that_is_being_described_is_neither_pushed_nor_built_upon() -> None:
    turn = turns()
    turn.hold(30.0)
    assert turn.due is None
    turn.settled(11.0, committed=True, behind=False)
    turn.diverged(THEIRS, 12.0, rank=0)
    assert turn.due == 30.0
    assert turn.command(OURS, 29.0, above=0) is None
    assert isinstance(turn.command(OURS, 30.0, above=0), MergeBranch)
    turn.hold(60.0)
    turn.hurry()
    assert isinstance(turn.command(OURS, 31.0, above=0), MergeBranch)
