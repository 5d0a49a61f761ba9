"""Accepts connections, and lets no stranger learn or block anything."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from autosync.link.addresses import remote, tune
from autosync.link.carriage import Carriage
from autosync.link.hello import HelloRefused

log = logging.getLogger(__name__)

MAX_UNKNOWN = 64
"""Connections at a time that have not proved anything yet; one more ends the oldest."""
_REST = 0.5
"""Seconds to wait when the system has no resources for another connection."""

Member = TypeVar("Member")
Identify = Callable[[socket.socket], Awaitable[Member]]
"""Reads who is there, and writes nothing.  Raises :class:`HelloRefused`."""
Admit = Callable[[socket.socket, str, Carriage, Member], Awaitable[None]]
"""Goes on with a member of a workspace; owns the socket."""


class Listener(Generic[Member]):
    """Takes connections from ``listening`` until it is stopped.

    ``carriage`` is what they are good for.  ``dropped`` counts those that lead nowhere by
    reason.  A stranger has the time of a hello, gets no byte, and cannot keep others out: a
    real peer says its hello within a round trip, so the connection that has been silent for
    longest is the one to end.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        identify: Identify[Member],
        admit: Admit[Member],
        dropped: Counter[str],
        carriage: Carriage,
    ) -> None:
        self._listening = listening
        self._identify = identify
        self._admit = admit
        self._dropped = dropped
        self._carriage = carriage
        self._unknown: OrderedDict[asyncio.Task[None], socket.socket] = OrderedDict()
        self._members: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._listen()

    async def stop(self) -> None:
        """Stop listening and end all connections that are not links yet."""
        if self._resting is not None:
            self._resting.cancel()
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        tasks = [*self._unknown, *self._members]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Take one connection: the loop does everything else between two of a flood.

        Not by ``loop.sock_accept``, which loses a connection when it is cancelled late.
        """
        try:
            connection, _ = self._listening.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.warning("no connection can be taken for a moment: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening)
                self._resting = loop.call_later(_REST, self._listen)
            return
        connection.setblocking(False)
        self.take(connection, "", self._carriage)

    def take(self, connection: socket.socket, address: str, carriage: Carriage) -> None:
        """Find out who is at the other end of ``connection``, a non-blocking one, and admit a member.

        An empty ``address`` is that of the TCP connection it then must be.
        """
        if len(self._unknown) >= MAX_UNKNOWN:
            oldest = next(iter(self._unknown))
            self._unknown.move_to_end(oldest)  # it needs a moment to end, and not to be ended twice
            oldest.cancel()
            self._count("flood")
        task = asyncio.create_task(self._identified(connection, address, carriage))
        self._unknown[task] = connection
        task.add_done_callback(self._over)

    async def _identified(self, connection: socket.socket, address: str, carriage: Carriage) -> None:
        try:
            tune(connection)
            address = address or remote(connection)
            async with asyncio.timeout(carriage.timing.hello):
                member = await self._identify(connection)
        except HelloRefused as refused:
            self._count(refused.reason)
            return
        except OSError:
            self._count("stranger")
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        del self._unknown[task]
        self._members.add(task)
        try:
            await self._admit(connection, address, carriage, member)
        except HelloRefused as refused:
            self._count(refused.reason)
        except OSError as error:
            log.debug("a connection from %s ended before it was a link: %s", address, error)
        except Exception:
            log.exception("a connection from %s could not be admitted", address)

    def _over(self, task: asyncio.Task[None]) -> None:
        # Here and not in the task: one that is cancelled before its first step does nothing.
        connection = self._unknown.pop(task, None)
        if connection is not None:
            connection.close()
        self._members.discard(task)

    def _count(self, reason: str) -> None:
        if reason:
            self._dropped[reason] += 1
