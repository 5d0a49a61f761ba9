"""What 1,000 agents cost one XMPP server, and what each of them pays for what is none of its business.

``python -m benchmarks.scale [--connections 1000] [--channels 10] [--servers prosody ejabberd]``

Prosody and ejabberd one after the other, each unprivileged on loopback.  All accounts share one node of
its pubsub service.  Most connections are bare ones, so that this process costs little; the others
are whole XMPP channels, and one of them speaks.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import resource
import ssl
import statistics
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Sequence

from slixmpp import JID

from autosync.channels.xmpp import XmppTiming
from autosync.channels.xmpp_client import Trust, XmppClient
from autosync.channels.xmpp_element import EVENT, NAMESPACE, PUBSUB, Item, write_item
from autosync.channels.xmpp_inbox import Inbox
from benchmarks.idle import cpu_seconds, memory_mib, process_tree
from tests.edges.xmpp_devices import Device, make_device
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, SERVERS, SERVICE, XmppServer

PER_ACCOUNT = 5
LOGINS_AT_ONCE = 50
ROUNDS = 11
SIZES = (1024, 8192)
STORM, STORM_PACE, STORM_WORKSPACES = 20.0, 0.2, 12
_HEADER = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Listeners:
    """Bare connections, and when the last of them heard of an announcement."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.moments: list[float] = []
        self._all = asyncio.Event()

    def begin(self) -> None:
        """Count anew."""
        self.moments = []
        self._all.clear()

    def heard(self) -> None:
        """Take note that one more has heard."""
        self.moments.append(time.perf_counter())
        if len(self.moments) == self.count:
            self._all.set()

    async def all(self) -> None:
        """Return when everyone has heard."""
        await asyncio.wait_for(self._all.wait(), 120)


