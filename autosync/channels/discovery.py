"""Finds the peers on the local networks with sealed multicast beacons."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
import struct
from collections import Counter, OrderedDict
from dataclasses import dataclass

from autosync.core.announcement import is_device_id
from autosync.core.candidates import on_lan
from autosync.core.model import DeviceId, WorkspaceId
from autosync.link import Links, WorkspaceHandle
from autosync.link.addresses import InterfaceAddress, join, machine_addresses
from autosync.sealing import SealBroken

log = logging.getLogger(__name__)

GROUP = ("239.255.83.89", 28547)
"""Of the site-local scope (RFC 2365); with a TTL of 1 it never leaves the local network anyway."""
_CONTEXT = b"beacon"
_IP_MULTICAST_ALL = 49  # linux/in.h; not in Python's socket module
_MREQN = struct.Struct("=4s4si")
_LARGEST = 2048
_AT_ONCE = 32
"""Beacons that are read before the loop gets its turn."""
_MAX_KNOWN = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Times in seconds, and beacons per second."""

    first: tuple[float, ...] = (0.0, 1.0, 3.0)
    """After the start, a change of the networks, or a new workspace."""
    interval: float = 30.0
    gap: float = 1.0
    """At least between two rounds of beacons, whatever is heard."""
    check: float = 10.0
    """Between looks at the interfaces."""
    heard: float = 5.0
    """At least between two attempts to link that beacons of one device bring about."""
    rate: int = 100
    """Beacons that are opened in one second."""


