"""Follows the agent over its control socket, in a thread of its own: what happens, and how things stand."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from autosync.control import NotRunning, call
from autosync.errors import AutosyncError

log = logging.getLogger(__name__)

WAIT = 25.0
"""Seconds that a request for news is held, and after which the agent is asked how things stand anyway."""
STATUS_PACE = 2.0
"""Seconds between two questions how things stand, however much happens."""
AGAIN_FIRST, AGAIN_MOST = 1.0, 15.0
"""Seconds before an agent that does not answer is asked again."""
WORDING = 30.0
"""Seconds for which the agent keeps a commit from being pushed, so that somebody here may describe it."""
OLD = 30.0
"""Seconds after which what had happened before the first question is no news."""


class Watcher(Protocol):
    """Who is told; called in the thread that follows."""

    def happened(self, activities: list[Mapping[str, Any]]) -> None:
        """Some things happened, in this order."""

    def stands(self, status: Mapping[str, Any]) -> None:
        """The agent's status is now this."""

    def lost(self) -> None:
        """There is no agent, or none that answers."""


class Follower:
    """Asks the agent with ``state_dir`` for news until :meth:`stop`, and tells each of ``watchers``.

    ``describes`` says whether commits can be described here: the agent then waits a moment with their pushing.
    """

    def __init__(self, state_dir: str, watchers: list[Watcher], *, describes: Callable[[], bool]) -> None:
        self._state_dir = state_dir
        self._watchers = watchers
        self._describes = describes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="following", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End as soon as the agent has answered; nothing is told any more."""
        self._stopped.set()

    def _follow(self) -> None:
        since, run, pause = 0, "", AGAIN_FIRST
        asked_at = float("-inf")
        while not self._stopped.is_set():
            try:
                wait = WAIT if time.monotonic() - asked_at >= STATUS_PACE else STATUS_PACE
                news = self._news(since, run, wait)
                if self._stopped.is_set():
                    return
                fresh = [a for a in news["activities"] if run or a["at_ms"] > (time.time() - OLD) * 1000]
                since, run = news["next"], news["run"]
                if fresh:
                    self._tell(lambda watcher, fresh=fresh: watcher.happened(fresh))  # type: ignore[misc]
                if time.monotonic() - asked_at >= STATUS_PACE:
                    status = call(self._state_dir, "status", patience=WAIT)
                    asked_at = time.monotonic()
                    self._tell(lambda watcher, status=status: watcher.stands(status))  # type: ignore[misc]
                pause = AGAIN_FIRST
            except Exception as error:  # an agent of another version may answer anything
                if not isinstance(error, AutosyncError):
                    log.exception("the agent's answer was not understood")
                elif not isinstance(error, NotRunning):
                    log.info("the agent does not answer: %s", error.title)
                self._tell(lambda watcher: watcher.lost())
                self._stopped.wait(pause)
                pause = min(2 * pause, AGAIN_MOST)

    def _news(self, since: int, run: str, wait: float) -> dict[str, Any]:
        arguments: dict[str, Any] = {"since": since, "wait": 0.0 if not run else wait}
        if run:
            arguments["run"] = run
        if self._describes():
            arguments["describes"] = WORDING
        return call(self._state_dir, "activity", patience=wait + 10.0, **arguments)

    def _tell(self, what: Callable[[Watcher], None]) -> None:
        for watcher in self._watchers:
            what(watcher)
