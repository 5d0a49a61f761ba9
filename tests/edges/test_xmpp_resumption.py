"""Sessions that outlive their connection, at real Prosody and ejabberd: nothing is lost, and a deaf one is left."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from slixmpp import Iq
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from autosync.channels.xmpp_element import MAX_SEALED
from autosync.channels.xmpp_resumption import NAME as RESUMPTION
from autosync.errors import Unreachable
from tests.edges.conftest import StartDevice
from tests.edges.tcp_proxy import TcpProxy
from tests.edges.test_xmpp import bare_client, element
from tests.edges.xmpp_devices import QUICK, eventually
from tests.edges.xmpp_servers import PASSWORD, XmppServer
from tests.figures import record

MOMENTS = 12
"""Passes of the event loop that the end of a connection and what is sent meanwhile take, and some more."""


async def test_what_is_said_around_a_loss_of_the_connection_arrives_once_and_in_order(
    xmpp_server: XmppServer, account: str
) -> None:
    """What is swallowed, what waits to be sent in the moment of the loss, and what has no connection to go to."""
    heard: list[int] = []

    def answer(iq: Iq) -> None:
        heard.append(int(iq.xml[0].get("number", "")))
        iq.reply().send()  # type: ignore[no-untyped-call]  # untyped in slixmpp 1.17

    async with (
        TcpProxy(xmpp_server.port) as proxy,
        bare_client(xmpp_server, account, "laptop", port=proxy.port) as laptop,
        bare_client(xmpp_server, account, "desktop") as desktop,
    ):
        desktop.register_handler(Callback("Numbers", MatchXPath("{jabber:client}iq/{test}count"), answer))
        await eventually(lambda: laptop.plugin[RESUMPTION].sm_id is not None)
        asked: list[asyncio.Future[Iq]] = []

        def ask() -> None:
            query = element(f"<count xmlns='test' number='{len(asked)}'/>")
            asked.append(laptop.request(desktop.boundjid.full, "set", query, within=30))

        for _ in range(3):
            proxy.allowance, proxy.swallowed = 0, 0
            ask()
            await eventually(lambda: proxy.swallowed > 0)
            laptop.abort()
            for _ in range(MOMENTS):
                ask()
                await asyncio.sleep(0)
            with pytest.raises(Unreachable):
                await laptop.ended
            ask()
            proxy.allowance = None
            assert await laptop.log_in(PASSWORD, host="127.0.0.1", port=proxy.port, within=10)
        await asyncio.gather(*asked)
    assert heard == [*range(len(asked))]
    record("faults injected", 3)


async def test_a_session_in_which_the_server_is_deaf_is_left_for_a_new_one(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    """Half an announcement has come at the cut.  Prosody takes all that follows in that session for the rest of it."""
    timing = replace(QUICK, keepalive=3600, doubt=1)
    async with TcpProxy(xmpp_server.port) as proxy:
        laptop = await start_device(account, "laptop", xmpp_server, port=proxy.port, timing=timing)
        desktop = await start_device(account, "desktop", xmpp_server)
        await laptop.online()
        await desktop.online()
        proxy.allowance = MAX_SEALED // 2
        said = asyncio.create_task(laptop.say(bytes(MAX_SEALED)))
        await eventually(lambda: proxy.swallowed > 0)
        await desktop.say(b"the server has read on")
        proxy.cut()
        with pytest.raises(Unreachable, match="ended"):
            await said
        proxy.allowance = None
        await laptop.online(times=2)
        await laptop.say(b"heard")
        await desktop.heard.until(b"heard")
    record("faults injected", 1)
