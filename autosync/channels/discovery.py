"""Finds the peers on the local networks, by multicast DNS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from autosync.channels.beacon import Beacon, label_of, read, write
from autosync.channels.mdns import PORT, Responder
from autosync.core.candidates import on_lan
from autosync.core.model import DeviceId, WorkspaceId
from autosync.link import Links, WorkspaceHandle
from autosync.link.addresses import InterfaceAddress, link_local, machine_addresses, multicast_addresses, scoped
from autosync.trust.sealing import SealBroken

log = logging.getLogger(__name__)

_MAX_KNOWN = 1024
_DEAF = f"UDP port {PORT}: what this device says to its networks does not come back; does a firewall drop it?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Times in seconds, and counts."""

    first: float = 1.0
    """Between the first two questions after the start or a change of the networks; each next time is twice as long."""
    interval: float = 3600.0
    """Between two questions at most (RFC 6762, 5.2)."""
    check: float = 30.0
    """Between looks at the interfaces, whose changes are told by a nudge as well."""
    echo: float = 3.0
    """Within which we must hear ourselves."""
    heard: float = 5.0
    """At least between two attempts to link that beacons of one device bring about."""
    rate: int = 100
    """Beacons that are opened in one second."""
    flood: int = 3000
    """Records of others in one second, of whatever kind, that make us stop listening for a ``rest``; some hundred
    are much in a large network."""
    rest: float = 60.0
    doubled: float = 30.0
    """At least between two reports that somebody else has the identity of this device."""


