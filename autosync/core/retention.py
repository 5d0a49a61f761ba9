"""Decides which snapshots are kept: all of the last hour, of older ones fewer and fewer."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from autosync.core.model import Snapshot, SnapshotId

HOUR = 3600.0
DAY = 24 * HOUR
NEWEST = 100
"""Snapshots that are kept whatever their age and whatever the quota."""
LONGEST_ABSENCE = DAY
"""Seconds by which snapshots age at most between two runs of the agent, whatever the clock says of it."""

_KEEP = "keep/"
_NAME = re.compile(r"keep/(\d{1,18})-(\d{1,18})-[0-9A-Za-z]+")
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long snapshots are kept, in seconds of age, and the most bytes that the store may have.

    Up to the age ``all_for`` all are kept, up to ``minutely_for`` the last one of each minute,
    up to ``hourly_for`` the last one of each hour, older ones not at all.  Without a ``quota``
    only age counts.
    """

    all_for: float = HOUR
    minutely_for: float = DAY
    hourly_for: float = 30 * DAY
    quota: int | None = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A snapshot under its pin.

    ``moment`` is in milliseconds of the history's own clock, which never goes back and which
    no two pins share; ``wall`` is what the device's clock showed, in seconds since the epoch.
    """

    pin: str
    snapshot: SnapshotId
    moment: int
    wall: int


def pin_name(snapshot: SnapshotId, *, moment: int, wall: int) -> str:
    """Return the pin that keeps ``snapshot``: what other devices say of their time is not in it."""
    return f"{_KEEP}{moment}-{max(0, wall)}-{snapshot}"


def is_keeping(pin: str) -> bool:
    """Return whether a pin keeps a snapshot for the history, and not for a purpose of its own."""
    return pin.startswith(_KEEP)


def kept_by(pins: Mapping[str, SnapshotId]) -> tuple[Kept, ...]:
    """Return what the pins with a moment keep, oldest first."""
    found = []
    for pin, snapshot in pins.items():
        match = _NAME.fullmatch(pin)
        if match is not None:
            found.append(Kept(pin=pin, snapshot=snapshot, moment=int(match[1]), wall=int(match[2])))
    return tuple(sorted(found, key=lambda kept: (kept.moment, kept.pin)))


def undated(pins: Mapping[str, SnapshotId]) -> Mapping[str, SnapshotId]:
    """Return the pins for the history that an older autosync made, without a moment."""
    return {pin: s for pin, s in pins.items() if is_keeping(pin) and _NAME.fullmatch(pin) is None}


def resumed(last: Kept | None, wall: float) -> int:
    """Return the moment (ms) at which the history's clock goes on when an agent starts.

    ``wall`` is the device's clock in seconds since the epoch.  It is asked at this one
    point, and believed for :data:`LONGEST_ABSENCE` at most: a clock that was set ten years
    ahead must not let everything expire, and one that was set back must not mix up the order.
    """
    if last is None:
        return max(0, int(wall * 1000))
    away = min(max(0.0, wall - last.wall), LONGEST_ABSENCE)
    return last.moment + int(away * 1000) + 1


def dated(snapshots: Iterable[Snapshot], now: int) -> Mapping[SnapshotId, int]:
    """Return a moment for each snapshot of which nobody knows when it was kept.

    They stand a minute apart and end ``now``, in the order of their versions: no clock has
    a say, and none of the last day goes at once.
    """
    latest = sorted(snapshots, key=lambda s: (sum(n for _, n in s.version.counters), s.id), reverse=True)
    return {s.id: max(0, now - _MINUTE_MS * rank) for rank, s in enumerate(latest, 1)}


def surplus(
    kept: Sequence[Kept], now: int, retention: Retention, *, in_use: Collection[SnapshotId], newest: int = NEWEST
) -> tuple[Kept, ...]:
    """Return those of ``kept`` (oldest first) whose time is over at the moment ``now``, oldest first.

    Of each minute and of each hour the last one stays.  Nothing of ``in_use`` and none of the
    ``newest`` goes.  Of several pins of one snapshot the latest counts.
    """
    gone: list[Kept] = []
    seen: set[SnapshotId] = set()
    minutes: set[int] = set()
    hours: set[int] = set()
    for each in reversed(kept):
        minute, hour = each.moment // _MINUTE_MS, each.moment // _HOUR_MS
        age = (now - each.moment) / 1000
        if each.snapshot in seen:
            gone.append(each)
            continue
        stays = (
            len(seen) < newest
            or each.snapshot in in_use
            or age <= retention.all_for
            or (age <= retention.minutely_for and minute not in minutes)
            or (age <= retention.hourly_for and hour not in hours)
        )
        seen.add(each.snapshot)
        minutes.add(minute)
        hours.add(hour)
        if not stays:
            gone.append(each)
    return tuple(reversed(gone))


def beyond_quota(
    kept: Sequence[Kept], *, size: int, quota: int, in_use: Collection[SnapshotId], newest: int = NEWEST
) -> tuple[Kept, ...]:
    """Return the oldest of ``kept`` (oldest first) that have to go so that ``size`` bytes may become ``quota``.

    Snapshots share most of what they are made of, so how many must go is a guess, in
    proportion; the caller measures and asks again.  Empty if nothing more can go.
    """
    if size <= quota:
        return ()
    free = [each for each in kept[: max(0, len(kept) - newest)] if each.snapshot not in in_use]
    return tuple(free[: math.ceil(len(kept) * (1 - quota / size))])
