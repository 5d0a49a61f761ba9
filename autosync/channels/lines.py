"""A connection to a server that speaks in lines: kept up, looked after, begun again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from dataclasses import dataclass
from typing import Protocol

from aiohappyeyeballs import start_connection

from autosync.channels.outbox import Outbox
from autosync.core.backoff import Backoff
from autosync.errors import AutosyncError, TransientError, Unreachable
from autosync.reflector.protocol import Malformed, Splitter
from autosync.reflector.tcp import tune

log = logging.getLogger(__name__)

_PIECE = 64 * 1024
_BYE = 0.4
"""Seconds that what was written last may take to leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTiming:
    """Times in seconds."""

    connect: float = 20.0
    """Until a connection is there."""
    answer: float = 15.0
    """Until something is heard that was asked for."""
    probe: float = 5.0
    """The same when there is reason to think that nobody is there any more."""
    quiet: float = 60.0
    """Nothing is heard for so long: asked for an answer.  A router forgets connections after minutes."""
    retry_base: float = 1.0
    retry_cap: float = 60.0
    stable: float = 30.0
    """What held for so long counts as having worked."""


class LineUser(Protocol):
    """What the connection is for; called in the event loop."""

    def opened(self) -> None:
        """A connection is there: ask for what is needed, then say :meth:`LineClient.ready`."""

    def line_received(self, line: bytes) -> None:
        """A line arrived, without its newline.  Must not raise."""

    def unready(self) -> AutosyncError:
        """Return why it is not ready, although the server had the time to answer."""


