"""Every channel behind one face, so that one suite can examine them all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from slixmpp import JID

from autosync.channels.fanout import FanoutChannel
from autosync.channels.lan import LanChannel
from autosync.channels.lines import LineTiming
from autosync.channels.reflector import ReflectorChannel
from autosync.channels.xmpp import XmppChannel, XmppSettings
from autosync.channels.xmpp_client import Trust, XmppClient
from autosync.channels.xmpp_element import EVENT, NAMESPACE
from autosync.core.candidates import on_lan
from autosync.core.model import DeviceId
from autosync.link import Links
from autosync.ports import Channel, ChannelListener
from autosync.trust.identity import load_or_create_identity
from tests.channels.fanout_server import FanoutServer
from tests.channels.reflectors import Client, Running
from tests.edges.linked_devices import KEY, LOOPBACK
from tests.edges.linked_devices import QUICK as QUICK_LINKS
from tests.edges.linked_devices import Workspace as LinkedWorkspace
from tests.edges.xmpp_devices import QUICK as QUICK_XMPP
from tests.edges.xmpp_devices import eventually
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, SERVERS

TAG = KEY.tag
QUICK = LineTiming(connect=5, answer=5, probe=2, quiet=1, retry_base=0.05, retry_cap=0.2)
PATIENCE = 30.0
_ACCOUNTS = 40


_FORGED = (
    f"<event xmlns='{EVENT}'><items node='{NAMESPACE}'><item id='slot'>"
    f"<announcement xmlns='{NAMESPACE}' workspace='{TAG}'>Zm9yZ2Vk</announcement></item></items></event>"
)


class Recorder:
    """A listener that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str | bytes] = []
        self._news = asyncio.Event()

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:  # noqa: ARG002
        assert workspace_tag == TAG
        self._tell(sealed)

    def channel_ready(self, lane: str) -> None:  # noqa: ARG002
        self._tell("ready")

    def catch_up_done(self, lane: str) -> None:  # noqa: ARG002
        self._tell("caught up")

    @property
    def received(self) -> list[bytes]:
        return [entry for entry in self.told if isinstance(entry, bytes)]

    async def until(self, *expected: str | bytes, count: int = 1) -> None:
        """Return once each of ``expected`` was told ``count`` times."""
        async with asyncio.timeout(PATIENCE):
            while any(self.told.count(entry) < count for entry in expected):
                self._news.clear()
                await self._news.wait()

    def _tell(self, entry: str | bytes) -> None:
        self.told.append(entry)
        self._news.set()


class Participant:
    """A device with nothing but a channel."""

    def __init__(self, name: str, channel: Channel, heard: Recorder) -> None:
        self.name = name
        self.channel = channel
        self.heard = heard

    @property
    def state(self) -> str:
        return self.channel.status().state

    @property
    def dropped(self) -> Mapping[str, int]:
        return self.channel.status().dropped

    async def say(self, sealed: bytes) -> None:
        await self.channel.publish(KEY.slot(DeviceId(self.name)), TAG, sealed)

    async def becomes(self, state: str) -> None:
        await eventually(lambda: self.state == state, within=PATIENCE)


class Medium(ABC):
    """A channel and what it needs to be examined."""

    keeps: bool
    """Whether a latecomer gets what was said before he came."""
    echoes: bool = False
    """Whether one's own words come back."""
    too_large: int
    """Bytes that are more than it carries."""

    @abstractmethod
    def device(self, name: str, listener: Recorder) -> Channel:
        """Return a new channel that is not started."""

    def start_server(self) -> None:
        """Start the server, if there is one and it does not run."""
        return

    def stop_server(self) -> None:
        """Stop the server."""
        return

    def end(self) -> None:
        """End what the next test does not need."""
        self.stop_server()

    @abstractmethod
    async def attack(self, victim: Participant) -> None:
        """Have a stranger say what nobody should believe."""

    async def settle(self) -> None:
        """See to what the newest device has beside its channel, before that starts."""
        return

    async def leave(self) -> None:
        """See to what devices have beside their channels, after those stopped."""
        return


