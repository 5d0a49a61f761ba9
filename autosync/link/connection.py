"""One link: an authenticated connection to one peer, for one workspace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import BinaryIO

from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import SnapshotId
from autosync.link.addresses import Ip, explain
from autosync.link.carriage import Carriage
from autosync.link.fetching import Fetches
from autosync.link.hello import Hello
from autosync.link.prefix import NOTHING, Prefix
from autosync.link.serving import Serving
from autosync.link.traffic import Traffic
from autosync.link.transfers import Transfer
from autosync.link.wire import Kind, WireError, frame, read_frame
from autosync.link.workspace import WorkspaceHandle
from autosync.trust.sealing import MAX_SEALED

log = logging.getLogger(__name__)

INCOMING = "incoming"
"""In place of the address of a peer that has called: its port means nothing to another call."""
_MOST_UNSENT = 4 << 20
"""Bytes that wait to be sent on a link whose peer asks and asks and reads nothing; no other comes near it."""
_SECOND_PING = 1.0
"""Seconds after the first ping, which was answered while much else began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which of the two sides dialled, when, and at what address.

    ``instance`` is the peer's, ``number`` the dialling side's count; of what ``kind`` the
    way is says the dialling side.
    """

    dialled: bool
    address: str
    instance: bytes
    number: int
    kind: CandidateKind = CandidateKind.LAN

    @property
    def candidate(self) -> Candidate:
        """The way that this side has taken, or that the other one came on: of those there is one of each kind."""
        return Candidate(kind=self.kind, address=self.address if self.dialled else INCOMING)


class Link:
    """Carries announcements and fetches in both directions until one side or the network ends it."""

    def __init__(
        self,
        handle: WorkspaceHandle,
        peer: Hello,
        origin: Origin,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        carriage: Carriage,
        traffic: Traffic,
        measured: Callable[[Link], None] = lambda _: None,
    ) -> None:
        self.handle = handle
        self.device = peer.device
        self.name = peer.name
        self.origin = origin
        self.rtt_ms: float | None = None
        self.misbehaved = False
        self._reader, self._writer = streams
        self._writer.transport.set_write_buffer_limits(high=carriage.unsent)
        self._timing = timing = carriage.timing
        self._traffic = traffic
        self._measured = measured
        self._retired = ""
        self._fetches = Fetches(
            self._send, peer=peer.name, stall=timing.stall, download=traffic.download, idle=self._rest
        )
        self._serving = Serving(
            handle,
            peer.device,
            send=self._send,
            room=self._writer.drain,
            traffic=traffic,
            stall=timing.stall,
            lane=origin.kind.value,
            chunk=carriage.chunk,
            idle=self._rest,
        )
        self._newest: bytes | None = None
        self._news = asyncio.Event()
        self._sign_of_life = asyncio.Event()
        self._doubted = asyncio.Event()
        self._pinged: tuple[bytes, float] = (b"", 0.0)
        self._patience: asyncio.Timeout | None = None
        self._ended: str | None = None

    def outranks(self, other: Link) -> bool:
        """Return whether this link, and not ``other`` to the same peer, is the one to keep.

        Both sides come to the same answer: a peer that was started again has no old
        links; of links on ways of two kinds the one on the nearer way counts; of links dialled
        by both, those of the smaller device id; of links dialled by one, the last.
        """
        if self.origin.instance != other.origin.instance:
            return True
        return self._rank() > other._rank()

    def _rank(self) -> tuple[int, bool, int]:
        return -self.origin.kind.rank, self.origin.dialled == (self.handle.device < self.device), self.origin.number

    def greet(self) -> None:
        """Tell the dialling side that the link is up."""
        self._send(frame(Kind.READY))

    async def greeted(self) -> None:
        """Wait until the listening side says that the link is up."""
        kind, _ = await read_frame(self._reader)
        if kind != Kind.READY:
            raise WireError(f"a frame of kind {kind} before the link was ready")

    def announce(self, sealed: bytes) -> None:
        """Send an announcement; of several that have to wait only the newest is sent."""
        self._newest = sealed
        self._news.set()

    async def fetch(
        self, want: SnapshotId, have: Sequence[str], sink: BinaryIO, *, begun: Prefix = NOTHING
    ) -> Transfer:
        """As :meth:`autosync.link.fetching.Fetches.fetch`; return what it came to."""
        workspace, transfers = self.handle.key.id, self._traffic.transfers
        lane = self.origin.kind.value
        with transfers.incoming(workspace, self.device, want, skipped=begun.size, lane=lane) as transfer:
            await self._fetches.fetch(want, have, sink, begun=begun, moved=transfer.add)
        return transfer

    def retire(self, reason: str) -> None:
        """Close as soon as nothing is being fetched on this link; the peer does the same."""
        self._retired = reason
        self._rest()

    def _rest(self) -> None:
        if self._retired and not self._fetches.under_way and not self._serving.under_way:
            self.close(self._retired)

    def doubt(self) -> None:
        """Find out now whether the peer is still there, with less patience than without a cause for doubt."""
        self._doubted.set()
        running = self._patience
        if running is not None and not running.expired():
            soon = asyncio.get_running_loop().time() + self._timing.doubt
            running.reschedule(min(soon, running.when() or soon))

    def stranded(self, here: Container[Ip]) -> bool:
        """Return whether the address of this machine that the connection was made from is not ``here`` any more."""
        own = self._writer.get_extra_info("sockname")
        if not isinstance(own, tuple):  # a pipe
            return False
        return ip_address(str(own[0]).removeprefix("::ffff:").partition("%")[0]) not in here

    def lose(self, reason: str) -> None:
        """End a connection on which nothing can be said any more."""
        self.close(reason)
        self._writer.transport.abort()

    def abandon(self) -> None:
        """Drop a link that has never run."""
        self.close("it did not come up")
        self._writer.transport.abort()

    def close(self, reason: str) -> None:
        """Make :meth:`run` end."""
        if self._ended is None:
            self._ended = reason
            self._writer.close()
            self._fetches.link_lost(reason)

    async def run(self) -> str:
        """Carry everything until the link ends; return why it did."""
        sides = [asyncio.create_task(self._keep_announcing()), asyncio.create_task(self._keep_pinging())]
        try:
            while True:
                kind, payload = await read_frame(self._reader)
                self._sign_of_life.set()
                self._take(kind, payload)
        except asyncio.IncompleteReadError:
            self.close("closed the connection")
        except WireError as error:
            self.misbehaved = True
            self.close(f"sent {error}")
        except OSError as error:
            self.close(explain(error))
        finally:
            self.close("the link was stopped")
            for side in sides:
                side.cancel()
            await self._serving.stop()
            await asyncio.gather(*sides, return_exceptions=True)
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        return self._ended or ""

    def _send(self, framed: bytes) -> None:
        if self._ended is not None:
            return
        if self._writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            self.lose("takes nothing of what it asks for")
        else:
            self._writer.write(framed)

    def _take(self, kind: int, payload: bytes) -> None:
        match kind:
            case Kind.ANNOUNCE:
                if len(payload) > MAX_SEALED:
                    raise WireError(f"an announcement of {len(payload)} bytes")
                try:
                    self.handle.announced(payload, self.device)
                except Exception:
                    log.exception("an announcement of %s could not be taken", self.device)
            case Kind.DATA:
                self._fetches.chunk_arrived(payload)
            case Kind.END:
                self._fetches.end_arrived(payload)
            case Kind.FETCH:
                self._serving.asked(payload)
            case Kind.CREDIT:
                self._serving.granted(payload)
            case Kind.CANCEL:
                self._serving.cancelled(payload)
            case Kind.PING:
                self._send(frame(Kind.PONG, payload[:8]))
            case Kind.PONG:
                token, sent_at = self._pinged
                if payload == token:
                    self.rtt_ms = (asyncio.get_running_loop().time() - sent_at) * 1000
                    self._measured(self)

    async def _keep_announcing(self) -> None:
        with contextlib.suppress(OSError):  # then the link has ended, as `run` finds out too
            while True:
                await self._news.wait()
                self._news.clear()
                await self._writer.drain()
                newest, self._newest = self._newest, None
                if newest is not None:
                    self._send(frame(Kind.ANNOUNCE, newest))

    async def _keep_pinging(self) -> None:
        pause = min(_SECOND_PING, self._timing.ping)
        while True:
            self._sign_of_life.clear()
            patience = (
                min(self._timing.patience, self._timing.doubt) if self._doubted.is_set() else self._timing.patience
            )
            self._doubted.clear()
            self._pinged = os.urandom(8), asyncio.get_running_loop().time()
            self._send(frame(Kind.PING, self._pinged[0]))
            try:
                async with asyncio.timeout(patience) as self._patience:
                    await self._sign_of_life.wait()
            except TimeoutError:
                self.close("does not answer")
                self._writer.transport.abort()
                return
            finally:
                self._patience = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._doubted.wait()
            pause = self._timing.ping
