"""How long to wait before trying again."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.backoff import Backoff

UNIT = st.floats(min_value=0, max_value=1)


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(0.5, 60, 2)
    assert [backoff.next(1) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_takes_the_upper_half_of_a_step() -> None:
    backoff = Backoff(4, 64)
    assert [backoff.next(0), backoff.next(0.5), backoff.next(1)] == [2, 6, 16]


def test_reset_begins_again() -> None:
    backoff = Backoff(1, 8)
    assert [backoff.next(1), backoff.next(1)] == [1, 2]
    backoff.reset()
    assert backoff.next(1) == 1


@given(
    base=st.floats(min_value=0.001, max_value=10),
    above=st.floats(min_value=0, max_value=1000),
    factor=st.floats(min_value=1, max_value=10),
    units=st.lists(UNIT, min_size=1, max_size=40),
)
def test_every_wait_is_positive_and_at_most_the_cap(
    base: float, above: float, factor: float, units: list[float]
) -> None:
    backoff = Backoff(base, base + above, factor)
    waits = [backoff.next(unit) for unit in units]
    assert base / 2 <= waits[0] <= base
    assert all(base / 2 <= wait <= base + above for wait in waits)


def test_thousands_of_failures_do_not_overflow() -> None:
    backoff = Backoff(0.5, 60, 2)
    assert [backoff.next(1) for _ in range(5000)][-1] == 60


@pytest.mark.parametrize(("base", "cap", "factor"), [(0, 1, 2), (-1, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_senseless_settings_are_refused(base: float, cap: float, factor: float) -> None:
    with pytest.raises(ValueError, match=f"not {base}, {cap}, {factor}"):
        Backoff(base, cap, factor)


@pytest.mark.parametrize("unit", [-0.1, 1.1])
def test_a_random_number_outside_the_unit_is_refused(unit: float) -> None:
    with pytest.raises(ValueError, match=f"random_unit is {unit}"):
        Backoff(1, 2).next(unit)


@pytest.mark.parametrize(("away", "most"), [(5.0, 600), (60.0, 60), (600.0, 60)])
def test_a_thousand_devices_come_back_one_after_the_other(away: float, most: int) -> None:
    """The server is gone for ``away`` seconds: of 1,000 no more than ``most`` come back in any one second."""
    random, returns = Random(1), Counter[int]()  # repeatable by design
    for _ in range(1000):
        backoff, now = Backoff(1.0, 60.0), 0.0
        while now < away:
            now += backoff.next(random.random())
        assert now - away <= min(60.0, 2 * away + 1)
        returns[int(now - away)] += 1
    assert max(returns.values()) <= most
