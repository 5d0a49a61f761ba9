"""``autosync run``: the agent in the foreground."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click

from autosync import eventloop
from autosync.cli.firstlook import tell_first_looks
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.logs import log_to
from autosync.config import Config, PathConfig
from autosync.errors import ConfigError
from autosync.systemd.journal import stderr_is_the_journal
from autosync.systemd.notify import Notifier

_DESKTOPS = (
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "GPG_TTY",
    "SSH_ASKPASS",
    "GIT_ASKPASS",
    "SUDO_ASKPASS",
)
"""Variables through which this process, or one that it starts, could find somebody to show or ask something."""


@click.command(epilog="Example: autosync run")
@click.option(
    "--headless",
    is_flag=True,
    help="Use no display, session bus, keyring or terminal; log to the journal where there is one.",
)
@pass_invocation
def run(invocation: Invocation, *, headless: bool) -> int:
    """Run the agent until it is interrupted.

    It watches the working copies of the configuration and exchanges their changes with the
    other devices. Ctrl-C or SIGTERM ends it within two seconds; nothing is lost by that.

    A service manager that asks for it (sd_notify) is told how the agent is; SIGHUP then, and with
    --headless, does what `autosync reload` does.
    """
    watched = sys.stderr.isatty() and not headless
    return run_here(invocation, tell_first_looks if watched else None, headless=headless)


def run_here(
    invocation: Invocation, beside: Callable[[Config], Awaitable[None]] | None = None, *, headless: bool = False
) -> int:
    """Run the agent in this process until it is interrupted, and ``beside`` it something that talks to it."""
    config = invocation.load(on_disk=True, awaited=_was_here)
    if headless:
        _do_without_desktop(config)
    notifier = Notifier(os.environ)
    workspaces = {path.workspace for path in config.paths}
    log_to(
        config,
        workspaces,
        verbose=invocation.verbose,
        journal=headless or stderr_is_the_journal(os.environ),
    )
    if notifier.watchdog is not None:
        faulthandler.enable()  # a watchdog ends the process with SIGABRT: the log then shows where it stood
    from autosync.lifetime import run_agent  # noqa: PLC0415  (imports much, for which no wrong configuration waits)

    agent = run_agent(
        config,
        notifier=notifier,
        took_up=workspaces.add,
        hangup_reloads=headless or bool(notifier),
        may_show=not headless,
    )
    return eventloop.run(_run(agent, None if beside is None else beside(config)))


def _do_without_desktop(config: Config) -> None:
    """Leave nothing that could be asked: no terminal, no display, no bus.

    Raises :class:`ConfigError` if the configuration needs one of them.
    """
    if config.xmpp is not None and config.xmpp.keyring:
        raise ConfigError(
            f"{config.source}: xmpp.keyring: there is no keyring for an agent without a desktop (--headless)",
            hint="Write `password-command: [cat, /path/to/a/file/of/mode/0600]` instead of `keyring: true`.",
        )
    for name in _DESKTOPS:
        os.environ.pop(name, None)
    os.environ["DBUS_SESSION_BUS_ADDRESS"] = "disabled:"  # without it, the bus is looked for where it usually is
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:  # which it is where there was no standard input at all
        os.dup2(nothing, 0)
        os.close(nothing)


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
