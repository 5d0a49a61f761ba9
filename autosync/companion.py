"""Runs a process with a face beside the agent: started again when it ends, ended with the agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence

from autosync.systemd.liveness import apart

log = logging.getLogger(__name__)

AGAIN_FIRST, AGAIN_MOST = 2.0, 300.0
"""Seconds before a process that has ended is started again; each time as long again."""
STEADY = 60.0
"""Seconds that it has to run for the next end to count as the first."""
END_WITHIN = 1.0
"""Seconds that it may take to end before it is killed."""


class Companion:
    """One process beside this one, ``command``; its standard input is a pipe that closes with this process.

    So it ends when the agent does, whatever ends that, and nothing it does can hold the agent up.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="companion")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        loop, pause = asyncio.get_running_loop(), AGAIN_FIRST
        while True:
            began = loop.time()
            try:
                code = await self._run()
            except OSError as error:
                log.warning("%s cannot be started: %s", self._command[-1], error.strerror)
                code = 1
            if loop.time() - began > STEADY:
                pause = AGAIN_FIRST
            log.info("the process beside the agent ended with %d; it is started again in %.0f s", code, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_MOST)

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            with apart(process.pid):
                return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), END_WITHIN)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()


def has_session_bus() -> bool:
    """Return whether this process is part of a desktop session, or may be: there is a bus of the user's."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), "bus"))


def desktop_command(source: str) -> Sequence[str]:
    """Return the command that shows on the desktop what the agent with the configuration ``source`` does."""
    # -P: nothing is imported from the directory that the agent happens to run in.
    return [sys.executable, "-P", "-m", "autosync", "--config", source, "desktop", "--beside"]
