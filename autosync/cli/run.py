"""``autosync run``: the agent in the foreground."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click

from autosync import eventloop
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.table import plain
from autosync.config import Config, PathConfig


class PlainFormatter(logging.Formatter):
    """Writes one record, whatever is in its message: names and words of others cannot steer a terminal or make
    up records, for all but the first line are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record without its traceback."""
        return "\n    ".join(plain(line) for line in super().formatMessage(record).split("\n"))


@click.command(epilog="Example: autosync run")
@pass_invocation
def run(invocation: Invocation) -> int:
    """Run the agent until it is interrupted.

    It watches the working copies of the configuration and exchanges their changes with the
    other devices. Ctrl-C or SIGTERM ends it within two seconds; nothing is lost by that.
    """
    return run_here(invocation)


def run_here(invocation: Invocation, beside: Callable[[Config], Awaitable[None]] | None = None) -> int:
    """Run the agent in this process until it is interrupted, and ``beside`` it something that talks to it."""
    config = invocation.load(on_disk=True, awaited=_was_here)
    from autosync.agent import run_agent  # noqa: PLC0415  (imports much, for which no wrong configuration waits)

    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if invocation.verbose else config.log_level, handlers=[handler])
    # An XMPP library's every stanza is not what --verbose asks for, and holds the login; what ends a
    # connection it would tell with a traceback, and the channel tells it in words.
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    return eventloop.run(_run(run_agent(config), None if beside is None else beside(config)))


def _was_here(config: Config, path: PathConfig) -> bool:
    from autosync.workspace import was_here  # noqa: PLC0415  (as above)

    return was_here(config, path)


async def _run(agent: Coroutine[Any, Any, int], beside: Awaitable[None] | None) -> int:
    if beside is None:
        return await agent
    talking = asyncio.ensure_future(beside)
    try:
        return await agent
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