class Listener:
    """One bare connection: logs in, subscribes to the node, and notices events."""

    def __init__(self, account: str, resource_name: str, listeners: Listeners) -> None:
        self._account, self._resource, self._listeners = account, resource_name, listeners
        self._buffer = b""

    async def start(self, server: XmppServer, context: ssl.SSLContext) -> None:
        """Come up as an agent would: TLS, login, bind, subscribe, ask for what there is."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", server.port)
        await self._exchange(_HEADER, b"features>")
        await self._exchange("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", b"<proceed")
        await self._writer.start_tls(context, server_hostname=DOMAIN)
        await self._exchange(_HEADER, b"features>")
        secret = base64.b64encode(f"\0{self._account}\0{PASSWORD}".encode()).decode()
        await self._exchange(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", b"<success"
        )
        await self._exchange(_HEADER, b"features>")
        jid = f"{self._account}@{DOMAIN}/{self._resource}"
        bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{self._resource}</resource></bind>"
        await self._exchange(f"<iq type='set' id='b'>{bind}</iq>", b"</iq>")
        await self._ask("set", f"<subscribe node='{NAMESPACE}' jid='{jid}'/>")
        await self._ask("get", f"<items node='{NAMESPACE}'/>")
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()

    async def _ask(self, kind: str, query: str) -> None:
        answer = await self._exchange(
            f"<iq type='{kind}' id='q' to='{SERVICE}'><pubsub xmlns='{PUBSUB}'>{query}</pubsub></iq>", b"</iq>"
        )
        if b"type='error'" in answer or b'type="error"' in answer:
            raise RuntimeError(f"refused: {answer[:300]!r}")

    async def _exchange(self, text: str, until: bytes) -> bytes:
        """Send ``text`` and return what comes, up to and with ``until``."""
        self._writer.write(text.encode())
        while until not in self._buffer:
            part = await asyncio.wait_for(self._reader.read(65536), 120)
            if not part:
                raise RuntimeError(f"the server closed the connection: {self._buffer[-200:]!r}")
            self._buffer += part
        answer, _, self._buffer = self._buffer.partition(until)
        if until.startswith(b"<"):
            self._buffer = self._buffer.partition(b">")[2]
        return answer + until

    async def _listen(self) -> None:
        while part := await self._reader.read(65536):
            self._buffer += part
            if b"</event>" in self._buffer:
                self._buffer = b""
                self._listeners.heard()


@contextlib.asynccontextmanager
async def channels(server: XmppServer, accounts: Sequence[str], count: int) -> AsyncIterator[list[Device]]:
    """Run that many whole XMPP channels; the first belongs to who makes the node."""
    devices = [
        make_device(
            accounts[number // PER_ACCOUNT],
            f"channel-{number}",
            port=server.port,
            ca_file=server.ca_file,
            service=SERVICE,
            members=tuple(accounts[1:]) if number == 0 else (),
            timing=XmppTiming(),
        )
        for number in range(count)
    ]
    try:
        for device in devices:
            await device.channel.start()
            await device.heard.until("ready xmpp", within=60)
        yield devices
    finally:
        await asyncio.gather(*(device.channel.stop() for device in devices))


async def measure(server: XmppServer, accounts: Sequence[str], connections: int, count: int) -> None:
    """Print what ``connections`` cost ``server``, ``count`` of which are whole channels."""
    pids = process_tree(server.process.pid)
    context = ssl.create_default_context(cafile=server.ca_file)
    empty = memory_mib(pids, "Rss")
    async with channels(server, accounts, count) as devices:
        listeners = Listeners(connections - count)
        bare = [
            Listener(accounts[number // PER_ACCOUNT], f"bare-{number}", listeners)
            for number in range(count, connections)
        ]
        before, began, gate = cpu_seconds(pids), time.perf_counter(), asyncio.Semaphore(LOGINS_AT_ONCE)

        async def come_up(listener: Listener) -> None:
            async with gate:
                await listener.start(server, context)

        await asyncio.gather(*(come_up(listener) for listener in bare))
        storm, used = time.perf_counter() - began, cpu_seconds(pids) - before
        full = memory_mib(pids, "Rss")
        say(f"  {connections} connections up in {storm:.1f} s ({used:.1f} CPU s of the server)")
        say(f"  memory {empty:.0f} -> {full:.0f} MiB, {(full - empty) * 1024 / connections:.0f} KiB per connection")
        for size in SIZES:
            await announce(devices, listeners, size, pids)
        before = cpu_seconds(pids)
        await asyncio.sleep(10)
        say(f"  idle: {cpu_seconds(pids) - before:.2f} CPU s in 10 s")
        await asyncio.gather(*(listener.stop() for listener in bare))


async def announce(devices: Sequence[Device], listeners: Listeners, size: int, pids: list[int]) -> None:
    """Print how long announcements of ``size`` bytes take from one channel to everyone."""
    median, last, whole, used = [], [], [], []
    for number in range(ROUNDS):
        word = number.to_bytes(4, "big") + os.urandom(size - 4)
        listeners.begin()
        cpu, began = cpu_seconds(pids), time.perf_counter()
        await devices[0].say(word)
        await asyncio.gather(*(device.heard.until(word, within=120) for device in devices[1:]))
        whole.append(time.perf_counter() - began)
        await listeners.all()
        moments = sorted(moment - began for moment in listeners.moments)
        median.append(statistics.median(moments))
        last.append(moments[-1])
        used.append(cpu_seconds(pids) - cpu)
    say(
        f"  {size} bytes: half of them after {ms(median)}, the last after {ms(last)} "
        f"(slowest round {max(last) * 1000:.0f} ms), all whole channels after {ms(whole)}, "
        f"{statistics.mean(used) * 1000:.0f} ms of the server's CPU"
    )


def ms(seconds: Sequence[float]) -> str:
    """Return the median as milliseconds."""
    return f"{statistics.median(seconds) * 1000:.0f} ms"


async def storm(server: XmppServer) -> None:
    """Print how old announcements are when they arrive, while many workspaces are saved into all the time."""
    speaker, listener = (
        make_device("u0", name, port=server.port, ca_file=server.ca_file, timing=XmppTiming())
        for name in ("speaker", "listener")
    )
    clock = time.perf_counter
    ages: list[float] = []
    newest: dict[int, bytes] = {}
    calls: list[asyncio.Task[None]] = []
    try:
        for device in (speaker, listener):
            await device.channel.start()
            await device.online()
        began, noticed = clock(), 0
        while clock() - began < STORM:
            for workspace in range(STORM_WORKSPACES):
                newest[workspace] = b"%.6f %d " % (clock(), workspace) + bytes(8192)
                calls.append(asyncio.create_task(speaker.say(newest[workspace], slot=f"{workspace}")))
            await asyncio.sleep(STORM_PACE)
            fresh = listener.heard.received[noticed:]
            noticed += len(fresh)
            ages += [clock() - float(word.split()[0]) for word in fresh]
        ended = clock()
        await listener.heard.until(*newest.values(), within=300)
        late = clock() - ended
        failed = sum(isinstance(end, BaseException) for end in await asyncio.gather(*calls, return_exceptions=True))
    finally:
        await asyncio.gather(speaker.channel.stop(), listener.channel.stop())
    say(
        f"  {len(calls)} saves of 8 KiB in {STORM_WORKSPACES} workspaces within {STORM:.0f} s, rates as shipped:\n"
        f"    {len(listener.heard.received)} announcements sent, {failed} failed, "
        f"{speaker.heard.told.count('ready xmpp')} login; age on arrival: median {statistics.median(ages):.1f} s, "
        f"at most {max(ages):.1f} s;\n    the newest of every workspace arrived {late:.1f} s after the last save"
    )


def stanza(size: int) -> bytes:
    """Return the event that tells of an announcement of ``size`` bytes."""
    message = ET.Element("{jabber:client}message", {"from": SERVICE, "to": "me@example.org/laptop", "type": "headline"})
    items = ET.SubElement(ET.SubElement(message, f"{{{EVENT}}}event"), f"{{{EVENT}}}items", {"node": NAMESPACE})
    entry = ET.SubElement(items, f"{{{EVENT}}}item", {"id": os.urandom(16).hex()})
    entry.append(write_item(Item(slot="slot", workspace_tag="tag", sealed=os.urandom(size))))
    ET.register_namespace("", "jabber:client")
    return ET.tostring(message)


async def pass_over(*, wanted: bool, count: int = 2000) -> None:
    """Print what an announcement costs that reaches this device, from its bytes on."""
    for size in SIZES:
        delivered: list[Item] = []
        inbox = Inbox(
            {SERVICE: NAMESPACE},
            deliver=delivered.append,
            node_deleted=lambda _owner: None,
            wanted=lambda _tag: wanted,
        )
        client = XmppClient(JID("me@example.org/laptop"), Trust(None), event_received=inbox.take_event)
        client.start_stream_handler = lambda _root: None
        client.init_parser()
        client.data_received(_HEADER.encode())
        stanzas = [stanza(size) for _ in range(count)]
        parsed = [ET.fromstring(text) for text in stanzas]  # noqa: S314  # our own
        began = time.process_time()
        for text in stanzas:
            client.data_received(text)
        whole = time.process_time() - began
        inbox.forget()
        began = time.process_time()
        for message in parsed:
            inbox.take_event(message)
        ours = time.process_time() - began
        assert len(delivered) == (2 * count if wanted else 0), len(delivered)
        whose = "a workspace of this device" if wanted else "another workspace"
        say(
            f"  {whose}, {size} bytes: {whole / count * 1e6:.0f} µs with the XML parser and slixmpp, "
            f"{ours / count * 1e6:.1f} µs of that in autosync"
        )
        await client.close(within=0.1)


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000, help="of all accounts together")
    parser.add_argument("--channels", type=int, default=10, help="how many of them are whole XMPP channels")
    parser.add_argument("--servers", nargs="+", choices=sorted(SERVERS), default=sorted(SERVERS))
    options = parser.parse_args()
    if not 2 <= options.channels <= options.connections - 1:
        parser.error("--channels must be from 2 to one less than --connections")
    files = 4 * options.connections + 1000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < files:
        parser.error(f"{files} open files are needed, the limit is {hard}: ulimit -n {files}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    say("What an announcement costs the device that it reaches:")
    for wanted in (False, True):
        asyncio.run(pass_over(wanted=wanted))
    accounts = [f"u{number}" for number in range(-(-options.connections // PER_ACCOUNT))]
    for name in options.servers:
        with SERVERS[name](accounts, makers=accounts[:1]) as server:
            say(f"{name}, {len(accounts)} accounts:")
            asyncio.run(measure(server, accounts, options.connections, options.channels))
        with SERVERS[name](["u0"], limited=True) as server:
            asyncio.run(storm(server))
    return 0


if __name__ == "__main__":
    sys.exit(main())
