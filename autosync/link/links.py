"""All links of this device: which leads to which peer, and what goes to whom."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import BinaryIO

from autosync.causes import STARVED, shortage_of
from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import ConfigError, Unreachable
from autosync.link.addresses import explain, join, listening_socket, machine_addresses, reachable
from autosync.link.carriage import Carriage
from autosync.link.connection import Link, Origin
from autosync.link.dialling import Connect, Dialler, Target, Unlinked
from autosync.link.fetching import NothingCame
from autosync.link.greeting import Greeting
from autosync.link.hello import Hello, HelloRefused, secure
from autosync.link.listening import Listener
from autosync.link.overview import overview
from autosync.link.prefix import NOTHING, Prefix
from autosync.link.traffic import Traffic
from autosync.link.ways import Ways
from autosync.link.wire import WireError
from autosync.link.workspace import PeerStatus, Timing, WorkspaceHandle, called
from autosync.trust.identity import Identity

log = logging.getLogger(__name__)

_ANOTHER = "there is another link"
_NEWER = "there is a newer link"

_STOPPING = 1.0
"""Seconds for links to say good-bye."""

_Caller = tuple[WorkspaceHandle, Hello]


class Links:
    """Listens at ``listen`` (host, port; empty host: all interfaces, port 0: a free one) and dials.

    There is one link for each workspace and peer.  ``dropped`` counts by reason what
    came in and was no peer.  ``traffic`` says how fast it may be, ``ways`` remembers how the
    peers were reached before.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        listen: tuple[str, int] = ("", 0),
        timing: Timing | None = None,
        traffic: Traffic | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._greeting = Greeting(identity)
        self.port = 0
        """0 while not listening."""
        self.ip: IPv4Address | IPv6Address | None = None
        """The address it is bound to; ``None``: all interfaces."""
        self._identity = identity
        self._host, self._wanted_port = listen
        self._timing = timing or Timing()
        self._carriage = Carriage(timing=self._timing)
        self._handles: dict[WorkspaceId, WorkspaceHandle] = {}
        self._links: dict[tuple[WorkspaceId, DeviceId], Link] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._last_said: dict[WorkspaceId, bytes] = {}
        self._everywhere: dict[Candidate, None] = {}
        self.traffic = traffic or Traffic()
        self.ways = ways or Ways()
        self.ranked: Callable[[WorkspaceId, tuple[DeviceId, ...]], None] = lambda _workspace, _order: None
        """Told whenever the linked peers of a workspace are to be asked in another order."""
        self._orders: dict[WorkspaceId, tuple[DeviceId, ...]] = {}
        self._retired: set[Link] = set()
        self._numbers = itertools.count(1)
        self._dialler = Dialler(self._greet, self._kind_of_link, timing=self._timing, ways=self.ways)
        self._listener: Listener[_Caller] | None = None

    @property
    def instance(self) -> bytes:
        """What tells this run of the agent from others of the same device."""
        return self._greeting.instance

    async def start(self) -> None:
        """Begin to listen.  Raises :class:`ConfigError` if that is not possible there, :class:`Shortage` if not now."""
        try:
            listening = listening_socket(self._host, self._wanted_port)
        except OSError as error:
            starved = shortage_of(error, b"/") if error.errno in STARVED else None
            raise starved or ConfigError(
                f"listen: {join(self._host or '*', self._wanted_port)} cannot be used: {explain(error)}",
                hint="Name an address of this machine; with port 0 a free port is taken.",
            ) from None
        bound, self.port = listening.getsockname()[:2]
        self.ip = ip_address(bound.partition("%")[0]) if self._host else None
        self._listener = Listener(
            listening,
            identify=self._identify,
            admit=self._welcome,
            dropped=self.dropped,
            carriage=self._carriage,
        )
        log.info("listening at %s", ", ".join(self.addresses()))

    async def stop(self) -> None:
        """Say good-bye to all peers, within a second or two."""
        await self._dialler.stop()
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        self.port = 0
        for link in (*self._links.values(), *self._retired):
            link.close("this device was stopped")
        if self._carrying:
            _, slow = await asyncio.wait(self._carrying, timeout=_STOPPING)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    def addresses(self) -> tuple[str, ...]:
        """Return where peers can reach this device at this moment, best first."""
        return reachable(self._host, self.port) if self.port else ()

    def add_connector(self, kind: CandidateKind, connect: Connect, *, carriage: Carriage | None = None) -> None:
        """Use candidates of ``kind`` from now on; ``connect`` turns the address of one into a connection.

        That may be one end of any byte pipe; ``carriage`` is what it is good for, as TCP if not given.
        """
        self._dialler.connectors[kind] = connect
        if carriage is not None:
            self._dialler.carriages[kind] = carriage

    def accept(self, connection: socket.socket, address: str, *, carriage: Carriage) -> None:
        """Take one end of a byte pipe that somebody has opened to here; ``address`` is what to call the other end.

        Whoever is there has to prove as much as one that connects by TCP.
        """
        connection.setblocking(False)
        if self._listener is None:
            connection.close()
        else:
            self._listener.take(connection, address, carriage)

    # -- workspaces -----------------------------------------------------------------------
    def add(self, handle: WorkspaceHandle) -> None:
        """Link with the peers of a workspace from now on.  Raises :class:`ValueError` for one that is here."""
        if handle.key.id in self._handles:
            raise ValueError(f"workspace {handle.key.id} is here already")
        self._handles[handle.key.id] = handle
        self._dialler.learn(handle, None, self._everywhere, heard=False)

    async def remove(self, handle: WorkspaceHandle) -> None:
        """End all links of a workspace and forget it."""
        del self._handles[handle.key.id]
        self._last_said.pop(handle.key.id, None)
        await self._dialler.stop(handle)
        self._orders.pop(handle.key.id, None)
        for link in (*self._linked(handle.key.id), *(r for r in self._retired if r.handle is handle)):
            link.close("the workspace was removed")

    def handles(self) -> tuple[WorkspaceHandle, ...]:
        """Return the workspaces that are here."""
        return tuple(self._handles.values())

    def learn(
        self,
        workspace: WorkspaceId | None,
        device: DeviceId | None,
        candidates: Iterable[Candidate],
        *,
        heard: bool = False,
    ) -> None:
        """Take note of ways to a device and keep trying them.

        ``workspace`` ``None`` is every workspace, also one added later; ``device`` ``None``
        is whoever answers.  ``heard`` tells that the device is there at this moment, so
        that a long wait for the next attempt is cut short.
        """
        if workspace is None:
            candidates = tuple(candidates)
            self._everywhere.update(dict.fromkeys(candidates))
        for handle in self._handles.values():
            if handle.key.id == (workspace or handle.key.id) and handle.device != device:
                self._dialler.learn(handle, device, candidates, heard=heard)

    def nudge(self) -> None:
        """Find out at once which peers still are there, and try the others without back-off."""
        here = {at.ip for at in machine_addresses()}
        for link in tuple(self._links.values()):
            if here and link.stranded(here):
                link.lose("this machine has another address now")
            else:
                link.doubt()
        self._dialler.nudge()

    # -- what goes over links ----------------------------------------------------------------
    def broadcast(self, workspace: WorkspaceId, sealed: bytes) -> None:
        """Send an announcement to every linked peer, now and to those who come later."""
        self._last_said[workspace] = sealed
        for link in self._linked(workspace):
            link.announce(sealed)

    async def fetch(
        self,
        workspace: WorkspaceId,
        device: DeviceId,
        want: SnapshotId,
        have: Sequence[str],
        sink: BinaryIO,
        *,
        begun: Prefix = NOTHING,
    ) -> None:
        """Write to ``sink`` what ``device`` answers, without the ``begun`` part of it.

        Raises :class:`~autosync.errors.Missing`, :class:`~autosync.errors.Refused`,
        :class:`~autosync.errors.Occupied` or :class:`Unreachable` (of which
        :class:`~autosync.link.fetching.OtherAnswer` is one); then ``sink`` may hold a part.
        """
        while True:
            link = await self._link_to(workspace, device)
            try:
                transfer = await link.fetch(want, have, sink, begun=begun)
            except NothingCame:
                # Of two links that were dialled at one moment one is given up.
                if self._links.get((workspace, device)) in (None, link):
                    raise
            else:
                if self.traffic.download.rate is None and not transfer.skipped:
                    # Else it says more of what is asked for here, or was to be made again there, than of the way.
                    self.ways.moved(device, link.origin.candidate, transfer)
                    self._rank(workspace)
                return

    def peers(self, workspace: WorkspaceId) -> list[PeerStatus]:
        """Return what is known of the ways to all peers, linked ones first."""
        return overview(self._linked(workspace), self._dialler.targets(workspace), self.ways)

    def order(self, workspace: WorkspaceId) -> tuple[DeviceId, ...]:
        """Return the linked peers, the nearest first."""
        return self._orders.get(workspace, ())

    def linked_devices(self) -> int:
        """Return the number of devices with at least one link."""
        return len({device for _, device in self._links})

    # -- how links begin and end --------------------------------------------------------------
    async def _link_to(self, workspace: WorkspaceId, device: DeviceId) -> Link:
        """Return the link to a device; if a first attempt to make one is under way, wait for it.

        Not for later ones: a peer behind a NAT would cost every fetch the time they take.
        """
        link = self._links.get((workspace, device))
        target = self._dialler.target(workspace, device)
        if link is None and target is not None and not target.problem:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.hello):
                    await target.attempt_over.wait()
            link = self._links.get((workspace, device))
        if link is None:
            where = target.problem if target is not None and target.problem else "no address of it answers"
            raise Unreachable(f"{device} is not linked: {where}", hint="It is tried again as long as the agent runs.")
        return link

    def _linked(self, workspace: WorkspaceId) -> list[Link]:
        return [link for (of, _), link in self._links.items() if of == workspace]

    def _kind_of_link(self, target: Target) -> CandidateKind | None:
        link = None if target.device is None else self._links.get((target.handle.key.id, target.device))
        return None if link is None else link.origin.kind

    def _rank(self, workspace: WorkspaceId) -> None:
        """Tell the order of the linked peers if it is another one now."""
        links = self._linked(workspace)
        near = sorted((self.ways.distance(link.device, link.origin.candidate), link.device) for link in links)
        order = tuple(device for _, device in near)
        if order != self._orders.get(workspace, ()):
            self._orders[workspace] = order
            self.ranked(workspace, order)

    def _measured(self, link: Link) -> None:
        self.ways.measured(link.device, link.origin.candidate, link.rtt_ms)
        if self._links.get((link.handle.key.id, link.device)) is link:
            self._rank(link.handle.key.id)

    async def _identify(self, connection: socket.socket) -> _Caller:
        return await self._greeting.identify(connection, self._handles.values())

    async def _welcome(self, connection: socket.socket, address: str, carriage: Carriage, caller: _Caller) -> None:
        """Make a link of a connection from a member."""
        timing = carriage.timing
        handle, peer = caller
        try:
            await self._greeting.answer(connection, handle, peer, within=timing.hello)
        except BaseException:
            connection.close()
            raise
        streams = await secure(connection, self._identity, peer, dialled=False, timing=timing)
        origin = Origin(dialled=False, address=address, instance=peer.instance, number=peer.number, kind=peer.kind)
        link = self._link(handle, peer, origin, streams, carriage)
        link.greet()
        self._keep(link)

    async def _greet(self, target: Target, candidate: Candidate, connection: socket.socket) -> None:
        """Make a link of a connection to a candidate."""
        handle, number = target.handle, next(self._numbers)
        carriage = self._dialler.carriages[candidate.kind]
        timing = carriage.timing
        try:
            peer = await self._greeting.call(connection, handle, number, candidate.kind, within=timing.hello)
        except BaseException:
            connection.close()
            raise
        target.device, target.name = peer.device, peer.name
        known = self._links.get((handle.key.id, peer.device))
        if (
            known is not None
            and known.origin.instance == peer.instance
            and known.origin.kind.rank <= candidate.kind.rank
        ):
            connection.close()
            known.doubt()
            return
        try:
            streams = await secure(connection, self._identity, peer, dialled=True, timing=timing)
        except HelloRefused as refused:
            raise Unlinked(refused.reason) from None
        origin = Origin(
            dialled=True, address=candidate.address, instance=peer.instance, number=number, kind=candidate.kind
        )
        link = self._link(handle, peer, origin, streams, carriage)
        try:
            async with asyncio.timeout(timing.hello):
                await link.greeted()
        except (asyncio.IncompleteReadError, WireError, OSError) as error:
            link.abandon()
            raise Unlinked("it did not take the link") from error
        except BaseException:
            link.abandon()
            raise
        self._keep(link)

    def _link(
        self,
        handle: WorkspaceHandle,
        peer: Hello,
        origin: Origin,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        carriage: Carriage,
    ) -> Link:
        return Link(handle, peer, origin, streams, carriage=carriage, traffic=self.traffic, measured=self._measured)

    def _keep(self, link: Link) -> None:
        """Let a new link carry, unless the one that is there is the one to keep."""
        handle, way = link.handle, (link.handle.key.id, link.device)
        old = self._links.get(way)
        if self._handles.get(handle.key.id) is not handle or self._listener is None:
            link.close("it is not wanted any more")
        elif old is not None and not link.outranks(old):
            link.close(_ANOTHER)
            old.doubt()
        else:
            self._links[way] = link
            if old is not None:
                self._replace(old, link)
            self.ways.used(link.device, link.origin.candidate)
            if handle.key.id in self._last_said:
                link.announce(self._last_said[handle.key.id])
            log.info("%s: linked with %s at %s", called(handle), link.device, link.origin.address)
            self._dialler.wake(*way)
            self._rank(handle.key.id)
        task = asyncio.create_task(self._carry(link), name=f"link {link.device}")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    def _replace(self, old: Link, link: Link) -> None:
        """Let go of a link for another one, without a gap if both lead to the same agent."""
        reason = _NEWER
        if old.origin.instance == link.origin.instance:
            self._retired.add(old)
            old.retire(reason)
        else:
            old.close(reason)

    async def _carry(self, link: Link) -> None:
        way = (link.handle.key.id, link.device)
        try:
            reason = await link.run()
        finally:
            self._retired.discard(link)
            if self._links.get(way) is link:
                del self._links[way]
                self._dialler.wake(*way)
                self._rank(link.handle.key.id)
        if link.misbehaved:
            self.dropped["broken frame"] += 1
        level = logging.DEBUG if reason in (_ANOTHER, _NEWER) else logging.INFO  # they are linked all the same
        log.log(level, "%s: link to %s ended: %s", called(link.handle), link.device, reason)
