"""The LAN channel: devices that find each other by multicast DNS, or by configured addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from autosync.channels import mdns
from autosync.channels.beacon import as_text, label_of
from autosync.channels.discovery import Rhythm
from autosync.channels.lan import LanChannel
from autosync.channels.mdns import PORT
from autosync.link import Timing
from autosync.link.addresses import InterfaceAddress
from autosync.ports import Channel
from autosync.trust.sealing import WorkspaceKey
from tests import figures
from tests.edges.linked_devices import KEY, LOOPBACK, OTHER_KEY, Device, Workspace, eventually, running
from tests.edges.mdns_neighbours import (
    answer,
    eavesdropper,
    is_answer_to_a_question,
    overheard,
    pointer,
    question,
    shout,
    text_record,
    texts_in,
)
from tests.networks import ip, needs_network, tc
from tests.waiting import PATIENCE

QUICK = Rhythm(first=0.1, check=0.05, echo=0.3, heard=0.1)
SELDOM = Rhythm(first=3600, check=0.05, heard=0.1)
"""Asks once: what is heard later was not asked for."""
UNASKED = 3
"""How often zeroconf tells of a new service, whoever asks."""
LABEL = "00" * 16
"""Of a neighbour's service."""


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


@contextlib.asynccontextmanager
async def on_lan(
    state: Path,
    name: str,
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
        channel = LanChannel(device.links, listener, peers=peers, discovery=discovery, rhythm=rhythm)
        await channel.start()
        try:
            yield Lan(device, channel, listener)
        finally:
            await channel.stop()


@needs_network
async def test_three_devices_find_each_other(tmp_path: Path) -> None:
    async with (
        on_lan(tmp_path, "laptop") as laptop,
        on_lan(tmp_path, "desktop") as desktop,
        on_lan(tmp_path, "server") as server,
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


@needs_network
async def test_all_interfaces_find_each_other_too(tmp_path: Path) -> None:
    async with (
        on_lan(tmp_path, "laptop", listen=("", 0)) as laptop,
        on_lan(tmp_path, "desktop") as desktop,
    ):
        await laptop.say("hello")
        assert await desktop.device.hears() == ("laptop", "hello")


@needs_network
async def test_a_question_is_answered_at_once(tmp_path: Path) -> None:
    """A newcomer learns of those that are there, though they ask for nothing for an hour."""
    with eavesdropper() as ear:
        async with on_lan(tmp_path, "laptop", rhythm=SELDOM) as laptop:
            announced = 0
            while announced < UNASKED:
                packet = await overheard(ear)
                announced += bool(texts_in(packet)) and not is_answer_to_a_question(packet)
            answered: dict[str, bytes] = {}
            async with asyncio.timeout(PATIENCE):
                while not answered:
                    shout([question()])
                    # What was said less than a second ago is not said again (RFC 6762, 6).
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1.2):
                            while not (answered := texts_in(await overheard(ear))):
                                pass
            assert list(answered) == [label_of(KEY, laptop.device.links.instance)]
            assert laptop.dropped == {}


@needs_network
async def test_a_device_that_comes_back_elsewhere_is_found_again(tmp_path: Path) -> None:
    async with on_lan(tmp_path, "laptop", rhythm=SELDOM) as laptop:
        await laptop.say("me")
        for n in range(3):
            async with on_lan(tmp_path, "desktop", rhythm=SELDOM) as desktop:
                assert await desktop.device.hears() == ("laptop", "me")
                await desktop.say(f"life {n}")
                assert await laptop.device.hears() == ("desktop", f"life {n}")
            await eventually(lambda: laptop.channel.status().detail == "0 devices linked")


@needs_network
async def test_configured_peers_need_no_multicast(tmp_path: Path) -> None:
    async with on_lan(tmp_path, "laptop", discovery=False) as laptop:
        peers = (laptop.device.address, "127.0.0.1:9")
        async with on_lan(tmp_path, "desktop", discovery=False, peers=peers) as desktop:
            await desktop.say("hello")
            assert await laptop.device.hears() == ("desktop", "hello")
            assert laptop.channel.status().detail == "1 device linked"
            await eventually(lambda: _problems(desktop).get("127.0.0.1:9") == "127.0.0.1:9: Connection refused")


@needs_network
async def test_a_configured_peer_is_tried_until_it_is_there(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(LOOPBACK)
        port = reserved.getsockname()[1]
    address = f"127.0.0.1:{port}"
    async with on_lan(tmp_path, "laptop", discovery=False, peers=(address,)) as laptop:
        await laptop.say("anybody?")
        await eventually(lambda: _problems(laptop) == {address: f"{address}: Connection refused"})
        for _ in range(2):
            async with on_lan(tmp_path, "desktop", discovery=False, listen=("127.0.0.1", port)) as desktop:
                assert await desktop.device.hears() == ("laptop", "anybody?")


@needs_network
async def test_other_workspaces_on_the_same_network_are_strangers(tmp_path: Path) -> None:
    async with (
        on_lan(tmp_path, "laptop") as laptop,
        on_lan(tmp_path, "neighbour", key=OTHER_KEY) as neighbour,
    ):
        await eventually(lambda: laptop.dropped.get("stranger", 0) > 1 and neighbour.dropped.get("stranger", 0) > 1)
        assert laptop.device.linked_with() == neighbour.device.linked_with() == []


@needs_network
async def test_what_is_said_tells_nothing_to_strangers(tmp_path: Path) -> None:
    """Nor do two lives of one agent have anything in common, or two agents of one workspace."""
    said: list[bytes] = []
    short: list[set[str]] = []
    host = socket.gethostname().encode()
    with eavesdropper() as ear:
        for name in ("laptop", "laptop", "desktop"):
            async with on_lan(tmp_path, name, rhythm=SELDOM) as lan:
                packet = b""
                while not (told := texts_in(packet)):
                    packet = await overheard(ear)
                (text,) = told.values()
                # The label is a hash in hex, in which the digits of a number stand by chance now and then.
                (label,) = told
                packet = packet.replace(label.encode(), b"")
                for secret in (
                    *(b"laptop", b"desktop", b"127.0.0.1", b"%d" % lan.device.links.port),
                    *(KEY.id.encode(), bytes.fromhex(KEY.id), KEY.seal(b"", context=b"")[1:5]),
                ):
                    assert secret not in packet
                    assert secret not in label.encode() or secret.isdigit()
                # So few bytes stand by chance now and then in what is encrypted, but not each time.
                few = {"port": lan.device.links.port.to_bytes(2, "big"), "host": host, "pid": b"%d" % os.getpid()}
                short.append({what for what, value in few.items() if value in packet})
                said.append(text)
            with contextlib.suppress(BlockingIOError):
                while ear.recv(9000):
                    pass
    # Shorter pieces are alike by chance now and then.
    pieces = [{text[at : at + 8] for at in range(6, len(text) - 8)} for text in said]
    assert len(said) == 3
    assert not set.intersection(*short)
    assert not pieces[0] & pieces[1] and not pieces[1] & pieces[2] and not pieces[0] & pieces[2]


def _beacon(device: str, label: str = LABEL, **fields: object) -> bytes:
    body = {"device": device, "instance": "00" * 8, "addresses": [], "local": [], "port": 0} | fields
    return as_text(KEY, label, json.dumps(body).encode())


def changed(text: bytes) -> bytes:
    """Return it with one bit of its last byte changed."""
    return text[:-1] + bytes([text[-1] ^ 1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "stranger"),
        (b"\x00", "stranger"),
        (b"\xff" * 1200, "stranger"),
        (b"\x05hello", "stranger"),
        (bytes([250]) + os.urandom(250), "stranger"),
        ((b"\xff" + os.urandom(255)) * 33, "stranger"),
        (as_text(OTHER_KEY, LABEL, b"{}"), "stranger"),
        (as_text(KEY, "another", b"{}"), "stranger"),
        (changed(as_text(KEY, LABEL, b"{}")), "stranger"),
        (as_text(KEY, LABEL, b"[" * 1000), "malformed beacon"),
        (as_text(KEY, LABEL, b"[]"), "malformed beacon"),
        (as_text(KEY, LABEL, b"{}"), "malformed beacon"),
        (_beacon("../etc", port=1), "malformed beacon"),
        (_beacon("eve-00000000", port=1, addresses=7), "malformed beacon"),
        (_beacon("eve-00000000", port=70000), "malformed beacon"),
        (_beacon("eve-00000000", instance=5), "malformed beacon"),
        (_beacon("eve-00000000", addresses=["a:1"] * 9), "malformed beacon"),
        (_beacon("laptop", port=1), "copied state-dir"),
    ],
    ids=[
        *("empty", "nothing", "pattern", "short", "noise", "huge", "key", "name", "changed"),
        *("nesting", "list", "no fields", "path", "addresses", "port", "instance", "many", "copied"),
    ],
)
@needs_network
async def test_a_service_that_is_no_peers_is_counted(tmp_path: Path, text: bytes, reason: str) -> None:
    async with on_lan(tmp_path, "laptop") as laptop:
        if reason == "copied state-dir":
            text = _beacon(laptop.device.id, port=1)
        async with asyncio.timeout(PATIENCE):
            while reason not in laptop.dropped:
                shout([answer(pointer(LABEL)), answer(text_record(LABEL, text))])
                await asyncio.sleep(0.01)  # UDP, to a socket that may not have joined yet
        assert set(laptop.dropped) == {reason}
        # Two machines with one identity take each other's links; what they say is said again, to be heard at all.
        assert laptop.listener.told.count("lan ready") == (2 if reason == "copied state-dir" else 1)
        async with on_lan(tmp_path, "desktop") as desktop:
            await laptop.say("unharmed")
            assert await desktop.device.hears() == ("laptop", "unharmed")
    figures.record("bad inputs refused", 1)


@needs_network
async def test_packets_that_are_no_dns_harm_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with on_lan(tmp_path, "laptop") as laptop:
        whole = answer(pointer(LABEL), text_record(LABEL, os.urandom(200)))
        broken = [whole[:n] for n in range(len(whole))] + [os.urandom(n * 7) for n in range(200)]
        shout([*broken, b"\0\0\x84\0" + b"\xff" * 8 + b"\xc0\x0c" * 100, bytes(9000)])
        async with on_lan(tmp_path, "desktop") as desktop:
            await laptop.say("unharmed")
            assert await desktop.device.hears() == ("laptop", "unharmed")
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR", "CRITICAL")]
    figures.record("bad inputs refused", len(broken) + 2)


@needs_network
async def test_repeated_beacons_do_not_make_it_dial_much(tmp_path: Path) -> None:
    """Anybody on the network can send a recorded beacon again and again."""
    connected = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    slow = Rhythm(first=3600, check=0.05, heard=3600, rate=50)
    async with server, on_lan(tmp_path, "laptop", rhythm=slow) as laptop:
        recorded = [
            answer(text_record(label, _beacon("eve-00000000", label, addresses=[f"127.0.0.1:{port}"])))
            for label in (f"{n:032x}" for n in range(200))
        ]
        while laptop.dropped.get("flood", 0) <= 100:
            shout(recorded)
            await asyncio.sleep(0.01)
        # The first beacon, and the back-off of an address that does not answer.
        assert connected < 40


@needs_network
async def test_a_flood_is_not_listened_to(tmp_path: Path) -> None:
    """Whatever it consists of, it costs nothing for a while, and what is known stays."""
    rhythm = Rhythm(first=0.1, check=0.05, heard=0.1, flood=300, rest=0.3)
    flooded = "no discovery: more than 300 records a second; it is tried again later"
    async with on_lan(tmp_path, "laptop", rhythm=rhythm) as laptop, on_lan(tmp_path, "desktop") as desktop:
        await eventually(lambda: laptop.device.linked_with() == ["desktop"])
        packets = [
            answer(*(text_record(f"{n}-{m}", os.urandom(50), type_="_ipp._tcp.local.") for m in range(10)))
            for n in range(100)
        ]
        async with asyncio.timeout(PATIENCE):
            while flooded not in laptop.channel.status().detail:
                shout(packets)
                await asyncio.sleep(0.01)
        await laptop.say("still here")
        assert await desktop.device.hears() == ("laptop", "still here")
        await eventually(lambda: laptop.channel.status().detail == "1 device linked")
        async with on_lan(tmp_path, "server") as server:
            await server.say("found")
            assert await laptop.device.hears() == ("server", "found")


@needs_network
async def test_without_the_port_it_says_so_and_tries_again(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.bind(("", PORT))
        async with (
            on_lan(tmp_path, "laptop") as laptop,
            on_lan(tmp_path, "desktop", peers=(laptop.device.address,)) as desktop,
        ):
            await desktop.say("by its address")
            assert await laptop.device.hears() == ("desktop", "by its address")
            status = laptop.channel.status()
            reason = "no discovery: UDP port 5353 cannot be used: Address already in use"
            assert (status.state, status.detail) == ("online", f"1 device linked; {reason}")

            selfish.close()
            await eventually(lambda: laptop.channel.status().detail == "1 device linked")
            async with on_lan(tmp_path, "server") as server:
                await server.say("by multicast")
                assert await laptop.device.hears() == ("server", "by multicast")


@needs_network
async def test_a_firewall_is_told(tmp_path: Path) -> None:
    """What we say does not come back then; here the queue of the interface drops everything."""
    tc("qdisc add dev lo root pfifo limit 0")
    async with on_lan(tmp_path, "laptop") as laptop, on_lan(tmp_path, "desktop") as desktop:
        deaf = "UDP port 5353: what this device says to its networks does not come back; does a firewall drop it?"
        for lan in (laptop, desktop):
            await eventually(lambda lan=lan: lan.channel.status().detail == f"0 devices linked; no discovery: {deaf}")
        tc("qdisc del dev lo root")
        await laptop.say("let through")
        assert await desktop.device.hears() == ("laptop", "let through")
        for lan in (laptop, desktop):
            await eventually(lambda lan=lan: lan.channel.status().detail == "1 device linked")


# zeroconf (create_sockets) drops the sockets that it has opened, unclosed, if it then meets an interface that has gone.
ZEROCONF_DROPS_SOCKETS = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"
)


@ZEROCONF_DROPS_SOCKETS
@needs_network
async def test_an_address_that_goes_while_it_is_joined_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdns, "_try_port", lambda _: None)  # it was there a moment ago
    gone = InterfaceAddress(ip=ip_address("2001:db8::1"), interface=1)
    with pytest.raises(OSError, match="No adapter found for IP address 2001:db8::1"):
        mdns.Responder([gone], lambda _label, _text: None, limit=9, flooded=lambda: None)


