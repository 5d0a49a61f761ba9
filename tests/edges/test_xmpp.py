"""The XMPP channel between devices, over real Prosody and ejabberd servers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from autosync.channels.xmpp import XmppTiming
from autosync.channels.xmpp_client import Trust, XmppClient
from autosync.channels.xmpp_element import EVENT, MAX_SEALED, NAMESPACE, OWNER, PUBSUB, Item
from autosync.channels.xmpp_node import Node, Role
from autosync.errors import AutosyncError, Unreachable
from tests.edges.conftest import StartDevice
from tests.edges.tcp_proxy import TcpProxy
from tests.edges.xmpp_devices import QUICK, WARY, Device, eventually
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, SERVERS, XmppServer
from tests.waiting import PATIENCE, freeze

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def bare_client(
    server: XmppServer, account: str, resource: str = "client", *, port: int | None = None
) -> AsyncIterator[XmppClient]:
    """Connect without any channel, through ``port`` if given: another program of that account."""
    client = XmppClient(
        JID(f"{account}@{DOMAIN}/{resource}"), Trust(server.ca_file), event_received=lambda _message: None
    )
    await client.log_in(PASSWORD, host="127.0.0.1", port=port or server.port, within=PATIENCE)
    try:
        yield client
    finally:
        await client.close(within=1)


def element(xml: str) -> ET.Element:
    """Return XML that a test wrote."""
    return ET.fromstring(xml)  # noqa: S314  # nobody else's


async def ask(client: XmppClient, owner: str, xml: str) -> ET.Element:
    """Send a ``set`` to ``owner``'s account."""
    return await client.ask(f"{owner}@{DOMAIN}", "set", element(xml), within=PATIENCE)


def item(payload: str, *, slot: str = "slot") -> str:
    """Return a publish query with any payload."""
    return f"<pubsub xmlns='{PUBSUB}'><publish node='{NAMESPACE}'><item id='{slot}'>{payload}</item></publish></pubsub>"


# -- exchange ------------------------------------------------------------------------------------


