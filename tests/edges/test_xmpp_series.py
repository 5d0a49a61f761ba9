"""More slots than one node holds, over real Prosody and ejabberd servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from slixmpp.exceptions import IqError

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import NAMESPACE, PUBSUB
from autosync.channels.xmpp_places import CAPACITY, ahead, full
from autosync.channels.xmpp_publisher import WINDOW
from tests.edges.conftest import StartDevice
from tests.edges.test_xmpp import ask, bare_client, element, item
from tests.edges.xmpp_devices import Device, eventually
from tests.edges.xmpp_servers import DOMAIN, SERVERS, SERVICE, XmppServer
from tests.waiting import PATIENCE

WORD = f"<announcement xmlns='{NAMESPACE}' workspace='tag'>aGVsbG8=</announcement>"


async def fill(device: Device, name: str, count: int) -> list[bytes]:
    """Have ``device`` speak in ``count`` slots and return what it said."""
    words = [f"{name} {n}".encode() for n in range(count)]
    await asyncio.gather(*(device.say(word, slot=f"{name}-{n}") for n, word in enumerate(words)))
    return words


@pytest.mark.parametrize("shared", [False, True])
async def test_everybody_is_heard_when_there_are_more_than_a_node_holds(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice, shared: bool
) -> None:
    where = {"service": SERVICE, "node": account} if shared else {}
    laptop = await start_device(account, "laptop", xmpp_server, members=(other_account,), **where)
    desktop = await start_device(account, "desktop", xmpp_server, members=(other_account,), **where)
    await laptop.online()
    await desktop.online()
    other = await start_device(other_account, "pc", xmpp_server, members=(account,), **where)
    await other.online()
    halves = await asyncio.gather(fill(laptop, "a", 170), fill(desktop, "b", 170))
    words = halves[0] + halves[1]
    await other.heard.until(*words)
    # A slot stays where it is, whatever was added since.
    await laptop.say(b"news", slot="a-0")
    await other.heard.until(b"news")
    late = await start_device(other_account, "late", xmpp_server, members=(account,), **where)
    await late.online()
    await late.heard.until(*words[1:], b"news")
    assert late.heard.received.count(b"news") == 1
    assert words[0] not in late.heard.received


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_a_server_that_allows_few_items_gets_more_nodes(kind: str, start_device: StartDevice) -> None:
    """Debian 11's ejabberd allows ten.  Accounts that only listen are not told how many it is."""
    with SERVERS[kind](["ann", "bob"], items=10) as server:
        where = {"members": ("ann", "bob")}
        laptop = await start_device("ann", "laptop", server, **where)
        other = await start_device("bob", "pc", server, **where)
        await laptop.online()
        await other.online()
        words = []
        for n in range(20):
            words.append(b"%d" % n)
            await laptop.say(words[-1], slot=f"{n}")
            await other.heard.until(words[-1])
        for account in ("ann", "bob"):
            late = await start_device(account, "late", server, **where)
            await late.online()
            await late.heard.until(*words)
        # Those who write on a service are not told it either, and would displace each other.
        team = await start_device("ann", "team", server, service=SERVICE)
        await eventually(lambda: team.state[0] == "failed")
        assert team.state[1].startswith(f"The XMPP server lets a node of {SERVICE} keep too few items (")
        assert "pubsub_max_items" in team.state[1]


