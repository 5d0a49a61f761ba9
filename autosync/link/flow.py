"""Holds a stream of bytes to a rate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class Flow:
    """``rate`` is in bytes per second, ``None`` is as fast as it goes.

    Who takes has to wait for those who took before; so all links share the rate.
    """

    rate: float | None = None
    _free_at: float = 0.0

    def reserve(self, count: int, now: float) -> float:
        """Take ``count`` bytes and return how many seconds to wait before they may pass."""
        if self.rate is None:
            return 0.0
        begins = max(now, self._free_at)
        self._free_at = begins + count / self.rate
        return begins - now

    async def pass_on(self, count: int) -> None:
        """Take ``count`` bytes and return when they may pass."""
        wait = self.reserve(count, asyncio.get_running_loop().time())
        if wait > 0:
            await asyncio.sleep(wait)

    def portion(self, most: int, least: int) -> int:
        """Return how many bytes to move at a time: what takes about a quarter of a second, within these bounds."""
        return most if self.rate is None else max(least, min(most, int(self.rate / 4)))
