"""Time as an event loop has it: what must be quick may take longer by the clock on a machine that stands still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_TURN = 0.01


class Took:
    """What something took."""

    def __init__(self) -> None:
        self.turns = 0

    @property
    def seconds(self) -> float:
        """The turns of the loop, counted as if each had come on time."""
        return self.turns * _TURN


@contextlib.asynccontextmanager
async def loop_time() -> AsyncIterator[Took]:
    """Count the turns of this loop meanwhile."""
    took = Took()

    async def count() -> None:
        while True:
            await asyncio.sleep(_TURN)
            took.turns += 1

    counting = asyncio.create_task(count())
    try:
        yield took
    finally:
        counting.cancel()
        await asyncio.wait([counting])
