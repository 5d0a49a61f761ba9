"""Times as users write them, whatever the zone and the season, and what is no time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from autosync.cli.when import FORMS, Meant, understand, understand_range
from autosync.errors import AutosyncError

NOW = datetime.fromisoformat("2026-11-22T04:15:00+01:00").timestamp()


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m ago", 5400),
        ("10 minutes ago", 600),
        ("  An Hour  ago ", 3600),
        ("1 hour and 5 minutes ago", 3900),
        ("2 days, 1 hr ago", 176_400),
        ("one week", 604_800),
        ("365d", 31_536_000),  # not the snapshot of that name
        ("0s", 0),
    ],
)
def test_a_while_ago(text: str, seconds: int) -> None:
    assert understand(text, NOW).at == int((NOW - seconds) * 1000)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3:05", "2026-11-22T03:05:00.999+01:00"),
        ("today 03:05:10", "2026-11-22T03:05:10.999+01:00"),
        ("yesterday 15:00", "2026-11-21T15:00:00.999+01:00"),
        ("yesterday at 15:00", "2026-11-21T15:00:00.999+01:00"),
        ("yesterday", "2026-11-21T00:00:00.999+01:00"),
        ("2026-11-21", "2026-11-21T00:00:00.999+01:00"),
        ("2026-11-21 15:00", "2026-11-21T15:00:00.999+01:00"),
        ("2026-11-21T15:00:10.25", "2026-11-21T15:00:10.250+01:00"),
        ("2026-07-01 15:00", "2026-07-01T15:00:00.999+02:00"),
        ("2026-11-21T15:00Z", "2026-11-21T15:00:00.999+00:00"),
        ("2026-11-21 15:00 UTC", "2026-11-21T15:00:00.999+00:00"),
        ("2026-11-21 15:00 -0330", "2026-11-21T15:00:00.999-03:30"),
        ("@1700000000", "2023-11-14T22:13:20.999+00:00"),
    ],
)
def test_a_time_of_the_day(text: str, meant: str) -> None:
    assert understand(text, NOW).at == round(datetime.fromisoformat(meant).timestamp() * 1000)


def test_an_hour_that_came_twice_or_never_is_told() -> None:
    twice, never = understand("2026-10-25 02:30", NOW), understand("2026-03-29 02:30", NOW)
    assert twice.said.startswith("2026-10-25 02:30:00 +0100") and "showed that time twice" in twice.said
    assert never.said.startswith("2026-03-29 03:30:00 +0200") and "set ahead" in never.said
    first = understand("2026-10-25 02:30 +02:00", NOW)
    assert (first.at, first.said) == (1792888200999, "2026-10-25 02:30:00 +0200, 28 d ago")
    assert twice.at == 1792891800999


def test_it_is_said_how_a_time_was_understood() -> None:
    assert understand("10 minutes ago", NOW) == Meant(int(NOW - 600) * 1000, "2026-11-22 04:05:00 +0100, 10 min ago")


def test_what_is_no_time_may_be_a_snapshot_or_the_present() -> None:
    assert understand("1a2B", NOW) == Meant("1a2b", "snapshot 1a2b")
    assert understand("20261121", NOW).at == "20261121"
    assert understand("now", NOW) == understand(" Now", NOW) == Meant(None, "the state now")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_state_is_refused(text: str) -> None:
    with pytest.raises(AutosyncError, match="names no state") as caught:
        understand(text, NOW)
    assert "`now`" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "nonsense",
        "ago",
        "5x",
        "1h30",
        "10 months ago",
        "5mm",
        "1 hour 5",
        "-5m",
        "HEAD~1",
        "last tuesday",
        "\0",
        "م5",
    ],
)
def test_what_is_neither_says_what_is(text: str) -> None:
    with pytest.raises(AutosyncError, match="is no time and no snapshot") as caught:
        understand(text, NOW)
    assert caught.value.hint == FORMS


@pytest.mark.parametrize("text", ["25:00", "12:60", "2026-02-30 10:00", "99999999w", "0001-01-01"])
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(AutosyncError, match="there is no such time"):
        understand(text, NOW)


def test_a_time_to_come_is_refused() -> None:
    with pytest.raises(AutosyncError, match=r"2026-11-22 15:00:00 \+0100, which is still to come") as caught:
        understand("15:00", NOW)
    assert "yesterday 15:00" in caught.value.hint


def test_what_is_left_out_of_a_range_is_the_present() -> None:
    assert [m.at for m in understand_range("1a2b..", NOW)] == ["1a2b", None]
    assert [m.at for m in understand_range("..1a2b", NOW)] == [None, "1a2b"]
    assert [m.at for m in understand_range("1a2b", NOW)] == ["1a2b", None]
    assert [m.at for m in understand_range("1h ago..now", NOW)] == [int(NOW - 3600) * 1000, None]
    for text, words in (("a...b", "three dots"), ("..", "names no state")):
        with pytest.raises(AutosyncError, match=words):
            understand_range(text, NOW)
