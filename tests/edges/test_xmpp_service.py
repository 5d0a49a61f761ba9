"""A team on one node of a pubsub service, over real Prosody and ejabberd servers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from slixmpp.exceptions import IqError

from autosync.channels.xmpp import XmppChannel, XmppSettings
from autosync.channels.xmpp_element import EVENT, NAMESPACE, OWNER, PUBSUB
from autosync.errors import ConfigError, Refused
from tests.edges.conftest import StartDevice
from tests.edges.test_xmpp import bare_client, element
from tests.edges.xmpp_devices import Device, Recorder, eventually
from tests.edges.xmpp_servers import DOMAIN, SERVERS, SERVICE, XmppServer
from tests.figures import record
from tests.waiting import PATIENCE

WORD = f"<announcement xmlns='{NAMESPACE}' workspace='tag'>aGVsbG8=</announcement>"
FORM = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{}</value></field>{}</x>"
OPEN = FORM.format(f"{PUBSUB}#node_config", "<field var='pubsub#access_model'><value>open</value></field>")


@pytest.fixture(scope="module", params=sorted(SERVERS))
def team_server(request: pytest.FixtureRequest) -> Iterator[XmppServer]:
    """A server on which only *lead* may make nodes."""
    with SERVERS[request.param](["lead", "member", "stranger"], makers=["lead"]) as server:
        yield server


async def settled(device: Device, state: str) -> str:
    """Return what the channel says once it is in ``state``."""
    await eventually(lambda: device.state[0] == state)
    return device.state[1]


async def test_a_team_hears_each_other_with_any_number_of_devices(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    where = {"service": SERVICE, "node": "team"}
    laptop = await start_device("lead", "laptop", team_server, members=("member",), **where)
    await laptop.online()
    await laptop.say(b"early word", slot="1")
    phone = await start_device("member", "phone", team_server, **where)
    desk = await start_device("member", "desk", team_server, **where)
    await phone.online()
    await desk.online()
    assert phone.heard.received == desk.heard.received == [b"early word"]
    await phone.say(b"from phone", slot="2")
    for device in (laptop, desk):
        await device.heard.until(b"from phone")
    assert laptop.channel.status().dropped == {}
    async with bare_client(team_server, "member") as client:
        with pytest.raises(IqError, match="item-not-found"):  # nothing lies in the account itself
            await client.ask(f"member@{DOMAIN}", "get", element(READ.format(node=NAMESPACE)), within=PATIENCE)


async def test_a_device_that_comes_back_with_another_account_goes_on(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    where = {"service": SERVICE, "node": "moved"}
    lead = await start_device("lead", "laptop", team_server, members=("member",), **where)
    await lead.online()
    await lead.say(b"with one account", slot="1")
    member = await start_device("member", "laptop", team_server, **where)
    await member.online()
    await member.say(b"with another account", slot="1")
    await lead.heard.until(b"with another account")


async def test_who_is_admitted_later_comes_in_by_itself_and_teams_do_not_meet(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    first = {"service": SERVICE, "node": "first"}
    second = {"service": SERVICE, "node": "second"}
    alone = await start_device("lead", "laptop", team_server, **first)
    await alone.online()
    waiting = await start_device("member", "pc", team_server, **first)
    assert (await settled(waiting, "failed")).startswith(
        f"The node for announcements on {SERVICE} is not open to member@localhost ("
    )
    assert "lists member@localhost under xmpp.members" in waiting.state[1]
    elsewhere = await start_device("lead", "other", team_server, members=("member",), **second)
    await elsewhere.online()
    await alone.channel.stop()
    again = await start_device("lead", "laptop", team_server, members=("member",), **first)
    await again.online()
    await waiting.online()
    await waiting.say(b"here I am")
    await again.heard.until(b"here I am")
    assert elsewhere.heard.received == []


READ = f"<pubsub xmlns='{PUBSUB}'><items node='{{node}}'/></pubsub>"
ATTACKS = [
    ("get", READ),
    ("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='{{node}}' jid='{{jid}}'/></pubsub>"),
    ("set", f"<pubsub xmlns='{PUBSUB}'><publish node='{{node}}'><item id='1'>{WORD}</item></publish></pubsub>"),
    ("set", f"<pubsub xmlns='{PUBSUB}'><retract node='{{node}}'><item id='1'/></retract></pubsub>"),
    ("set", f"<pubsub xmlns='{OWNER}'><configure node='{{node}}'>{OPEN}</configure></pubsub>"),
    ("get", f"<pubsub xmlns='{OWNER}'><configure node='{{node}}'/></pubsub>"),
    ("get", f"<pubsub xmlns='{OWNER}'><affiliations node='{{node}}'/></pubsub>"),
    ("get", f"<pubsub xmlns='{OWNER}'><subscriptions node='{{node}}'/></pubsub>"),
    (
        "set",
        f"<pubsub xmlns='{OWNER}'><affiliations node='{{node}}'>"
        "<affiliation jid='{bare}' affiliation='owner'/></affiliations></pubsub>",
    ),
    ("set", f"<pubsub xmlns='{OWNER}'><purge node='{{node}}'/></pubsub>"),
    ("set", f"<pubsub xmlns='{OWNER}'><delete node='{{node}}'/></pubsub>"),
]


async def test_a_stranger_can_neither_read_nor_write_nor_change_the_node(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    where, server = {"service": SERVICE, "node": "private"}, team_server
    node = f"{NAMESPACE}@private"
    lead = await start_device("lead", "laptop", server, members=("member",), **where)
    await lead.online()
    member = await start_device("member", "pc", server, **where)
    await member.online()
    await lead.say(b"private", slot="1")
    await member.heard.until(b"private")
    async with bare_client(server, "stranger") as stranger:
        names = {"node": node, "jid": stranger.boundjid.full, "bare": stranger.boundjid.bare}
        for way, attack in ATTACKS:
            with pytest.raises(IqError) as refusal:
                await stranger.ask(SERVICE, way, element(attack.format(**names)), within=PATIENCE)
            assert refusal.value.condition in ("forbidden", "not-allowed", "feature-not-implemented"), attack
        forged = f"<event xmlns='{EVENT}'><items node='{node}'><item id='1'>{WORD}</item></items></event>"
        message = stranger.make_message(f"lead@{DOMAIN}/laptop", mtype="headline")
        message.xml.append(element(forged))
        message.send()
        await eventually(lambda: lead.channel.status().dropped == {"forged": 1})
    record("attacks refused", len(ATTACKS) + 1)
    curious = await start_device("stranger", "pc", server, **where)
    await settled(curious, "failed")
    await member.say(b"still private", slot="2")
    await lead.heard.until(b"still private")
    assert curious.heard.told == []
    assert lead.heard.received == [b"private", b"still private"]


async def test_a_member_that_takes_the_place_of_another_is_told_of_or_gives_way(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    """ejabberd lets nobody replace what another account has published, Prosody everybody who was admitted."""
    where = {"service": SERVICE, "node": "squatted"}
    lead = await start_device("lead", "laptop", team_server, members=("member",), **where)
    await lead.online()
    member = await start_device("member", "pc", team_server, **where)
    await member.online()
    mark = hashlib.sha256(f"member@{DOMAIN}".encode()).hexdigest()[:8]
    publish = f"<publish node='{NAMESPACE}@squatted'><item id='slot.{mark}'>{WORD}</item></publish>"
    async with bare_client(team_server, "lead") as squatter:
        await squatter.ask(SERVICE, "set", element(f"<pubsub xmlns='{PUBSUB}'>{publish}</pubsub>"), within=PATIENCE)
    await member.heard.until(b"hello")
    if team_server.name == "prosody":
        await member.say(b"mine again")
        await lead.heard.until(b"mine again")
    else:
        with pytest.raises(Refused, match="forbidden"):
            await member.say(b"mine again")
        assert "refused an announcement (forbidden)" in member.state[1]
    await member.say(b"elsewhere", slot="other")
    await lead.heard.until(b"elsewhere")
    assert ("forbidden" in member.state[1]) is (team_server.name == "ejabberd")


async def test_who_may_not_make_the_node_is_told_and_uses_it_once_it_is_there(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    where, server = {"service": SERVICE, "node": "late"}, team_server
    member = await start_device("member", "pc", server, **where)
    assert await settled(member, "failed") == (
        f"The service {SERVICE} has no node for announcements yet, and member@localhost may not make it. "
        "Start autosync with an account that may, and that lists this one under xmpp.members. Its server's "
        f'administrator allows it so: Prosody: admins = {{ "member@localhost" }} below Component "{SERVICE}" '
        '"pubsub"; ejabberd: access_createnode in mod_pubsub.'
    )
    lead = await start_device("lead", "laptop", server, members=("member",), **where)
    await lead.online()
    await member.online()
    await lead.say(b"hello")
    await member.heard.until(b"hello")


async def test_a_node_that_was_opened_is_closed_by_its_owner_and_not_used_by_the_others(
    team_server: XmppServer, start_device: StartDevice
) -> None:
    where = {"service": SERVICE, "node": "opened"}
    lead = await start_device("lead", "laptop", team_server, members=("member",), **where)
    await lead.online()
    member = await start_device("member", "pc", team_server, **where)
    await member.online()
    async with bare_client(team_server, "lead") as client:
        change = f"<pubsub xmlns='{OWNER}'><configure node='{NAMESPACE}@opened'>{OPEN}</configure></pubsub>"
        await client.ask(SERVICE, "set", element(change), within=PATIENCE)
    with pytest.raises(Refused, match="stays readable by others"):
        await member.say(b"for the team only", slot="1")
    await lead.say(b"closed again", slot="2")
    await member.say(b"for the team only", slot="1")
    await lead.heard.until(b"for the team only")


async def test_a_service_that_is_none(team_server: XmppServer, start_device: StartDevice) -> None:
    laptop = await start_device("lead", "laptop", team_server, service=f"nothing.{DOMAIN}")
    said = await settled(laptop, "failed")
    assert said.startswith(f"There is no pubsub service (XEP-0060) at nothing.{DOMAIN} (")
    assert f'Prosody: Component "nothing.{DOMAIN}" "pubsub"; ejabberd: mod_pubsub with the plugin flat.' in said


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("a b", "xmpp.service: 'a b' cannot be an XMPP address"),
        ("pubsub.example.org/x", "xmpp.service: 'pubsub.example.org/x' is no address of a service"),
        ("", "xmpp.service: '' is no address of a service"),
    ],
)
def test_a_service_that_is_no_address(service: str, said: str) -> None:
    settings = XmppSettings(jid="me@example.org", password=lambda: "", device="laptop", service=service)
    with pytest.raises(ConfigError, match=re.escape(said)) as refusal:
        XmppChannel(settings, Recorder())
    assert refusal.value.hint == "Write it like pubsub.example.org."
