"""The connection to a server of lines: servers that are silent, wrong, rude, or away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from autosync.channels.fanout import FanoutChannel
from autosync.channels.lines import LineTiming
from autosync.channels.reflector import ReflectorChannel
from autosync.errors import TooLarge, Unreachable
from autosync.reflector.limits import Limits
from tests.channels.fanout_server import FanoutServer
from tests.channels.media import QUICK, TAG, Participant, Recorder
from tests.channels.reflectors import Running
from tests.edges.xmpp_devices import eventually
from tests.figures import record
from tests.ports import free_ports

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENT = dataclasses.replace(QUICK, retry_base=3600.0, retry_cap=3600.0, quiet=3600.0, answer=3600.0)
"""Nothing happens by itself."""
MOMENTS = 25
"""Turns of the event loop; a connection to this machine takes some ten."""


@contextlib.asynccontextmanager
async def scripted(serve: Serve, port: int = 0) -> AsyncIterator[int]:
    """A server that does with each connection what a test says."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def device(
    kind: type[FanoutChannel | ReflectorChannel], port: int, timing: LineTiming = QUICK, host: str = "127.0.0.1"
) -> AsyncIterator[Participant]:
    """A device whose channel was started."""
    heard = Recorder()
    channel = kind((host, port), heard, tags=lambda: (TAG,), timing=timing)
    await channel.start()
    try:
        yield Participant("laptop", channel, heard)
    finally:
        await channel.stop()


async def answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, times: int = 10**9) -> None:
    while line := await reader.readline():
        if line == b"ping\n" and times > 0:
            times -= 1
            writer.write(b"1700000000\n")


async def test_a_server_that_falls_silent_is_left_and_tried_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answer_pings(reader, writer, times=1 if connections == 1 else 10**9)

    timing = dataclasses.replace(QUICK, quiet=0.05, answer=0.3)
    async with scripted(serve) as port, device(FanoutChannel, port, timing) as laptop:
        await laptop.heard.until("ready", count=2)
        assert connections >= 2
        record("faults injected", 1)


async def test_a_server_that_never_answers_is_told_from_one_that_is_away() -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    timing = dataclasses.replace(QUICK, answer=0.5)
    async with scripted(serve) as port, device(ReflectorChannel, port, timing) as laptop:
        await laptop.becomes("offline")
        assert laptop.channel.status().detail == (
            f"127.0.0.1:{port} answers nothing that a reflector server would. Is it the right port?"
        )
        assert laptop.heard.told == []


async def test_a_fanout_server_is_no_reflector() -> None:
    server = FanoutServer()
    server.start()
    try:
        timing = dataclasses.replace(QUICK, answer=0.5)
        async with device(ReflectorChannel, server.port, timing) as laptop:
            await laptop.becomes("failed")
            assert laptop.channel.status().detail == (
                f"127.0.0.1:{server.port} answers as a fanout server does, and is no reflector. "
                "Write `fanout:` in place of `reflector:`, or run `autosync reflector` there."
            )
    finally:
        server.stop()


async def test_who_is_not_there_is_told() -> None:
    (port,) = free_ports(1)
    async with device(FanoutChannel, port) as laptop:
        await laptop.becomes("offline")
        detail = laptop.channel.status().detail
        assert detail == f"The fanout server 127.0.0.1:{port} cannot be reached: Connection refused. It is tried again."
        with pytest.raises(Unreachable, match="Not connected to") as unreachable:
            await laptop.say(b"x")
        assert unreachable.value.hint == detail
    async with device(FanoutChannel, 1986, host="no such host.invalid") as laptop:
        await laptop.becomes("offline")
        assert "the name is not known" in laptop.channel.status().detail


@pytest.mark.parametrize(
    "rude",
    [b"", b"\xff\x00" * 3000 + b"\n", b"x" * 200_000, b"debug!\n!\n!!\nnobody!\n", b"debug!busy\n", b"\n" * 5000],
    ids=["hangs up", "bytes", "endless line", "empty names", "busy", "empty lines"],
)
@pytest.mark.parametrize("kind", [FanoutChannel, ReflectorChannel])
async def test_a_rude_server_is_borne_until_it_behaves(
    kind: type[FanoutChannel | ReflectorChannel], rude: bytes
) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections < 3:
            writer.write(rude)
            await writer.drain()
            return
        writer.write(b"%b!end\n" % TAG.encode())
        await answer_pings(reader, writer)

    async with scripted(serve) as port, device(kind, port) as laptop:
        await laptop.heard.until("ready")
        assert connections >= 3
        assert laptop.heard.received == []
        record("bad inputs refused", 2)


async def test_what_a_server_refuses_is_in_the_status() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"debug!connected...\ndebug!refused too many\x1b subscriptions\n")
        await answer_pings(reader, writer)

    async with scripted(serve) as port, device(FanoutChannel, port) as laptop:
        await laptop.heard.until("ready")
        assert laptop.channel.status().detail == (
            f"Connected to 127.0.0.1:{port}. It refuses something: too many? subscriptions."
        )


async def test_a_nudge_finds_out_at_once_that_a_connection_is_dead() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answer_pings(reader, writer, times=1 if connections == 1 else 10**9)

    timing = dataclasses.replace(PATIENT, probe=0.05)
    async with scripted(serve) as port, device(FanoutChannel, port, timing) as laptop:
        await laptop.heard.until("ready")
        laptop.channel.nudge()
        await laptop.heard.until("ready", count=2)
        assert connections == 2


async def test_a_nudge_ends_a_back_off() -> None:
    (port,) = free_ports(1)
    async with device(FanoutChannel, port, PATIENT) as laptop:
        await laptop.becomes("offline")
        async with scripted(answer_pings, port):
            laptop.channel.nudge()
            await laptop.heard.until("ready")


