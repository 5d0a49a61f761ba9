"""Runs the state machine of one working copy that is kept by commands."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from autosync.commanded.step import StepRunner
from autosync.commanded.work import CommandedWork
from autosync.core import events as ev
from autosync.core.commanded.session import (
    CommandedEvent,
    CommandedSession,
    CommandedSettings,
    Finished,
    Opened,
    Perform,
    Say,
    Work,
)
from autosync.core.settings import Halt
from autosync.errors import AutosyncError
from autosync.onlookers import Onlookers

log = logging.getLogger(__name__)

STOP_PATIENCE = 0.8
"""Seconds that a command may take to end by itself when the agent stops."""
UNANNOUNCED_MOST = 10.0


class Pronouncer(Protocol):
    """What the agent does for a runner of this kind."""

    async def pronounce(self, runner: CommandedRunner, say: Say, remote: str) -> None:
        """Seal an announcement and broadcast it over every channel."""


@dataclass(slots=True, kw_only=True)
class CommandedRunner:
    """One working copy of the agent; :meth:`post` feeds it events from the event loop's thread,
    :meth:`post_from_thread` from any other."""

    workspace: str
    settings: CommandedSettings
    work: CommandedWork
    steps: StepRunner
    outside: Pronouncer
    local: Executor
    demand: Callable[[], None] = lambda: None
    """Raises :class:`AutosyncError` if the working copy is not the one that was opened."""
    machine: CommandedSession = field(init=False)
    synced_at: float | None = None
    """Wall clock, in seconds, of the last pull or push that worked."""
    abandoned: bool = False
    """Whether :meth:`stop` left a command unfinished."""
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _timer: asyncio.TimerHandle | None = None
    _working: asyncio.Task[None] | None = None
    _saying: asyncio.Task[None] | None = None
    _say_next: Say | None = None
    _onlookers: Onlookers = field(default_factory=Onlookers)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self.machine = CommandedSession(self.settings, first=int(time.time() * 1000), draw=random.random)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take events from now on."""
        self._loop = loop

    async def start(self) -> None:
        """Begin: commit what is there, pull, push."""
        self.post(Opened())

    async def speak_out(self, seconds: float) -> None:
        """Wait until what was to be announced has been, for at most ``seconds``."""
        if self._saying is not None:
            await asyncio.wait({self._saying}, timeout=seconds)

    async def stop(self) -> None:
        """End: nothing new is begun; a command that runs has a moment to finish, then it is ended."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._saying is not None:
            self._saying.cancel()
        if self._working is not None and not self._working.done():
            await asyncio.wait({self._working}, timeout=STOP_PATIENCE)
            self.steps.stop()
            _, late = await asyncio.wait({self._working}, timeout=STOP_PATIENCE)
            self.abandoned = bool(late)
        self.steps.stop()

    # -- the way in ------------------------------------------------------------------------
    def post_from_thread(self, event: CommandedEvent) -> None:
        """Feed the machine from another thread."""
        self._loop.call_soon_threadsafe(self.post, event)

    def post(self, event: CommandedEvent) -> None:
        """Feed the machine."""
        if self._stopped:
            return
        for command in self.machine.handle(event, self._loop.time()):
            if isinstance(command, Perform):
                log.debug("%s: %s%s", self.workspace, command.work.value, ", everything" if command.whole else "")
                self._working = self._start(self._perform(command), "local")
            else:
                self._say_next = command
                if self._saying is None or self._saying.done():
                    self._saying = self._start(self._say(), "announce")
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.machine.deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self.post, ev.TimePassed())
        self._onlookers.look()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Return whether ``condition`` came true within ``seconds``; it is asked after every event."""
        return await self._onlookers.until(condition, seconds)

    # -- the way out ---------------------------------------------------------------------------
    def _start(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        async def run() -> None:
            await work

        return self._loop.create_task(run(), name=f"{name} {self.workspace}")

    async def _perform(self, command: Perform) -> None:
        finished = await self._loop.run_in_executor(self.local, self._performed, command)
        if finished.problem is None and command.work is not Work.RECORD:
            self.synced_at = time.time()
        if finished.problem is None and finished.to_push and command.work is Work.RECORD:
            log.info("%s: committed", self.workspace)
        self.post(finished)

    def _performed(self, command: Perform) -> Finished:
        try:
            self.demand()
            return self.work.perform(command)
        except AutosyncError as error:
            self.post_from_thread(ev.RootVanished(title=error.title, hint=error.hint))
            problem = Halt(title=error.title, hint=error.hint)
        except OSError as error:
            problem = Halt(title=f"The files cannot be listed: {error}", hint="it is tried again by itself")
        except Exception as error:  # an edge: the machine waits for an answer, whatever happens
            log.exception("%s: %s failed", self.workspace, command.work.value)
            problem = Halt(title=f"A bug: {error!r}", hint="the log has the details; it is tried again by itself")
        return Finished(work=command.work, problem=problem, done=False)

    async def _say(self) -> None:
        """Announce the newest thing to be said, again and again until it is out."""
        wait = 1.0
        while (say := self._say_next) is not None:
            self._say_next = None
            try:
                await self.outside.pronounce(self, say, self.work.remote)
            except (AutosyncError, OSError) as error:
                log.warning("%s: not announced: %s", self.workspace, error)
                self._say_next = self._say_next or say
                await asyncio.sleep(wait)
                wait = min(2 * wait, UNANNOUNCED_MOST)
