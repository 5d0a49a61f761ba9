"""History grows boundedly, and no clock can take it away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.retention import (
    DAY,
    HOUR,
    LONGEST_ABSENCE,
    Kept,
    Retention,
    beyond_quota,
    dated,
    is_keeping,
    kept_by,
    pin_name,
    resumed,
    surplus,
    undated,
)

NOW = 1_800_000_000_000
POLICY = Retention()


def kept(*ages: float, now: int = NOW) -> list[Kept]:
    """Return snapshots that were kept so many seconds ago, oldest first."""
    found = []
    for number, age in enumerate(sorted(ages, reverse=True)):
        moment, snapshot = now - int(age * 1000), SnapshotId(f"{number:040x}")
        wall = moment // 1000
        found.append(
            Kept(pin=pin_name(snapshot, moment=moment, wall=wall), snapshot=snapshot, moment=moment, wall=wall)
        )
    return found


def ages(items: list[Kept] | tuple[Kept, ...], now: int = NOW) -> list[float]:
    return [(now - each.moment) / 1000 for each in items]


def left(
    items: list[Kept], now: int = NOW, *, newest: int = 0, in_use: frozenset[SnapshotId] = frozenset()
) -> list[Kept]:
    gone = set(surplus(items, now, POLICY, in_use=in_use, newest=newest))
    return [each for each in items if each not in gone]


def test_all_of_the_last_hour_stay() -> None:
    items = kept(*(n * 0.5 for n in range(7200)))
    assert left(items) == items


def test_of_a_minute_the_last_one_stays() -> None:
    start = NOW % 60_000 / 1000  # seconds since the minute began
    minute = 2 * HOUR + start
    items = kept(minute, minute - 1, minute - 59, minute - 60)
    assert ages(left(items)) == [minute - 59, minute - 60]


def test_after_a_day_the_last_one_of_an_hour_stays() -> None:
    start = NOW % 3_600_000 / 1000
    hour = 3 * DAY + start
    items = kept(hour, hour - 60, hour - 3599, hour - 3600, hour - 7199)
    assert ages(left(items)) == [hour - 3599, hour - 7199]


def test_after_a_month_they_go() -> None:
    assert ages(left(kept(30 * DAY, 30 * DAY + 0.001, 400 * DAY))) == [30 * DAY]


def test_what_is_in_use_and_the_newest_stay_whatever_their_age() -> None:
    items = kept(*(100 * DAY + n for n in range(10)))
    assert left(items, newest=3) == items[-3:]
    used = items[2].snapshot
    assert left(items, newest=3, in_use=frozenset({used})) == [items[2], *items[-3:]]


def test_of_two_pins_of_one_snapshot_the_latest_counts() -> None:
    first, second = kept(10.0, 5.0)
    again = Kept(pin="keep/x", snapshot=first.snapshot, moment=second.moment, wall=second.wall)
    assert surplus([first, again], NOW, POLICY, in_use={first.snapshot}) == (first,)


@given(st.lists(st.floats(0, 60 * DAY), max_size=200), st.integers(0, 20), st.data())
def test_thinning_is_bounded_settled_and_steady(spans: list[float], newest: int, chance: st.DataObject) -> None:
    items = kept(*spans)
    used = frozenset(each.snapshot for each in items if chance.draw(st.booleans())) if len(items) < 30 else frozenset()
    stays = left(items, newest=newest, in_use=used)
    young = sum(age <= POLICY.all_for for age in ages(items))
    assert len(stays) <= young + newest + len(used) + (24 * 60 + 1) + (30 * 24 + 1)
    assert left(stays, newest=newest, in_use=used) == stays
    assert {each.snapshot for each in stays} >= used
    assert stays[-newest:] == items[-newest:] if newest else True
    later = NOW + int(chance.draw(st.floats(0, 40 * DAY)) * 1000)
    at_once = left(items, later, newest=newest, in_use=used)
    # Whether it was thinned in between makes no difference to what a later look leaves.
    assert left(stays, later, newest=newest, in_use=used) == at_once


@given(st.lists(st.tuples(st.floats(0, 3 * DAY), st.floats(0, 4e9)), min_size=1, max_size=30))
def test_no_clock_lets_history_age_by_more_than_a_day_for_each_start(runs: list[tuple[float, float]]) -> None:
    """Each run lasts some seconds and begins at any time at all that the device's clock may show."""
    last: Kept | None = None
    began = passed = 0
    for length, wall in runs:
        moment = resumed(last, wall)
        if last is None:
            began = moment
        else:
            assert moment > last.moment
        moment += int(length * 1000)
        passed += int(length * 1000)
        name = pin_name(SnapshotId("a"), moment=moment, wall=int(wall + length))
        (last,) = kept_by({name: SnapshotId("a")})
    assert last is not None
    assert last.moment - began <= passed + len(runs) * (LONGEST_ABSENCE * 1000 + 1)


