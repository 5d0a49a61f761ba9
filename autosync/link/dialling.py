"""Keeps trying to reach every peer that has an address."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from autosync.core.allowance import Allowance
from autosync.core.backoff import Backoff
from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId, WorkspaceId
from autosync.link.addresses import MAX_ADDRESSES, explain, split, tune
from autosync.link.carriage import Carriage
from autosync.link.ssh import Tunnel
from autosync.link.ways import Ways
from autosync.link.workspace import AnswersByPeer, Timing, WorkspaceHandle, called

log = logging.getLogger(__name__)

MAX_TARGETS = 256
"""Devices of one workspace that are dialled; each new state directory is a new device."""

ANNOUNCED_RATE = 5.0
"""Connections per second to addresses that others have told: no member can have a third machine flooded."""
ANNOUNCED_BURST = 48


class Unlinked(Exception):
    """An attempt that did not end in a link; says why, and after all attempts of a round also where."""


@dataclass(slots=True, kw_only=True, eq=False)
class Target:
    """A peer to be linked with: a known device, or whoever of the workspace is at an address."""

    handle: WorkspaceHandle
    device: DeviceId | None
    name: str = ""
    candidates: tuple[Candidate, ...]
    configured: bool
    """Its one candidate was given by the user, whoever is there."""
    backoff: Backoff
    better: Backoff
    """Of the attempts at ways that are nearer than that of the link."""
    better_at: float = 0.0
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    attempt_over: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str = ""
    """Why the last attempt at these candidates failed; empty before it ended."""

    def describe(self) -> str:
        """Return how messages call it."""
        return self.name or self.device or self.candidates[0].address


Greet = Callable[[Target, Candidate, socket.socket], Awaitable[None]]
"""Makes a link of a new connection to a candidate; owns the socket.  Raises :class:`Unlinked` or
:class:`OSError`."""

Connect = Callable[[str], Awaitable[socket.socket]]
"""Returns a non-blocking connection to the address of a candidate.  Raises :class:`OSError` or
:class:`Unlinked`."""


class Dialler:
    """One task for each target: dial, wait while linked, back off, again."""

    def __init__(
        self, greet: Greet, kind_of_link: Callable[[Target], CandidateKind | None], *, timing: Timing, ways: Ways
    ) -> None:
        self._greet = greet
        self._kind_of_link = kind_of_link
        self._ways = ways
        self._timing = timing
        self.connectors: dict[CandidateKind, Connect] = {CandidateKind.LAN: connect, CandidateKind.PUBLIC: connect}
        """How to connect, by kind; candidates of other kinds are passed over."""
        self.carriages: defaultdict[CandidateKind, Carriage] = defaultdict(lambda: Carriage(timing=timing))
        """What such connections are good for."""
        self._targets: dict[Target, asyncio.Task[None]] = {}
        self._announced = Allowance(rate=ANNOUNCED_RATE, burst=ANNOUNCED_BURST)

    def targets(self, workspace: WorkspaceId) -> list[Target]:
        """Return the targets of one workspace."""
        return [target for target in self._targets if target.handle.key.id == workspace]

    def target(self, workspace: WorkspaceId, device: DeviceId) -> Target | None:
        """Return the target for a device, rather one that learns addresses than a configured one."""
        found = [t for t in self.targets(workspace) if t.device == device]
        return min(found, key=lambda t: t.configured, default=None)

    def learn(
        self, handle: WorkspaceHandle, device: DeviceId | None, candidates: Iterable[Candidate], *, heard: bool
    ) -> None:
        """Take note of how ``device`` (``None``: some peer, at each candidate) may be reached.

        The newest candidates are tried first.  ``heard``: it is there at this moment.
        """
        sound = tuple(c for c in dict.fromkeys(candidates) if not c.problem() and c.kind in self.connectors)
        if device is None:
            for candidate in sound:
                if not any(t.configured and candidate in t.candidates for t in self.targets(handle.key.id)):
                    self._add(handle, None, (candidate,))
            return
        target = self.target(handle.key.id, device)
        if target is None or target.configured:
            if sound:
                self._add(handle, device, sound[:MAX_ADDRESSES])
            return
        news = set(sound) - set(target.candidates)
        target.candidates = tuple(dict.fromkeys((*sound, *target.candidates)))[:MAX_ADDRESSES]
        if news:
            target.problem = ""
            target.better_at = 0.0
        if news or heard:
            target.backoff.reset()
            target.woken.set()

    def wake(self, workspace: WorkspaceId, device: DeviceId) -> None:
        """Look again at the targets that are this device: its link is new or gone."""
        for target in self.targets(workspace):
            if target.device == device:
                target.woken.set()

    def nudge(self) -> None:
        """Try all again at once: what failed on the networks of before may work on these."""
        for target in self._targets:
            target.backoff.reset()
            target.better.reset()
            target.better_at = 0.0
            target.woken.set()

    async def stop(self, handle: WorkspaceHandle | None = None) -> None:
        """Forget the targets of one workspace, or all."""
        gone = [t for t in self._targets if handle is None or t.handle is handle]
        tasks = [self._targets.pop(target) for target in gone]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, handle: WorkspaceHandle, device: DeviceId | None, candidates: tuple[Candidate, ...]) -> None:
        known = self.targets(handle.key.id)
        if len(known) >= MAX_TARGETS:
            oldest = next((t for t in known if not t.configured and not self._is_linked(t)), known[0])
            self._targets.pop(oldest).cancel()
        backoff = Backoff(self._timing.retry_first, self._timing.retry_most)
        target = Target(
            handle=handle,
            device=device,
            candidates=candidates,
            configured=device is None,
            backoff=backoff,
            better=Backoff(self._timing.better, self._timing.better_most),
        )
        self._targets[target] = asyncio.create_task(self._keep(target), name=f"dial {target.describe()}")

    def _is_linked(self, target: Target) -> bool:
        return self._kind_of_link(target) is not None

    async def _keep(self, target: Target) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            target.woken.clear()
            if not self._is_linked(target):
                await self._try(target)
            linked_at = clock()
            target.better_at = linked_at + target.better.next(random.random())  # noqa: S311 - guards nothing
            while (kind := self._kind_of_link(target)) is not None:
                target.problem = ""
                await self._wait_or_improve(target, kind)
            if clock() - linked_at > self._timing.settled:
                target.backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(target.backoff.next(random.random())):  # noqa: S311 - guards nothing
                    await target.woken.wait()

    async def _wait_or_improve(self, target: Target, kind: CandidateKind) -> None:
        """Return when something is new, or after an attempt to link on a way nearer than one of ``kind``."""
        nearer = [c for c in target.candidates if c.kind.rank < kind.rank]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(target.better_at if nearer else None):
                await target.woken.wait()
                target.woken.clear()
                return
        target.better_at = asyncio.get_running_loop().time() + target.better.next(random.random())  # noqa: S311
        try:
            await self._dial(target, nearer)
        except Unlinked:
            pass  # which `ways` remembers; there is a link
        except Exception:
            log.exception("dialling %s failed", target.describe())  # as in `_try`

    async def _try(self, target: Target) -> None:
        try:
            await self._dial(target, target.candidates)
            problem = ""
        except Unlinked as error:
            problem = str(error)
        except Exception:
            # A bug that one peer's answer brings out must not end the attempts for good.
            log.exception("dialling %s failed", target.describe())
            problem = "an internal error; the log says more"
        if problem and problem != target.problem:
            # An invitation knows nobody: whoever is near is tried, and goes away again.
            level = logging.DEBUG if isinstance(target.handle, AnswersByPeer) else logging.INFO
            log.log(level, "%s: no link to %s: %s", called(target.handle), target.describe(), problem)
        target.problem = problem
        target.attempt_over.set()
        target.attempt_over.clear()

    async def _dial(self, target: Target, candidates: Iterable[Candidate]) -> None:
        """Try the candidates, each a moment after the one before, until one leads to a link.

        The nearest kind comes first, and of one kind what worked last (RFC 8305, 4).  Raises
        :class:`Unlinked` with what every one of them came to.
        """
        problems: dict[str, set[str]] = {}
        waiting = self._ways.sorted(target.device, candidates)
        turn = asyncio.Lock()
        attempts: set[asyncio.Task[None]] = set()
        where: dict[asyncio.Task[None], str] = {}
        try:
            while waiting or attempts:
                if waiting:
                    candidate = waiting.pop(0)
                    attempt = asyncio.create_task(self._attempt(target, candidate, turn))
                    attempts.add(attempt)
                    where[attempt] = candidate.address
                done, attempts = await asyncio.wait(
                    attempts,
                    timeout=self._timing.stagger if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for attempt in done:
                    try:
                        attempt.result()
                    except Unlinked as error:
                        problems.setdefault(str(error), set()).add(where[attempt])
                    else:
                        return
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        raise Unlinked(_summary(problems))

    async def _attempt(self, target: Target, candidate: Candidate, turn: asyncio.Lock) -> None:
        if not target.configured:
            await self._allowed()
        connection: socket.socket | None = None
        try:
            async with asyncio.timeout(self.carriages[candidate.kind].timing.hello):
                connection = await self.connectors[candidate.kind](candidate.address)
            # One hello at a time: the peer keeps the newest of several links, which would
            # be the one that is given up here.
            with contextlib.ExitStack() as unless_greeted:
                unless_greeted.callback(connection.close)
                async with turn:
                    linked = self._kind_of_link(target)
                    if linked is not None and linked.rank <= candidate.kind.rank:
                        return
                    unless_greeted.pop_all()
                    await self._greet(target, candidate, connection)
        except OSError as error:
            why = _told(connection) or explain(error)
            self._ways.failed(target.device, candidate, why)
            raise Unlinked(why) from None
        except Unlinked as error:
            silent = isinstance(connection, Tunnel) and connection.is_silent
            why = str(error) if silent else _told(connection) or str(error)
            self._ways.failed(target.device, candidate, why)
            raise Unlinked(why) from None
        target.candidates = tuple(dict.fromkeys((candidate, *target.candidates)))

    async def _allowed(self) -> None:
        """Return when one more address that was not configured may be dialled."""
        clock = asyncio.get_running_loop().time
        while not self._announced.take(clock()):  # noqa: ASYNC110  # nothing but time changes it
            await asyncio.sleep(self._announced.free_at(clock()) - clock())


def _summary(problems: Mapping[str, Collection[str]]) -> str:
    """Return which addresses had which problem, in an order that does not depend on who was tried first."""
    told = (f"{', '.join(sorted(addresses))}: {why}" for why, addresses in sorted(problems.items()))
    return "; ".join(told) or "no address of it is known"


def _told(connection: socket.socket | None) -> str:
    """Return what the program that carried a connection has said of its end."""
    return connection.problem if isinstance(connection, Tunnel) else ""


async def connect(address: str) -> socket.socket:
    """Return a connection to the first address that the name has and that takes one.  Raises :class:`OSError`."""
    loop = asyncio.get_running_loop()
    host, port = split(address)
    problem: OSError | None = None
    for family, kind, protocol, _, where in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        try:
            tune(connection)
            await loop.sock_connect(connection, where)
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem or OSError(f"{host} has no address")