def attempts_at(port: int) -> set[int]:
    """Return the local ports of connections to ``port`` that wait for an answer (proc_net_tcp.txt: SYN_SENT is 02)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "02" and int(row[2].split(":")[1], 16) == port}


async def test_a_nudge_gives_up_an_attempt_that_leads_nowhere() -> None:
    """A listener whose queue is full answers no further attempt: as a network that is gone."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = []
        for _ in range(3):  # the queue takes one more than it is asked to
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        async with device(FanoutChannel, port, dataclasses.replace(PATIENT, connect=3600.0)) as laptop:
            known = {one.getsockname()[1] for one in waiting}
            await eventually(lambda: bool(attempts_at(port) - known))
            first = attempts_at(port) - known
            laptop.channel.nudge()
            await eventually(lambda: bool(attempts_at(port) - known - first))
            assert not attempts_at(port) & first
            assert laptop.state == "connecting"
        for one in waiting:
            one.close()


async def test_a_tag_that_is_new_is_heard_from_then_on() -> None:
    server = Running()
    server.start()
    try:
        heard = Recorder()
        channel = ReflectorChannel(("127.0.0.1", server.port), heard, tags=lambda: (), timing=QUICK)
        await channel.start()
        await heard.until("ready")
        await channel.publish("slot", TAG, b"x")
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as speaker:
            speaker.sendall(b"keep %b theirs aGVsbG8=\n" % TAG.encode())
            await heard.until(b"hello")
        await channel.stop()
        assert heard.told.count("ready") == 1
    finally:
        server.stop()


@pytest.mark.parametrize(("slot", "tag"), [("a b", "t"), ("s", "t!"), ("", "t"), ("s", "x" * 200)])
async def test_names_that_no_line_can_hold_are_a_bug(slot: str, tag: str) -> None:
    channel = ReflectorChannel(("127.0.0.1", 1), Recorder(), tags=lambda: ())
    with pytest.raises(ValueError, match="visible ASCII"):
        await channel.publish(slot, tag, b"x")


async def test_the_largest_that_a_fanout_line_holds_passes() -> None:
    server = FanoutServer()
    server.start()
    try:
        async with device(FanoutChannel, server.port) as laptop, device(FanoutChannel, server.port) as desktop:
            await laptop.heard.until("ready")
            await desktop.heard.until("ready")
            largest = (4096 - len(TAG) - 2) // 4 * 3
            with pytest.raises(TooLarge, match=f"An announcement of {largest + 1} bytes"):
                await laptop.say(bytes(largest + 1))
            await laptop.say(bytes(largest))
            await desktop.heard.until(bytes(largest))
    finally:
        server.stop()


async def test_a_server_that_cuts_every_connection_at_once_is_tried_again_for_ever() -> None:
    """Sometimes it is cut before the first line, sometimes between connecting and using it."""
    hasty = dataclasses.replace(QUICK, retry_base=0.001, retry_cap=0.001)
    cut = 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal cut
        cut += 1
        # A linger time of zero makes close() send RST (socket(7)).
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with scripted(serve) as port, device(ReflectorChannel, port, hasty) as laptop:
        await eventually(lambda: cut >= 200)
        assert laptop.state == "offline"
    record("faults injected", cut)


@pytest.mark.parametrize("host", [f"{'a' * 64}.example", "a..example"])
async def test_a_name_that_can_be_none_is_unknown(host: str) -> None:
    async with device(ReflectorChannel, 1986, host=host) as laptop:
        await laptop.becomes("offline")
        assert laptop.channel.status().detail.endswith("the name is not known. It is tried again.")


@pytest.mark.parametrize("how", ["nudge", "stop"])
async def test_a_connection_that_comes_as_it_is_given_up_is_closed(how: str) -> None:
    """The attempt is given up at each turn of the event loop, so also at that at which it succeeds."""
    before = set(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        for turns in range(MOMENTS):
            async with device(FanoutChannel, server.getsockname()[1], PATIENT, host="localhost") as laptop:
                for _ in range(turns):
                    await asyncio.sleep(0)
                if how == "nudge":
                    laptop.channel.nudge()
                await laptop.channel.stop()
    gc.collect()
    await eventually(lambda: set(os.listdir("/proc/self/fd")) <= before)
    record("faults injected", MOMENTS)


async def test_a_listener_that_fails_ends_no_channel(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def channel_ready(self, lane: str) -> None:
            super().channel_ready(lane)
            raise RuntimeError("a bug")

    server, heard = Running(), Failing()
    server.start()
    try:
        channel = ReflectorChannel(("127.0.0.1", server.port), heard, tags=lambda: (TAG,), timing=QUICK)
        await channel.start()
        await heard.until("ready", count=3)
        await eventually(lambda: channel.status().state == "failed")
        assert channel.status().detail == "The reflector connection ended by a bug. Please report what the log says."
        await channel.stop()
    finally:
        server.stop()
    assert "a bug ended the connection" in caplog.text


async def test_a_reflector_that_is_full_is_said_to_be() -> None:
    server = Running(Limits(clients_per_address=1))
    server.start()
    try:
        async with device(ReflectorChannel, server.port) as laptop:
            await laptop.becomes("online")
            async with device(ReflectorChannel, server.port) as desktop:
                await eventually(
                    lambda: (
                        desktop.state == "offline"  # what it said stays while it is tried again
                        and "It said: too many connections." in desktop.channel.status().detail
                    )
                )
                await laptop.channel.stop()
                await desktop.becomes("online")
                assert "too many" not in desktop.channel.status().detail
    finally:
        server.stop()
