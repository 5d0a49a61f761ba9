"""Understands times and states as users write them, and says how it has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from autosync.cli.table import age
from autosync.core.timeline import is_abbreviation
from autosync.errors import AutosyncError
from autosync.past.trail import At

FORMS = (
    "Write a time as `5m`, `1h30m ago`, `10 minutes ago`, `15:00`, `yesterday 15:00`, `2026-11-21 15:00` "
    "(with `Z` or `+01:00` behind it if it is not this machine's time), or 4 and more characters of a snapshot's id."
)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNIT = r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_PART = re.compile(rf"(\d{{1,9}}|an?|one)\s*{_UNIT}\b\s*(?:,\s*|and\s+)?|(\d{{1,9}}){_UNIT}(?=\d)")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>\.\d{1,6})?)?"
_DAY_AND_CLOCK = re.compile(rf"(?:(?P<day>today|yesterday)(?: at)? ?)?(?:{_CLOCK})?")
_ISO = re.compile(rf"(?P<date>\d{{4}}-\d{{2}}-\d{{2}})(?:[t ](?:at )?{_CLOCK} ?(?P<zone>z|utc|[+-]\d{{2}}:?\d{{2}})?)?")
_WHOLE = 0.999
"""Up to when in it a second counts that is named without a fraction: what `autosync log` dates so belongs to it."""
_EPOCH = re.compile(r"@(\d{1,11})")


@dataclass(frozen=True, slots=True)
class Meant:
    """A state that was asked for, and how that was understood, in words."""

    at: At
    said: str


def understand(text: str, now: float) -> Meant:
    """Return the state that ``text`` means at ``now``, in seconds since the epoch.

    A clock time without a zone is this machine's.  Days ago are 24 hours each, ``yesterday`` is the calendar's.
    Raises :class:`AutosyncError`.
    """
    words = " ".join(text.casefold().split())
    if not words:
        raise AutosyncError(f"{text!r} names no state", hint=f"The state that was recorded last is `now`. {FORMS}")
    if words == "now":
        return Meant(None, "the state now")
    seconds, note = _time(words, now)
    if seconds is None:
        if is_abbreviation(words):
            return Meant(words, f"snapshot {words}")
        raise AutosyncError(f"{text!r} is no time and no snapshot", hint=FORMS)
    try:
        shown = _local(seconds).strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError, OSError):  # before the year 1
        raise AutosyncError(f"{text!r}: there is no such time", hint=FORMS) from None
    if int(seconds) > now:
        raise AutosyncError(
            f"{text!r} is {shown}, which is still to come",
            hint="Say the day too: `yesterday 15:00`, `2026-11-21 15:00`.",
        )
    return Meant(int(seconds * 1000), f"{shown}, {age(now - seconds)} ago{note}")


def understand_range(text: str, now: float) -> tuple[Meant, Meant]:
    """Return both ends of ``A..B``; what is left out is the present, and so is the end of ``A`` alone."""
    if "..." in text:
        raise AutosyncError(f"{text!r} has three dots", hint="Write A..B: how B differs from A.")
    old, dots, new = text.partition("..")
    if dots and not old.strip() and not new.strip():
        raise AutosyncError(f"{text!r} names no state", hint=f"Write A..B. {FORMS}")
    return understand(old if old.strip() else "now", now), understand(new if new.strip() else "now", now)


def _time(words: str, now: float) -> tuple[float | None, str]:
    """Return seconds since the epoch and what is to be said of that time; ``None`` if the words are no time."""
    span = _span(words)
    if span is not None:
        return now - span, ""
    epoch = _EPOCH.fullmatch(words)
    if epoch is not None:
        return int(epoch[1]) + _WHOLE, ""
    match = _ISO.fullmatch(words) or _DAY_AND_CLOCK.fullmatch(words)
    if match is None:
        return None, ""
    try:
        seconds, note = _dated(match, now)
        return seconds + float(match["fraction"] or _WHOLE), note
    except (ValueError, OverflowError):
        raise AutosyncError(f"{words!r}: there is no such time", hint=FORMS) from None


def _span(words: str) -> float | None:
    rest = words.removesuffix("ago").strip()
    seconds = 0.0
    while rest:
        part = _PART.match(rest)
        if part is None:
            return None
        number, unit = (part[1], part[2]) if part[1] else (part[3], part[4])
        seconds += (int(number) if number.isdecimal() else 1) * _SECONDS[unit[0]]
        rest = rest[part.end() :]
    return seconds if words != "ago" else None


def _dated(match: re.Match[str], now: float) -> tuple[float, str]:
    named = match.groupdict()
    clock = timedelta(
        hours=_most(named["hour"], 23), minutes=_most(named["minute"], 59), seconds=_most(named["second"], 59)
    )
    if named.get("date"):
        midnight = datetime.fromisoformat(named["date"])
    else:
        days = 1 if named["day"] == "yesterday" else 0
        midnight = _local(now).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    meant = midnight + clock
    zone = named.get("zone")
    if zone:
        offset = "+00:00" if zone in ("z", "utc") else zone
        return datetime.fromisoformat(f"{meant.isoformat()}{offset}").timestamp(), ""
    return _of_this_machine(meant)


def _of_this_machine(meant: datetime) -> tuple[float, str]:
    """Return a local time, with a remark if it came twice or never (PEP 495)."""
    first, second = meant.timestamp(), meant.replace(fold=1).timestamp()
    if first == second:
        return first, ""
    if _local(first).replace(tzinfo=None) != meant:
        return first, " (the clock was set ahead over the time that you wrote)"
    return second, " (the clock showed that time twice, and the second is meant; a zone behind it says which)"


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone()


def _most(digits: str | None, most: int) -> int:
    number = int(digits or 0)
    if number > most:
        raise ValueError(digits)
    return number
