"""Watches the agent for as long as somebody looks at the page, and tells what is new."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from autosync.control import NotRunning
from autosync.errors import AutosyncError
from autosync.web.overview import Overview
from autosync.web.threads import in_thread

log = logging.getLogger(__name__)

REMEMBERED = 200
"""Activities that somebody who opens the page sees."""
LONGEST_LOOK = 1.0
"""Seconds for which the agent is asked to wait for news, until its state is looked at again."""
_SOON = 0.1
"""The same after a change, which others follow: what the peers confirm is no activity."""
_SETTLING = 10
"""Looks after a change that come soon."""
_ALIVE = 15.0
"""Seconds after which something is sent, so that a page that has gone is noticed."""

_NOT_UNDERSTOOD = "Is it of another version? Restart the agent and `autosync web`."

Ask = Callable[..., dict[str, Any]]
"""``ask(command, **arguments)``: the agent's answer.  Raises :class:`AutosyncError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look at the agent found.

    ``state`` is "" if nothing is known of now; ``run`` and ``next`` are the place in the agent's news, that of the
    look before if this one was ``lost``.
    """

    state: str = ""
    run: str = ""
    next: int = 0
    lost: bool = False
    activities: tuple[dict[str, Any], ...] = ()


class Watch:
    """What the agent says, looked at in a thread while :meth:`news` is read by anybody.

    ``start`` is the command that starts an agent, shown where none runs; ``longest_look`` is for how many seconds
    an agent is asked to wait for news, and how long one that gave no answer is left alone.
    """

    def __init__(self, ask: Ask, start: str, *, longest_look: float = LONGEST_LOOK) -> None:
        self._ask = ask
        self._start = start
        self._longest_look = longest_look
        self._overview = Overview(ask)
        self._readers = 0
        self._wanted = asyncio.Event()
        self.rests = asyncio.Event()
        """Set while the agent is left alone, for nobody looks."""
        self.rests.set()
        self._changed = asyncio.Condition()
        self._last = _Look()
        self._activities: deque[tuple[int, dict[str, Any]]] = deque(maxlen=REMEMBERED)
        self._count = 0

    async def run(self) -> None:
        """Look while there are readers, for ever."""
        calm = 0
        while True:
            await self._wanted.wait()
            found = await in_thread(partial(self._look, self._last, _SOON if calm < _SETTLING else self._longest_look))
            calm = 0 if found.activities or found.state != self._last.state else calm + 1
            async with self._changed:
                self._last = found
                for activity in found.activities:
                    self._count += 1
                    self._activities.append((self._count, activity))
                self._changed.notify_all()
            if found.lost:
                await asyncio.sleep(self._longest_look)  # nothing there that could tell when to look
            if not self._readers:
                self._last = replace(self._last, state="")  # nobody is shown later how it was now
                self._wanted.clear()
                self.rests.set()

    async def news(self) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events (HTML, 9.2): ``state`` and ``activity``, first all that there is."""
        self._readers += 1
        self.rests.clear()
        self._wanted.set()
        try:
            state, seen = "", 0
            while True:
                if self._last.state != state:
                    state = self._last.state
                    yield _event("state", state)
                fresh = [{**activity, "number": n} for n, activity in self._activities if n > seen]
                if fresh:
                    seen = self._count
                    yield _event("activity", json.dumps(fresh))
                if not await self._more(state, seen):
                    yield b": still here\n\n"
        finally:
            self._readers -= 1

    async def _more(self, state: str, seen: int) -> bool:
        try:
            async with asyncio.timeout(_ALIVE), self._changed:
                await self._changed.wait_for(lambda: self._last.state != state or self._count > seen)
        except TimeoutError:
            return False
        return True

    def _look(self, last: _Look, wait: float) -> _Look:
        """Ask the agent, in a thread."""
        try:
            news = self._ask(
                "activity", since=last.next, wait=wait if last.run and not last.lost else 0.0, run=last.run
            )
            state = json.dumps(self._overview.look())
            return _Look(state=state, run=news["run"], next=news["next"], activities=tuple(news["activities"]))
        except AutosyncError as error:
            start = self._start if isinstance(error, NotRunning) else None
            return _lost(last, error.title, error.hint, start)
        except Exception:  # an agent of another version may answer anything
            log.exception("web: the agent's answer was not understood")
            return _lost(last, "The agent's answer was not understood", _NOT_UNDERSTOOD, None)


def _lost(last: _Look, title: str, hint: str, start: str | None) -> _Look:
    state = json.dumps({"stopped": {"title": title, "hint": hint, "start": start}})
    return _Look(state=state, run=last.run, next=last.next, lost=True)


def _event(name: str, value: str) -> bytes:
    return f"event: {name}\ndata: {value}\n\n".encode()
