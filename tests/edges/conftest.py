"""Fixtures of the edges: XMPP servers, accounts, devices, and places to fail in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.edges.looptime import loop_time
from tests.edges.points import fast_directory
from tests.edges.xmpp_devices import Device, make_device
from tests.edges.xmpp_servers import SERVERS, XmppServer

_ACCOUNTS = 200
_numbers = itertools.count()


class StartDevice(Protocol):
    """Starts a device of an account; see :func:`tests.edges.xmpp_devices.make_device`."""

    async def __call__(
        self, account: str, name: str, server: XmppServer | None = None, **settings: object
    ) -> Device: ...


@pytest.fixture(scope="session", params=sorted(SERVERS))
def kept_xmpp_server(request: pytest.FixtureRequest) -> Iterator[XmppServer]:
    """An XMPP server that tests share, in whatever state the last one left it."""
    with SERVERS[request.param]([f"u{n}" for n in range(_ACCOUNTS)]) as server:
        yield server


@pytest.fixture
def xmpp_server(kept_xmpp_server: XmppServer) -> XmppServer:
    """A running XMPP server, which the test may end as it likes."""
    if not kept_xmpp_server.running:
        kept_xmpp_server.start()
    return kept_xmpp_server


@pytest.fixture
def account() -> str:
    """An account of :func:`xmpp_server` that no other test uses."""
    return _next_account()


@pytest.fixture
def other_account() -> str:
    """Another account that no other test uses."""
    return _next_account()


def _next_account() -> str:
    number = next(_numbers)
    assert number < _ACCOUNTS, "raise _ACCOUNTS"
    return f"u{number}"


@pytest.fixture
async def start_device() -> AsyncIterator[StartDevice]:
    """Starts devices; in the end each must stop within a second and leave no task behind."""
    before = asyncio.all_tasks()
    devices: list[Device] = []

    async def start(account: str, name: str, server: XmppServer | None = None, **settings: object) -> Device:
        if server is not None:
            settings = {"port": server.port, "ca_file": server.ca_file, **settings}
        device = make_device(account, name, **settings)  # type: ignore[arg-type]  # checked by make_device itself
        devices.append(device)
        await device.channel.start()
        return device

    yield start
    slow = []
    for device in devices:
        async with loop_time() as took:
            await device.channel.stop()
        if took.seconds >= 1:
            slow.append(took.seconds)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    assert not slow, f"stop() took too long: {slow}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for working copies, with a user of git and of hg of its own."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = User\n\temail = user@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "hgrc").write_text("[ui]\nusername = User <user@example.org>\n")
    monkeypatch.setenv("HGRCPATH", str(tmp_path / "hgrc"))
    with fast_directory(tmp_path) as directory:
        yield directory
