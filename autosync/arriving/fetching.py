"""Fetches a snapshot from a peer, and goes on where an earlier attempt was cut."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO, TypeVar, cast

from autosync.arriving.parts import Part, Parts
from autosync.core import events as ev
from autosync.core.commands import Fetch
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError, Missing, Occupied, Unreachable
from autosync.failures import not_fetched
from autosync.link.fetching import OtherAnswer
from autosync.link.wire import Wish
from autosync.perform import Performer

T = TypeVar("T")

log = logging.getLogger(__name__)

WORTH_FINISHING = 4 << 20
"""Bytes that have come of a snapshot for which it is fetched to its end before a newer one is."""
MARGIN = 16 << 20
"""Bytes of room beside what a snapshot took when there was not enough."""
BUSY_FIRST, BUSY_MOST = 1.0, 4.0
"""Seconds, give or take half of it, before somebody who is busy is asked again."""

Ask = Callable[[DeviceId, Wish, BinaryIO], Awaitable[None]]
"""Writes to a file what a device answers, without the part that is there.  Raises :class:`AutosyncError`."""


@dataclass(slots=True, kw_only=True)
class Arriving:
    """What comes to one working copy from its peers, one fetch at a time."""

    performer: Performer
    network: Executor
    ask: Ask
    margin: int = MARGIN
    _parts: Parts = field(init=False)
    _refusals: int = 0
    """In a row, of those who were busy."""
    _room: dict[SnapshotId, int] = field(default_factory=dict)
    """Bytes that have to be free before it is fetched again for which there was no room, of one snapshot at most."""

    def __post_init__(self) -> None:
        self._parts = Parts(os.path.join(self.performer.backend.metadata, b"arriving"))

    def tidy(self) -> None:
        """Delete what an earlier run has left and nobody will go on with."""
        try:
            self._parts.tidy()
        except OSError as error:
            log.warning("parts of answers are left over: %s", error)

    async def fetch(self, command: Fetch) -> ev.SnapshotFetched:
        """Bring a snapshot from a peer into the store."""
        try:
            finished = await self._finish_another(command)
            event = await self._fetch(command, finished)
        except Occupied as error:
            wait = min(BUSY_MOST, BUSY_FIRST * 1.5**self._refusals)
            self._refusals += 1
            # Not all of a fleet at the same moment.
            busy_for = wait * random.uniform(0.5, 1.5)  # noqa: S311 - guards nothing
            return replace(not_fetched(command, error, self.performer.backend.metadata), busy_for=busy_for)
        except Exception as error:  # an edge: the session waits for an answer, whatever happens
            cause = error
            if isinstance(error, OSError):
                cause = await self._in_thread(partial(self.performer.cause_of, error))
            return not_fetched(command, cause, self.performer.backend.metadata)
        self._refusals = 0
        return event

    async def _finish_another(self, command: Fetch) -> tuple[SnapshotId, ...]:
        """Fetch to its end what has come in large part already; return it: the rest is a small difference then.

        Whoever has it no more is asked for the newer one alone.  Raises :class:`Unreachable` and
        :class:`Occupied`: asked for the newer one now, he would send all of it again.
        """
        other = await self._in_thread(lambda: self._parts.largest(command.wanted, WORTH_FINISHING))
        if other is None:
            return ()
        try:
            event = await self._fetch(replace(command, wanted=other), ())
        except (Unreachable, Occupied):
            raise
        except AutosyncError as error:
            log.info("%s, of which a part is here, is not finished: %s", other[:10], error.title)
            return ()
        return (other,) if event.snapshot is not None else ()

    async def _fetch(self, command: Fetch, finished: tuple[SnapshotId, ...]) -> ev.SnapshotFetched:
        backend = self.performer.backend

        def have() -> Sequence[str]:
            return (*finished, *backend.haves())

        await self._in_thread(lambda: self._look_for_room(command.wanted))
        part = await self._in_thread(lambda: self._parts.begin(command.wanted, have))
        keep = False
        try:
            await self._ask_for(command.source.device, part, have)
            event = await self._in_thread(
                lambda: self.performer.receive(command, lambda: backend.receive(command.wanted, part.whole()))
            )
            if event.hint:  # this machine did not allow it
                self._room = {command.wanted: 2 * part.size + self.margin}
            return event
        except (Unreachable, Occupied, Missing, asyncio.CancelledError):
            keep = True
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._room = {command.wanted: part.size + self.margin}
            raise
        finally:
            # Here and not in a thread: a cancelled task waits for none.
            part.keep() if keep else part.drop()

    def _look_for_room(self, wanted: SnapshotId) -> None:
        """Raise :class:`OSError` if there is no more room than it took already: trying would fill the disk again."""
        if wanted in self._room:
            place = self.performer.backend.metadata
            disk = os.statvfs(place)
            if disk.f_bavail * disk.f_frsize < self._room[wanted]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)
        self._room.clear()

    async def _ask_for(self, device: DeviceId, part: Part, have: Callable[[], Sequence[str]]) -> None:
        sink = cast(BinaryIO, part)  # which has all that is needed of one
        if part.size:
            log.info("%s is gone on with at %d bytes", part.want[:10], part.size)
        try:
            await self.ask(device, part.wish, sink)
        except OtherAnswer as error:
            log.info("%s is fetched from the beginning: %s", part.want[:10], error.title)
            await self._in_thread(lambda: part.begin_anew(have()))
            await self.ask(device, part.wish, sink)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.network, work)
