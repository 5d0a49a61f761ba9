"""Tries out the servers of lines that a configuration names: reflector and fanout."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from autosync.channels.fanout import FanoutChannel
from autosync.channels.reflector import ReflectorChannel
from autosync.cli.finding import Finding, Level
from autosync.config import Config
from autosync.ports import ChannelStatus
from autosync.reflector.address import parse_address

_WITHIN = 20.0
_CHANNELS = {"reflector": ReflectorChannel, "fanout": FanoutChannel}


def check_servers(config: Config) -> Iterator[Finding]:
    """Connect to each server and see whether it answers as one of its kind."""
    for kind, place in (("reflector", config.reflector), ("fanout", config.fanout)):
        if place is not None:
            status = asyncio.run(_visit(kind, place))
            yield Finding(Level.OK if status.state == "online" else Level.FAIL, kind, status.detail)


async def _visit(kind: str, place: str) -> ChannelStatus:
    """Return how the first attempt to connect ends."""
    listener = _Listener()
    channel = _CHANNELS[kind](parse_address(place), listener, tags=lambda: (_NOBODYS,))
    await channel.start()
    try:
        async with asyncio.timeout(_WITHIN):
            # A channel calls its listener when it is ready, not when it failed.
            while channel.status().state == "connecting":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    finally:
        status = channel.status()
        await channel.stop()
    return status


_NOBODYS = "check"
"""A tag of no workspace: whoever keeps states answers that there are none."""


class _Listener:
    """Hears nothing."""

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        """Ignore an announcement."""

    def channel_ready(self, lane: str) -> None:
        """Ignore that the channel can send."""

    def catch_up_done(self, lane: str) -> None:
        """Ignore that everything was delivered."""
