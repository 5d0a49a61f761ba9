"""Runs what blocks in threads that nobody waits for when the process ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(question: Callable[[], _T]) -> _T:
    """Return what ``question`` does, or raise what it raises.

    Unlike those of :func:`asyncio.to_thread` its thread is a daemon: an agent that takes minutes for an answer
    does not hold up Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def tell(found: _T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)  # type: ignore[arg-type]  # without an error it was found

    def run() -> None:
        found, error = None, None
        try:
            found = question()
        except BaseException as raised:  # whatever it is, it is for who asked
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=run, name="question", daemon=True).start()
    return await answer
