"""Which node of a series a slot goes to."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.channels.xmpp_places import CAPACITIES, CAPACITY, MAX_NODES, Places, ahead, full
from autosync.channels.xmpp_window import Window


def filled(*counts: int) -> Places:
    """Return places of which that many are taken in each node."""
    places = Places()
    for node, count in enumerate(counts):
        places.looked(node, [f"{node}.{n}" for n in range(count)])
    return places


def test_a_small_series_is_one_node() -> None:
    assert Places().wants_next
    places = filled(ahead(CAPACITY) - 1)
    assert not places.wants_next
    assert places.choose() == 0
    assert not places.note(0, "new")
    assert places.wants_next


def test_a_new_slot_goes_to_the_first_node_that_is_not_full_and_stays_there() -> None:
    places = filled(full(CAPACITY) - 1, 0)
    assert places.choose() == 0
    places.note(0, "last")
    assert places.choose() == 1
    places.note(1, "first")
    assert (places.find("last"), places.find("first"), places.find("nowhere")) == (0, 1, None)


def test_a_full_series_takes_more_in_its_last_node_and_tells_what_was_displaced() -> None:
    places = filled(*[full(CAPACITY)] * (MAX_NODES - 1), CAPACITY)
    assert not places.wants_next
    assert places.choose() == MAX_NODES - 1
    assert places.has_room
    assert places.note(MAX_NODES - 1, "one too many")
    assert not places.note(MAX_NODES - 1, "one too many")
    assert not places.exhausted
    assert filled(*[CAPACITY] * MAX_NODES).exhausted


def test_what_is_published_in_a_node_that_was_not_looked_at_is_learned_later() -> None:
    places = filled(1)
    assert not places.note(1, "early")
    assert places.find("early") is None


@given(st.sampled_from(CAPACITIES), st.data())
@settings(max_examples=20, deadline=None)
def test_no_node_overflows_by_slots_that_come_one_after_the_other(capacity: int, data: st.DataObject) -> None:
    places, room = Places(), full(capacity)
    places.capacity = capacity
    count = data.draw(st.integers(1, MAX_NODES * room))
    for n in range(count):
        while places.wants_next:
            places.looked(places.looked_at, [])
        assert not places.note(places.choose(), f"slot {n}")
    assert all(places.find(f"slot {n}") == n // room for n in range(count))
    assert places.looked_at <= count // room + 2


async def taken(window: Window, amount: int, order: list[int]) -> None:
    """Use the window once, and say so."""
    async with window.hold(amount):
        order.append(amount)
        await asyncio.sleep(0)


async def test_a_window_lets_through_in_the_order_of_coming_and_something_larger_alone() -> None:
    window, order = Window(10), []
    async with window.hold(4):
        tasks = [asyncio.create_task(taken(window, amount, order)) for amount in (6, 100, 1)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == [6]
    await asyncio.gather(*tasks)
    assert order == [6, 100, 1]


@pytest.mark.parametrize("given_way", [False, True])
async def test_who_gives_up_waiting_holds_up_nobody(given_way: bool) -> None:
    window, order = Window(10), []
    async with window.hold(10):
        first, second = (asyncio.create_task(taken(window, amount, order)) for amount in (10, 9))
        await asyncio.sleep(0)
        if not given_way:
            first.cancel()
    if given_way:
        first.cancel()  # its turn has come in this very moment
    await asyncio.gather(first, second, return_exceptions=True)
    assert order == [9]
    async with asyncio.timeout(5), window.hold(10):
        pass
