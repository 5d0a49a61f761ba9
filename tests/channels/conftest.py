"""The channels under examination."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from autosync.channels.fanout import FanoutChannel
from autosync.channels.reflector import ReflectorChannel
from tests.channels.fanout_server import FanoutServer
from tests.channels.media import Lan, Lines, Medium, Participant, Recorder, Xmpp
from tests.channels.reflectors import Running
from tests.waiting import PATIENCE

MEDIA = ("ejabberd", "fanout", "fanout over reflector", "lan", "prosody", "reflector")


@pytest.fixture(scope="session")
def xmpp_media() -> Iterator[dict[str, Xmpp]]:
    """XMPP servers, each started when it is first needed."""
    started: dict[str, Xmpp] = {}
    yield started
    for medium in started.values():
        medium.server.__exit__(None, None, None)


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest, tmp_path: Path, xmpp_media: dict[str, Xmpp]) -> Iterator[Medium]:
    """One channel with its server, which runs."""
    found = make(request.param, tmp_path, xmpp_media)
    found.start_server()
    try:
        yield found
    finally:
        found.end()


def make(name: str, place: Path, xmpp_media: dict[str, Xmpp]) -> Medium:
    """Return a medium by its name."""
    if name in ("prosody", "ejabberd"):
        if name not in xmpp_media:
            xmpp_media[name] = Xmpp(name)
        return xmpp_media[name]
    if name == "lan":
        return Lan(place)
    kind = ReflectorChannel if name == "reflector" else FanoutChannel
    return Lines(kind, FanoutServer() if name == "fanout" else Running())


Join = Callable[..., Awaitable[Participant]]


@pytest.fixture
async def join(medium: Medium) -> AsyncIterator[Join]:
    """Starts devices on the medium; in the end each stops within a second and leaves no task behind."""
    before = asyncio.all_tasks()
    devices: list[Participant] = []

    async def start(name: str, *, ready: bool = True) -> Participant:
        heard = Recorder()
        device = Participant(name, medium.device(name, heard), heard)
        devices.append(device)
        await medium.settle()
        await device.channel.start()
        if ready:
            await heard.until("ready", "caught up")
        return device

    yield start
    for device in devices:
        began = time.monotonic()
        await device.channel.stop()
        assert time.monotonic() - began < 1, "stop() took too long"
        assert device.state == "offline"
    await medium.leave()
    async with asyncio.timeout(PATIENCE):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(left, timeout=1)
