"""Devices on an XMPP account, as tests and child processes of tests use them."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Callable

from autosync.channels.xmpp import XmppChannel, XmppSettings, XmppTiming
from autosync.ports import Channel
from tests.edges.xmpp_servers import DOMAIN, PASSWORD
from tests.waiting import PATIENCE

QUICK = XmppTiming(
    keepalive=PATIENCE,
    ping_timeout=PATIENCE,
    listening=0.5,
    login_timeout=5,
    iq_timeout=PATIENCE,
    retry_base=0.1,
    retry_cap=0.5,
    refused_retry=0.3,
    member_retry_base=0.1,
    member_retry_cap=0.2,
    spread=0.1,
)
"""Patient with a server that is slow, as on a busy disk: one that is given up is logged in to again."""
WARY = dataclasses.replace(QUICK, keepalive=0.5, ping_timeout=0.5)
"""For silence that is to be noticed."""


async def eventually(condition: Callable[[], bool], *, within: float = PATIENCE) -> None:
    """Return once ``condition`` holds, which another process brings about; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {within} s"
        await asyncio.sleep(0.01)


class Recorder:
    """A listener that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str | bytes] = []
        self._news = asyncio.Event()

    @property
    def received(self) -> list[bytes]:
        """What was received so far."""
        return [entry for entry in self.told if isinstance(entry, bytes)]

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        """Keep it."""
        assert (workspace_tag, lane) == ("tag", "xmpp")
        self._tell(sealed)

    def channel_ready(self, lane: str) -> None:
        """Keep it."""
        self._tell(f"ready {lane}")

    def catch_up_done(self, lane: str) -> None:
        """Keep it."""
        self._tell(f"caught up {lane}")

    async def until(self, *expected: str | bytes, count: int = 1, within: float = PATIENCE) -> None:
        """Return once each of ``expected`` was told ``count`` times."""
        async with asyncio.timeout(within):
            while any(self.told.count(entry) < count for entry in expected):
                await self.news()

    async def news(self) -> None:
        """Return when something more is told."""
        self._news.clear()
        await self._news.wait()

    def _tell(self, entry: str | bytes) -> None:
        self.told.append(entry)
        self._news.set()


class Device:
    """One device: its channel and what the channel told."""

    def __init__(self, channel: Channel, heard: Recorder) -> None:
        self.channel = channel
        self.heard = heard

    @property
    def state(self) -> tuple[str, str]:
        """State and detail of the channel."""
        status = self.channel.status()
        return status.state, status.detail

    async def say(self, sealed: bytes, *, slot: str | None = None) -> None:
        """Publish ``sealed``."""
        await self.channel.publish(slot or "slot", "tag", sealed)

    async def online(self, *, times: int = 1) -> None:
        """Return once the channel was ready ``times`` times."""
        await self.heard.until("ready xmpp", count=times)


def make_device(
    account: str,
    name: str,
    *,
    port: int | None,
    ca_file: str | None,
    members: tuple[str, ...] = (),
    password: Callable[[], str] = lambda: PASSWORD,
    timing: XmppTiming = QUICK,
    domain: str = DOMAIN,
    host: str | None = "127.0.0.1",
    service: str | None = None,
    node: str | None = None,
    wanted: Callable[[str], bool] = lambda _tag: True,
) -> Device:
    """Return a device that is not yet started."""
    settings = XmppSettings(
        jid=f"{account}@{domain}",
        password=password,
        device=name,
        host=host,
        port=port,
        ca_file=ca_file,
        members=tuple(f"{member}@{domain}" for member in members),
        service=service,
        node=node,
    )
    heard = Recorder()
    return Device(XmppChannel(settings, heard, timing=timing, wanted=wanted), heard)


async def _print_what_is_heard(account: str, port: int, ca_file: str) -> None:
    timing = dataclasses.replace(WARY, keepalive=3600, tick=0.1)  # only having been suspended makes it ping
    device = make_device(account, "child", port=port, ca_file=ca_file, timing=timing)
    await device.channel.start()
    printed = 0
    while True:
        for entry in device.heard.told[printed:]:
            print(entry if isinstance(entry, str) else entry.decode(), flush=True)
        printed = len(device.heard.told)
        await device.heard.news()


if __name__ == "__main__":
    asyncio.run(_print_what_is_heard(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
