"""More slots than one node holds, over real Prosody and ejabberd servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from slixmpp.exceptions import IqError

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import NAMESPACE, PUBSUB
from autosync.channels.xmpp_places import AHEAD, CAPACITY, FULL
from tests.edges.conftest import StartDevice
from tests.edges.test_xmpp import ask, bare_client, element, item
from tests.edges.xmpp_devices import Device
from tests.edges.xmpp_servers import DOMAIN, SERVICE, XmppServer

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
    await other.heard.until(*words, within=30)
    # A slot stays where it is, whatever was added since.
    await laptop.say(b"news", slot="a-0")
    await other.heard.until(b"news")
    late = await start_device(other_account, "late", xmpp_server, members=(account,), **where)
    await late.online()
    await late.heard.until(*words[1:], b"news", within=30)
    assert late.heard.received.count(b"news") == 1
    assert words[0] not in late.heard.received


async def slots(client: XmppClient, account: str, node: str) -> set[str] | None:
    """Return the slots in a node of ``account``, ``None`` if there is no such node."""
    listing = element(f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
    try:
        answer = await client.ask(f"{account}@{DOMAIN}", "get", listing, within=10)
    except IqError as error:
        assert error.condition == "item-not-found"  # any other refusal is a failure
        return None
    return {entry.get("id", "") for entry in answer.iter(f"{{{PUBSUB}}}item")}


async def slots_once(
    client: XmppClient, account: str, node: str, so: Callable[[set[str] | None], bool], *, within: float = 15
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
    await fill(laptop, "a", AHEAD - 1)
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
    words = await fill(laptop, "a", FULL - 1)
    async with bare_client(xmpp_server, account) as client:
        # As devices would that add slots in the same moment, and do not know of each other's yet.
        crowd = [f"crowd-{n}" for n in range(CAPACITY - FULL + 10)]
        for slot in crowd:
            await ask(client, account, item(WORD, slot=slot))
        lost = {"first", *(f"a-{n}" for n in range(FULL - 1))} - (await slots(client, account, NAMESPACE) or set())
        assert len(lost) == 10
        again = await slots_once(client, account, f"{NAMESPACE}/2", lambda found: len(found or ()) >= 10)
        assert again == lost
    late = await start_device(account, "late", xmpp_server)
    await late.online()
    await late.heard.until(b"the first of all", *words)
