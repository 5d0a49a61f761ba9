"""Fetching over a link: whole, bounded, and not in the way of announcements."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from autosync.core.candidates import on_lan
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import Missing, Refused, Unreachable, Unsafe
from autosync.link import Timing, wire
from autosync.link.wire import WINDOW, Kind
from tests.edges.link_attackers import member
from tests.edges.linked_devices import (
    BLOCK,
    KEY,
    PATIENT,
    WANTED,
    Answer,
    Device,
    Sink,
    child,
    eventually,
    linked_pair,
    running,
    serving,
)
from tests.waiting import PATIENCE


async def test_a_fetch_brings_what_is_served(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        packs = {SnapshotId(f"{n:040x}"): os.urandom(size) for n, size in enumerate((0, 1, 65536, 3_000_001))}
        asked: list[list[str]] = []
        for want, pack in packs.items():
            desktop.workspace.answers[want] = _recording(pack, asked)
        sinks = {want: io.BytesIO() for want in packs}
        have = [f"{n:064x}" for n in range(2000)]
        await asyncio.gather(*(laptop.fetch(desktop.id, want, sink, have) for want, sink in sinks.items()))
        assert {want: sink.getvalue() for want, sink in sinks.items()} == packs
        assert asked == [have[: wire.MAX_HAVE]] * len(packs)


async def test_a_fetch_into_a_raw_file_that_takes_parts(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        pack = os.urandom(500_000)
        desktop.workspace.answers[WANTED] = serving(pack)
        read_end, write_end = os.pipe()
        collected = asyncio.create_task(asyncio.to_thread(_read_all, read_end))
        with open(write_end, "wb", buffering=0) as sink:  # noqa: ASYNC230
            await laptop.fetch(desktop.id, WANTED, sink)
        assert await collected == pack


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (Missing("not here", hint=""), Missing, "desktop does not have snapshot aaaaaaaaaaaa"),
        (Unsafe("no such thing", hint=""), Refused, "desktop refuses snapshot aaaaaaaaaaaa: no such thing"),
        (Unreachable("disk is gone", hint=""), Unreachable, "desktop: disk is gone"),
        (ZeroDivisionError("bug"), Unreachable, "desktop: an internal error; its log says more"),
    ],
)
@pytest.mark.parametrize("after", [0, 200_000])
async def test_a_failed_answer_says_why(
    tmp_path: Path, raised: Exception, expected: type[Exception], text: str, after: int
) -> None:
    def answer(have: Sequence[str], out: BinaryIO) -> None:
        out.write(bytes(after))
        raise raised

    async with linked_pair(tmp_path) as (laptop, desktop):
        desktop.workspace.answers[WANTED] = answer
        sink = io.BytesIO()
        with pytest.raises(expected) as caught:
            await laptop.fetch(desktop.id, WANTED, sink)
        assert str(caught.value).splitlines()[0] == text
        assert len(sink.getvalue()) == after
        assert laptop.linked_with() == ["desktop"]


async def test_a_fetch_waits_for_the_link_that_is_being_made(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        desktop.workspace.answers[WANTED] = serving(b"pack")
        laptop.knows(desktop, "127.0.0.1:9", desktop.address)
        sink = io.BytesIO()
        await laptop.fetch(desktop.id, WANTED, sink)
        assert sink.getvalue() == b"pack"


async def test_a_fetch_from_who_is_not_there_fails_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop:
        nobody = DeviceId("desktop-00000000")
        with pytest.raises(Unreachable, match=r"^desktop-00000000 is not linked: no address of it answers"):
            await laptop.fetch(nobody, WANTED, io.BytesIO())
        laptop.links.learn(KEY.id, nobody, on_lan(["127.0.0.1:9"]))
        with pytest.raises(Unreachable, match=r"^desktop-00000000 is not linked: 127.0.0.1:9: Connection refused"):
            await laptop.fetch(nobody, WANTED, io.BytesIO())


async def test_addresses_with_the_same_problem_are_told_together(tmp_path: Path) -> None:
    """In an order of their own: the log has a line when the problem is another one, not when another was first."""
    async with running(tmp_path, "laptop") as laptop:
        nobody = DeviceId("desktop-00000000")
        laptop.links.learn(KEY.id, nobody, on_lan(["127.0.0.2:9", "127.0.0.1:9"]))
        with pytest.raises(Unreachable, match=r"^desktop-00000000 is not linked: 127.0.0.1:9, 127.0.0.2:9: Connection"):
            await laptop.fetch(nobody, WANTED, io.BytesIO())


async def test_a_peer_that_does_not_answer_delays_only_the_first_fetch(tmp_path: Path) -> None:
    """As behind a NAT: connections are taken, or swallowed, and lead nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with running(tmp_path, "laptop", timing=Timing(hello=0.3)) as laptop:
            nobody = DeviceId("desktop-00000000")
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            laptop.links.learn(KEY.id, nobody, on_lan([address]))
            with pytest.raises(Unreachable):
                await laptop.fetch(nobody, WANTED, io.BytesIO())
            await eventually(lambda: laptop.links.peers(KEY.id)[0].problem == f"{address}: no answer in time")
            for _ in range(3):
                fetching = asyncio.create_task(laptop.fetch(nobody, WANTED, io.BytesIO()))
                for _ in range(10):
                    await asyncio.sleep(0)
                assert fetching.done(), "it waits for another attempt"
                with pytest.raises(Unreachable, match=r"is not linked: .* no answer in time"):
                    await fetching

            async with running(tmp_path, "desktop") as desktop:
                desktop.workspace.answers[WANTED] = serving(b"pack")
                laptop.knows(desktop)
                # A first attempt may take longer than the laptop waits here.
                await eventually(lambda: laptop.linked_with() == ["desktop"])
                await laptop.fetch(desktop.id, WANTED, sink := io.BytesIO())
                assert sink.getvalue() == b"pack"


