"""Lets the service manager know how the agent is, on evidence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Protocol

from autosync.config import PathConfig
from autosync.errors import AutosyncError
from autosync.systemd.liveness import STUCK, Pulse, work_done
from autosync.systemd.notify import Notifier
from autosync.watch import TreeWatcher

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks, at most."""
SOON = 0.3
"""Seconds after something has happened."""
LOOKS = 3
"""Looks in the time that the watchdog gives: one that comes late harms nothing."""
STARTING = 30.0
"""Seconds that a start which gets on asks for, at each look."""


class Kept(Protocol):
    """What has to be known of a working copy."""

    @property
    def config(self) -> PathConfig:
        """Return how it is kept."""

    @property
    def local(self) -> Executor:
        """Return the one thread in which it is touched."""

    @property
    def watcher(self) -> TreeWatcher:
        """Return what watches it now."""


class Supervision:
    """What a service manager is told while the agent runs; nothing where there is none.

    ``kept`` returns the working copies, ``words`` a line that says how they are.  ``stuck`` is for how many
    seconds a step may stand still.
    """

    def __init__(
        self,
        notifier: Notifier,
        kept: Callable[[], Sequence[Kept]],
        words: Callable[[], Awaitable[str]],
        *,
        stuck: float = STUCK,
    ) -> None:
        self._stuck = stuck
        self._notifier = notifier
        self._kept = kept
        self._words = words
        self._pulses: dict[tuple[int, str], tuple[Kept, Pulse]] = {}
        self._complained: set[tuple[int, str]] = set()
        self.is_up = False
        """Whether the start is over."""
        self._work, self._moved_at = -1, time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def begin(self) -> None:
        """Tell from now on; the start has begun."""
        if self._notifier:
            self._task = asyncio.get_running_loop().create_task(self._look_again_and_again(), name="supervision")

    def ready(self) -> None:
        """The start is over."""
        self.is_up = True
        self._notifier.ready()
        self.look_soon()

    def look_soon(self) -> None:
        """Something has happened: what is told may be otherwise."""
        self._news.set()

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the configuration is read, as long as it is."""
        self._notifier.reloading()
        try:
            yield
        finally:
            self._notifier.ready()

    def leaving(self) -> None:
        """The end has begun, and it is for good."""
        self._notifier.stopping()

    def stop(self) -> None:
        """Tell nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _look_again_and_again(self) -> None:
        pause = min(LOOK_EVERY, (self._notifier.watchdog or LOOK_EVERY * LOOKS) / LOOKS)
        while True:
            try:
                await self._look()
            except Exception:  # of what is told here nothing else depends; the watchdog is not fed by it
                log.exception("the service manager is not told how it is")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
                await asyncio.sleep(min(SOON, pause))  # more may come with it
            self._news.clear()

    async def _look(self) -> None:
        if self._gets_on_starting() if not self.is_up else self.lives():
            self._notifier.alive()
        with contextlib.suppress(AutosyncError):
            self._notifier.status(await self._words())

    def _gets_on_starting(self) -> bool:
        """Ask for more time as long as the start gets on: the first look at a large working copy may take long."""
        beside_the_loop = time.process_time() - time.thread_time()
        work, now = int(beside_the_loop * 100) + work_done(None), time.monotonic()
        if work != self._work:
            self._work, self._moved_at = work, now
        gets_on = now - self._moved_at < self._stuck
        if gets_on:
            self._notifier.wait_for(STARTING)
        return gets_on

    def lives(self) -> bool:
        """Return whether every working copy takes turns, or gets on with a long step; the event loop does, if asked."""
        pulses = self._take_stock()
        stuck = {key for key, (_, pulse) in pulses.items() if not pulse.lives()}
        for key in stuck - self._complained:
            log.error(
                "%s: its %s thread has not moved for %.0f s: the service manager is not told any more that all is well",
                pulses[key][0].config.workspace,
                key[1],
                self._stuck,
            )
        self._complained = stuck
        return not stuck

    def _take_stock(self) -> dict[tuple[int, str], tuple[Kept, Pulse]]:
        """Return the pulses of those that are kept now; each thread's goes on from look to look."""
        before, self._pulses = self._pulses, {}
        for workspace in self._kept():
            local, watch = (id(workspace.local), "local"), (id(workspace), "watching")
            self._pulses[local] = before.get(local) or (
                workspace,
                Pulse(partial(workspace.local.submit, threading.get_native_id), stuck=self._patience(workspace)),
            )
            self._pulses[watch] = before.get(watch) or (
                workspace,
                Pulse(partial(_watchers_turn, workspace), stuck=self._stuck),
            )
        return self._pulses

    def _patience(self, workspace: Kept) -> float:
        """Return for how many seconds a step may stand still: what the user's commands wait for, only they know."""
        commands = workspace.config.commands
        return self._stuck if commands is None else self._stuck + commands.time_limit


def _watchers_turn(workspace: Kept) -> Future[int]:
    return workspace.watcher.next_turn()