class Lines(Medium):
    """Over a server that speaks in lines."""

    def __init__(self, kind: type[FanoutChannel | ReflectorChannel], server: Running | FanoutServer) -> None:
        self.kind = kind
        self.server = server
        self.keeps = kind is ReflectorChannel
        self.echoes = kind is FanoutChannel
        self.too_large = 65 * 1024 if self.keeps else 4096

    def start_server(self) -> None:
        self.server.start()

    def stop_server(self) -> None:
        self.server.stop()

    def device(self, name: str, listener: Recorder) -> Channel:  # noqa: ARG002
        return self.kind(("127.0.0.1", self.server.port), listener, tags=lambda: (TAG,), timing=QUICK)

    async def attack(self, victim: Participant) -> None:  # noqa: ARG002
        with Client(self.server.port) as stranger:
            stranger.line()
            stranger.say(f"announce {TAG} not base64!", f"announce {TAG} Zm9yZ2V=x", f"announce {TAG} \x7f")
            stranger.raw(b"\xff\xfe\x00 garbage \n" * 10)
            stranger.settle()


class Xmpp(Medium):
    """Over an XMPP server; the account is another for each test."""

    keeps = True
    echoes = True
    too_large = 65 * 1024

    def __init__(self, name: str) -> None:
        self.server = SERVERS[name](["mallory", *(f"u{n}" for n in range(_ACCOUNTS))])
        self._account_number = 0

    def start_server(self) -> None:
        if not self.server.running:
            self.server.start()

    def stop_server(self) -> None:
        self.server.stop()

    def end(self) -> None:
        """Leave the server running for the next test, which has another account."""
        self._account_number += 1

    def device(self, name: str, listener: Recorder) -> Channel:
        settings = XmppSettings(
            jid=f"{self._account}@{DOMAIN}",
            password=lambda: PASSWORD,
            device=name,
            host="127.0.0.1",
            port=self.server.port,
            ca_file=self.server.ca_file,
        )
        return XmppChannel(settings, listener, timing=QUICK_XMPP)

    @property
    def _account(self) -> str:
        return f"u{self._account_number % _ACCOUNTS}"

    async def attack(self, victim: Participant) -> None:
        client = XmppClient(JID(f"mallory@{DOMAIN}/x"), Trust(self.server.ca_file), event_received=lambda _: None)
        await client.log_in(PASSWORD, host="127.0.0.1", port=self.server.port, within=10)
        try:
            message = client.make_message(f"{self._account}@{DOMAIN}/{victim.name}", mtype="headline")
            message.xml.append(ET.fromstring(_FORGED))  # noqa: S314 - nobody else's
            message.send()
            await client.ping(within=10)
        finally:
            await client.close(within=1)


class Lan(Medium):
    """Over links between the devices; who is met first is told of the others' addresses."""

    keeps = True
    too_large = 65 * 1024

    def __init__(self, state: Path) -> None:
        self._state = state
        self._links: list[Links] = []

    def device(self, name: str, listener: Recorder) -> Channel:
        identity = load_or_create_identity(str(self._state / name))
        links = Links(identity, listen=LOOPBACK, timing=QUICK_LINKS)
        links.add(Heard(name, listener, identity.device_id(name)))
        self._links.append(links)
        return LanChannel(links, listener, discovery=False)

    async def settle(self) -> None:
        links = self._links[-1]
        await links.start()
        for other in self._links[:-1]:
            links.learn(None, None, on_lan([f"127.0.0.1:{other.port}"]))

    async def leave(self) -> None:
        for links in self._links:
            await links.stop()

    async def attack(self, victim: Participant) -> None:  # noqa: ARG002
        for links in self._links:
            with contextlib.closing(socket.create_connection(("127.0.0.1", links.port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(300))


class Heard(LinkedWorkspace):
    """Hands what a link announces to a channel's listener, as the agent does."""

    def __init__(self, name: str, listener: ChannelListener, device: DeviceId) -> None:
        super().__init__(name, KEY, device=device)
        self._listener = listener

    def announced(self, sealed: bytes, peer: DeviceId) -> None:  # noqa: ARG002
        self._listener.sealed_received(self.key.tag, sealed, "lan")