async def test_a_full_disk_is_the_fetchers_own_error(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        ended = threading.Event()
        desktop.workspace.answers[WANTED] = _endless(ended)
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):  # noqa: ASYNC230
            await laptop.fetch(desktop.id, WANTED, full)
        assert await asyncio.to_thread(ended.wait, PATIENCE)
        assert laptop.linked_with() == ["desktop"]


async def test_a_cancelled_fetch_ends_its_answer(tmp_path: Path) -> None:
    async with linked_pair(tmp_path) as (laptop, desktop):
        ended = threading.Event()
        desktop.workspace.answers[WANTED] = _endless(ended)
        fetching = asyncio.create_task(laptop.fetch(desktop.id, WANTED, sink := Sink()))
        await sink.reached(1_000_000)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert await asyncio.to_thread(ended.wait, PATIENCE)
        desktop.workspace.answers[WANTED] = serving(b"pack")
        await laptop.fetch(desktop.id, WANTED, again := io.BytesIO())
        assert again.getvalue() == b"pack"


async def test_a_silent_answer_is_given_up(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "laptop", timing=Timing(stall=0.2)) as laptop,
        running(tmp_path, "desktop") as desktop,
    ):
        laptop.knows(desktop)
        release = threading.Event()
        desktop.workspace.answers[WANTED] = _waiting(release)
        with pytest.raises(Unreachable, match=r"^desktop: nothing came for 0 s"):
            await laptop.fetch(desktop.id, WANTED, io.BytesIO())
        release.set()


async def test_an_answer_that_drips_is_given_up(tmp_path: Path) -> None:
    timing = Timing(hello=PATIENCE, stall=0.5)
    async with running(tmp_path, "laptop", timing=timing) as laptop, member(laptop, tmp_path) as link:
        reader, writer = link
        mallory = next(p.device for p in laptop.links.peers(KEY.id) if p.device)
        fetching = asyncio.create_task(laptop.fetch(mallory, WANTED, sink := Sink()))
        while (found := await wire.read_frame(reader))[0] != Kind.FETCH:
            pass
        request, _ = wire.parse_fetch(found[1])
        while not fetching.done():
            writer.write(wire.chunk(request, b"x"))
            await asyncio.wait({fetching}, timeout=0.02)
        with pytest.raises(Unreachable, match=r"^mallory: too little came for 0 s"):
            await fetching
        assert 0 < sink.size < 4096


async def test_a_slow_writer_holds_back_the_peer_and_not_the_announcements(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, timing=PATIENT) as (laptop, desktop):
        served = 0

        def answer(have: Sequence[str], out: BinaryIO) -> None:
            nonlocal served
            for _ in range(20 * WINDOW // len(BLOCK)):
                out.write(BLOCK)
                served += len(BLOCK)

        desktop.workspace.answers[WANTED] = answer
        gate = threading.Event()
        fetching = asyncio.create_task(laptop.fetch(desktop.id, WANTED, sink := Sink(gate)))
        for n in range(50):
            desktop.say(f"state {n}")
            laptop.say(f"and {n}")
            assert await laptop.hears() == ("desktop", f"state {n}")
            assert await desktop.hears() == ("laptop", f"and {n}")
        # What is under way: the window, and what waits in the pipe and in buffers.
        assert served < WINDOW + 1_000_000
        gate.set()
        await fetching
        assert sink.size == served == 20 * WINDOW


async def test_200_mb_stream_in_bounded_memory_while_announcements_pass(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, child(tmp_path, "server", laptop.address) as server:
        assert await laptop.hears() == ("server", "here I am")
        before = server.peak_memory()
        tracemalloc.start()
        sink = Sink()
        blocks = [f"{n:040x}" for n in range(1024)]
        fetching = asyncio.create_task(_fetch_often(laptop, server.id, blocks, sink, times=3))
        passed: list[int] = []
        while not fetching.done():
            before_it = sink.size
            laptop.say(f"state {len(passed)}")
            assert await server.hears() == ("laptop", f"state {len(passed)}")
            passed.append(sink.size - before_it)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await fetching
        assert sink.size == 3 * 1024 * len(BLOCK) > 200_000_000
        assert peak < 10_000_000
        assert server.peak_memory() - before < 20_000_000
        assert len(passed) > 10
        # In bytes of the stream: on a busy machine both are slow.
        assert sorted(passed)[len(passed) // 2] < 4 * WINDOW


def _read_all(read_end: int) -> bytes:
    with open(read_end, "rb") as file:
        return file.read()


def _endless(ended: threading.Event) -> Answer:
    """Return an answer that goes on until nobody reads it."""

    def answer(have: Sequence[str], out: BinaryIO) -> None:
        try:
            while True:
                out.write(BLOCK)
        finally:
            ended.set()

    return answer


def _waiting(release: threading.Event) -> Answer:
    """Return an answer that says nothing until it is released."""

    def answer(have: Sequence[str], out: BinaryIO) -> None:
        release.wait(PATIENCE)

    return answer


def _recording(pack: bytes, asked: list[list[str]]) -> Answer:
    """Return an answer that is ``pack`` and notes what the other side has."""

    def answer(have: Sequence[str], out: BinaryIO) -> None:
        asked.append(list(have))
        out.write(pack)

    return answer


async def _fetch_often(laptop: Device, server: DeviceId, have: Sequence[str], sink: Sink, *, times: int) -> None:
    for _ in range(times):
        await laptop.fetch(server, WANTED, sink, have)
