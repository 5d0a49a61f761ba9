"""What comes in is news, in turn, and never more than can be acted on."""

from __future__ import annotations

import pytest

from autosync.core.allowance import Allowance
from autosync.core.announcement import MAX_DEVICES, ReplayGuard
from autosync.core.commands import SourceKind
from autosync.core.events import Announced
from autosync.core.intake import BURST, FIRST_NEWCOMERS, NEWCOMERS, RATE, Intake
from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.sources import PLAUSIBLE, Peers
from tests.announcements import said_by

NOWHERE = Base(commit=None, branch=None)


def heard(device: str, seq: int, *, count: int = 1, inline: bytes = b"") -> Announced:
    """An announcement, number ``seq`` of its device, whose snapshot is named after both."""
    said = said_by(
        DeviceId(device),
        seq=seq,
        snapshot=SnapshotId(f"{device} {seq}"),
        tree=TreeId("tree"),
        base=NOWHERE,
        version=Version.of({DeviceId(device): count}),
        inline=inline,
    )
    return Announced(announcement=said, lane="lan", live=True)


def test_an_allowance_is_used_up_and_comes_back() -> None:
    allowance = Allowance(rate=2.0, burst=3)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.free_at(10.0) == pytest.approx(10.5)
    assert not allowance.take(10.4)
    assert allowance.take(10.5)
    assert allowance.free_at(1000.0) == 1000.0
    assert [allowance.take(1000.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(999.0), "a clock that goes back gives nothing"


def test_news_passes_at_once_and_once() -> None:
    intake = Intake({DeviceId("known"): 7})
    assert intake.take(heard("known", 7), 0.0) == "repeated"
    assert intake.take(heard("known", 8), 0.0) == ""
    assert intake.take(heard("known", 8), 0.0) == "repeated"
    assert intake.due(0.0) == [heard("known", 8)]
    assert intake.due(0.0) == []
    assert intake.deadline(0.0) is None
    assert intake.last() == {"known": 8}


def test_of_a_flood_the_last_word_of_each_device_passes_in_turn() -> None:
    intake = Intake()
    passed: list[Announced] = []
    for seq in range(10_000):
        assert intake.take(heard("loud", seq), 0.0) == ""
        passed += intake.due(0.0)
    assert len(passed) == BURST
    assert intake.take(heard("quiet", 1), 0.0) == ""
    assert intake.due(0.0) == []
    deadline = intake.deadline(0.0)
    assert deadline == pytest.approx(1 / RATE)
    assert intake.due(deadline) == [heard("loud", 9_999)]
    assert intake.due(2 * deadline) == [heard("quiet", 1)]


def test_devices_that_are_made_up_are_dropped() -> None:
    intake = Intake({DeviceId("known"): 0})
    dropped = [intake.take(heard(f"ghost {n}", 1), 0.0) for n in range(1000)]
    assert dropped == [""] * FIRST_NEWCOMERS + ["flood"] * (1000 - FIRST_NEWCOMERS)
    assert intake.take(heard("known", 1), 0.0) == ""
    assert intake.take(heard("late", 1), 1 / NEWCOMERS) == ""


def test_the_guard_forgets_who_is_silent_for_longest() -> None:
    guard = ReplayGuard()
    for number in range(MAX_DEVICES):
        assert guard.accept(DeviceId(f"d{number}"), 1)
    assert guard.accept(DeviceId("d0"), 2)
    assert guard.accept(DeviceId("new"), 1)
    assert len(guard.snapshot()) == MAX_DEVICES
    assert guard.knows(DeviceId("d0"))
    assert not guard.knows(DeviceId("d1"))


def test_who_offers_what_cannot_be_had_waits_behind_the_others() -> None:
    peers = Peers()
    mine = Snapshot(
        id=SnapshotId("mine"), tree=TreeId("t"), base=NOWHERE, version=Version(), parents=(), device="me", time=0
    )
    peers.announced(heard("rogue", 1, count=1000), 0.0)
    peers.announced(heard("honest", 1, count=5), 0.0)
    assert [p.device for p in peers.news(mine)] == ["rogue", "honest"]
    peers.failed(SnapshotId("rogue 1"), "not there", 0.0)
    peers.announced(heard("rogue", 2, count=2000), 0.0)
    assert [p.device for p in peers.news(mine)] == ["honest", "rogue"]
    peers.announced(heard("other", 1, count=9), 0.0)
    peers.announced(heard("honest", 2, count=6, inline=b"pack"), 0.0)
    assert [p.device for p in peers.news(mine)] == ["honest", "other", "rogue"]
    assert [s.kind for s in peers.sources(SnapshotId("honest 2"), 0.0)] == [SourceKind.INLINE, SourceKind.PEER]


def test_counters_that_nobody_can_have_reached_are_not_counted_on() -> None:
    peers = Peers()
    peers.announced(heard("me", 1, count=PLAUSIBLE + 1), 0.0)
    assert peers.highest(DeviceId("me")) == 0
    peers.announced(heard("me", 2, count=7), 0.0)
    assert peers.highest(DeviceId("me")) == 7


def test_the_peer_that_goes_is_one_whose_word_was_never_good() -> None:
    peers = Peers()
    peers.announced(heard("honest", 1), 0.0)
    peers.fetched(
        Snapshot(
            id=SnapshotId("honest 1"), tree=TreeId("t"), base=NOWHERE, version=Version(), parents=(), device="h", time=0
        )
    )
    for number in range(2 * MAX_DEVICES):
        peers.announced(heard(f"ghost {number}", 1), float(number + 1))
    assert len(peers.all()) == MAX_DEVICES
    assert "honest" in {p.device for p in peers.all()}
    assert "ghost 0" not in {p.device for p in peers.all()}


def test_what_is_old_can_be_told_without_taking_it() -> None:
    laptop = DeviceId("laptop")
    intake = Intake({laptop: 3})
    assert [intake.objection(laptop, seq, 0.0) for seq in (2, 3, 4, 4)] == ["repeated", "repeated", "", ""]
    assert intake.objection(DeviceId("never-heard-of"), 0, 0.0) == ""
    assert intake.last() == {laptop: 3}
    for number in range(FIRST_NEWCOMERS):
        assert intake.take(heard(f"ghost-{number}", 1), 0.0) == ""
    assert intake.objection(DeviceId("never-heard-of"), 0, 0.0) == "flood"
    assert intake.objection(laptop, 4, 0.0) == ""
    assert intake.objection(DeviceId("never-heard-of"), 0, 1 / NEWCOMERS) == ""
