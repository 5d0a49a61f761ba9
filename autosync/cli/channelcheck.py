"""Tries out the channels that a configuration names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from autosync import eventloop
from autosync.channels.deaf import Deaf
from autosync.cli.finding import Finding, Level
from autosync.config import Config
from autosync.config.changes import CHANNELS
from autosync.errors import AutosyncError
from autosync.ports import ChannelStatus

_WITHIN = {"xmpp": 60.0, "reflector": 20.0, "fanout": 20.0}
"""Seconds until the first attempt to connect has to have ended; a login takes several exchanges."""
_NOBODYS = "check"
"""A tag of no workspace: whoever keeps states answers that there are none."""


def check_channels(config: Config) -> Iterator[Finding]:
    """Connect to each server, see whether it answers as one of its kind, and leave again."""
    # A resource of its own: the agent's XMPP session is not to be thrown out.
    visitor = replace(config, device=f"{config.device}-check")
    for key in CHANNELS:
        if getattr(config, key) is None:
            continue
        try:
            status = eventloop.run(_visit(key, visitor))
        except AutosyncError as error:
            yield Finding(Level.FAIL, key, error.title, error.hint)
        else:
            yield Finding(Level.OK if status.state == "online" else Level.FAIL, key, status.detail)


async def _visit(key: str, config: Config) -> ChannelStatus:
    """Return how the first attempt to connect ends."""
    from autosync.channels.opening import open_channel  # noqa: PLC0415  (imports the network libraries)

    channel = open_channel(key, config, Deaf(), tags=lambda: (_NOBODYS,))
    await channel.start()
    try:
        async with asyncio.timeout(_WITHIN[key]):
            # A channel calls its listener when it is ready, not when it failed.
            while channel.status().state == "connecting":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return channel.status()
    except TimeoutError:
        return replace(channel.status(), state="offline")
    finally:
        await channel.stop()
