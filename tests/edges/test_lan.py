"""The LAN channel: devices that find each other by multicast on loopback, or by configured addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosync.channels.discovery import GROUP, Rhythm
from autosync.channels.lan import LanChannel
from autosync.link import Timing
from autosync.ports import Channel
from autosync.sealing import WorkspaceKey
from tests.edges.linked_devices import KEY, LOOPBACK, OTHER_KEY, Device, Workspace, eventually, running

QUICK = Rhythm(first=(0.0, 0.05), interval=0.3, gap=0.02, check=0.05, heard=0.1)
SELDOM = Rhythm(first=(0.0,), interval=3600, gap=0.02, check=0.05, heard=0.1)
"""Says something once: what arrives later is an answer."""


class Listener:
    """Writes down what a channel tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:  # noqa: ARG002
        self.told.append(f"{lane} sealed")

    def channel_ready(self, lane: str) -> None:
        self.told.append(f"{lane} ready")

    def catch_up_done(self, lane: str) -> None:
        self.told.append(f"{lane} caught up")


@dataclass
class Lan:
    """A device and its channel."""

    device: Device
    channel: LanChannel
    listener: Listener

    async def say(self, text: str) -> None:
        key = self.device.workspace.key
        await self.channel.publish(key.slot(self.device.id), key.tag, text.encode())

    @property
    def dropped(self) -> Mapping[str, int]:
        return self.channel.status().dropped


@pytest.fixture
def group() -> Iterator[tuple[str, int]]:
    """A multicast group that no other test uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield GROUP[0], port


@contextlib.asynccontextmanager
async def on_lan(
    state: Path,
    name: str,
    group: tuple[str, int],
    *,
    key: WorkspaceKey = KEY,
    listen: tuple[str, int] = LOOPBACK,
    rhythm: Rhythm = QUICK,
    peers: tuple[str, ...] = (),
    discovery: bool = True,
) -> AsyncIterator[Lan]:
    """A device with a LAN channel that was started."""
    async with running(state, name, key=key, listen=listen) as device:
        listener = Listener()
        channel = LanChannel(device.links, listener, peers=peers, discovery=discovery, group=group, rhythm=rhythm)
        await channel.start()
        try:
            yield Lan(device, channel, listener)
        finally:
            await channel.stop()


def shout(datagram: bytes, group: tuple[str, int]) -> None:
    """Send a datagram to the group by the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        lo = struct.pack("=4s4si", bytes(4), socket.inet_aton("127.0.0.1"), socket.if_nametoindex("lo"))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, lo)
        sender.sendto(datagram, group)