def test_a_clock_that_jumps_ten_years_ahead_and_back_takes_nothing() -> None:
    items = kept(*(n * HOUR for n in range(24 * 29)))
    ahead = resumed(items[-1], NOW / 1000 + 10 * 365 * DAY)
    back = resumed(Kept(pin="", snapshot=SnapshotId("b"), moment=ahead, wall=NOW // 1000 * 2), NOW / 1000)
    assert back == ahead + 1
    assert len(left(items, back)) == len(items)


def test_an_absence_counts() -> None:
    (item,) = kept(0.0)
    assert resumed(item, item.wall + 8 * HOUR) == item.moment + 8 * 3_600_000 + 1
    assert resumed(None, 1_700_000_000.5) == 1_700_000_000_500
    assert resumed(None, -5.0) == 0


def test_a_pin_says_when_it_was_made() -> None:
    pins = {
        "current": SnapshotId("c"),
        pin_name(SnapshotId("bb"), moment=7, wall=-1): SnapshotId("bb"),
        pin_name(SnapshotId("aa"), moment=5, wall=9): SnapshotId("aa"),
        "keep/cc": SnapshotId("cc"),
        "keep/" + "9" * 30 + "-1-dd": SnapshotId("dd"),
    }
    assert [(k.pin, k.snapshot, k.moment, k.wall) for k in kept_by(pins)] == [
        ("keep/5-9-aa", "aa", 5, 9),
        ("keep/7-0-bb", "bb", 7, 0),
    ]
    assert undated(pins) == {"keep/cc": "cc", "keep/" + "9" * 30 + "-1-dd": "dd"}
    assert [is_keeping(pin) for pin in pins] == [False, True, True, True, True]


def test_what_an_older_autosync_kept_gets_moments_by_version() -> None:
    device = DeviceId("d-00000001")
    snapshots = [
        Snapshot(
            id=SnapshotId(f"{count}"),
            tree=TreeId("t"),
            base=Base(commit=None, branch=None),
            version=Version.of({device: count}),
            parents=(),
            device="d",
            time=10**10 - count,
        )
        for count in (2, 3, 1)
    ]
    assert dated(snapshots, 150_000) == {"3": 90_000, "2": 30_000, "1": 0}


def test_the_quota_takes_the_oldest_in_proportion() -> None:
    items = kept(*range(100))
    assert beyond_quota(items, size=100, quota=100, in_use=(), newest=10) == ()
    assert beyond_quota(items, size=200, quota=150, in_use=(), newest=10) == tuple(items[:25])
    assert beyond_quota(items, size=200, quota=150, in_use={items[0].snapshot}, newest=10) == tuple(items[1:26])
    assert beyond_quota(items, size=1000, quota=1, in_use=(), newest=10) == tuple(items[:90])
    assert beyond_quota(items[:10], size=1000, quota=1, in_use=(), newest=10) == ()
