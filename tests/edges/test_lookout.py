"""The look whether a working copy's folder is there goes on, whatever one of them fails of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from autosync.core import events as ev
from autosync.errors import AutosyncError
from autosync.lookout import keep_looking

GONE = AutosyncError("The folder is gone", hint="It is waited for.")
UNFORESEEN = "The folder cannot be taken up: RuntimeError: can't start new thread"


async def told_of(failures: Sequence[Exception | None]) -> list[str]:
    """Return what is told of as many looks, of which each fails of one of these."""
    told: list[str] = []
    left, done = list(failures), asyncio.Event()
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not left:
            loop.call_soon_threadsafe(done.set)
            return
        failure = left.pop(0)
        if failure is not None:
            raise failure

    def tell(event: ev.RootVanished) -> None:
        told.append(event.title)

    looking = asyncio.create_task(keep_looking(look, tell, executor=None, every=0))
    stopped = asyncio.create_task(done.wait())
    await asyncio.wait((looking, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (looking, stopped):
        task.cancel()
    await asyncio.gather(looking, stopped, return_exceptions=True)
    assert done.is_set()
    return told


async def test_a_failure_that_nobody_expected_is_told_and_the_next_look_comes(caplog: pytest.LogCaptureFixture) -> None:
    failure = RuntimeError("can't start new thread")
    told = await told_of([failure, failure, None, GONE, OSError(5, "Input error")])
    assert told == [
        UNFORESEEN,
        UNFORESEEN,
        "The folder is gone",
        "The folder cannot be opened: [Errno 5] Input error",
    ]
    logged = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged == [UNFORESEEN], "once as long as it stays; what is expected is the session's to tell"


async def test_a_failure_that_comes_again_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    failure = RuntimeError("can't start new thread")
    await told_of([failure, None, failure])
    assert [record.message for record in caplog.records] == [UNFORESEEN, UNFORESEEN]
