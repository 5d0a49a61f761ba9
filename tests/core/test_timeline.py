"""The states that a working copy was in, found in what is kept."""

from __future__ import annotations

import pytest

from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.retention import Kept
from autosync.core.timeline import arrivals, is_abbreviation, named, position_at, shown_ms, stood


def kept(snapshot: str, moment: int, wall: int) -> Kept:
    return Kept(pin=f"keep/{moment}-{wall}-{snapshot}", snapshot=SnapshotId(snapshot), moment=moment, wall=wall)


def snap(name: str, device: str, **counters: int) -> Snapshot:
    version = Version.of({DeviceId(f"{d}-00000000"): n for d, n in counters.items()})
    base = Base(commit=None, branch=None)
    return Snapshot(
        id=SnapshotId(name), tree=TreeId(name), base=base, version=version, parents=(), device=device, time=0
    )


def test_a_snapshot_came_when_it_was_first_kept() -> None:
    one, two, again = kept("a", 1000, 1), kept("b", 2000, 2), kept("a", 3000, 3)
    assert arrivals([one, two, again]) == (one, two)


@pytest.mark.parametrize(
    ("moment", "wall", "shown"),
    [
        (5_250, 5, 5_250),
        (90_000, 5, 5_000),  # the clock was set back since the history began
        (5_000, 90, 90_000),
    ],
)
def test_a_time_is_the_clocks_with_what_the_pin_leaves_out(moment: int, wall: int, shown: int) -> None:
    assert shown_ms(kept("a", moment, wall)) == shown


def test_what_stood_at_a_time_came_last_before_it() -> None:
    pins = [kept("a", 10_500, 10), kept("b", 20_500, 20), kept("c", 20_900, 20)]
    assert [position_at(pins, at) for at in (10_499, 10_500, 20_499, 20_899, 20_900, 99_000)] == [None, 0, 0, 1, 2, 2]


def test_of_an_hour_that_came_twice_the_second_counts() -> None:
    pins = [kept("a", 10_000, 1000), kept("b", 20_000, 4600), kept("c", 30_000, 1010)]  # set back by an hour
    assert position_at(pins, 1_020_000) == 2


def test_a_working_copy_was_at_what_it_made_and_at_what_contains_that() -> None:
    here = snap("1", "here", here=1)
    theirs = snap("2", "there", there=1)  # waits to be merged
    again = snap("3", "here", here=2)
    merged = snap("4", "here+there", here=2, there=1)
    followed = snap("5", "there", here=2, there=2)
    late = snap("6", "there", there=1)  # asked for once more
    states = [here, theirs, again, merged, followed, late]
    assert [s.id for s in stood(states, "here")] == ["1", "3", "4", "5"]
    assert [s.id for s in stood([theirs, here], "here")] == ["2", "1"]  # an own one is never only waited for
    assert stood([], "here") == []


def test_beginnings_name_snapshots() -> None:
    ids = [SnapshotId("abcd1"), SnapshotId("abce1"), SnapshotId("abcd1")]
    assert named(ids, "abcd") == ["abcd1"]
    assert named(ids, "abc") == ["abcd1", "abce1"]
    assert [is_abbreviation(text) for text in ("abc", "abcd", "ABCD", "abcg", "a" * 64, "a" * 65)] == [
        False, True, False, False, True, False,
    ]  # fmt: skip
