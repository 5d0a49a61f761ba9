"""Looks now and then whether a working copy's folder is there, and goes on whatever a look fails of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from autosync.core import events as ev
from autosync.errors import AutosyncError
from autosync.failures import title_of

LOOK_EVERY = 2.0
"""Seconds between two looks whether a working copy's folder is there, which costs two stat(2)."""

log = logging.getLogger(__name__)


async def keep_looking(
    look: Callable[[], None],
    tell: Callable[[ev.RootVanished], None],
    *,
    executor: Executor | None,
    every: float = LOOK_EVERY,
) -> None:
    """Call ``look`` in the executor every so many seconds, and ``tell`` in the loop why it failed.

    Never returns.  What is logged of a failure that nobody expected is logged once as long as it stays.
    """
    loop, logged = asyncio.get_running_loop(), ""
    while True:
        await asyncio.sleep(every)
        try:
            await loop.run_in_executor(executor, look)
        except Exception as error:
            vanished = why_vanished(error)
            if vanished.title != logged and not isinstance(error, AutosyncError | OSError):
                log.error("%s", vanished.title, exc_info=error)
            logged = vanished.title
            tell(vanished)
        else:
            logged = ""


def why_vanished(error: Exception) -> ev.RootVanished:
    """Return the event for a look at the folder that raised ``error``."""
    if isinstance(error, AutosyncError):
        return ev.RootVanished(title=error.title, hint=error.hint)
    if isinstance(error, OSError):
        return ev.RootVanished(title=f"The folder cannot be opened: {error}")
    return ev.RootVanished(
        title=f"The folder cannot be taken up: {title_of(error)}",
        hint="Nothing was lost, and it is tried again; the log has the details. Please report it.",
    )
