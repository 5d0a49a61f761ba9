"""Bytestreams through real Prosody and ejabberd: whole, in order, only for members, and no burden for others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest
from slixmpp.exceptions import IqError

from autosync.channels.xmpp import XmppChannel
from autosync.channels.xmpp_bytestream import BLOCK, IBB, Bytestream
from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_pace import MOST, Pace
from autosync.channels.xmpp_relay import MAX_STREAMS, Relay
from autosync.channels.xmpp_resumption import NAME as RESUMPTION
from autosync.errors import Refused, Unreachable
from tests.edges.tcp_proxy import TcpProxy
from tests.edges.test_xmpp import bare_client, element
from tests.edges.xmpp_devices import QUICK, eventually, make_device
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, XmppServer
from tests.figures import record

CONTENT = os.urandom(200_000)
PATIENT = replace(QUICK, listening=300)
"""A ping waits behind what a stream has under way."""


class Station:
    """A client with bytestreams, and the pipes that others have opened to it."""

    def __init__(self, client: XmppClient, *accounts: str) -> None:
        self.client = client
        self.jid = str(client.boundjid.full)
        self.taken: asyncio.Queue[tuple[socket.socket, str]] = asyncio.Queue()
        self.relay = Relay(client, accounts=accounts, accept=lambda end, peer: self.taken.put_nowait((end, peer)))


@contextlib.asynccontextmanager
async def station(
    server: XmppServer, account: str, resource: str, *others: str, port: int | None = None
) -> AsyncIterator[Station]:
    """A station that lets its own account and ``others`` in; it connects through ``port`` if given."""
    async with bare_client(server, account, resource, port=port) as client:
        made = Station(client, *(f"{name}@{DOMAIN}" for name in (account, *others)))
        try:
            yield made
        finally:
            await made.relay.stop()
            while not made.taken.empty():
                made.taken.get_nowait()[0].close()


@contextlib.asynccontextmanager
async def joined(
    server: XmppServer, account: str, *, port: int | None = None
) -> AsyncIterator[tuple[Station, Station, socket.socket, socket.socket]]:
    """Two stations and the two ends of a stream between them; the laptop connects through ``port`` if given."""
    async with (
        station(server, account, "laptop", port=port) as laptop,
        station(server, account, "desktop") as desktop,
    ):
        near = await laptop.relay.open(desktop.jid)
        far, peer = await desktop.taken.get()
        assert peer == laptop.jid
        with near, far:
            yield laptop, desktop, near, far


async def received(end: socket.socket, size: int) -> bytes:
    """Return the next ``size`` bytes, or what comes before the end."""
    loop = asyncio.get_running_loop()
    content = bytearray()
    async with asyncio.timeout(30):
        while len(content) < size and (part := await loop.sock_recv(end, size - len(content))):
            content += part
    return bytes(content)


async def test_bytes_arrive_whole_in_both_directions_at_once(xmpp_server: XmppServer, account: str) -> None:
    loop = asyncio.get_running_loop()
    async with joined(xmpp_server, account) as (laptop, _, near, far):
        sending = [loop.sock_sendall(near, CONTENT), loop.sock_sendall(far, CONTENT[::-1])]
        *_, there, here = await asyncio.gather(*sending, received(far, len(CONTENT)), received(near, len(CONTENT)))
        assert there == CONTENT
        assert here == CONTENT[::-1]
        near.close()
        assert await received(far, 1) == b""
        await eventually(lambda: not laptop.relay.streams())


async def test_what_was_sent_before_the_end_arrives_before_it(xmpp_server: XmppServer, account: str) -> None:
    loop = asyncio.get_running_loop()
    async with joined(xmpp_server, account) as (_, _, near, far):

        async def send() -> None:
            await loop.sock_sendall(near, CONTENT)
            near.close()

        _, arrived = await asyncio.gather(send(), received(far, len(CONTENT) + 1))
        assert arrived == CONTENT


async def test_a_side_that_does_not_read_slows_the_other_down(xmpp_server: XmppServer, account: str) -> None:
    loop = asyncio.get_running_loop()
    async with joined(xmpp_server, account) as (laptop, _, near, far):
        sending = asyncio.create_task(loop.sock_sendall(near, CONTENT * 5))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 1)
        # An announcement still gets through at once: what is on its way is at most the window.
        await laptop.client.ping(within=10)
        assert await received(far, len(CONTENT) * 5) == CONTENT * 5
        await sending


async def test_a_peer_that_leaves_ends_the_stream(xmpp_server: XmppServer, account: str) -> None:
    async with joined(xmpp_server, account) as (laptop, desktop, near, _):
        await desktop.client.close(within=1)
        await asyncio.get_running_loop().sock_sendall(near, b"are you there?")
        assert await received(near, 1) == b""
        assert laptop.relay.streams() == 0


@contextlib.asynccontextmanager
async def channels(server: XmppServer, account: str, port: int) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """The ends of a stream between the channels of two devices, of which the laptop connects through ``port``."""
    devices = [
        make_device(account, name, port=through, ca_file=server.ca_file, timing=PATIENT)
        for name, through in (("laptop", port), ("desktop", server.port))
    ]
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    first, second = (cast(XmppChannel, device.channel) for device in devices)
    for channel in (first, second):
        channel.accept = lambda end, _: taken.put_nowait(end)
        assert channel.address is None
        with pytest.raises(OSError, match="not connected"):
            await channel.connect("you@localhost/x")
        await channel.start()
    try:
        for device in devices:
            await device.online()
        assert second.address == f"{account}@{DOMAIN}/desktop"
        near = await first.connect(second.address)
        far = await taken.get()
        with near, far:
            yield near, far
    finally:
        await first.stop()
        await second.stop()


async def test_a_stream_goes_on_in_a_session_that_is_resumed(xmpp_server: XmppServer, account: str) -> None:
    """What was under way when the connection broke arrives, once and in order, and so does what follows."""
    loop = asyncio.get_running_loop()
    async with (
        TcpProxy(xmpp_server.port) as proxy,
        joined(xmpp_server, account, port=proxy.port) as (laptop, _, near, far),
    ):
        sending = asyncio.create_task(loop.sock_sendall(near, CONTENT))
        came = await received(far, len(CONTENT) // 4)
        management = laptop.client.plugin[RESUMPTION]

        def all_arrived() -> bool:
            management.request_ack()
            return not management.unacked_queue

        await eventually(all_arrived)
        proxy.allowance = 0
        rest = asyncio.create_task(received(far, len(CONTENT) - len(came)))
        await eventually(lambda: proxy.swallowed > 2 * BLOCK)
        proxy.cut()
        with pytest.raises(Unreachable, match="was lost"):
            await laptop.client.ended
        proxy.allowance = None
        assert await laptop.client.log_in(PASSWORD, host="127.0.0.1", port=proxy.port, within=10)
        assert came + await rest == CONTENT
        await sending


async def test_a_stream_ends_with_a_session_that_cannot_be_resumed(xmpp_server: XmppServer, account: str) -> None:
    loop = asyncio.get_running_loop()
    async with channels(xmpp_server, account, xmpp_server.port) as (near, far):
        await loop.sock_sendall(near, b"before")
        assert await received(far, 6) == b"before"
        await asyncio.to_thread(xmpp_server.kill)
        await asyncio.to_thread(xmpp_server.start)
        ends = await asyncio.gather(*(received(end, 1) for end in (near, far)), return_exceptions=True)
        assert all(end == b"" or isinstance(end, ConnectionError) for end in ends), ends


async def test_the_peer_of_a_session_that_is_lost_learns_that_the_stream_ends(
    xmpp_server: XmppServer, account: str
) -> None:
    """It has nothing on its way that could come back."""
    async with joined(xmpp_server, account) as (laptop, desktop, near, far):
        await asyncio.get_running_loop().sock_sendall(near, b"before")
        assert await received(far, 6) == b"before"
        async with bare_client(xmpp_server, account, "laptop"):
            with pytest.raises(Refused, match="took the place"):
                await laptop.client.ended
        assert not await laptop.client.log_in(PASSWORD, host="127.0.0.1", port=xmpp_server.port, within=10)
        assert await received(near, 1) == await received(far, 1) == b""
        await eventually(lambda: laptop.relay.streams() == desktop.relay.streams() == 0)


async def test_to_strangers_there_are_no_streams(xmpp_server: XmppServer, account: str, other_account: str) -> None:
    opening = f"<open xmlns='{IBB}' sid='a' block-size='4096'/>"
    async with (
        station(xmpp_server, account, "laptop") as laptop,
        bare_client(xmpp_server, account, "plain") as plain,
        bare_client(xmpp_server, other_account) as stranger,
    ):
        answers = []
        for jid in (laptop.jid, str(plain.boundjid.full)):
            with pytest.raises(IqError) as refused:
                await stranger.ask(jid, "set", element(opening), within=10)
            answers.append((refused.value.condition, refused.value.text, refused.value.etype))
        assert answers[0] == answers[1], "nobody can tell that there is an agent"
        assert laptop.taken.empty()
        with pytest.raises(PermissionError, match="not a member"):
            await laptop.relay.open(str(stranger.boundjid.full))


async def test_what_no_peer_sends_is_refused_and_ends_the_stream(xmpp_server: XmppServer, account: str) -> None:
    data = f"<data xmlns='{IBB}' sid='s' seq='{{}}'>{{}}</data>"
    for request, condition in (
        (data.format(1, "AAAA"), "unexpected-request"),
        (data.format("x", "AAAA"), "unexpected-request"),
        (data.format(0, "A"), "bad-request"),
        (data.format(0, "AA!A"), "bad-request"),
        (data.format(0, ""), "bad-request"),
        (data.format(0, "A" * 8), "bad-request"),
    ):
        async with (
            station(xmpp_server, account, "laptop") as laptop,
            bare_client(xmpp_server, account, "rogue") as rogue,
        ):
            await rogue.ask(laptop.jid, "set", element(f"<open xmlns='{IBB}' sid='s' block-size='4'/>"), within=10)
            end, _ = await laptop.taken.get()
            with pytest.raises(IqError) as refused:
                await rogue.ask(laptop.jid, "set", element(request), within=10)
            assert refused.value.condition == condition, request
            assert await received(end, 1) == b""
            end.close()


async def test_requests_that_make_no_sense_are_refused(xmpp_server: XmppServer, account: str) -> None:
    async with (
        station(xmpp_server, account, "laptop") as laptop,
        bare_client(xmpp_server, account, "rogue") as rogue,
    ):
        found = {}
        for name, attributes in (
            ("open", "sid='' block-size='4096'"),
            ("open", "sid='s'"),
            ("open", "sid='s' block-size='-1'"),
            ("open", "sid='s' block-size='0'"),
            ("open", "sid='s' block-size='65535'"),
            ("open", "sid='s' block-size='99999999999'"),
            ("open", "sid='s' block-size='4096' stanza='message'"),
            ("data", "sid='unknown' seq='0'"),
            ("close", "sid='unknown'"),
            ("close", ""),
            ("nothing", ""),
        ):
            with pytest.raises(IqError) as refused:
                await rogue.ask(laptop.jid, "set", element(f"<{name} xmlns='{IBB}' {attributes}/>"), within=10)
            found[f"{name} {attributes}"] = refused.value.condition
        assert Counter(found.values()) == {
            "bad-request": 5,
            "resource-constraint": 2,
            "not-acceptable": 1,
            "item-not-found": 3,
        }, found
        assert laptop.taken.empty()
    record("bad inputs refused", len(found))


async def test_no_member_can_open_more_than_so_many_streams(xmpp_server: XmppServer, account: str) -> None:
    async with station(xmpp_server, account, "laptop") as laptop, station(xmpp_server, account, "desktop") as desktop:
        ends = [await laptop.relay.open(desktop.jid) for _ in range(MAX_STREAMS)]
        with pytest.raises(OSError, match="too many streams"):
            await laptop.relay.open(desktop.jid)
        async with bare_client(xmpp_server, account, "rogue") as rogue:
            opening = element(f"<open xmlns='{IBB}' sid='one more' block-size='4096'/>")
            with pytest.raises(IqError) as refused:
                await rogue.ask(desktop.jid, "set", opening, within=10)
            assert refused.value.condition == "resource-constraint"
        for end in ends:
            end.close()
        await eventually(lambda: not desktop.relay.streams())
        again = await laptop.relay.open(desktop.jid)
        again.close()


async def test_numbers_begin_again_after_the_last() -> None:
    """65,536 blocks of a byte, without a server: it takes no part in counting."""
    loop = asyncio.get_running_loop()
    ends: list[Bytestream] = []
    numbers: list[str] = []

    def ask(block: ET.Element) -> asyncio.Future[None]:
        answered = loop.create_future()
        if block.tag == f"{{{IBB}}}data":
            numbers.append(block.get("seq", ""))
            ends[1].take(block, lambda: answered.set_result(None))
        return answered

    ends += [Bytestream("s", block_size=size, ask=ask, pace=Pace()) for size in (1, 1)]
    running = [asyncio.create_task(end.run()) for end in ends]
    count = (1 << 16) + 10
    content = (CONTENT * 2)[:count]
    there, _ = await asyncio.gather(received(ends[1].end, count), loop.sock_sendall(ends[0].end, content))
    assert there == content
    assert numbers[65_534:65_538] == ["65534", "65535", "0", "1"]
    for end in ends:
        end.end.close()
    await asyncio.gather(*running)


async def test_a_stream_whose_peer_is_silent_takes_no_turn_of_the_others() -> None:
    """A peer that hibernates may answer after minutes (XEP-0198); the window here is one block."""
    loop = asyncio.get_running_loop()
    pace = Pace()
    asked: list[asyncio.Future[None]] = []

    def ask(_: ET.Element) -> asyncio.Future[None]:
        asked.append(loop.create_future())
        return asked[-1]

    silent = Bytestream("s", block_size=4, ask=ask, pace=pace, overdue=0.05)
    running = asyncio.create_task(silent.run())
    await loop.sock_sendall(silent.end, b"12345678")
    async with asyncio.timeout(10):
        await eventually(lambda: len(asked) == 1)
        await pace.turn()  # that of another stream
        pace.over(took=0.0)
        assert len(asked) == 1, "no more is sent to whoever does not answer"
        asked[0].set_result(None)
        await eventually(lambda: len(asked) == 2)
        silent.end.close()
        await running
        assert asked[1].cancelled()
        await pace.turn()  # that of the block whose stream is gone


async def test_the_window_follows_the_answers() -> None:
    pace = Pace()
    for _ in range(200):
        await pace.turn()
        pace.over(took=0.01)
    assert pace.window == MOST
    await pace.turn()
    pace.over(took=5.0)
    assert pace.window == MOST // 2
    await pace.turn()
    pace.over(took=None)
    assert pace.window == MOST // 4


async def test_streams_take_turns_and_one_that_gives_up_holds_nobody_back() -> None:
    pace = Pace()
    await pace.turn()
    waiting = [asyncio.create_task(pace.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    pace.over(took=5.0)
    await waiting[1]
    assert waiting[0].cancelled()
    assert not waiting[2].done()
    pace.over(took=5.0)
    waiting[2].cancel()
    await asyncio.gather(waiting[2], return_exceptions=True)
    async with asyncio.timeout(5):
        await pace.turn()


def test_a_block_is_what_a_slow_server_lets_through_in_two_seconds() -> None:
    assert BLOCK * 4 / 3 + 300 < 2 * 3000