async def slots(client: XmppClient, account: str, node: str) -> set[str] | None:
    """Return the slots in a node of ``account``, ``None`` if there is no such node."""
    listing = element(f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
    try:
        answer = await client.ask(f"{account}@{DOMAIN}", "get", listing, within=PATIENCE)
    except IqError as error:
        assert error.condition == "item-not-found"  # any other refusal is a failure
        return None
    return {entry.get("id", "") for entry in answer.iter(f"{{{PUBSUB}}}item")}


async def slots_once(
    client: XmppClient, account: str, node: str, so: Callable[[set[str] | None], bool], *, within: float = PATIENCE
) -> set[str] | None:
    """Return the slots in a node once they are ``so``; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not so(found := await slots(client, account, node)):
        assert time.monotonic() < deadline, f"still {found} after {within} s"
        await asyncio.sleep(0.05)
    return found


async def test_a_small_account_has_one_node(xmpp_server: XmppServer, account: str, start_device: StartDevice) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    await fill(laptop, "a", ahead(CAPACITY) - 1)
    async with bare_client(xmpp_server, account) as client:
        assert await slots(client, account, f"{NAMESPACE}/2") is None
        await laptop.say(b"one more", slot="more")
        await slots_once(client, account, f"{NAMESPACE}/2", lambda found: found == set())


async def test_what_a_full_node_lets_go_is_said_again(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    await laptop.online()
    await laptop.say(b"the first of all", slot="first")
    words = await fill(laptop, "a", full(CAPACITY) - 1)
    async with bare_client(xmpp_server, account) as client:
        # As devices would that add slots in the same moment, and do not know of each other's yet.
        crowd = [f"crowd-{n}" for n in range(CAPACITY - full(CAPACITY) + 10)]
        for slot in crowd:
            await ask(client, account, item(WORD, slot=slot))
        kept = await slots(client, account, NAMESPACE) or set()
        lost = {"first", *(f"a-{n}" for n in range(full(CAPACITY) - 1))} - kept
        assert len(lost) == 10
        again = await slots_once(client, account, f"{NAMESPACE}/2", lambda found: len(found or ()) >= 10)
        assert again == lost
    late = await start_device(account, "late", xmpp_server)
    await late.online()
    await late.heard.until(b"the first of all", *words)


async def test_what_is_said_of_a_workspace_is_heard_from_joining_it_on(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    workspaces: set[str] = set()
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server, wanted=workspaces.__contains__)
    await laptop.online()
    await desktop.online()
    await laptop.say(b"of no interest yet", slot="1")
    await laptop.heard.until(b"of no interest yet")
    async with bare_client(xmpp_server, account) as client:
        await client.ping(within=PATIENCE)
    assert desktop.heard.received == []
    workspaces.add("tag")
    await desktop.say(b"joined", slot="2")
    await desktop.heard.until(b"of no interest yet")
    assert desktop.channel.status().dropped == {}


async def test_accounts_are_added_and_removed_while_the_others_go_on(
    xmpp_server: XmppServer, account: str, other_account: str, start_device: StartDevice
) -> None:
    alone = await start_device(account, "laptop", xmpp_server)
    await alone.online()
    await alone.say(b"before", slot="1")
    bob = await start_device(other_account, "pc", xmpp_server, members=(account,))
    await bob.online()
    assert bob.heard.received == []
    await alone.channel.stop()
    together = await start_device(account, "laptop", xmpp_server, members=(other_account,))
    await together.online()
    await bob.heard.until(b"before")
    await bob.say(b"thanks", slot="2")
    await together.heard.until(b"thanks")
    await together.channel.stop()
    alone_again = await start_device(account, "laptop", xmpp_server)
    await alone_again.online()
    assert alone_again.heard.received == [b"before"]
    await bob.say(b"anyone?", slot="2")
    # The server still brings what was subscribed once; it comes from nobody that this device knows.
    await eventually(lambda: alone_again.channel.status().dropped == {"forged": 1})
    assert alone_again.heard.received == [b"before"]


async def test_a_frozen_server_gets_no_more_than_the_window(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server)
    desktop = await start_device(account, "desktop", xmpp_server)
    await laptop.online()
    await desktop.online()
    for n in range(20):
        await laptop.say(b"%d" % n, slot=f"{n}")
    large = {n: b"%d " % n + bytes(8000) for n in range(20)}
    xmpp_server.freeze()
    try:
        saying = [asyncio.create_task(laptop.say(b"outdated " + word, slot=f"{n}")) for n, word in large.items()]
        saying += [asyncio.create_task(laptop.say(word, slot=f"{n}")) for n, word in large.items()]
        await asyncio.wait(saying, timeout=0.1)
    finally:
        xmpp_server.thaw()
    await asyncio.gather(*saying)
    await desktop.heard.until(*large.values())
    early = [word for word in desktop.heard.received if word.startswith(b"outdated")]
    # What had left was the first or the newest of its slot; what waited here was only sent when it was the newest.
    assert len(early) <= WINDOW // 8000