class Discovery:
    """Says where ``links`` can be reached and tells them what others say.

    ``dropped`` counts by reason what was heard and not used; ``problem`` is empty or says
    why nothing can be heard.
    """

    def __init__(
        self,
        links: Links,
        dropped: Counter[str],
        *,
        group: tuple[str, int] = GROUP,
        rhythm: Rhythm | None = None,
    ) -> None:
        self.problem = ""
        self._links = links
        self._dropped = dropped
        self._group = group
        self._rhythm = rhythm or Rhythm()
        self._socket: socket.socket | None = None
        self._joined: frozenset[InterfaceAddress] = frozenset()
        self._known: OrderedDict[tuple[WorkspaceId, DeviceId], bytes] = OrderedDict()
        self._heard_at: dict[tuple[WorkspaceId, DeviceId], float] = {}
        self._rounds: list[float] = []
        self._said_at = float("-inf")
        self._second = 0.0
        self._left = 0
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to speak and to listen."""
        self._task = asyncio.create_task(self._keep_going(), name="discovery")

    async def stop(self) -> None:
        """Fall silent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._close()

    def speak_up(self) -> None:
        """Say again where we are, a few times: there is somebody or something new."""
        now = asyncio.get_running_loop().time()
        self._rounds = [now + after for after in self._rhythm.first]
        self._sooner.set()

    # -- speaking ---------------------------------------------------------------------------
    async def _keep_going(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._join(self._interfaces())
            now = clock()
            if self._rounds and self._rounds[0] <= now and self._said_at + self._rhythm.gap <= now:
                self._rounds = [at for at in self._rounds if at > now]
                self._say_all()
                self._said_at = now
            if not self._rounds:
                self._rounds = [now + self._rhythm.interval * random.uniform(0.75, 1.25)]  # noqa: S311 - spreads load
            next_round = max(self._rounds[0], self._said_at + self._rhythm.gap)
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(next_round - now, self._rhythm.check))):
                    await self._sooner.wait()

    def _say_all(self) -> None:
        for handle in self._links.handles():
            body = {
                "device": handle.device,
                "instance": self._links.instance.hex(),
                "addresses": self._links.addresses(),
                # Only then is the address that the beacon comes from one to connect to.
                "port": self._links.port if self._links.ip is None else 0,
            }
            sealed = handle.key.seal(json.dumps(body, separators=(",", ":")).encode("ascii"), context=_CONTEXT)
            for at in self._joined:
                self._say(sealed, at)

    def _say(self, sealed: bytes, at: InterfaceAddress) -> None:
        if self._socket is None:
            return
        try:
            where = _MREQN.pack(b"\0\0\0\0", at.ip.packed, at.interface)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where)
            self._socket.sendto(sealed, self._group)
        except OSError as error:
            # An interface that went down, or one without multicast: the next look will tell.
            log.debug("no beacon by %s: %s", at.ip, error)

    # -- the networks -----------------------------------------------------------------------
    def _interfaces(self) -> frozenset[InterfaceAddress]:
        """Return one IPv4 address of every interface on which the listener can be reached."""
        every = machine_addresses()
        four = {a.interface: a for a in reversed(every) if a.ip.version == 4}
        bound = self._links.ip
        if bound is not None:
            own = {a.interface for a in every if a.ip == bound or (bound.is_loopback and a.ip.is_loopback)}
            four = {interface: a for interface, a in four.items() if interface in own}
        return frozenset(four.values())

    def _join(self, interfaces: frozenset[InterfaceAddress]) -> None:
        """Have the group's datagrams of exactly these interfaces."""
        if interfaces == self._joined and self._socket is not None:
            return
        self._close()
        try:
            heard = self._open(interfaces)
        except OSError as error:
            self._note(f"cannot listen to {join(*self._group)}: {error.strerror}")
            return
        self._note("" if heard else "no network interface takes part in multicast")
        self._joined = interfaces
        self.speak_up()

    def _open(self, interfaces: frozenset[InterfaceAddress]) -> int:
        """Return how many interfaces could be joined."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Only what comes by an interface that was joined *here*, not by any other agent
            # of this machine (ip(7), IP_MULTICAST_ALL).
            opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            opened.bind(self._group)
        except OSError:
            opened.close()
            raise
        joined = 0
        for at in interfaces:
            member = _MREQN.pack(socket.inet_aton(self._group[0]), at.ip.packed, at.interface)
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                joined += 1
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._hear)
        return joined

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("no discovery: %s", problem)
        self.problem = problem

    # -- listening --------------------------------------------------------------------------
    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                sealed, (host, _) = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("a beacon could not be read: %s", error)
                return
            if self._may_open():
                self._take(sealed, host)
            else:
                self._dropped["flood"] += 1

    def _may_open(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._second >= 1:
            self._second, self._left = now, self._rhythm.rate
        self._left -= 1
        return self._left >= 0

    def _take(self, sealed: bytes, host: str) -> None:
        for handle in self._links.handles():
            if handle.key.fits(sealed):
                try:
                    self._use(handle, handle.key.open(sealed, context=_CONTEXT), host)
                except SealBroken:
                    self._dropped["stranger"] += 1
                except (ValueError, TypeError, KeyError, RecursionError):
                    self._dropped["malformed beacon"] += 1
                return
        self._dropped["stranger"] += 1

    def _use(self, handle: WorkspaceHandle, opened: bytes, host: str) -> None:
        body = json.loads(opened)
        device, instance = DeviceId(body["device"]), bytes.fromhex(body["instance"])
        addresses = [str(address) for address in body["addresses"]]
        if not is_device_id(device):
            raise ValueError("no device id")
        port = body["port"]
        if type(port) is not int or not 0 <= port < 65536:
            raise ValueError("no port")
        if port:
            addresses.insert(0, join(host, port))
        if device == handle.device:
            if instance != self._links.instance:
                self._dropped["copied state-dir"] += 1
            return
        way = (handle.key.id, device)
        now = asyncio.get_running_loop().time()
        new = self._known.get(way) != instance
        # A recorded beacon can be repeated by anybody: it may bring about an attempt to link
        # now and then, no more.
        news = now - self._heard_at.get(way, float("-inf")) >= self._rhythm.heard
        if news:
            self._heard_at[way] = now
        self._links.learn(*way, on_lan(addresses), heard=news)
        if new:
            self._known[way] = instance
            if len(self._known) > _MAX_KNOWN:
                self._heard_at.pop(self._known.popitem(last=False)[0], None)
            self._rounds = [now, *self._rounds]
            self._sooner.set()