class Discovery:
    """Says where ``links`` can be reached and tells them what others say.

    What is heard is a hint to dial, no more: the link proves who is there.  ``dropped`` counts
    by reason what was heard and not used; ``problem`` is empty or says why nothing can be heard.
    ``doubled`` is called now and then while somebody else has the identity of this device.
    """

    def __init__(
        self,
        links: Links,
        dropped: Counter[str],
        *,
        rhythm: Rhythm | None = None,
        doubled: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = ""
        self._doubled = doubled
        self._doubled_at = float("-inf")
        self._links = links
        self._dropped = dropped
        self._rhythm = rhythm or Rhythm()
        self._responders: list[Responder] = []
        """One for the loopback interface, where it has to be heard as well, one for the networks."""
        self._places: frozenset[InterfaceAddress] = frozenset()
        self._moved = True
        self._flooded = False
        self._texts: dict[str, tuple[Beacon, bytes]] = {}
        """What is said, by label."""
        self._known: OrderedDict[tuple[WorkspaceId, DeviceId], float] = OrderedDict()
        """When each was heard last."""
        self._ask_at = 0.0
        self._ask_after = 0.0
        self._echo_by = 0.0
        self._second = 0.0
        self._left = 0
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to speak and to listen."""
        self._task = asyncio.create_task(self._keep_going(), name="discovery")

    async def stop(self) -> None:
        """Say good-bye and fall silent, within a second."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._close(farewell=True)

    def speak_up(self) -> None:
        """There is a new workspace or address: say so now."""
        self._sooner.set()

    def nudge(self) -> None:
        """The machine slept or its networks changed: begin again on those that are there now."""
        self._moved = True
        self._sooner.set()

    # -- the rhythm -------------------------------------------------------------------------
    async def _keep_going(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._sooner.clear()
            try:
                await self._open()
                await self._speak(clock())
            except Exception:
                # Whatever zeroconf meets on odd networks must not end the looking for good.
                log.exception("discovery failed")
                self._note("an internal error; the log says more")
                await self._close(farewell=False)
            pause = (
                min(self._rhythm.check, max(0.0, self._ask_at - clock())) if self._responders else self._rhythm.check
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._sooner.wait()
            if self._flooded:
                self._note(f"more than {self._rhythm.flood} records a second; it is tried again later")
                await self._close(farewell=False)
                await asyncio.sleep(self._rhythm.rest)
                self._flooded = False

    async def _open(self) -> None:
        """Take part on exactly those interfaces by which the listener can be reached."""
        places = self._interfaces()
        if places == self._places and self._responders and not self._moved:
            return
        self._moved, self._places = False, places
        await self._close(farewell=False)
        joined = 0
        try:
            for near in (True, False):
                of_these = [at for at in places if at.ip.is_loopback is near]
                if of_these:
                    responder = Responder(of_these, self._heard, limit=self._rhythm.flood, flooded=self._stop_listening)
                    self._responders.append(responder)
                    joined += await responder.start()
        except OSError as error:
            self._note(f"UDP port {PORT} cannot be used: {error.strerror or error}")
            await self._close(farewell=False)
            return
        self._note("" if joined else "no network interface takes part in multicast")
        now = asyncio.get_running_loop().time()
        self._ask_at, self._ask_after = now, self._rhythm.first
        self._echo_by = now + self._rhythm.echo

    async def _speak(self, now: float) -> None:
        self._write_beacons()
        texts = {label: text for label, (_, text) in self._texts.items()}
        due = self._ask_at <= now
        for responder in self._responders:
            await responder.publish(texts)
            if due:
                responder.ask()
        if due:
            self._ask_at = now + self._ask_after
            self._ask_after = min(self._ask_after * 2, self._rhythm.check if self.problem else self._rhythm.interval)
        if self._responders and self._texts and self._echo_by <= now:
            # The loopback interface is not what people ask a firewall about.
            echoed = self._responders[-1].echoed
            if echoed and self.problem == _DEAF:
                self.nudge()  # nobody has heard what was said before
            elif not echoed and not self.problem:
                self._note(_DEAF)

    def _write_beacons(self) -> None:
        """Bring what is said up to date; what stays the same is not sealed anew."""
        before, self._texts = self._texts, {}
        addresses, local = self._links.addresses(), link_local(machine_addresses())
        for handle in self._links.handles():
            label = label_of(handle.key, self._links.instance)
            beacon = Beacon(
                device=handle.device,
                instance=self._links.instance,
                addresses=addresses,
                # Only then can it be reached there.
                local=local if self._links.ip is None else (),
                port=self._links.port,
            )
            old = before.get(label)
            same = old is not None and old[0] == beacon
            self._texts[label] = old if old is not None and same else (beacon, write(handle.key, label, beacon))

    async def _close(self, *, farewell: bool) -> None:
        responders, self._responders = self._responders, []
        await asyncio.gather(*(responder.close(farewell=farewell) for responder in responders))

    def _interfaces(self) -> frozenset[InterfaceAddress]:
        """Return the addresses to take part from: of each interface on which the listener can be reached."""
        every = machine_addresses()
        places = multicast_addresses(every)
        bound = self._links.ip
        if bound is not None:
            own = {a.interface for a in every if a.ip == bound or (bound.is_loopback and a.ip.is_loopback)}
            places = [at for at in places if at.interface in own]
        return frozenset(places)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("no discovery: %s", problem)
        self.problem = problem

    # -- listening --------------------------------------------------------------------------
    def _stop_listening(self) -> None:
        self._flooded = True
        self._sooner.set()

    def _heard(self, label: str, text: bytes) -> None:
        if label in self._texts:
            return
        if self._may_open():
            self._take(label, text)
        else:
            self._dropped["flood"] += 1

    def _may_open(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._second >= 1:
            self._second, self._left = now, self._rhythm.rate
        self._left -= 1
        return self._left >= 0

    def _take(self, label: str, text: bytes) -> None:
        for handle in self._links.handles():
            try:
                beacon = read(handle.key, label, text)
            except SealBroken:
                self._dropped["stranger"] += 1
                return
            except ValueError:
                self._dropped["malformed beacon"] += 1
                return
            if beacon is not None:
                self._use(handle, beacon)
                return
        self._dropped["stranger"] += 1

    def _meet_double(self, handle: WorkspaceHandle) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._doubled_at >= self._rhythm.doubled:
            self._doubled_at = now
            log.warning("another machine on this network has the identity of this one, %s", handle.device)
            self._doubled()

    def _use(self, handle: WorkspaceHandle, beacon: Beacon) -> None:
        if beacon.device == handle.device:
            if beacon.instance != self._links.instance:
                self._dropped["copied state-dir"] += 1
                self._meet_double(handle)
            return
        way = (handle.key.id, beacon.device)
        now = asyncio.get_running_loop().time()
        # A recorded beacon can be repeated by anybody: it may bring about an attempt to link
        # now and then, no more.
        news = now - self._known.get(way, float("-inf")) >= self._rhythm.heard
        if news:
            self._known[way] = now
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        addresses = (*beacon.addresses, *scoped(beacon.local, beacon.port))
        self._links.learn(*way, on_lan(addresses), heard=news)
