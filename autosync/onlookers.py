"""Lets those who wait until something is so look again after every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Onlookers:
    """Those who wait for one thing; all in one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def look(self) -> None:
        """Have all look: something has changed."""
        for waiting in self._waiting:
            waiting.set()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Return whether ``condition`` came true within ``seconds``; it is asked at once and at every :meth:`look`."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return condition()
        finally:
            self._waiting.remove(changed)
        return True
