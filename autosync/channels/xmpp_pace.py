"""How many blocks of all bytestreams may be on their way through one XMPP connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

SOON = 2.0
"""Seconds within which a block is answered on a connection where nothing queues."""
MOST = 16


class Pace:
    """A window that grows while blocks are answered soon, and shrinks when they are not.

    Servers throttle by reading no further (Prosody: 10 kB/s, ejabberd: 3,000 B/s), so whatever
    is on its way has to be read before the next announcement or ping is.  As in RFC 6817 the
    delay is the signal: there is no loss to wait for.
    """

    def __init__(self, *, soon: float = SOON) -> None:
        self.window = 1
        self._soon = soon
        self._under_way = 0
        self._answered_soon = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Return when one more block may be sent; streams take turns.

        Each has to be :meth:`over` or passed on.
        """
        if self._under_way < self.window and not self._waiting:
            self._under_way += 1
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.pass_on()
            else:
                with contextlib.suppress(ValueError):  # passed over already
                    self._waiting.remove(waiting)
            raise

    def over(self, *, took: float | None) -> None:
        """Take note that a block was answered ``took`` seconds after it was sent, ``None`` if it never will be."""
        if took is not None and took <= self._soon:
            self._answered_soon += 1
            if self._answered_soon >= self.window:
                self._answered_soon = 0
                self.window = min(self.window + 1, MOST)
        else:
            self._answered_soon = 0
            self.window = max(1, self.window // 2)
        self.pass_on()

    def pass_on(self) -> None:
        """Give a turn to who waits next."""
        self._under_way -= 1
        while self._waiting and self._under_way < self.window:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._under_way += 1
                waiting.set_result(None)
