"""Whose turn it is to commit, and when."""

from __future__ import annotations

import pytest

from autosync.core.branchturns import BranchTurns
from autosync.core.commands import Command, Commit, SyncBranch
from autosync.core.model import Base, CommitId, Snapshot, SnapshotId, TreeId, Version


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