@ZEROCONF_DROPS_SOCKETS
@needs_network
async def test_networks_come_and_go(tmp_path: Path) -> None:
    """No interface at the start, then one, then another in its place."""
    ip("link set lo down")
    everywhere = ("", 0)
    async with (
        on_lan(tmp_path, "laptop", listen=everywhere) as laptop,
        on_lan(tmp_path, "desktop", listen=everywhere) as desktop,
    ):
        nowhere = "0 devices linked; no discovery: no network interface takes part in multicast"
        await eventually(lambda: laptop.channel.status().detail == nowhere)
        for n in range(3):
            name = f"lan{n}"
            ip(f"link add {name} type bridge")
            ip(f"link set {name} up")
            ip(f"addr add 192.0.2.{n + 1}/24 dev {name}")
            ip("link set lo up")
            laptop.channel.nudge()
            desktop.channel.nudge()
            await laptop.say(f"network {n}")
            assert await desktop.device.hears() == ("laptop", f"network {n}")
            ip(f"link del {name}")
        assert laptop.dropped == {}


@needs_network
async def test_a_workspace_that_is_added_later_is_found(tmp_path: Path) -> None:
    async with (
        on_lan(tmp_path, "laptop", rhythm=SELDOM) as laptop,
        on_lan(tmp_path, "desktop", rhythm=SELDOM, key=OTHER_KEY) as desktop,
    ):
        more = Workspace("laptop", OTHER_KEY, device=laptop.device.id)
        laptop.device.links.add(more)
        await laptop.channel.publish(OTHER_KEY.slot(more.device), OTHER_KEY.tag, b"news")
        assert await desktop.device.hears() == ("laptop", "news")


@needs_network
async def test_a_channel_whose_links_do_not_listen_is_offline(tmp_path: Path) -> None:
    device = Device(tmp_path, "laptop", KEY, LOOPBACK, Timing())
    channel: Channel = LanChannel(device.links, Listener())
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
