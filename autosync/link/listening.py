"""Accepts connections, and lets no stranger learn or block anything."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from autosync.link.addresses import remote, tune
from autosync.link.hello import HelloRefused

log = logging.getLogger(__name__)

MAX_UNKNOWN = 64
"""Connections at a time that have not proved anything yet; one more ends the oldest."""
_REST = 0.5
"""Seconds to wait when the system has no resources for another connection."""

Member = TypeVar("Member")
Identify = Callable[[socket.socket], Awaitable[Member]]
"""Reads who is there, and writes nothing.  Raises :class:`HelloRefused`."""
Admit = Callable[[socket.socket, str, Member], Awaitable[None]]
"""Goes on with a member of a workspace; owns the socket."""


class Listener(Generic[Member]):
    """Takes connections from ``listening`` until it is stopped.

    ``dropped`` counts those that lead nowhere by reason.  A stranger has ``patience``
    seconds, gets no byte, and cannot keep others out: a real peer says its hello within a
    round trip, so the connection that has been silent for longest is the one to end.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        identify: Identify[Member],
        admit: Admit[Member],
        dropped: Counter[str],
        patience: float,
    ) -> None:
        self._listening = listening
        self._identify = identify
        self._admit = admit
        self._dropped = dropped
        self._patience = patience
        self._unknown: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._members: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept(), name="listen")

    async def stop(self) -> None:
        """Stop listening and end all connections that are not links yet."""
        tasks = [self._accepting, *self._unknown, *self._members]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.warning("no connection can be taken for a moment: %s", error.strerror)
                    await asyncio.sleep(_REST)
                continue
            if len(self._unknown) >= MAX_UNKNOWN:
                oldest, _ = self._unknown.popitem(last=False)
                oldest.cancel()
                self._dropped["flood"] += 1
            task = asyncio.create_task(self._meet(connection))
            self._unknown[task] = None
            task.add_done_callback(lambda done: self._unknown.pop(done, None))
            await asyncio.sleep(0)  # a flood must not keep the loop from everything else

    async def _meet(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as unless_admitted:
            unless_admitted.callback(connection.close)
            try:
                tune(connection)
                address = remote(connection)
                async with asyncio.timeout(self._patience):
                    member = await self._identify(connection)
            except HelloRefused as refused:
                self._count(refused.reason)
                return
            except OSError:
                self._count("stranger")
                return
            unless_admitted.pop_all()
            task = asyncio.create_task(self._go_on(connection, address, member))
            self._members.add(task)
            task.add_done_callback(self._members.discard)

    async def _go_on(self, connection: socket.socket, address: str, member: Member) -> None:
        try:
            await self._admit(connection, address, member)
        except HelloRefused as refused:
            self._count(refused.reason)
        except OSError as error:
            log.debug("a connection from %s ended before it was a link: %s", address, error)
        except Exception:
            log.exception("a connection from %s could not be admitted", address)

    def _count(self, reason: str) -> None:
        if reason:
            self._dropped[reason] += 1
