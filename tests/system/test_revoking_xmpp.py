"""A device is revoked that has the password of the XMPP account, while another one is off."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import NAMESPACE, OWNER, Item, write_item
from autosync.core.model import DeviceId
from autosync.trust.sealing import WorkspaceKey, load_key
from tests.edges.test_xmpp import ask, bare_client, item
from tests.edges.xmpp_servers import SERVERS, XmppServer
from tests.system.fleet import Device, Fleet
from tests.system.recording import recorded
from tests.system.test_revoking import FILES, known, moved, own_key, tag
from tests.system.test_xmpp_agents import login
from tests.waiting import until

ACCOUNT = "family"
PURGE = f"<pubsub xmlns='{OWNER}'><purge node='{NAMESPACE}'/></pubsub>"
DELETE = f"<pubsub xmlns='{OWNER}'><delete node='{NAMESPACE}'/></pubsub>"


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[XmppServer]:
    with SERVERS[request.param]([ACCOUNT]) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, server: XmppServer) -> Iterator[Fleet]:
    """Four devices that nothing but the account, and a hub that is looked at once an hour, joins."""
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed(FILES), "anna", "bert", "cleo", "dora")
        fleet.configure(fleet.devices, peers=False, remote="origin", poll=3600, top=login(server, ACCOUNT))
        for device in fleet.devices:
            own_key(fleet, device)
            device.config.write_text(re.sub(r"(?m)^listen: .*$", "listen: none", device.config.read_text()))
        fleet.start()
        for device in fleet.devices:
            until(lambda d=device: len(known(d)) == 4, 60, why=lambda d=device: d.log[-3000:])  # type: ignore[misc]
        yield fleet
        for device in fleet.devices:
            assert "Traceback" not in device.log, device.log[max(0, device.log.index("Traceback") - 500) :][:3000]


def arrives(reader: Device, name: str, text: str, writer: Device) -> None:
    until(lambda: reader.read(name) == text, 60, why=lambda: reader.log[-3000:] + writer.log[-2000:])


async def overwrite(thief: XmppClient, key: WorkspaceKey, victim: DeviceId, sealed: bytes) -> None:
    """Say something in the slot of a device, as every client of the account can."""
    said = Item(slot=key.slot(victim), workspace_tag=key.tag, sealed=sealed)
    await ask(thief, ACCOUNT, item(ET.tostring(write_item(said)).decode(), slot=said.slot))


async def test_a_thief_with_the_account_holds_nobody_back(fleet: Fleet, server: XmppServer) -> None:
    """He deletes and overwrites what tells of the new keys, while one who misses two of them is off."""
    anna, bert, cleo, dora = fleet.devices
    old = load_key(str(anna.home / "notes.key"))
    anna_id = device_id(anna)

    def rotate() -> None:
        assert bert.end() == 0
        bert.write("b.txt", "written while off\n")
        assert anna.run("revoke", "cleo", "--yes").returncode == 0
        moved(dora, old.tag)
        until(lambda: cleo.status()["state"] == "halted", 60, why=lambda: cleo.log[-3000:])
        assert anna.run("revoke", "dora", "--yes").returncode == 0
        until(lambda: dora.status()["state"] == "halted", 60, why=lambda: dora.log[-3000:])
        assert cleo.end() == dora.end() == 0

    await asyncio.to_thread(rotate)
    assert load_key(str(anna.home / "notes.key")).epoch == 2
    async with bare_client(server, ACCOUNT, "thief") as thief:
        await ask(thief, ACCOUNT, PURGE)
        await overwrite(thief, old, anna_id, b"junk" * 20)
        await overwrite(thief, old, anna_id, old.seal(b"{}" * 40, context=b"moved"))
        await asyncio.to_thread(fleet.start, bert)
        await asyncio.to_thread(until, lambda: tag(bert) == tag(anna), 60, why=lambda: bert.log[-3000:])
        await asyncio.to_thread(arrives, anna, "b.txt", "written while off\n", bert)
        anna.write("a.txt", "under the third key\n")
        await asyncio.to_thread(arrives, bert, "a.txt", "under the third key\n", anna)
        await ask(thief, ACCOUNT, DELETE)  # all of it
        bert.write("a.txt", "when everything was deleted\n")
        await asyncio.to_thread(arrives, anna, "a.txt", "when everything was deleted\n", bert)
    assert known(anna) == {"anna": "member", "bert": "member", "cleo": "revoked", "dora": "revoked"}
    assert known(bert) == known(anna)
    # Nothing of it is for those who were revoked, neither on the account nor on the hub.
    fleet.start(cleo, dora)
    anna.write("c.txt", "not for everybody\n")
    await asyncio.to_thread(arrives, bert, "c.txt", "not for everybody\n", anna)
    for device in (cleo, dora):
        assert device.status()["state"] == "halted"
        assert device.read("c.txt") is None
        assert device.read("b.txt") is None


def device_id(device: Device) -> DeviceId:
    answer = device.ask("devices")
    return next(DeviceId(d["id"]) for d in answer["workspaces"][0]["devices"] if d["this"])


@pytest.mark.parametrize("server", ["prosody"], indirect=True)  # test_xmpp.py has what both servers keep
def test_what_was_said_stays_for_who_comes_when_nobody_is_there(fleet: Fleet) -> None:
    """In whatever order the server gives what is kept under three keys, and with nobody to ask."""
    anna, bert, cleo, dora = fleet.devices
    before = tag(bert)
    assert bert.end() == 0
    for gone in (cleo, dora):
        assert anna.run("revoke", gone.name, "--yes").returncode == 0
        until(lambda d=gone: d.status()["state"] == "halted", 60, why=lambda d=gone: d.log[-3000:])  # type: ignore[misc]
    anna.write("a.txt", "under the third key\n")
    recorded(anna, "a.txt")
    assert anna.run("sync").returncode == 0
    assert anna.end() == cleo.end() == dora.end() == 0
    fleet.start(bert)
    moved(bert, before)
    until(lambda: tag(bert) == tag(anna), 60, why=lambda: bert.log[-3000:])
    arrives(bert, "a.txt", "under the third key\n", anna)
    assert known(bert) == {"bert": "member", "anna": "member", "cleo": "revoked", "dora": "revoked"}
