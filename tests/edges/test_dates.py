"""Times that other devices made up are shown like any other."""

from __future__ import annotations

from autosync.answers.report import iso
from autosync.cli.log import clock
from autosync.core.moments import LAST_MS


def test_a_time_that_has_no_date_is_shown_as_the_last_one_that_has() -> None:
    assert iso((2**63 - 1) / 1000) == iso(LAST_MS / 1000) == "9999-12-30T23:59:59+00:00"
    assert clock(1000 << 40).startswith("9999-12-3")  # of a snapshot it may be this one


def test_a_time_before_all_times_is_shown_as_the_first() -> None:
    assert iso(-1e300) == iso(0.0) == "1970-01-01T00:00:00+00:00"
