"""Agents that reach each other through an XMPP server alone: real Prosody, real ejabberd, real failures."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from autosync.channels.xmpp import XmppChannel, XmppSettings
from autosync.channels.xmpp_element import EVENT, NAMESPACE
from autosync.trust.sealing import load_key
from tests.edges.tcp_proxy import TcpProxy
from tests.edges.test_xmpp import bare_client, element
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, SERVERS, XmppServer
from tests.system.fleet import Device, Fleet, entries, until
from tests.waiting import freeze

_ACCOUNTS = 60
_numbers = itertools.count()
FILES = {"a.txt": "one\n", "b/c.txt": "two\n"}
LARGE = 200_000
"""Bytes that fit into no announcement."""


@pytest.fixture(scope="module", params=sorted(SERVERS))
def kept_server(request: pytest.FixtureRequest) -> Iterator[XmppServer]:
    """A server that tests share, in whatever state the last one left it."""
    with SERVERS[request.param]([f"u{n}" for n in range(_ACCOUNTS)]) as server:
        yield server


@pytest.fixture
def server(kept_server: XmppServer) -> XmppServer:
    """A running server, which the test may end as it likes."""
    if not kept_server.running:
        kept_server.start()
    return kept_server


@pytest.fixture(scope="module")
def prosody() -> Iterator[XmppServer]:
    """A server for what does not depend on the kind of server."""
    with SERVERS["prosody"]([f"u{n}" for n in range(_ACCOUNTS)]) as server:
        yield server


def new_account() -> str:
    """Return an account that no other test uses."""
    number = next(_numbers)
    assert number < _ACCOUNTS, "raise _ACCOUNTS"
    return f"u{number}"


@pytest.fixture
def account() -> str:
    """An account that no other test uses."""
    return new_account()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Devices without a configuration yet: laptop, desktop and server, with clones of one hub."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def login(server: XmppServer, account: str, *, port: int | None = None, **keys: object) -> str:
    """Return the part of a configuration that logs into an account."""
    secret = {} if {"password-command", "keyring", "password"} & keys.keys() else {"password": PASSWORD}
    settings = {
        "jid": f"{account}@{DOMAIN}",
        "host": "127.0.0.1",
        "port": port or server.port,
        "ca-file": server.ca_file,
        **secret,
        **keys,
    }
    return f"xmpp: {json.dumps(settings)}\n"


def configure(fleet: Fleet, devices: Sequence[Device], logins: Sequence[str]) -> None:
    """Configure devices that only XMPP and, for what is large, the hub connect."""
    fleet.configure(devices, peers=False, remote="origin", poll=0.5)
    for device, text in zip(devices, logins, strict=True):
        written = device.config.read_text()
        device.config.write_text(re.sub(r"listen: .*\n", f"listen: none\n{text}", written))


def on_one_account(fleet: Fleet, server: XmppServer, account: str, *names: str, port: int | None = None) -> None:
    """Start devices that share an account; return when they are equal."""
    devices = fleet.clone(fleet.seed(FILES), *names)
    configure(fleet, devices, [login(server, account, port=port)] * len(devices))
    fleet.start()
    for device in devices:
        until(lambda d=device: channel(d)["state"] == "online", why=lambda d=device: d.log[-3000:])
    fleet.equal()


def channel(device: Device) -> dict[str, object]:
    """Return what the status says of XMPP."""
    found: dict[str, object] = device.ask("status")["channel"]
    assert found["kind"] == "xmpp"
    return found


def arrives(text: str, name: str, *devices: Device) -> None:
    """Wait until a file has this text on all devices."""
    for device in devices:
        until(lambda d=device: d.read(name) == text, why=lambda d=device: f"{d.read(name)!r}\n{d.log[-3000:]}")


KEYRING = """
import keyring.backend

