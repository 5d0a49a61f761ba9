"""Answers what has happened since, at once or as soon as something does."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from dataclasses import asdict
from typing import Any

from autosync.activities import Activity
from autosync.errors import AutosyncError
from autosync.onlookers import Onlookers

REMEMBERED = 1000
"""Activities remembered for those who ask what happened."""
LONGEST_WAIT = 60.0
"""Seconds that a request for news is held at most, whatever it asks for."""

_ASKS_AGAIN = 15.0
"""Seconds that somebody who follows the news may need before he asks again."""


class News:
    """The activities of this run of the agent, by number: the first one is 1."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(8)
        self._count = 0
        self._activities: deque[tuple[int, Activity]] = deque(maxlen=REMEMBERED)
        self._onlookers = Onlookers()
        self._wording = (0.0, 0.0)

    def wording_time(self) -> float:
        """Return how many seconds somebody who follows the news needs to describe a commit; 0: there is nobody."""
        seconds, until = self._wording
        return seconds if asyncio.get_running_loop().time() < until else 0.0

    def happened(self, activity: Activity) -> None:
        """Remember an activity and wake those who wait for one."""
        self._count += 1
        self._activities.append((self._count, activity))
        self._onlookers.look()

    async def answer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what happened after number ``since``, waiting up to ``wait`` seconds for something.

        The answer's ``next`` is the ``since`` of the next request, and ``run`` names the agent that
        counted so: who sends it back as ``run`` hears from a restarted agent all it has done, not what
        follows a number of its predecessor.  ``missed`` is how many activities are too long ago.
        ``describes`` says that commits can be described there, and how many seconds that may take.
        Raises :class:`AutosyncError` for what is no number.
        """
        since = max(int(finite(arguments, "since", 0.0)), 0)
        wait = min(finite(arguments, "wait", 0.0), LONGEST_WAIT)
        if describes := min(finite(arguments, "describes", 0.0), LONGEST_WAIT):
            self._wording = describes, asyncio.get_running_loop().time() + wait + _ASKS_AGAIN
        if arguments.get("run", self._run) != self._run:
            since = 0
        await self._onlookers.until(lambda: self._count > since, wait)
        news = [asdict(a) for n, a in self._activities if n > since]
        return {
            "run": self._run,
            "next": self._count,
            "missed": max(self._count - since, 0) - len(news),
            "activities": news,
        }


def finite(arguments: dict[str, Any], name: str, default: float) -> float:
    """Return a finite number that the control socket was given.  Raises :class:`AutosyncError`."""
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AutosyncError(f"{name} must be a number, not {str(value)[:40]!r}", hint="Give seconds, for example 30.")
    return float(value)
