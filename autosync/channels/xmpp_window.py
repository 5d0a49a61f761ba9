"""How much may be on its way to a slow server at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class Window:
    """Lets through who wants to send, in the order of coming, while less than ``size`` bytes are unanswered.

    What waits here can still be replaced by something newer; what waits in a socket cannot.
    Something larger than the window goes alone.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Wait for room of ``amount`` bytes and keep it meanwhile."""
        amount = min(amount, self._size)
        if self._queue or self._used + amount > self._size:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append((amount, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # the turn had come in the same moment
                    self._release(amount)
                self._admit()
                raise
        else:
            self._used += amount
        try:
            yield
        finally:
            self._release(amount)

    def _release(self, amount: int) -> None:
        self._used -= amount
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            amount, turn = self._queue[0]
            if not turn.cancelled():
                if self._used + amount > self._size:
                    return
                self._used += amount
                turn.set_result(None)
            self._queue.popleft()