@contextlib.contextmanager
def eavesdropper(group: tuple[str, int]) -> Iterator[socket.socket]:
    """A socket that receives what is sent to the group by the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        receiver.bind(group)
        lo = struct.pack("=4s4si", socket.inet_aton(group[0]), bytes(4), socket.if_nametoindex("lo"))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, lo)
        receiver.setblocking(False)
        yield receiver


async def overheard(receiver: socket.socket) -> bytes:
    """Return the next datagram."""
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(receiver, 4096)


async def test_three_devices_find_each_other(tmp_path: Path, group: tuple[str, int]) -> None:
    async with (
        on_lan(tmp_path, "laptop", group) as laptop,
        on_lan(tmp_path, "desktop", group) as desktop,
        on_lan(tmp_path, "server", group) as server,
    ):
        await laptop.say("hello")
        assert await desktop.device.hears() == ("laptop", "hello")
        assert await server.device.hears() == ("laptop", "hello")
        await eventually(lambda: server.device.linked_with() == ["desktop", "laptop"])
        await server.say("hello both")
        assert await laptop.device.hears() == await desktop.device.hears() == ("server", "hello both")
        for lan in (laptop, desktop, server):
            status = lan.channel.status()
            assert (status.kind, status.state, status.detail) == ("lan", "online", "2 devices linked")
            assert status.dropped == {}
            assert lan.listener.told == ["lan ready", "lan caught up"]


async def test_all_interfaces_find_each_other_too(tmp_path: Path, group: tuple[str, int]) -> None:
    async with (
        on_lan(tmp_path, "laptop", group, listen=("", 0)) as laptop,
        on_lan(tmp_path, "desktop", group) as desktop,
    ):
        await laptop.say("hello")
        assert await desktop.device.hears() == ("laptop", "hello")


async def test_a_new_device_is_answered_at_once(tmp_path: Path, group: tuple[str, int]) -> None:
    """It learns of those that are there, though their next beacon is an hour away."""
    async with on_lan(tmp_path, "laptop", group, rhythm=SELDOM) as laptop:
        with eavesdropper(group) as ear:
            shout(_beacon("newcomer-00000000"), group)
            spoken: set[str] = set()
            while laptop.device.id not in spoken:
                spoken.add(json.loads(KEY.open(await overheard(ear), context=b"beacon"))["device"])
        assert laptop.dropped == {}


async def test_a_device_that_comes_back_elsewhere_is_found_again(tmp_path: Path, group: tuple[str, int]) -> None:
    async with on_lan(tmp_path, "laptop", group, rhythm=SELDOM) as laptop:
        await laptop.say("me")
        for n in range(3):
            async with on_lan(tmp_path, "desktop", group, rhythm=SELDOM) as desktop:
                assert await desktop.device.hears() == ("laptop", "me")
                await desktop.say(f"life {n}")
                assert await laptop.device.hears() == ("desktop", f"life {n}")
            await eventually(lambda: laptop.channel.status().detail == "0 devices linked")


async def test_configured_peers_need_no_multicast(tmp_path: Path, group: tuple[str, int]) -> None:
    async with on_lan(tmp_path, "laptop", group, discovery=False) as laptop:
        peers = (laptop.device.address, "127.0.0.1:9")
        async with on_lan(tmp_path, "desktop", group, discovery=False, peers=peers) as desktop:
            await desktop.say("hello")
            assert await laptop.device.hears() == ("desktop", "hello")
            assert laptop.channel.status().detail == "1 device linked"
            await eventually(lambda: _problems(desktop).get("127.0.0.1:9") == "127.0.0.1:9: Connection refused")


async def test_a_configured_peer_is_tried_until_it_is_there(tmp_path: Path, group: tuple[str, int]) -> None:
    with socket.socket() as reserved:
        reserved.bind(LOOPBACK)
        port = reserved.getsockname()[1]
    address = f"127.0.0.1:{port}"
    async with on_lan(tmp_path, "laptop", group, discovery=False, peers=(address,)) as laptop:
        await laptop.say("anybody?")
        await eventually(lambda: _problems(laptop) == {address: f"{address}: Connection refused"})
        for _ in range(2):
            async with on_lan(tmp_path, "desktop", group, discovery=False, listen=("127.0.0.1", port)) as desktop:
                assert await desktop.device.hears() == ("laptop", "anybody?")


async def test_other_workspaces_on_the_same_network_are_strangers(tmp_path: Path, group: tuple[str, int]) -> None:
    async with (
        on_lan(tmp_path, "laptop", group) as laptop,
        on_lan(tmp_path, "neighbour", group, key=OTHER_KEY) as neighbour,
    ):
        await eventually(lambda: laptop.dropped.get("stranger", 0) > 1 and neighbour.dropped.get("stranger", 0) > 1)
        assert laptop.device.linked_with() == neighbour.device.linked_with() == []


async def test_a_beacon_tells_nothing_to_strangers(tmp_path: Path, group: tuple[str, int]) -> None:
    with eavesdropper(group) as ear:
        async with on_lan(tmp_path, "laptop", group) as laptop:
            first, second = await overheard(ear), await overheard(ear)
            port = laptop.device.links.port
        for secret in (b"laptop", str(port).encode(), KEY.id.encode(), bytes.fromhex(KEY.id)):
            assert secret not in first + second
        assert first != second


def _beacon(device: str, **fields: object) -> bytes:
    body = {"device": device, "instance": "00" * 8, "addresses": [], "port": 0} | fields
    return KEY.seal(json.dumps(body).encode(), context=b"beacon")


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "stranger"),
        (os.urandom(1400), "stranger"),
        (OTHER_KEY.seal(b"{}", context=b"beacon"), "stranger"),
        (KEY.seal(b"{}", context=b"announcement"), "stranger"),
        (KEY.seal(b"[" * 1000, context=b"beacon"), "malformed beacon"),
        (KEY.seal(b"[]", context=b"beacon"), "malformed beacon"),
        (KEY.seal(b"{}", context=b"beacon"), "malformed beacon"),
        (_beacon("../etc", port=1), "malformed beacon"),
        (_beacon("eve-00000000", port=1, addresses=7), "malformed beacon"),
        (_beacon("eve-00000000", port=0, instance=5), "malformed beacon"),
    ],
    ids=["empty", "noise", "key", "context", "nesting", "list", "nothing", "path", "addresses", "instance"],
)
async def test_a_beacon_that_is_none_is_counted(
    tmp_path: Path, group: tuple[str, int], datagram: bytes, reason: str
) -> None:
    async with on_lan(tmp_path, "laptop", group) as laptop:
        async with asyncio.timeout(10):
            while reason not in laptop.dropped:
                shout(datagram, group)
                await asyncio.sleep(0.01)  # UDP, to a socket that may not have joined yet
        assert set(laptop.dropped) == {reason}
        async with on_lan(tmp_path, "desktop", group) as desktop:
            await laptop.say("unharmed")
            assert await desktop.device.hears() == ("laptop", "unharmed")


async def test_a_beacon_of_a_copied_state_directory_is_counted(tmp_path: Path, group: tuple[str, int]) -> None:
    async with on_lan(tmp_path, "laptop", group) as laptop, asyncio.timeout(10):
        while "copied state-dir" not in laptop.dropped:
            shout(_beacon(laptop.device.id, port=1), group)
            await asyncio.sleep(0.01)  # UDP, to a socket that may not have joined yet


async def test_repeated_beacons_do_not_make_it_dial_or_speak_much(tmp_path: Path, group: tuple[str, int]) -> None:
    """Anybody on the network can send a recorded beacon again and again."""
    connected = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    slow = Rhythm(first=(0.0,), interval=3600, gap=60, check=0.05, heard=60, rate=50)
    async with server, on_lan(tmp_path, "laptop", group, rhythm=slow) as laptop:
        recorded = [
            _beacon("eve-00000000", addresses=[f"127.0.0.1:{port}"], instance=os.urandom(8).hex()) for _ in range(20)
        ]
        with eavesdropper(group) as ear:
            for _ in range(20):
                for beacon in recorded:
                    shout(beacon, group)
                await asyncio.sleep(0)
            await eventually(lambda: laptop.dropped.get("flood", 0) > 100)
            heard = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(ear.recv(4096))
        said = [b for b in heard if json.loads(KEY.open(b, context=b"beacon"))["device"] == laptop.device.id]
        assert len(said) <= 1
        # The first beacon, and the back-off of an address that does not answer.
        assert connected < 40


async def test_without_multicast_it_says_so_and_tries_again(tmp_path: Path, group: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.bind(("", group[1]))
        async with (
            on_lan(tmp_path, "laptop", group) as laptop,
            on_lan(tmp_path, "desktop", group, peers=(laptop.device.address,)) as desktop,
        ):
            await desktop.say("by its address")
            assert await laptop.device.hears() == ("desktop", "by its address")
            status = laptop.channel.status()
            reason = f"no discovery: cannot listen to {group[0]}:{group[1]}: Address already in use"
            assert (status.state, status.detail) == ("online", f"1 device linked; {reason}")

            selfish.close()
            await eventually(lambda: laptop.channel.status().detail == "1 device linked")
            async with on_lan(tmp_path, "server", group) as server:
                await server.say("by multicast")
                assert await laptop.device.hears() == ("server", "by multicast")


async def test_a_workspace_that_is_added_later_is_found(tmp_path: Path, group: tuple[str, int]) -> None:
    async with (
        on_lan(tmp_path, "laptop", group, rhythm=SELDOM) as laptop,
        on_lan(tmp_path, "desktop", group, rhythm=SELDOM, key=OTHER_KEY) as desktop,
    ):
        more = Workspace("laptop", OTHER_KEY, device=laptop.device.id)
        laptop.device.links.add(more)
        await laptop.channel.publish(OTHER_KEY.slot(more.device), OTHER_KEY.tag, b"news")
        assert await desktop.device.hears() == ("laptop", "news")


async def test_a_channel_whose_links_do_not_listen_is_offline(tmp_path: Path, group: tuple[str, int]) -> None:
    device = Device(tmp_path, "laptop", KEY, LOOPBACK, Timing())
    channel: Channel = LanChannel(device.links, Listener(), group=group)
    assert channel.status().state == "offline"
    await device.links.start()
    assert channel.status().state == "offline"
    await channel.start()
    assert channel.status().state == "online"
    await channel.stop()
    assert channel.status().state == "offline"
    await device.links.stop()


def _problems(lan: Lan) -> dict[str, str]:
    return {p.address: p.problem for p in lan.device.links.peers(KEY.id)}
