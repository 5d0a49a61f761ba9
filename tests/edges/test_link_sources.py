"""Many devices that want one large answer, answers that were cut, rates, and links that move to nearer ways."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.core.commands import Fetch
from autosync.core.events import Announced, SnapshotFetched
from autosync.core.fetches import Fetches
from autosync.core.integration import Integration
from autosync.core.model import Base, DeviceId, Snapshot, TreeId, Version
from autosync.core.sources import Peers
from autosync.errors import AutosyncError, Occupied
from autosync.link import wire
from autosync.link.allotment import AT_ONCE, COPIES_AT_ONCE, COPIES_FREE, SMALL, TRIES, Allotment, Crowded
from autosync.link.carriage import Carriage
from autosync.link.fetching import OtherAnswer
from autosync.link.flow import Flow
from autosync.link.prefix import Prefix
from autosync.link.serving import MAX_PER_LINK
from autosync.link.transfers import Transfer
from autosync.link.ways import MAX_WAYS, Ways
from autosync.link.wire import CHUNK, Kind, WireError
from tests import figures
from tests.announcements import said_by
from tests.edges.link_attackers import member
from tests.edges.linked_devices import (
    KEY,
    PATIENT,
    QUICK,
    WANTED,
    Device,
    Sink,
    eventually,
    linked_pair,
    running,
    serving,
)
from tests.waiting import PATIENCE

LARGE = os.urandom(3 * SMALL)
NEAR = DeviceId("near-00000000")
NOW = Version.of({NEAR: 1})


def prefix_of(content: bytes) -> Prefix:
    return Prefix(size=len(content), sha256=hashlib.sha256(content).digest())


# -- a fleet ---------------------------------------------------------------------------------
class Server:
    """A device that decides as a session does, and serves what it has."""

    def __init__(self, device: Device, got: Counter[DeviceId]) -> None:
        self.device = device
        self.has = False
        self.refusals = 0
        self._got = got
        self._peers = Peers()
        self._fetches = Fetches(self._peers, Integration())
        self._tasks: set[asyncio.Task[None]] = set()

    def announce(self) -> None:
        """Serve, and say so."""
        self.has = True
        self.device.workspace.answers[WANTED] = serving(LARGE)
        self.device.say("I have it")

    async def listen(self) -> None:
        """Hear of those who have it, until it is here."""
        while not self.has:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    peer, _ = await self.device.workspace.heard.get()
                    self._peers.announced(_word_of(peer), self._now())
            for command in () if self.has else self._fetches.commands(list(self._peers.all()), self._now()):
                self._begin(command)

    def _begin(self, command: Any) -> None:
        assert isinstance(command, Fetch)
        task = asyncio.create_task(self._fetch(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, command: Fetch) -> None:
        sink, holder = io.BytesIO(), command.source.device
        event = SnapshotFetched(wanted=WANTED, source="", snapshot=None, reason="not there")
        try:
            await self.device.fetch(holder, WANTED, sink)
        except Occupied:
            self.refusals += 1
            event = replace(event, busy_for=0.2)
        except AutosyncError:
            pass
        else:
            event = replace(event, snapshot=_snapshot())
        self._got[holder] += len(sink.getvalue())
        for following in self._fetches.ended(event, self._now()):
            self._begin(following)
        if event.snapshot is not None:
            assert sink.getvalue() == LARGE
            self.announce()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _snapshot() -> Snapshot:
    base = Base(commit=None, branch=None)
    return Snapshot(id=WANTED, tree=TreeId("t"), base=base, version=NOW, parents=(), device="near", time=0)


def _word_of(device: DeviceId) -> Announced:
    said = said_by(device, snapshot=WANTED, tree=TreeId("t"), version=NOW)
    return Announced(announcement=said, lane="lan")


@contextlib.asynccontextmanager
async def fleet(place: Path, count: int, got: Counter[DeviceId]) -> AsyncIterator[tuple[Server, list[Server]]]:
    """A laptop and ``count`` servers, each of them linked with it and with some of the others."""
    async with contextlib.AsyncExitStack() as stack:
        patient = replace(QUICK, hello=20.0, patience=20.0, stall=20.0)
        devices = [
            await stack.enter_async_context(running(place, f"d{number}", timing=patient)) for number in range(count + 1)
        ]
        laptop, *servers = [Server(device, got) for device in devices]
        near = min(4, (count - 1) // 2)
        for number, server in enumerate(servers):
            for other in (laptop, *(*servers, *servers)[number + 1 : number + 1 + near]):
                server.device.knows(other.device)
        await eventually(lambda: len(laptop.device.linked_with()) == count, 40)
        for server in servers:
            await eventually(lambda server=server: len(server.device.linked_with()) > 2 * near, 40)  # type: ignore[misc]
        yield laptop, servers


async def test_a_fleet_does_not_fetch_everything_from_one(tmp_path: Path) -> None:
    got: Counter[DeviceId] = Counter()
    async with fleet(tmp_path, 20, got) as (laptop, servers):
        laptop.announce()
        async with asyncio.timeout(60):
            await asyncio.gather(*(server.listen() for server in servers))
        assert all(server.has for server in servers)
        assert sum(got.values()) == 20 * len(LARGE), "what was refused has cost something"
        assert got[laptop.device.id] <= 10 * len(LARGE), "it has served more than half of them"
        figures.record("copies that the first of 20 devices served", got[laptop.device.id] // len(LARGE))


async def test_holders_may_vanish_while_they_serve(tmp_path: Path) -> None:
    got: Counter[DeviceId] = Counter()
    async with fleet(tmp_path, 5, got) as (laptop, servers):
        laptop.announce()
        first, *others = servers
        await asyncio.wait_for(first.listen(), 30)
        fetching = [asyncio.create_task(server.listen()) for server in others]
        await first.device.links.stop()
        async with asyncio.timeout(60):
            await asyncio.gather(*fetching)
        assert all(server.has for server in others)
        figures.record("faults injected", 1)


async def test_nobody_starves_whose_only_source_is_busy(tmp_path: Path) -> None:
    """Each of them reaches the laptop alone, and so is served by it in the end."""
    got: Counter[DeviceId] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        laptop = Server(await stack.enter_async_context(running(tmp_path, "laptop")), got)
        servers = [Server(await stack.enter_async_context(running(tmp_path, f"d{n}")), got) for n in range(7)]
        for server in servers:
            server.device.knows(laptop.device)
        await eventually(lambda: len(laptop.device.linked_with()) == len(servers))
        laptop.announce()
        async with asyncio.timeout(60):
            await asyncio.gather(*(server.listen() for server in servers))
        assert got == {laptop.device.id: 7 * len(LARGE)}


async def test_small_answers_are_never_refused(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, timing=PATIENT) as (laptop, desktop):
        gate = asyncio.Event()
        large = asyncio.create_task(_fetch_slowly(laptop, desktop, gate))
        second = asyncio.create_task(_fetch_slowly(laptop, desktop, gate))
        traffic = desktop.links.traffic
        await eventually(lambda: len([t for t in traffic.transfers.live(KEY.id) if t.moved]) == COPIES_AT_ONCE)
        with pytest.raises(Occupied, match="desktop: it serves others first"):
            await laptop.fetch(desktop.id, WANTED, Sink())
        small = bytes(SMALL)
        desktop.workspace.answers[WANTED] = serving(small)
        sinks = [io.BytesIO() for _ in range(6)]
        await asyncio.gather(*(laptop.fetch(desktop.id, WANTED, s, [f"{n:040x}"]) for n, s in enumerate(sinks)))
        assert {sink.getvalue() for sink in sinks} == {small}
        gate.set()
        assert list(await asyncio.gather(large, second)) == [4 << 20, 4 << 20]


async def _fetch_slowly(laptop: Device, desktop: Device, gate: asyncio.Event) -> int:
    loop = asyncio.get_running_loop()

    class Waiting(Sink):
        def write(self, written: Any) -> int:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(PATIENCE)
            return super().write(written)

    desktop.workspace.answers[WANTED] = serving(bytes(4 << 20))
    sink = Waiting()
    await laptop.fetch(desktop.id, WANTED, sink)
    return sink.size


async def test_small_answers_that_nobody_takes_hold_up_no_others(tmp_path: Path) -> None:
    async with (
        linked_pair(tmp_path, timing=PATIENT) as (laptop, desktop),
        member(desktop, tmp_path) as (_, writer),
    ):
        desktop.workspace.answers[WANTED] = serving(bytes(SMALL))
        for request in range(2 * AT_ONCE):
            writer.write(wire.fetch(request, WANTED, ()))  # and no credit
        transfers = desktop.links.traffic.transfers
        await eventually(lambda: len(transfers.live(KEY.id)) >= MAX_PER_LINK)
        await laptop.fetch(desktop.id, WANTED, sink := Sink())
        assert sink.size == SMALL
        assert len(transfers.live(KEY.id)) >= MAX_PER_LINK


async def test_what_is_asked_for_and_cancelled_again_and_again_is_made_a_few_times_at_once(tmp_path: Path) -> None:
    """What makes an answer cannot be stopped before it has something to say."""
    async with (
        linked_pair(tmp_path, timing=PATIENT) as (laptop, desktop),
        member(desktop, tmp_path) as (reader, writer),
    ):
        begun, go_on = Counter[str](), threading.Event()

        def answer(_have: Sequence[str], out: BinaryIO) -> None:
            begun["answers"] += 1
            go_on.wait(60)
            out.write(b"pack")

        desktop.workspace.answers[WANTED] = answer
        for request in range(3 * AT_ONCE):
            writer.write(wire.fetch(request, WANTED, ()))
            if request < AT_ONCE:
                await eventually(lambda request=request: begun["answers"] == request + 1)  # type: ignore[misc]
            for token in range(3):
                writer.write(wire.frame(Kind.PING, b"%7d%d" % (request, token)))
                while await wire.read_frame(reader) != (Kind.PONG, b"%7d%d" % (request, token)):
                    pass
            writer.write(wire.cancel(request))
        assert begun["answers"] == AT_ONCE
        go_on.set()
        await laptop.fetch(desktop.id, WANTED, sink := io.BytesIO())
        assert sink.getvalue() == b"pack"


async def test_who_was_refused_often_is_one_who_reaches_nobody_else() -> None:
    allotment = Allotment()

    async def ask(asker: str) -> None:
        async with allotment.turn("snapshot", asker, "question") as turn:
            turn.expect(SMALL + 1)

    for number in range(COPIES_FREE):
        await ask(f"d{number}")
    for _ in range(TRIES):
        with pytest.raises(Crowded):
            await ask("lonely")
    await ask("lonely")
    with pytest.raises(Crowded):
        await ask("another")
    assert allotment.is_known_to_be_large("snapshot", "question")
    assert not allotment.is_known_to_be_large("snapshot", "another question")
    for number in range(200):  # of so many snapshots not all are remembered
        async with allotment.turn(number, "d", "question") as turn:
            turn.expect(SMALL + 1)
    assert not allotment.is_known_to_be_large("snapshot", "question")


# -- what was cut ----------------------------------------------------------------------------
@pytest.mark.parametrize("at", [1, CHUNK, SMALL + 5, len(LARGE) - 1, len(LARGE)])
async def test_an_answer_goes_on_where_it_was_cut(tmp_path: Path, at: int) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        desktop.workspace.answers[WANTED] = serving(LARGE)
        sink = io.BytesIO()
        await laptop.links.fetch(KEY.id, desktop.id, WANTED, (), sink, begun=prefix_of(LARGE[:at]))
        assert sink.getvalue() == LARGE[at:]


@pytest.mark.parametrize("part", [b"other bytes", LARGE + b"and more"], ids=["other", "longer"])
async def test_an_answer_that_is_another_one_now_is_not_gone_on_with(tmp_path: Path, part: bytes) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        desktop.workspace.answers[WANTED] = serving(LARGE)
        sink = io.BytesIO()
        with pytest.raises(OtherAnswer, match="desktop: the answer is another one now"):
            await laptop.links.fetch(KEY.id, desktop.id, WANTED, (), sink, begun=prefix_of(part))
        assert sink.getvalue() == b""
        figures.record("bad inputs refused", 1)


@pytest.mark.parametrize(
    "changed",
    [
        b'"from":-1',
        b'"from":true',
        b'"from":"5"',
        b'"from":5.0,"sha256":"' + b"00" * 32 + b'"',
        b'"from":1e999,"sha256":"' + b"00" * 32 + b'"',
        b'"from":9223372036854775808,"sha256":"' + b"00" * 32 + b'"',
        b'"from":6,"sha256":"00"',
        b'"from":6,"sha256":7',
        b'"from":6,"sha256":"' + b"00" * 33 + b'"',
        b'"from":6',
    ],
)
def test_a_part_that_is_none_is_refused(changed: bytes) -> None:
    framed = wire.fetch(1, WANTED, (), Prefix(size=5, sha256=bytes(32)))
    sound = b'"from":5,"sha256":"' + b"00" * 32 + b'"'
    assert sound in framed
    with pytest.raises(WireError, match="a fetch"):
        wire.parse_fetch(framed[5:].replace(sound, changed))
    figures.record("bad inputs refused", 1)


# -- rates -----------------------------------------------------------------------------------
def test_a_flow_lets_pass_what_its_rate_allows() -> None:
    flow = Flow(1000.0)
    assert [flow.reserve(500, 10.0), flow.reserve(500, 10.0), flow.reserve(1, 10.2)] == [0.0, 0.5, pytest.approx(0.8)]
    assert flow.reserve(1, 99.0) == 0.0, "what was not used is not saved up"
    assert (flow.portion(64_000, 100), flow.portion(200, 100), Flow(8.0).portion(9, 4)) == (250, 200, 4)
    free = Flow()
    assert (free.reserve(10**9, 1.0), free.portion(5, 1)) == (0.0, 5)


async def test_limits_count_for_all_links_and_never_for_announcements(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        loop = asyncio.get_running_loop()
        desktop.links.traffic.upload.rate = 200_000.0
        desktop.workspace.answers[WANTED] = serving(bytes(100_000))
        began = loop.time()
        fetches = [asyncio.create_task(laptop.fetch(desktop.id, WANTED, Sink())) for _ in range(2)]
        await eventually(lambda: desktop.links.traffic.transfers.live(KEY.id))
        desktop.say("news")
        assert await laptop.hears() == ("desktop", "news")
        assert not all(fetch.done() for fetch in fetches), "the news waited for what is slow"
        await asyncio.gather(*fetches)
        assert loop.time() - began >= 0.5  # 200 kB but for the last piece, at 200 kB/s


async def test_a_limited_download_grants_no_more_than_it_takes(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        laptop.links.traffic.download.rate = 400_000.0
        laptop.knows(desktop)
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        desktop.workspace.answers[WANTED] = serving(bytes(400_000))
        loop = asyncio.get_running_loop()
        began, sink = loop.time(), Sink()
        await laptop.fetch(desktop.id, WANTED, sink)
        assert sink.size == 400_000
        window = laptop.links.traffic.download.portion(wire.WINDOW, CHUNK)
        assert loop.time() - began >= (400_000 - 3 * window) / 400_000  # what may be under way without a wait


# -- ways ------------------------------------------------------------------------------------
async def test_a_link_moves_to_a_nearer_way_without_a_gap(tmp_path: Path) -> None:
    quick = replace(PATIENT, better=0.05, better_most=0.1)
    async with (
        running(tmp_path, "laptop", timing=quick) as laptop,
        running(tmp_path, "desktop", timing=PATIENT) as desktop,
    ):
        laptop.links.add_connector(CandidateKind.SSH, _connect, carriage=Carriage(timing=quick))
        far = Candidate(kind=CandidateKind.SSH, address=f"me@127.0.0.1/{desktop.links.port}")
        laptop.links.learn(KEY.id, desktop.id, [far])
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        gate = asyncio.Event()
        fetching = asyncio.create_task(_fetch_slowly(laptop, desktop, gate))
        await eventually(lambda: laptop.links.traffic.transfers.live(KEY.id))
        assert [p.kind for p in desktop.links.peers(KEY.id)] == ["ssh"]
        laptop.knows(desktop)
        for device in (laptop, desktop):
            await eventually(lambda device=device: [p.kind for p in device.links.peers(KEY.id)] == ["lan"])  # type: ignore[misc]
        desktop.say("over the new link")
        assert await laptop.hears() == ("desktop", "over the new link")
        gate.set()
        assert await fetching == 4 << 20, "what was under way on the old link ends there"
        assert [p.connected for p in laptop.links.peers(KEY.id)] == [True]


async def _connect(address: str) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", int(address.rpartition("/")[2])))
    return connection


async def test_what_is_limited_here_makes_no_peer_a_far_one(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        desktop.workspace.answers[WANTED] = serving(LARGE)
        laptop.links.traffic.download.rate = 1e8
        await laptop.fetch(desktop.id, WANTED, Sink())
        laptop.links.traffic.download.rate = None
        await laptop.links.fetch(KEY.id, desktop.id, WANTED, (), cast(BinaryIO, Sink()), begun=prefix_of(LARGE[:9]))
        assert [way.throughput for peer in laptop.links.peers(KEY.id) for way in peer.ways if way.throughput] == []
        await laptop.fetch(desktop.id, WANTED, Sink())
        assert [way.throughput for peer in laptop.links.peers(KEY.id) for way in peer.ways if way.throughput] != []


async def test_the_nearest_linked_peer_is_told(tmp_path: Path) -> None:
    told: list[Sequence[DeviceId]] = []
    async with linked_pair(tmp_path) as (laptop, desktop):
        laptop.links.ranked = lambda _workspace, order: told.append(order)
        async with running(tmp_path, "server") as server:
            laptop.knows(server)
            await eventually(lambda: told)
            assert set(told[-1]) == {desktop.id, server.id}
        await eventually(lambda: told[-1] == (desktop.id,))


def test_ways_are_remembered_from_run_to_run(tmp_path: Path) -> None:
    path = str(tmp_path / "ways.json")
    (lan,) = on_lan(["10.0.0.1:1"])
    (other,) = on_lan(["10.0.0.2:1"])
    far = Candidate(kind=CandidateKind.PUBLIC, address="example.org:1")
    ways = Ways(path)
    ways.failed(NEAR, lan, "no answer in time")
    ways.failed(None, far, "nobody knows whose")
    ways.used(NEAR, other)
    ways.measured(NEAR, other, 8.0)
    ways.measured(NEAR, other, 4.0)
    ways.measured(NEAR, other, 8.0)
    ways.moved(NEAR, other, _transfer(10, 1.0))
    ways.save()
    again = Ways(path)
    assert again.sorted(NEAR, [far, lan, other]) == [other, lan, far]
    status = {way.address: way for way in again.status(NEAR, [far, lan, other])}
    assert (status["10.0.0.2:1"].rtt_ms, status["10.0.0.2:1"].throughput) == (5.0, None)
    assert status["10.0.0.1:1"].problem == "no answer in time"
    assert status["example.org:1"].used_at is None
    assert again.distance(NEAR, other) < again.distance(NEAR, far)
    again.moved(NEAR, other, _transfer(10**6, 100.0))
    assert again.distance(NEAR, other) > again.distance(NEAR, far), "a slow way is a long one"
    for number in range(2 * MAX_WAYS):
        again.used(NEAR, on_lan([f"10.0.1.{number}:1"])[0])
    again.save()
    assert len(Ways(path).status(NEAR, on_lan(f"10.0.1.{n}:1" for n in range(2 * MAX_WAYS)))) == 2 * MAX_WAYS
    assert os.stat(path).st_mode & 0o777 == 0o600


def _transfer(moved: int, took: float) -> Transfer:
    made = Transfer(
        workspace=KEY.id,
        peer=NEAR,
        snapshot=WANTED,
        incoming=True,
        began=0.0,
        told_at=0.0,
        lane="lan",
        carried=Counter(),
        progress=lambda _: None,
    )
    made.moved, made.took = moved, took
    return made


WAY = '{"near-00000001":[{"kind":"lan","address":"10.0.0.1:1","used_at":1.0,%s}]}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"a":[{"kind":"pigeon","address":"x"}]}',
        '{"a":[7]}',
        WAY % '"throughput":1e-320',
        WAY % '"throughput":-1.0',
        WAY % '"rtt_ms":1e308',
        WAY % '"failed_at":1e300',
        WAY % '"failed_at":-1e300',
    ],
)
def test_a_damaged_memory_of_ways_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ways.json"
    path.write_text(content)
    (lan,) = on_lan(["10.0.0.1:1"])
    ways = Ways(str(path))
    assert ways.status(NEAR, [lan])[0].used_at is None
    assert ways.distance(NEAR, lan) == Ways().distance(NEAR, lan)
    figures.record("bad inputs refused", 1)
