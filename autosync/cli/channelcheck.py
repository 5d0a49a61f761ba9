"""Tries out the channels that a configuration names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from autosync import eventloop
from autosync.channels.deaf import Deaf
from autosync.cli.clocks import judge
from autosync.cli.finding import Finding, Level
from autosync.config import Config
from autosync.config.changes import CHANNELS
from autosync.errors import AutosyncError
from autosync.ports import Channel, ChannelStatus, Timed

_WITHIN = {"xmpp": 60.0, "reflector": 20.0, "fanout": 20.0}
"""Seconds until the first attempt to connect has to have ended; a login takes several exchanges."""
_ASK_WITHIN = 5.0
_NOBODYS = "check"
"""A tag of no workspace: whoever keeps states answers that there are none."""


def check_channels(config: Config) -> Iterator[Finding]:
    """Try out one channel after the other."""
    for key in configured_channels(config):
        yield from check_channel(config, key)


def configured_channels(config: Config) -> list[str]:
    """Return the keys of the configuration that name a server."""
    return [key for key in CHANNELS if getattr(config, key) is not None]


def check_channel(config: Config, key: str) -> Iterator[Finding]:
    """Connect to the server of one channel, see whether it answers as one of its kind, and leave again."""
    # A resource of its own: the agent's XMPP session is not to be thrown out.
    visitor = replace(config, device=f"{config.device}-check")
    try:
        status, ahead = eventloop.run(_visit(key, visitor))
    except AutosyncError as error:
        yield Finding(Level.FAIL, key, error.title, error.hint)
        return
    yield Finding(Level.OK if status.state == "online" else Level.FAIL, key, status.detail)
    if ahead is not None:
        yield judge(f"the {key} server", ahead)


async def _visit(key: str, config: Config) -> tuple[ChannelStatus, float | None]:
    """Return how the first attempt to connect ends, and how many seconds the server's clock is ahead, if it tells."""
    from autosync.channels.opening import open_channel  # noqa: PLC0415  (imports the network libraries)

    channel = open_channel(key, config, Deaf(), tags=lambda: (_NOBODYS,))
    await channel.start()
    try:
        async with asyncio.timeout(_WITHIN[key]):
            # A channel calls its listener when it is ready, not when it failed.
            while channel.status().state == "connecting":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return channel.status(), await _ahead(channel)
    except TimeoutError:
        return replace(channel.status(), state="offline"), None
    finally:
        await channel.stop()


async def _ahead(channel: Channel) -> float | None:
    if channel.status().state != "online" or not isinstance(channel, Timed):
        return None
    began = time.time()
    said = await channel.server_time(within=_ASK_WITHIN)
    return None if said is None else said.timestamp() - (began + time.time()) / 2