class Keyring(keyring.backend.KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        return {password!r} if (service, username) == ("autosync", {user!r}) else None

    def set_password(self, service, username, password):
        raise NotImplementedError

    def delete_password(self, service, username):
        raise NotImplementedError
"""
"""A backend as anybody can install one; the desktops' own need a session with D-Bus."""


def save(device: Device, text: str, name: str = "a.txt") -> None:
    """Write a file and wait until the agent has recorded it."""
    before = len(device.activities("saved"))
    device.write(name, text)
    until(lambda: len(device.activities("saved")) > before, why=lambda: device.log[-3000:])


class Proxy:
    """A :class:`TcpProxy` in a thread of its own, for tests without an event loop."""

    def __init__(self, upstream: int) -> None:
        self._proxy = TcpProxy(upstream)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    @property
    def port(self) -> int:
        return self._proxy.port

    def refuse(self, refusing: bool) -> None:
        """Close new connections at once, or no longer."""
        self._do(lambda: setattr(self._proxy, "refusing", refusing))

    def cut(self) -> None:
        """Reset every connection."""
        self._do(self._proxy.cut)

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


# -- it works ----------------------------------------------------------------------------


def test_three_devices_of_one_account_agree(fleet: Fleet, server: XmppServer, account: str) -> None:
    on_one_account(fleet, server, account, "laptop", "desktop", "tower")
    laptop, desktop, tower = fleet.devices
    laptop.write("a.txt", "edited on the laptop\n")
    arrives("edited on the laptop\n", "a.txt", desktop, tower)
    tower.write("new.txt", "from the tower\n")
    (desktop.root / "b/c.txt").unlink()
    fleet.equal()
    assert entries(laptop.root) == {
        b"a.txt": ("file", b"edited on the laptop\n"),
        b"new.txt": ("file", b"from the tower\n"),
    }
    assert {desktop.applied(name)["lane"] for name in ("a.txt", "new.txt")} == {"inline over xmpp"}


def test_what_is_too_large_for_an_announcement_comes_from_the_hub(
    fleet: Fleet, prosody: XmppServer, account: str
) -> None:
    on_one_account(fleet, prosody, account, "laptop", "desktop")
    laptop, desktop = fleet.devices
    content = b"".join(b"%d %d\n" % (n, n * n) for n in range(LARGE // 8))
    laptop.write("large.csv", content)
    until((desktop.root / "large.csv").exists, why=lambda: desktop.log[-3000:])
    fleet.equal()
    assert (desktop.root / "large.csv").read_bytes() == content
    assert desktop.applied("large.csv")["lane"].startswith("hub ")


def test_devices_of_several_accounts_agree(fleet: Fleet, server: XmppServer, account: str) -> None:
    accounts = [account, new_account(), new_account()]
    devices = fleet.clone(fleet.seed(FILES), "laptop", "desktop", "tower")
    jids = [f"{a}@{DOMAIN}" for a in accounts]
    configure(fleet, devices, [login(server, a, members=[j for j in jids if j != f"{a}@{DOMAIN}"]) for a in accounts])
    fleet.start()
    fleet.equal()
    devices[0].write("a.txt", "to all accounts\n")
    arrives("to all accounts\n", "a.txt", *devices[1:])
    devices[2].write("a.txt", "and back\n")
    arrives("and back\n", "a.txt", *devices[:2])
    fleet.equal()


def test_a_device_that_starts_late_catches_up(fleet: Fleet, prosody: XmppServer, account: str) -> None:
    devices = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
    configure(fleet, devices, [login(prosody, account)] * 2)
    laptop, desktop = devices
    laptop.start()
    until(lambda: channel(laptop)["state"] == "online", why=lambda: laptop.log)
    save(laptop, "said while nobody listened\n")
    assert laptop.end() == 0
    desktop.start()
    arrives("said while nobody listened\n", "a.txt", desktop)


# -- servers fail ------------------------------------------------------------------------


def test_a_server_restart_during_edits_loses_nothing(fleet: Fleet, server: XmppServer, account: str) -> None:
    on_one_account(fleet, server, account, "laptop", "desktop")
    laptop, desktop = fleet.devices
    for how in (server.stop, server.kill):
        laptop.write("a.txt", f"before {how.__name__}\n")
        desktop.write("desktop.txt", f"before {how.__name__}\n")
        how()
        laptop.write("a.txt", f"after {how.__name__}\n")
        desktop.write("desktop.txt", f"after {how.__name__}\n")
        server.start()
        laptop.write(f"{how.__name__}.txt", "there again\n")
        arrives(f"after {how.__name__}\n", "a.txt", desktop)
        arrives(f"after {how.__name__}\n", "desktop.txt", laptop)
        arrives("there again\n", f"{how.__name__}.txt", desktop)
    fleet.equal()


def test_cut_connections_and_whoever_sleeps_hold_nothing_back(fleet: Fleet, server: XmppServer, account: str) -> None:
    with Proxy(server.port) as proxy:
        on_one_account(fleet, server, account, "laptop", "desktop", port=proxy.port)
        laptop, desktop = fleet.devices
        for number in range(2):
            laptop.write("a.txt", f"before cut {number}\n")
            proxy.cut()
            desktop.write(f"cut {number}.txt", "written without a connection\n")
            arrives(f"before cut {number}\n", "a.txt", desktop)
            arrives("written without a connection\n", f"cut {number}.txt", laptop)
        server.freeze()
        try:
            for number in range(3):
                save(laptop, f"frozen {number}\n")
            save(desktop, "too\n", "desktop.txt")
            until(lambda: laptop.status()["phase"] in ("watching", "settling"))  # the agent itself must not freeze
        finally:
            server.thaw()
        arrives("frozen 2\n", "a.txt", desktop)
        arrives("too\n", "desktop.txt", laptop)
        assert desktop.process is not None
        freeze(desktop.process.pid)
        try:
            for number in range(3):
                save(laptop, f"suspended {number}\n")
            (desktop.root / "meanwhile.txt").write_text("while its agent slept\n")
        finally:
            desktop.process.send_signal(signal.SIGCONT)
        arrives("suspended 2\n", "a.txt", desktop)
        arrives("while its agent slept\n", "meanwhile.txt", laptop)
        fleet.equal()


def is_offline(device: Device, why: str) -> bool:
    found = channel(device)
    return found["state"] == "offline" and why in str(found["detail"])


def test_a_server_that_comes_up_late_is_found(fleet: Fleet, prosody: XmppServer, account: str) -> None:
    prosody.stop()
    devices = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
    configure(fleet, devices, [login(prosody, account)] * 2)
    fleet.start()
    laptop, desktop = devices
    refused = f"127.0.0.1:{prosody.port} cannot be reached (Connection refused)"
    until(lambda: is_offline(laptop, refused), why=lambda: laptop.log)
    laptop.write("a.txt", "said in vain\n")
    checked = laptop.run("check")
    assert checked.returncode == 1
    assert refused in checked.stdout, checked.stdout
    prosody.start()
    arrives("said in vain\n", "a.txt", desktop)


# -- passwords -----------------------------------------------------------------------------


def test_a_wrong_password_is_named_in_status_log_and_check(fleet: Fleet, server: XmppServer, account: str) -> None:
    (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
    configure(fleet, [laptop], [login(server, account, password="hunter2")])
    laptop.start()
    until(lambda: channel(laptop)["state"] == "failed", why=lambda: laptop.log)
    detail = str(channel(laptop)["detail"])
    assert f"{account}@{DOMAIN}" in detail
    assert "password" in detail
    assert detail in laptop.log
    shown = laptop.run("status")
    assert "password" in shown.stdout, shown.stdout
    checked = laptop.run("check")
    assert checked.returncode == 1
    assert f"{account}@{DOMAIN}" in checked.stdout
    assert "hunter2" not in laptop.log + shown.stdout + checked.stdout, "the password itself is never shown"
    laptop.write("a.txt", "edits go on\n")
    until(lambda: laptop.activities("saved"))


def test_a_password_command_is_asked(fleet: Fleet, prosody: XmppServer, account: str) -> None:
    devices = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
    secret = fleet.place / "secret"
    secret.write_text(f"{PASSWORD}\nnot this line\n")
    configure(fleet, devices, [login(prosody, account, **{"password-command": ["cat", str(secret)]})] * 2)
    for device in devices:  # no secret in it: others may read it
        device.config.chmod(0o644)
    fleet.start()
    devices[0].write("a.txt", "with a command\n")
    arrives("with a command\n", "a.txt", devices[1])


def test_a_password_comes_from_the_keyring(fleet: Fleet, prosody: XmppServer, account: str) -> None:
    (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
    module = fleet.place / "keys"
    module.mkdir()
    (module / "filekeyring.py").write_text(KEYRING.format(user=f"{account}@{DOMAIN}", password=PASSWORD))
    laptop.environment = {
        **laptop.environment,
        "PYTHONPATH": f"{module}:{laptop.environment['PYTHONPATH']}",
        "PYTHON_KEYRING_BACKEND": "filekeyring.Keyring",
    }
    configure(fleet, [laptop], [login(prosody, account, keyring=True)])
    checked = laptop.run("check")
    assert checked.returncode == 0, checked.stdout
    laptop.start()
    until(lambda: channel(laptop)["state"] == "online", why=lambda: laptop.log)


def test_a_password_that_others_can_read_is_refused(fleet: Fleet, prosody: XmppServer, account: str) -> None:
    (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
    configure(fleet, [laptop], [login(prosody, account)])
    laptop.config.chmod(0o644)
    for command in ("run", "check", "status"):
        done = laptop.run(command)
        assert done.returncode == 1
        assert "chmod 600" in done.stdout + done.stderr, done
        assert PASSWORD not in done.stdout + done.stderr


# -- somebody else -------------------------------------------------------------------------


async def test_events_from_another_account_are_dropped_and_counted(
    fleet: Fleet, server: XmppServer, account: str
) -> None:
    await asyncio.to_thread(on_one_account, fleet, server, account, "laptop", "desktop")
    laptop, desktop = fleet.devices
    tag = load_key(str(fleet.key)).tag
    payload = f"<announcement xmlns='{NAMESPACE}' workspace='{tag}'>Zm9yZ2Vk</announcement>"
    event = f"<event xmlns='{EVENT}'><items node='{NAMESPACE}'><item id='slot'>{payload}</item></items></event>"
    deletion = f"<event xmlns='{EVENT}'><delete node='{NAMESPACE}'/></event>"
    async with bare_client(server, new_account()) as mallory:
        for forged in (event, deletion):
            message = mallory.make_message(f"{account}@{DOMAIN}/laptop", mtype="headline")
            message.xml.append(element(forged))
            message.send()
        await asyncio.to_thread(until, lambda: channel(laptop)["dropped"] == {"forged": 2})
    await asyncio.to_thread(desktop.write, "a.txt", "genuine\n")
    await asyncio.to_thread(arrives, "genuine\n", "a.txt", laptop)


async def test_what_the_account_itself_says_without_the_key_is_dropped_and_counted(
    fleet: Fleet, prosody: XmppServer, account: str
) -> None:
    """A stolen account, or a server that makes things up: it cannot seal, and repeating does nothing."""
    await asyncio.to_thread(on_one_account, fleet, prosody, account, "laptop", "desktop")
    laptop, desktop = fleet.devices
    key = load_key(str(fleet.key))
    heard: list[tuple[str, bytes]] = []
    thief = XmppChannel(
        XmppSettings(
            jid=f"{account}@{DOMAIN}",
            password=lambda: PASSWORD,
            device="thief",
            host="127.0.0.1",
            port=prosody.port,
            ca_file=prosody.ca_file,
        ),
        _Thief(heard),
    )
    await thief.start()
    try:
        await asyncio.to_thread(until, lambda: thief.status().state == "online")
        before = len(heard)
        laptop.write("a.txt", "version 1\n")
        await asyncio.to_thread(arrives, "version 1\n", "a.txt", desktop)
        await asyncio.to_thread(until, lambda: len(heard) > before)
        recorded = [sealed for tag, sealed in heard if tag == key.tag]
        laptop.write("a.txt", "version 2\n")
        await asyncio.to_thread(arrives, "version 2\n", "a.txt", desktop)
        for number, sealed in enumerate([*recorded, key.seal(b"not one", context=b"announcement"), b"forged" * 20]):
            await thief.publish(f"slot{number}", key.tag, sealed)
        reasons = {"repeated", "forged", "malformed"}
        await asyncio.to_thread(until, lambda: reasons <= desktop.status()["dropped"].keys())
    finally:
        await thief.stop()
    laptop.write("a.txt", "version 3\n")
    await asyncio.to_thread(arrives, "version 3\n", "a.txt", desktop)
    await asyncio.to_thread(fleet.equal)


class _Thief:
    """Listens to a channel and keeps what it hears."""

    def __init__(self, heard: list[tuple[str, bytes]]) -> None:
        self._heard = heard

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:  # noqa: ARG002
        self._heard.append((workspace_tag, sealed))

    def channel_ready(self, lane: str) -> None:
        pass

    def catch_up_done(self, lane: str) -> None:
        pass
