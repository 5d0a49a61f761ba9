"""The moments that have a date."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from autosync.core.moments import LAST_MS, moment


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "1970-01-01T00:00:00"),
        (1_790_000_000.5, "2026-09-21T14:13:20"),
        (LAST_MS / 1000, "9999-12-30T23:59:59"),
        (2**63 - 1, "9999-12-30T23:59:59"),
    ],
)
def test_every_number_has_a_date_in_every_time_zone(seconds: float, shown: str) -> None:
    assert moment(seconds).isoformat(timespec="seconds") == f"{shown}+00:00"
    for hours in (-12, 14):
        assert moment(seconds).astimezone(timezone(timedelta(hours=hours))) == moment(seconds)