async def test_devices_of_one_account_hear_each_other(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    await laptop.say(b"from laptop \0\xff", slot="1")
    await desktop.say(b"from desktop", slot="2")
    await desktop.heard.until(b"from laptop \0\xff")
    await laptop.heard.until(b"from desktop")
    assert laptop.state == ("online", f"Connected to localhost as {account}@localhost/laptop.")
    assert laptop.channel.status().dropped == {}


async def test_late_joiner_is_told_everybodys_last_word_before_it_is_ready(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    await laptop.say(b"outdated", slot="1")
    await laptop.say(b"newest", slot="1")
    await laptop.say(b"second", slot="2")
    late = await start_device(account, "late", xmpp_server)
    await late.online()
    assert sorted(late.heard.received) == [b"newest", b"second"]
    assert late.heard.told[-2:] == ["caught up xmpp", "ready xmpp"]


async def test_nothing_is_told_twice(xmpp_server: XmppServer, account: str, start_device: StartDevice) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    words = [b"%d" % n for n in range(20)]
    for word in words:
        await laptop.say(word)
    await desktop.heard.until(words[-1])
    await laptop.say(b"the end")
    await desktop.heard.until(b"the end")
    assert desktop.heard.received == [*words, b"the end"]


async def test_accounts_that_name_each_other_exchange(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice
) -> None:
    bob = await start_device(other_account, "pc", xmpp_server, members=(account,))
    await bob.online()
    assert bob.state == (
        "online",
        f"Connected to localhost as {other_account}@localhost/pc. Not (yet) allowed to listen to {account}@localhost.",
    )
    await bob.say(b"early word of bob")
    alice = await start_device(account, "laptop", xmpp_server, members=(other_account,))
    await alice.online()
    assert alice.heard.received == [b"early word of bob"]
    await eventually(lambda: "Not (yet)" not in bob.state[1])
    await alice.say(b"from alice")
    await bob.heard.until(b"from alice")
    await bob.say(b"from bob")
    await alice.heard.until(b"from bob")


async def test_account_that_is_no_member_hears_nothing(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice
) -> None:
    alice = await start_device(account, "laptop", xmpp_server)
    await alice.online()
    curious = await start_device(other_account, "pc", xmpp_server, members=(account,))
    await curious.online()
    await alice.say(b"private")
    await alice.heard.until(b"private")
    async with bare_client(xmpp_server, other_account) as client:
        with pytest.raises(IqError) as refusal:
            query = f"<pubsub xmlns='{PUBSUB}'><items node='{NAMESPACE}'/></pubsub>"
            await client.ask(f"{account}@{DOMAIN}", "get", element(query), within=PATIENCE)
    assert refusal.value.condition in ("forbidden", "not-allowed")
    assert curious.heard.received == []
    assert f"Not (yet) allowed to listen to {account}@localhost." in curious.state[1]


async def test_publishing_needs_a_connection(xmpp_server: XmppServer, account: str, start_device: StartDevice) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    with pytest.raises(Unreachable, match="Not connected to the XMPP server localhost"):
        await laptop.say(b"too early")
    await laptop.online()
    await laptop.channel.stop()
    with pytest.raises(Unreachable, match="Not connected to the XMPP server localhost"):
        await laptop.say(b"too late")


async def test_the_largest_announcement_arrives_and_a_larger_one_is_refused(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    large = os.urandom(MAX_SEALED)
    with pytest.raises(
        AutosyncError, match="An announcement of 65537 bytes is too large for XMPP, which carries 65536"
    ):
        await laptop.say(large + b"!")
    await laptop.say(large)
    await desktop.heard.until(large)


# -- what others send ------------------------------------------------------------------------------


async def test_forged_events_are_dropped_and_counted(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    payload = f"<announcement xmlns='{NAMESPACE}' workspace='tag'>Zm9yZ2Vk</announcement>"
    event = f"<event xmlns='{EVENT}'><items node='{NAMESPACE}'><item id='slot'>{payload}</item></items></event>"
    deletion = f"<event xmlns='{EVENT}'><delete node='{NAMESPACE}'/></event>"
    async with bare_client(xmpp_server, other_account) as mallory:
        for forged in (event, deletion):
            message = mallory.make_message(f"{account}@{DOMAIN}/laptop", mtype="headline")
            message.xml.append(element(forged))
            message.send()
        with pytest.raises(IqError):
            await ask(mallory, account, item(payload))
        await eventually(lambda: laptop.channel.status().dropped == {"forged": 2})
    await desktop.say(b"genuine")
    await laptop.heard.until(b"genuine")
    assert laptop.heard.received == [b"genuine"]
    assert laptop.state[0] == "online"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("<note xmlns='urn:other'>hello</note>", "malformed"),
        (f"<announcement xmlns='{NAMESPACE}'>aGVsbG8=</announcement>", "malformed"),
        (f"<announcement xmlns='{NAMESPACE}' workspace='tag'>no base64!</announcement>", "malformed"),
        (f"<announcement xmlns='{NAMESPACE}' workspace='tag'>h\xe9llo</announcement>", "malformed"),
        (f"<announcement xmlns='{NAMESPACE}' workspace='tag'/>", "malformed"),
        (f"<announcement xmlns='{NAMESPACE}' workspace='tag'>{'A' * 100_000}</announcement>", "too large"),
    ],
)
async def test_items_that_are_no_announcements_are_dropped_and_counted(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, payload: str, reason: str
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    async with bare_client(xmpp_server, account) as client:
        await ask(client, account, item(payload))
    await eventually(lambda: laptop.channel.status().dropped == {reason: 1})
    await laptop.say(b"genuine", slot="2")
    await laptop.heard.until(b"genuine")
    assert laptop.heard.received == [b"genuine"]


async def test_strangers_are_not_let_in_by_the_agent(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    async with bare_client(xmpp_server, other_account) as stranger:
        answers: list[str] = []
        stranger.add_event_handler("presence_subscribed", lambda presence: answers.append(str(presence["from"])))
        stranger.send_presence()
        stranger.send_presence_subscription(f"{account}@{DOMAIN}")
        # What the laptop says about itself now was said after it got the request.
        message = stranger.make_message(f"{account}@{DOMAIN}/laptop", mtype="headline")
        message.xml.append(element(f"<event xmlns='{EVENT}'><delete node='{NAMESPACE}'/></event>"))
        message.send()
        await eventually(lambda: laptop.channel.status().dropped == {"forged": 1})
        await laptop.say(b"still here")
        await stranger.ping(within=PATIENCE)
    assert answers == []


# -- the node ------------------------------------------------------------------------------------------


CONFIGURE_OPEN = (
    f"<pubsub xmlns='{OWNER}'><configure node='{NAMESPACE}'><x xmlns='jabber:x:data' type='submit'>"
    f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#node_config</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field></x></configure></pubsub>"
)


async def access_model(client: XmppClient, account: str) -> str | None:
    """Return who may read the node of ``account``."""
    query = element(f"<pubsub xmlns='{OWNER}'><configure node='{NAMESPACE}'/></pubsub>")
    answer = await client.ask(f"{account}@{DOMAIN}", "get", query, within=PATIENCE)
    field = answer.find(".//{jabber:x:data}field[@var='pubsub#access_model']")
    return None if field is None else field.findtext("{jabber:x:data}value")


async def test_a_node_that_others_can_read_is_made_private_first(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    async with bare_client(xmpp_server, account) as client:
        await ask(client, account, f"<pubsub xmlns='{PUBSUB}'><create node='{NAMESPACE}'/></pubsub>")
        await ask(client, account, CONFIGURE_OPEN)
        assert await access_model(client, account) == "open"
        laptop = await start_device(account, "laptop", xmpp_server)
        await laptop.online()
        assert await access_model(client, account) == "whitelist"


async def test_a_node_that_is_opened_later_is_made_private_before_anything_is_said(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    async with bare_client(xmpp_server, account) as client:
        await ask(client, account, CONFIGURE_OPEN)
        await laptop.say(b"private")
        assert await access_model(client, account) == "whitelist"
    await laptop.heard.until(b"private")


async def test_a_deleted_node_is_made_again(xmpp_server: XmppServer, account: str, start_device: StartDevice) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    async with bare_client(xmpp_server, account) as client:
        await ask(client, account, f"<pubsub xmlns='{OWNER}'><delete node='{NAMESPACE}'/></pubsub>")
        await laptop.online(times=2)
        await desktop.online(times=2)
        assert await access_model(client, account) == "whitelist"
    await laptop.say(b"after it")
    await desktop.heard.until(b"after it")


async def test_a_node_that_an_announcement_on_its_way_made_keeps_everybodys_last_word(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    """Who publishes where a node was deleted in that moment makes one, which keeps a single item (XEP-0060, 7.1.4)."""
    async with bare_client(xmpp_server, account) as client:
        node = Node(client, f"{account}@{DOMAIN}", NAMESPACE, role=Role.READER, timeout=PATIENCE)
        for slot in ("early 1", "early 2"):
            await node.publish(Item(slot=slot.replace(" ", "-"), workspace_tag="tag", sealed=slot.encode()))
        assert len(await node.items()) == 1
        laptop, desktop = await two_devices(xmpp_server, account, start_device)
        await laptop.say(b"of laptop", slot="1")
        await desktop.say(b"of desktop", slot="2")
        late = await start_device(account, "late", xmpp_server)
        await late.online()
        assert sorted(late.heard.received) == [b"early 2", b"of desktop", b"of laptop"]
        await ask(client, account, f"<pubsub xmlns='{OWNER}'><delete node='{NAMESPACE}'/></pubsub>")
        for device in (laptop, desktop, late):
            await device.online(times=2)


SILENT = (
    f"<pubsub xmlns='{OWNER}'><configure node='{NAMESPACE}'><x xmlns='jabber:x:data' type='submit'>"
    f"<field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
    "<field var='pubsub#notify_delete'><value>0</value></field></x></configure></pubsub>"
)
DELETED = f"<pubsub xmlns='{OWNER}'><delete node='{NAMESPACE}'/></pubsub>"
UNSUBSCRIBED = f"<pubsub xmlns='{OWNER}'><subscriptions node='{NAMESPACE}'>{{}}</subscriptions></pubsub>"


@pytest.mark.parametrize("deeds", [(SILENT, DELETED), (UNSUBSCRIBED,)], ids=["deleted", "unsubscribed"])
async def test_what_ends_the_listening_without_a_word_is_noticed(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, deeds: tuple[str, ...]
) -> None:
    """As whoever has the password of the account can do it to the others."""
    laptop, desktop = await two_devices(xmpp_server, account, start_device)
    jids = [f"{account}@{DOMAIN}/{name}" for name in ("laptop", "desktop")]
    nobody = "".join(f"<subscription jid='{jid}' subscription='none'/>" for jid in jids)
    async with bare_client(xmpp_server, account) as client:
        for deed in deeds:
            await ask(client, account, deed.format(nobody))
    await laptop.online(times=2)
    await desktop.online(times=2)
    await laptop.say(b"after it")
    await desktop.heard.until(b"after it")


@pytest.mark.parametrize(
    "deed",
    [
        f"<pubsub xmlns='{OWNER}'><purge node='{NAMESPACE}'/></pubsub>",
        f"<pubsub xmlns='{PUBSUB}'><retract node='{NAMESPACE}' notify='1'><item id='1'/></retract></pubsub>",
    ],
    ids=["all", "one"],
)
async def test_what_others_take_away_is_said_again(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, deed: str
) -> None:
    laptop, desktop = await two_devices(xmpp_server, account, start_device)
    await laptop.say(b"of laptop", slot="1")
    await desktop.say(b"of desktop", slot="2")
    async with bare_client(xmpp_server, account) as client:
        node = Node(client, f"{account}@{DOMAIN}", NAMESPACE, role=Role.READER, timeout=PATIENCE)
        await ask(client, account, deed)
        async with asyncio.timeout(PATIENCE):
            left: set[str | None] = set()
            while left != {"1", "2"}:
                await asyncio.sleep(0.05)
                left = {entry.get("id") for entry in await node.items()}
    assert laptop.heard.told.count("ready xmpp") == desktop.heard.told.count("ready xmpp") == 1


# -- outages ---------------------------------------------------------------------------------------------


async def two_devices(
    server: XmppServer, account: str, start_device: StartDevice, *, both: XmppTiming = QUICK, **settings: object
) -> tuple[Device, Device]:
    """Return two connected devices; ``settings`` are those of the first."""
    first = await start_device(account, "laptop", server, **{"timing": both, **settings})
    second = await start_device(account, "desktop", server, timing=both)
    await first.online()
    await second.online()
    return first, second


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_devices_come_back_after_a_restart_of_the_server(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, ending: str
) -> None:
    laptop, desktop = await two_devices(xmpp_server, account, start_device)
    await asyncio.to_thread(getattr(xmpp_server, ending))
    await eventually(lambda: laptop.state[0] == desktop.state[0] == "offline")
    assert f"XMPP server 127.0.0.1:{xmpp_server.port}" in laptop.state[1]
    with pytest.raises(Unreachable, match="Not connected to the XMPP server localhost"):
        await laptop.say(b"into the void")
    await asyncio.to_thread(xmpp_server.start)
    await laptop.online(times=2)
    await desktop.online(times=2)
    await laptop.say(b"after the restart")
    await desktop.heard.until(b"after the restart")


async def test_what_was_said_during_a_cut_arrives_after_it(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop, desktop = await two_devices(xmpp_server, account, start_device, port=proxy.port)
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: laptop.state[0] == "offline")
        await desktop.say(b"meanwhile")
        proxy.refusing = False
        await laptop.online(times=2)
        assert b"meanwhile" in laptop.heard.received
        await laptop.say(b"back")
        await desktop.heard.until(b"back")


async def test_a_network_that_swallows_everything_is_noticed(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop, desktop = await two_devices(xmpp_server, account, start_device, port=proxy.port, timing=WARY)
        proxy.swallowing = True
        await desktop.say(b"unheard")
        await eventually(lambda: laptop.state[0] == "offline")
        assert f"127.0.0.1:{proxy.port} did not answer within 0.5 seconds" in laptop.state[1]
        proxy.swallowing = False
        await laptop.online(times=2)
        assert b"unheard" in laptop.heard.received


async def test_a_nudge_finds_out_at_once_that_nothing_is_heard(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    """As after a sleep, in which the machine has come into another network."""
    patient = dataclasses.replace(QUICK, keepalive=3600, ping_timeout=3600, login_timeout=3600, doubt=0.5, tick=3600)
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop = await start_device(account, "laptop", xmpp_server, port=proxy.port, timing=patient)
        await laptop.online()
        laptop.channel.nudge()  # all is well: nothing comes of it
        proxy.swallowing = True
        laptop.channel.nudge()
        await eventually(lambda: laptop.state[0] == "offline")
        laptop.channel.nudge()  # a login that nobody answers is given up as well
        proxy.swallowing = False
        await laptop.online(times=2)


async def test_a_nudge_ends_the_wait_for_the_next_attempt(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    patient = dataclasses.replace(QUICK, retry_base=3600, retry_cap=3600)
    async with TcpProxy(xmpp_server.port) as proxy:
        proxy.refusing = True
        laptop = await start_device(account, "laptop", xmpp_server, port=proxy.port, timing=patient)
        await eventually(lambda: laptop.state[0] == "offline")
        proxy.refusing = False
        laptop.channel.nudge()
        await laptop.online()


async def test_a_network_that_wants_a_login_first_is_waited_for(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    """A machine in between answers every connection by itself, with a certificate of its own."""
    with SERVERS["prosody"](["alice"], host="portal.example") as portal:
        async with TcpProxy(xmpp_server.port) as proxy:
            laptop = await start_device(account, "laptop", xmpp_server, port=proxy.port)
            await laptop.online()
            proxy.upstream = portal.port
            proxy.cut()
            await eventually(lambda: "Another machine answers in place of" in laptop.state[1])
            assert laptop.state[0] == "offline"
            assert "open a web page in it. It is tried again by itself." in laptop.state[1]
            proxy.upstream = xmpp_server.port
            laptop.channel.nudge()
            await laptop.online(times=2)


async def test_a_session_is_resumed_without_a_new_one(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, caplog: pytest.LogCaptureFixture
) -> None:
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop, desktop = await two_devices(xmpp_server, account, start_device, port=proxy.port)
        with caplog.at_level("DEBUG", logger="slixmpp"):
            proxy.cut()
            await laptop.online(times=2)
        assert "Event triggered: session_resumed" in caplog.messages
        assert "Event triggered: session_start" not in caplog.messages
        await desktop.say(b"goes on")
        await laptop.heard.until(b"goes on")


async def test_a_frozen_server_is_noticed_and_used_again(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop, desktop = await two_devices(xmpp_server, account, start_device, both=WARY)
    xmpp_server.freeze()
    try:
        await eventually(lambda: laptop.state[0] == desktop.state[0] == "offline")
        assert "did not answer within 0.5 seconds" in laptop.state[1]
    finally:
        xmpp_server.thaw()
    await laptop.online(times=2)
    await desktop.online(times=2)
    await laptop.say(b"thawed")
    await desktop.heard.until(b"thawed")


@contextlib.asynccontextmanager
async def child_device(account: str, port: int, ca_file: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a device in a process of its own, which prints what it is told; yields it when it is ready."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.edges.xmpp_devices", account, str(port), ca_file),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await printed(child, "ready xmpp")
        yield child
    finally:
        child.kill()
        await child.communicate()


async def printed(child: asyncio.subprocess.Process, line: str) -> None:
    """Return when ``child`` has printed ``line``."""
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while (got := await child.stdout.readline()) != f"{line}\n".encode():
            assert got, "the child has ended"


async def test_a_suspended_agent_hears_the_last_word_when_it_wakes(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    async with child_device(account, xmpp_server.port, xmpp_server.ca_file) as child:
        freeze(child.pid)
        await laptop.say(b"word 1")
        await laptop.say(b"word 2")
        child.send_signal(signal.SIGCONT)
        await printed(child, "word 2")


async def test_a_suspended_agent_that_lost_its_connection_notices_when_it_wakes(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    async with TcpProxy(xmpp_server.port) as proxy, child_device(account, proxy.port, xmpp_server.ca_file) as child:
        freeze(child.pid)
        proxy.swallow_present()
        await laptop.say(b"unheard")
        await asyncio.sleep(0.5)  # the length of the sleep is what the child goes by
        child.send_signal(signal.SIGCONT)
        await printed(child, "unheard")


async def test_a_burst_to_a_server_that_does_not_answer_costs_two_messages(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop, desktop = await two_devices(xmpp_server, account, start_device)
    xmpp_server.freeze()
    try:
        calls = []
        for n in range(10):
            calls.append(asyncio.create_task(laptop.say(b"%d" % n)))
            await asyncio.sleep(0)
    finally:
        xmpp_server.thaw()
    await asyncio.gather(*calls)
    await desktop.heard.until(b"9")
    assert desktop.heard.received == [b"0", b"9"]


async def test_an_announcement_on_its_way_fails_with_the_connection(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop, _ = await two_devices(xmpp_server, account, start_device, port=proxy.port)
        proxy.swallowing = True
        said = asyncio.create_task(laptop.say(b"swallowed"))
        waiting = asyncio.create_task(laptop.say(b"behind it", slot="2"))
        await asyncio.sleep(0)
        proxy.cut()
        for call in (said, waiting):
            with pytest.raises(Unreachable, match=r"The connection to 127\.0\.0\.1:[0-9]+ ended"):
                await call
        proxy.swallowing = False
        await laptop.online(times=2)


async def test_an_announcement_that_is_never_answered_ends_the_connection(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    timing = dataclasses.replace(QUICK, keepalive=3600, iq_timeout=0.5)
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop, desktop = await two_devices(xmpp_server, account, start_device, port=proxy.port, timing=timing)
        proxy.swallow_present()
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:[0-9]+ did not answer within 0\.5 seconds"):
            await laptop.say(b"swallowed")
        await laptop.online(times=2)
        await laptop.say(b"said again")
        await desktop.heard.until(b"said again")
