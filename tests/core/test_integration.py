"""A peer's snapshot that meets an obstacle waits; what can be had meanwhile is had."""

from __future__ import annotations

from dataclasses import replace

from autosync.core.commands import Integrate
from autosync.core.events import Integrated
from autosync.core.integration import FAILED_FIRST, FAILED_MOST, NEWS_PATIENCE, Integration
from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version


def snapshot(name: str) -> Snapshot:
    return Snapshot(
        id=SnapshotId(name),
        tree=TreeId(f"t{name}"),
        base=Base(commit=None, branch=None),
        version=Version(),
        parents=(),
        device="d",
        time=0,
    )


OURS, THEIRS, NEWER = snapshot("ours"), snapshot("theirs"), snapshot("newer")


def command(integration: Integration, theirs: Snapshot, now: float, *, pending: bool = False) -> Integrate | None:
    return integration.command(OURS, theirs, edits_pending=pending, above=0, now=now)


def blocked(integration: Integration, now: float, reason: str = "a.txt: open in vim here") -> None:
    integration.integrated(Integrated(theirs=THEIRS.id, current=OURS, complete=False, reason=reason), now)


def test_what_met_an_obstacle_is_tried_again_more_and_more_rarely() -> None:
    integration, now, waits = Integration(), 0.0, []
    for _ in range(8):
        assert command(integration, THEIRS, now) is not None
        blocked(integration, now)
        due = integration.due(THEIRS, edits_pending=False)
        assert command(integration, THEIRS, due - 0.01) is None
        waits.append(due - now)
        now = due
    assert waits[0] == FAILED_FIRST
    assert waits[-1] == FAILED_MOST
    assert waits == sorted(waits)
    assert integration.reason == "a.txt: open in vim here"


def test_a_newer_snapshot_does_not_wait_for_one_that_met_an_obstacle() -> None:
    integration = Integration()
    blocked(integration, 1.0)
    assert integration.due(NEWER, edits_pending=False) == 0.0
    assert command(integration, NEWER, 1.1) is not None
    assert command(integration, THEIRS, 1.1) is None


def test_a_full_disk_makes_all_of_them_wait() -> None:
    integration = Integration()
    assert integration.failed("the disk is full", 1.0) == 0
    assert integration.failed("the disk is full", 2.0) == 1
    assert integration.failed("the quota is used up", 3.0) == 0
    assert command(integration, THEIRS, 3.1) is None
    assert command(integration, NEWER, 3.1) is None


def test_a_look_at_the_working_copy_shortens_the_wait() -> None:
    integration = Integration()
    for _ in range(6):
        blocked(integration, 0.0)
    integration.obstacle_may_be_gone(2.0)
    assert integration.due(THEIRS, edits_pending=False) == 2.0 + FAILED_FIRST
    integration.hurry()
    assert command(integration, THEIRS, 2.1) is not None


def test_news_wait_a_moment_for_local_edits() -> None:
    integration = Integration()
    assert command(integration, THEIRS, 1.0, pending=True) is None
    assert integration.due(THEIRS, edits_pending=True) == 1.0 + NEWS_PATIENCE
    assert command(integration, THEIRS, 1.0 + NEWS_PATIENCE, pending=True) is not None


def test_what_was_brought_in_part_is_gone_on_with_until_it_cannot_be_joined() -> None:
    integration, left = Integration(), replace(THEIRS, version=Version.of({DeviceId("d-2"): 1}))
    ended = Integrated(theirs=left.id, current=OURS, complete=False, unfinished=left, reason="a.txt: is open here")
    integration.integrated(ended, 0.0)
    assert integration.left_over(OURS, []) == [left]
    assert integration.left_over(OURS, [left]) == []
    integration.refused(NEWER.id)
    assert integration.left_over(OURS, []) == [left]
    integration.refused(left.id)
    assert integration.left_over(OURS, []) == []


def test_nothing_is_asked_for_that_no_merge_needs() -> None:
    assert Integration().ancestor_asked(sources=True) is None
