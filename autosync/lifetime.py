"""Runs the agent until a signal ends it: what each signal does, a start anew under another id, the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from autosync.agent import Agent
from autosync.causes import shortage_of
from autosync.config import Config
from autosync.core.allowance import Allowance
from autosync.store import StateDirectory
from autosync.systemd.notify import Notifier
from autosync.workspace import PastLost

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""
RENEWALS = 2
"""Times an hour that a device takes another id because of what others say of it."""


async def run_agent(
    config: Config,
    *,
    notifier: Notifier | None = None,
    took_up: Callable[[str], object] = lambda _: None,
    hangup_reloads: bool = False,
    may_show: bool = True,
) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code.

    ``notifier`` is told how it goes, ``took_up`` the name of each workspace that is kept from then on.
    With ``hangup_reloads`` SIGHUP has the configuration read again; without ``may_show`` nothing is shown on a desktop.

    Raises :class:`AutosyncError` if it cannot start: another agent on the same state
    directory, a path that is no working copy, an address that is taken.
    """
    states = StateDirectory(config.state_dir)
    with states.lock():
        stop = asyncio.Event()
        asked = interrupted = False

        def end() -> None:
            nonlocal asked
            asked = True
            stop.set()

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            end()

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        loop.add_signal_handler(signal.SIGTERM, end)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            reloads.add(task := loop.create_task(agent.reload_when_told()))
            task.add_done_callback(reloads.discard)

        if hangup_reloads:
            loop.add_signal_handler(signal.SIGHUP, reload)
        notifier = Notifier({}) if notifier is None else notifier
        renewals = Allowance(rate=RENEWALS / 3600, burst=RENEWALS)
        while True:
            agent = Agent(config, renewals=renewals, notifier=notifier, took_up=took_up, may_show=may_show)
            try:
                await agent.run(stop)
            except PastLost as lost:
                log.warning("%s: the history of this device is lost or an older one: it gets a new id", lost)
                states.forget_device()
            else:
                if asked or not agent.again or _is_abandoned(agent):
                    break
                stop.clear()
        code = INTERRUPTED if interrupted else 0
        if _is_abandoned(agent):
            if not asked:
                code = 1  # whoever supervises it starts it again
            # Python would wait for the thread.  A kill at any moment is safe, so this one is.
            log.warning("stopped in the middle of a long step; the next start goes on from there")
            logging.shutdown()
            os._exit(code)
    return code


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task was there to hear; what the machine does not allow in a line, without a traceback."""
    error = context.get("exception")
    shortage = shortage_of(error, b"/") if isinstance(error, OSError) else None
    if shortage is None:
        loop.default_exception_handler(context)
    else:
        log.warning("%s: %s. %s", context.get("message"), shortage.title, shortage.hint)


def _is_abandoned(agent: Agent) -> bool:
    """Return whether a thread of it may go on for long."""
    return any(workspace.runner.abandoned for workspace in agent.kept())
