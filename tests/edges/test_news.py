"""The news that those who watch ask for over the control socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autosync.activities import Activity
from autosync.answers.news import REMEMBERED, News
from autosync.errors import AutosyncError


def saved(name: str) -> Activity:
    return Activity(kind="saved", workspace="notes", device="laptop", at_ms=1.0, paths=(name,), count=1)


def names(answer: dict[str, Any]) -> list[str]:
    return [activity["paths"][0] for activity in answer["activities"]]


async def test_who_waits_is_answered_when_something_happens_and_goes_on_behind_it() -> None:
    news = News()
    first = await news.answer({})
    assert (first["next"], first["missed"], first["activities"]) == (0, 0, [])
    waiting = asyncio.create_task(news.answer({"since": first["next"], "run": first["run"], "wait": 60}))
    await asyncio.sleep(0)
    assert not waiting.done()
    news.happened(saved("a"))
    answer = await waiting
    assert (answer["next"], names(answer), answer["run"]) == (1, ["a"], first["run"])
    news.happened(saved("b"))
    assert names(await news.answer({"since": 1, "wait": 60})) == ["b"]
    assert names(await news.answer({"since": 2, "wait": 0.001})) == []


async def test_who_asks_a_restarted_agent_misses_nothing_of_it() -> None:
    before, after = News(), News()
    for name in "abc":
        before.happened(saved(name))
    known = await before.answer({})
    after.happened(saved("d"))
    answer = await after.answer({"since": known["next"], "run": known["run"], "wait": 60})
    assert (answer["next"], names(answer)) == (1, ["d"])
    assert answer["run"] != known["run"]


async def test_what_is_too_long_ago_is_counted() -> None:
    news = News()
    for n in range(REMEMBERED + 7):
        news.happened(saved(str(n)))
    answer = await news.answer({"since": 2})
    assert (answer["missed"], len(answer["activities"]), names(answer)[0]) == (5, REMEMBERED, "7")
    assert (await news.answer({"since": 1 << 60}))["missed"] == 0


@pytest.mark.parametrize(("name", "value"), [("wait", "soon"), ("since", True), ("wait", float("nan"))])
async def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(AutosyncError, match=f"^{name} must be a number, not "):
        await News().answer({name: value})
