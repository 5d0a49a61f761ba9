"""A connection that ends at an unlucky moment leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import pytest
from slixmpp import JID

from autosync.channels.xmpp_client import Trust, XmppClient
from autosync.errors import Unreachable
from tests.edges.scripted_xmpp import ScriptedServer
from tests.edges.xmpp_devices import make_device
from tests.waiting import PATIENCE

LOGIN = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></stream:features>"


class Ending(XmppClient):
    """A client that is given up in the very moment in which TLS is about to begin."""

    def data_received(self, data: bytes) -> None:
        """Give up before anything of ``data`` is done."""
        if b"<proceed" in data:
            asyncio.get_running_loop().call_soon(self.give_up, Unreachable("It ends", hint=""))
        super().data_received(data)


def test_tls_does_not_begin_on_a_connection_that_has_just_ended(tmp_path: Path) -> None:
    """It would never be closed: asyncio tells the end of a connection once."""

    async def begin_and_end() -> None:
        async with ScriptedServer(tmp_path, LOGIN) as server:
            client = Ending(JID("alice@localhost/laptop"), Trust(server.ca_file), event_received=lambda *_: None)
            with pytest.raises(Unreachable, match="It ends"):
                await client.log_in("password", host="127.0.0.1", port=server.port, within=30)
            await client.close(within=0.4)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(begin_and_end())
        gc.collect()
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_while_a_connection_is_closed_leaves_no_task(tmp_path: Path, turns: int) -> None:
    before = asyncio.all_tasks()
    async with ScriptedServer(tmp_path, LOGIN) as server:
        laptop = make_device("alice", "laptop", port=server.port, ca_file=None)  # so it is not trusted
        await laptop.channel.start()
        async with asyncio.timeout(PATIENCE):
            while laptop.state[0] != "failed":  # noqa: ASYNC110  # turn by turn: the stop comes in the one that is meant
                await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await laptop.channel.stop()
    assert asyncio.all_tasks() - before == set()
