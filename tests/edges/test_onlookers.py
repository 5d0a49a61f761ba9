"""Those who wait until something is so."""

from __future__ import annotations

import asyncio

from autosync.onlookers import Onlookers


async def test_each_who_waits_goes_on_when_his_own_condition_is_met() -> None:
    onlookers, seen = Onlookers(), set[str]()
    ones = asyncio.create_task(onlookers.until(lambda: "one" in seen, 10))
    others = asyncio.create_task(onlookers.until(lambda: "other" in seen, 10))
    seen.add("one")
    onlookers.look()
    assert await ones
    assert not others.done()
    seen.add("other")
    onlookers.look()
    assert await others


async def test_what_is_so_already_is_not_waited_for_and_what_never_is_no_longer_than_asked() -> None:
    onlookers = Onlookers()
    assert await onlookers.until(lambda: True, 0)
    assert not await onlookers.until(lambda: False, 0)
    onlookers.look()  # nobody waits any more