class LineClient:
    """One connection to ``host``:``port``, begun again with jittered back-off whenever it ends.

    ``kind`` names it in the log.  ``state`` and ``detail`` are those of
    :class:`autosync.ports.ChannelStatus`.
    """

    def __init__(self, kind: str, address: tuple[str, int], user: LineUser, timing: LineTiming) -> None:
        self.state = "connecting"
        self._kind = kind
        self._host, self._port = address
        self.server = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        self.detail = f"Connecting to {self.server}."
        self._user = user
        self._timing = timing
        self._supervisor: asyncio.Task[None] | None = None
        self._attempt: asyncio.Task[socket.socket] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._nudged = asyncio.Event()
        self._heard_at = 0.0
        self._asked_at: float | None = None
        self._patience = 0.0
        self._timer: asyncio.Timeout | None = None
        self._outbox = Outbox[bytes](self._write)

    # -- for who uses it -----------------------------------------------------------------------
    def start(self) -> None:
        """Begin to connect."""
        self._supervisor = asyncio.create_task(self._keep_connected(), name=self._kind)

    async def stop(self) -> None:
        """End within a second; what was said last leaves, if that is quick."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        self._become("offline", "Stopped.")

    def nudge(self) -> None:
        """As :meth:`autosync.ports.Channel.nudge`."""
        if self._supervisor is None:
            return
        self._nudged.set()
        if self._attempt is not None:
            self._attempt.cancel()  # it may be on its way into a network that is gone
        if self._writer is not None:
            self._ask(self._timing.probe)
        if self._timer is not None:
            self._timer.reschedule(self._due())

    def ready(self) -> None:
        """Count as online: the server has answered what :meth:`LineUser.opened` asked."""
        self._asked_at = None
        self._become("online", f"Connected to {self.server}.")

    def say(self, line: bytes) -> None:
        """Write a short line; what cannot be written now is lost."""
        if self._writer is not None:
            self._writer.write(line + b"\n")

    async def send(self, slot: str, line: bytes) -> None:
        """Return when ``line``, or a newer one of its ``slot``, was written.  Raises :class:`Unreachable`."""
        if self.state != "online":
            raise Unreachable(f"Not connected to {self.server} ({self._kind})", hint=self.detail)
        await self._outbox.put(slot, line)

    # -- life ------------------------------------------------------------------------------------
    async def _keep_connected(self) -> None:
        timing = self._timing
        backoff = Backoff(timing.retry_base, timing.retry_cap)
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            self._nudged.clear()
            cause = await self._connect()
            if cause is not None:
                self._become(
                    "offline" if isinstance(cause, TransientError) else "failed", f"{cause.title}. {cause.hint}"
                )
            if self._nudged.is_set() or clock() - began > timing.stable:
                backoff.reset()
            if not self._nudged.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next(random.random())):  # noqa: S311 - spreads load
                        await self._nudged.wait()

    async def _connect(self) -> AutosyncError | None:
        """Connect and stay connected; return why it ended, ``None`` if the attempt was given up for another."""
        try:
            return await self._open()
        except OSError as error:
            return self._unreachable(_reason(error))
        except UnicodeError:  # no name in DNS can be like that
            return self._unreachable("the name is not known")
        except Exception:
            log.exception("%s: a bug ended the connection", self._kind)
            return AutosyncError(f"The {self._kind} connection ended by a bug", hint="Please report what the log says.")

    async def _open(self) -> AutosyncError | None:
        connection = await self._dial()
        if not isinstance(connection, socket.socket):
            return connection
        reader, writer = await asyncio.open_connection(sock=connection, limit=_PIECE)
        try:
            return await self._use(reader, writer)
        finally:
            self._writer = None
            await self._outbox.fail_all(self._unreachable("the connection ended"))
            await _close(writer)

    async def _dial(self) -> socket.socket | AutosyncError | None:
        """Return a connection, or what :meth:`_connect` returns."""
        attempt = self._attempt = asyncio.create_task(_dialled(self._host, self._port), name=f"{self._kind} connects")
        given_up = True
        try:
            await asyncio.wait({attempt}, timeout=self._timing.connect)
            given_up = not attempt.done()
        finally:
            self._attempt = None
            if given_up:
                attempt.cancel()
                attempt.add_done_callback(_close_unused)
        if given_up:
            return self._unreachable("no answer")
        return None if attempt.cancelled() else attempt.result()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AutosyncError:
        splitter = Splitter()
        self._writer, self._heard_at = writer, asyncio.get_running_loop().time()
        self._asked_at, self._patience = self._heard_at, self._timing.answer
        self._user.opened()
        while True:
            try:
                async with asyncio.timeout_at(self._due()) as self._timer:
                    piece = await reader.read(_PIECE)
            except TimeoutError:
                if (cause := self._look()) is not None:
                    return cause
                continue
            finally:
                self._timer = None
            if not piece:
                return self._unreachable("it closed the connection")
            self._heard_at = asyncio.get_running_loop().time()
            if self.state == "online":
                self._asked_at = None
            try:
                lines = splitter.feed(piece)
            except Malformed:
                return self._unreachable("it sends what is no line of the protocol")
            for line in lines:
                self._user.line_received(line)
            await asyncio.sleep(0)  # what has arrived already is read without a turn for anybody else

    def _due(self) -> float:
        """Return when to look whether the server still is there."""
        if self._asked_at is None:
            return self._heard_at + self._timing.quiet
        # While it catches up each line is a sign of life.
        return max(self._asked_at, self._heard_at) + self._patience

    def _look(self) -> AutosyncError | None:
        """Ask, or return why there is no sense in it any more."""
        if asyncio.get_running_loop().time() < self._due():
            return None
        if self._asked_at is None:
            self._ask(self._timing.answer)
            return None
        return self._user.unready() if self.state != "online" else self._unreachable("no answer to a ping")

    def _ask(self, patience: float) -> None:
        """Ask for a sign of life: any line answers, within ``patience`` seconds."""
        self.say(b"ping")
        if self._asked_at is None:
            self._asked_at, self._patience = asyncio.get_running_loop().time(), patience
        self._patience = min(self._patience, patience)

    async def _write(self, _slot: str, line: bytes) -> None:
        if self._writer is None:
            raise self._unreachable("the connection ended")
        self._writer.write(line + b"\n")
        try:
            await self._writer.drain()
        except OSError as error:
            raise self._unreachable(_reason(error)) from None

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"The {self._kind} server {self.server} cannot be reached: {why}", hint="It is tried again.")

    def _become(self, state: str, detail: str) -> None:
        if (state, detail) != (self.state, self.detail):
            log.info("%s: %s -> %s (%s)", self._kind, self.state, state, detail.replace("\n", " "))
        self.state, self.detail = state, detail


async def _dialled(host: str, port: int) -> socket.socket:
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # Each in turn, the next a moment later: one that is dead holds nobody up (RFC 8305).  asyncio's own
    # loses connections that come at the moment at which they are given up.
    connection = await start_connection(addresses, happy_eyeballs_delay=0.25)
    try:
        tune(connection)
    except OSError:
        connection.close()
        raise
    return connection


def _close_unused(attempt: asyncio.Task[socket.socket]) -> None:
    """Close what an attempt that is given up may have reached at that moment."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_BYE):
            await writer.wait_closed()
    writer.transport.abort()


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    return os.strerror(error.errno) if error.errno else str(error)
