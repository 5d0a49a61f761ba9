"""Turns what is heard of the agent into popups; for the thread that follows it."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autosync.config import Popups, Urgency, load
from autosync.control import call
from autosync.desktop.arrivals import Arrivals, committed
from autosync.desktop.popup import Popup
from autosync.desktop.standing import Gone, Standing
from autosync.errors import AutosyncError

log = logging.getLogger(__name__)

Told = Sequence[Popup | Gone]


class Telling:
    """Watches the agent and calls ``tell`` with what is to be shown, and ``wish`` when the configuration's
    wishes have changed.

    ``source`` is the configuration file.
    """

    def __init__(
        self,
        source: str,
        state_dir: str,
        wishes: Popups,
        *,
        tell: Callable[[Told], None],
        wish: Callable[[Popups], None],
    ) -> None:
        self._source = source
        self._state_dir = state_dir
        self._wishes = wishes
        self._tell = tell
        self._wish = wish
        self._arrivals = Arrivals()
        self._standing = Standing(wishes.lost_after)
        self._roots: dict[str, str] = {}
        self._said: list[Mapping[str, Any]] = []
        self._answered: deque[tuple[str, str]] = deque()
        self._read_at = _signature(source)

    def answered(self, root: str, path: str) -> None:
        """Take note that the conflict of ``path`` below ``root`` was finished; from any thread."""
        self._answered.append((root, path))

    def describes(self) -> bool:
        """Return whether popups offer to describe commits."""
        return self._wishes.commit is not Urgency.NONE

    def happened(self, activities: list[Mapping[str, Any]]) -> None:
        """Take note of activities of the agent."""
        if any(activity["workspace"] not in self._roots for activity in activities):
            self._learn(self._ask("status") or {"workspaces": []})
        names = {root: name for name, root in self._roots.items()}
        while self._answered:
            root_of, path = self._answered.popleft()
            self._arrivals.answered(names.get(root_of, ""), path)
        found: list[Popup] = []
        for activity in activities:
            root = self._roots.get(activity["workspace"])
            if activity["kind"] == "told":
                self._said.append(activity)
            elif activity["kind"] == "committed" and root is not None:
                found += self._committed(activity, root)
            elif (popup := self._arrivals.take(activity, root, time.monotonic())) is not None:
                found.append(popup)
        self._tell(found)

    def stands(self, status: Mapping[str, Any]) -> None:
        """Take note of the agent's status."""
        self._reread()
        self._learn(status)
        said, self._said = self._said, []
        self._tell(self._standing.compare(status, said, time.monotonic()))

    def lost(self) -> None:
        """There is no agent: what it had said is no news of the next one."""
        self._standing = Standing(self._wishes.lost_after)

    def _learn(self, status: Mapping[str, Any]) -> None:
        self._roots = {workspace["name"]: workspace["path"] for workspace in status["workspaces"]}

    def _committed(self, activity: Mapping[str, Any], root: str) -> list[Popup]:
        if not self.describes():
            return []
        answer = self._ask("describe", path=root)
        if answer is None or answer["commit"] != activity["text"]:  # not of ours, or not the last one any more
            return []
        return [committed(activity, root, answer["message"].partition("\n")[0])]

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            return call(self._state_dir, command, **arguments)
        except AutosyncError as error:
            log.debug("%s: %s", command, error.title)
            return None

    def _reread(self) -> None:
        signature = _signature(self._source)
        if signature == self._read_at:
            return
        self._read_at = signature
        try:
            popups = load(self._source, os.environ, on_disk=False).popups
        except AutosyncError as error:
            log.warning("the configuration is read again when it is right: %s", error.title)
            return
        if popups is not None:  # else the agent ends this process when it starts anew
            self._wishes = popups
            self._standing.lost_after = popups.lost_after
            self._wish(popups)


def _signature(source: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(source)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
