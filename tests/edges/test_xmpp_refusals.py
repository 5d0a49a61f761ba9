"""What keeps the XMPP channel offline is said plainly, and the password is never given away."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from autosync.channels.xmpp import XmppChannel, XmppSettings
from autosync.errors import ConfigError, Refused
from tests.edges.conftest import StartDevice
from tests.edges.looptime import loop_time
from tests.edges.scripted_xmpp import ScriptedServer
from tests.edges.xmpp_devices import QUICK, Device, Recorder, eventually
from tests.edges.xmpp_servers import PASSWORD, SERVERS, Ejabberd, Prosody, XmppServer, free_port, write_certificate
from tests.waiting import PATIENCE

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
PLAIN_ONLY = f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"


async def settled(device: Device, state: str, *, within: float = PATIENCE) -> str:
    """Return what the channel says once it is in ``state``."""
    await eventually(lambda: device.state[0] == state, within=within)
    return device.state[1]


def mechanisms(messages: Sequence[str]) -> set[str]:
    """Return the SASL mechanisms that slixmpp logged to have sent."""
    return set(re.findall(r"SEND: <auth[^>]* mechanism=\"([^\"]+)\"", "\n".join(messages)))


# -- login -------------------------------------------------------------------------------------------


async def test_wrong_password_is_said_and_the_right_one_is_used_as_soon_as_it_is_given(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = ["wrong horse"]
    with caplog.at_level("DEBUG", logger="slixmpp"):
        laptop = await start_device(account, "laptop", xmpp_server, password=lambda: passwords[-1])
        assert await settled(laptop, "failed") == (
            f"The XMPP server refused the password of {account}@localhost (not-authorized). Check xmpp.jid and "
            "xmpp.password-command (or xmpp.password); it is tried again every few minutes."
        )
        passwords.append(PASSWORD)
        await laptop.online()
    used = mechanisms(caplog.messages)
    assert used
    assert all(mechanism.startswith("SCRAM-SHA-") for mechanism in used)


async def test_password_is_not_sent_to_a_server_that_wants_it_plain(tmp_path: Path, start_device: StartDevice) -> None:
    async with ScriptedServer(tmp_path, PLAIN_ONLY) as server:
        laptop = await start_device("alice", "laptop", port=server.port, ca_file=server.ca_file)
        assert await settled(laptop, "failed") == (
            f"The XMPP server 127.0.0.1:{server.port} offers no login with SCRAM, and the password is never sent "
            "itself. Ask the server's administrator to enable SCRAM-SHA-256 or SCRAM-SHA-1."
        )
        assert "<stream:stream" in server.heard
        assert "<auth" not in server.heard


@pytest.mark.parametrize("features", [PLAIN_ONLY, PLAIN_ONLY.replace("PLAIN", "SCRAM-SHA-1")])
async def test_nothing_is_sent_to_a_server_without_encryption(
    tmp_path: Path, start_device: StartDevice, features: str
) -> None:
    async with ScriptedServer(tmp_path, features, tls=False) as server:
        laptop = await start_device("alice", "laptop", port=server.port, ca_file=server.ca_file)
        assert (await settled(laptop, "failed")).startswith(
            f"The XMPP server 127.0.0.1:{server.port} offers no encryption. Nothing was sent."
        )
        assert "<auth" not in server.heard


async def test_a_server_that_asks_for_no_login_is_not_used(tmp_path: Path, start_device: StartDevice) -> None:
    features = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
    async with ScriptedServer(tmp_path, features, tls=False, bind="alice@localhost/laptop") as server:
        laptop = await start_device("alice", "laptop", port=server.port, ca_file=server.ca_file)
        assert "offers no encryption" in await settled(laptop, "failed")
        assert laptop.heard.told == []


async def test_password_that_cannot_be_had_is_asked_for_again(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    answers: list[str | Refused] = [Refused("The keyring is locked", hint="Unlock it."), "bell \a", PASSWORD]
    seen: list[tuple[str, str]] = []

    def password() -> str:
        seen.append(laptop.state)
        answer = answers.pop(0)
        if isinstance(answer, Refused):
            raise answer
        return answer

    laptop = await start_device(account, "laptop", xmpp_server, password=password)
    await laptop.online()
    assert seen == [
        ("connecting", "Connecting to localhost."),
        ("failed", "The keyring is locked. Unlock it."),
        (
            "failed",
            f"The password of {account}@localhost holds a character that XMPP does not allow. "
            "Look at what xmpp.password-command prints; control characters are the usual cause.",
        ),
    ]


async def test_password_prompt_that_nobody_answers_holds_up_no_exit(start_device: StartDevice) -> None:
    asked, answered, over = threading.Event(), threading.Event(), threading.Event()

    def password() -> str:
        asked.set()
        answered.wait(PATIENCE)
        over.set()
        return PASSWORD

    try:
        laptop = await start_device("alice", "laptop", port=free_port(), ca_file=None, password=password)
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        async with loop_time() as took:
            await laptop.channel.stop()
        assert took.seconds < 1
        assert not over.is_set()
    finally:
        answered.set()


async def test_password_is_not_asked_for_again_while_the_server_is_away(start_device: StartDevice) -> None:
    asked: list[None] = []

    def password() -> str:
        asked.append(None)
        return PASSWORD

    with Prosody(["alice"]) as server:
        server.stop()
        laptop = await start_device("alice", "laptop", server, password=password)
        assert await settled(laptop, "offline") == (
            f"The XMPP server 127.0.0.1:{server.port} cannot be reached (Connection refused). "
            "Check the network, xmpp.host and xmpp.port; it is tried again by itself."
        )
        await asyncio.to_thread(server.start)
        await laptop.online()
    assert len(asked) == 1


# -- certificates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_expired_certificate(kind: str, start_device: StartDevice) -> None:
    with SERVERS[kind](["alice"], days=-1) as server:
        laptop = await start_device("alice", "laptop", server)
        assert await settled(laptop, "failed") == (
            f"The certificate of the XMPP server 127.0.0.1:{server.port} has expired. "
            "Ask the server's administrator to renew it, and check this computer's clock."
        )


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_certificate_for_another_host(kind: str, start_device: StartDevice) -> None:
    with SERVERS[kind](["alice"], host="elsewhere.example") as server:
        laptop = await start_device("alice", "laptop", server)
        assert await settled(laptop, "failed") == (
            f"The certificate of the XMPP server 127.0.0.1:{server.port} is for another host (Hostname mismatch, "
            "certificate is not valid for 'localhost'.). "
            "Check the domain in xmpp.jid; it must be one that the certificate names. "
            "A network that wants a login in the browser first looks like this too."
        )


async def test_certificate_that_is_not_the_pinned_one(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, tmp_path: Path
) -> None:
    other = str(write_certificate(tmp_path))
    laptop = await start_device(account, "laptop", xmpp_server, ca_file=other)
    assert await settled(laptop, "failed") == (
        f"The certificate of the XMPP server 127.0.0.1:{xmpp_server.port} is not trusted (self-signed certificate). "
        f"Only {other} is trusted (xmpp.ca-file): put the server's present certificate there."
    )


async def test_self_signed_certificate_without_a_pin(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    laptop = await start_device(account, "laptop", xmpp_server, ca_file=None)
    assert await settled(laptop, "failed") == (
        f"The certificate of the XMPP server 127.0.0.1:{xmpp_server.port} is not trusted (self-signed certificate). "
        "If it is your own server, copy its certificate here and name the copy in xmpp.ca-file."
    )


async def test_pin_that_cannot_be_read_works_once_it_can(
    xmpp_server: XmppServer, account: str, start_device: StartDevice, tmp_path: Path
) -> None:
    pin = tmp_path / "pin.pem"
    laptop = await start_device(account, "laptop", xmpp_server, ca_file=str(pin))
    assert await settled(laptop, "failed") == (
        f"The file {pin} (xmpp.ca-file) cannot be used: No such file or directory. "
        "It must be a readable PEM file with the certificate of the server or of its authority."
    )
    await asyncio.to_thread(shutil.copy, xmpp_server.ca_file, pin)
    await laptop.online()


# -- servers ---------------------------------------------------------------------------------------------


async def test_name_without_an_address(start_device: StartDevice) -> None:
    laptop = await start_device("alice", "laptop", host="xmpp.invalid", port=5222, ca_file=None)
    assert await settled(laptop, "offline") == (
        "The name of the XMPP server xmpp.invalid:5222 has no address in DNS. "
        "Check the network and the spelling in xmpp.jid, or name the server in xmpp.host."
    )


async def test_server_is_looked_up_when_no_host_is_given(start_device: StartDevice) -> None:
    laptop = await start_device("alice", "laptop", domain="xmpp.invalid", host=None, port=None, ca_file=None)
    assert (await settled(laptop, "offline")).startswith("The name of the XMPP server xmpp.invalid has no address")


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_server_without_personal_eventing(kind: str, start_device: StartDevice) -> None:
    with SERVERS[kind](["alice"], pep=False) as server:
        laptop = await start_device("alice", "laptop", server)
        said = await settled(laptop, "failed")
        assert said.startswith(
            "The XMPP server offers no personal eventing (PEP, XEP-0163) for alice@localhost (service-unavailable"
        )
        assert said.endswith("(Prosody: module pep; ejabberd: mod_pubsub with the plugin pep), or use another account.")


async def test_frozen_server_holds_up_neither_login_nor_stop(
    xmpp_server: XmppServer, account: str, start_device: StartDevice
) -> None:
    online = await start_device(account, "laptop", xmpp_server)
    await online.online()
    xmpp_server.freeze()
    try:
        async with loop_time() as took:
            await online.channel.stop()
        assert took.seconds < 1
        impatient = dataclasses.replace(QUICK, login_timeout=1)
        late = await start_device(account, "late", xmpp_server, timing=impatient)
        assert await settled(late, "offline") == (
            f"The XMPP server 127.0.0.1:{xmpp_server.port} did not finish the login within 1 seconds. "
            "It may be overloaded; it is tried again by itself."
        )
    finally:
        xmpp_server.thaw()
    await late.online()


async def test_two_devices_of_one_name(xmpp_server: XmppServer, account: str, start_device: StartDevice) -> None:
    first = await start_device(account, "laptop", xmpp_server)
    await first.online()
    await start_device(account, "laptop", xmpp_server)
    assert await settled(first, "failed") == (
        f"Another connection took the place of {account}@localhost/laptop. "
        "Two devices have one name (give each its own: the key device), or the account has more devices than its "
        "server allows (ejabberd: max_user_sessions, 10 as shipped)."
    )


async def test_more_devices_than_an_account_may_have(start_device: StartDevice) -> None:
    with Ejabberd(["alice"], sessions=2) as server:
        patient = dataclasses.replace(QUICK, refused_retry=3600)
        devices = []
        for name in ("first", "second", "third"):
            devices.append(await start_device("alice", name, server, timing=patient))
            await devices[-1].online()
        assert "more devices than its server allows (ejabberd: max_user_sessions" in await settled(devices[0], "failed")
        assert [device.state[0] for device in devices[1:]] == ["online", "online"]


@pytest.mark.parametrize(
    ("condition", "state", "said"),
    [
        ("policy-violation", "offline", "closed the connection for a violation of its policy (policy-violation: why)"),
        ("host-unknown", "failed", "does not serve that domain (host-unknown: why)"),
        ("see-other-host", "failed", "asks to connect to another host, which is not done unasked"),
        ("system-shutdown", "offline", "was lost (system-shutdown: why)"),
    ],
)
async def test_stream_errors(tmp_path: Path, start_device: StartDevice, condition: str, state: str, said: str) -> None:
    streams = "urn:ietf:params:xml:ns:xmpp-streams"
    error = (
        f"<stream:error><{condition} xmlns='{streams}'/><text xmlns='{streams}'>why</text></stream:error>"
        "</stream:stream>"
    )
    async with ScriptedServer(tmp_path, error, tls=False) as server:
        laptop = await start_device("alice", "laptop", port=server.port, ca_file=server.ca_file)
        assert said in await settled(laptop, state)


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"jid": "example.org"}, "xmpp.jid: 'example.org' is no XMPP address"),
        ({"jid": "a b@example.org"}, "xmpp.jid: 'a b@example.org' cannot be (part of) an XMPP address"),
        ({"members": ("bob",)}, "xmpp.members: 'bob' is no XMPP address"),
        ({"device": "bell\a"}, "device: 'me@example.org/bell\\x07' cannot be (part of) an XMPP address"),
    ],
)
def test_settings_that_are_no_addresses(changed: dict[str, object], said: str) -> None:
    settings = {"jid": "me@example.org", "password": lambda: "", "device": "laptop", **changed}
    with pytest.raises(ConfigError, match=re.escape(said)) as refusal:
        XmppChannel(XmppSettings(**settings), Recorder())  # type: ignore[arg-type]  # as a mistaken config gives them
    assert refusal.value.hint == "Write it like me@example.org."


async def test_slot_that_would_break_the_stream_is_refused() -> None:
    channel = XmppChannel(XmppSettings(jid="me@example.org", password=lambda: "", device="laptop"), Recorder())
    with pytest.raises(ValueError, match=r"slot 'a\\x00b' and workspace tag 'tag' must be visible ASCII"):
        await channel.publish("a\0b", "tag", b"sealed")
