"""Keeps the tray icon up to date, and does what is chosen in its menu."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from autosync.control import call
from autosync.desktop.launching import outside
from autosync.desktop.panel import on_main_loop
from autosync.desktop.tray import Tray
from autosync.desktop.traymenu import Choice
from autosync.errors import AutosyncError

log = logging.getLogger(__name__)


class Trayed:
    """A watcher of the agent that has a tray icon; ``source`` is the configuration, ``state_dir`` the agent's."""

    def __init__(self, source: str, state_dir: str) -> None:
        self._source = source
        self._state_dir = state_dir
        self._tray = Tray(self._chosen)

    def happened(self, activities: list[Mapping[str, Any]]) -> None:
        """Do nothing: what is shown is how things stand."""

    def stands(self, status: Mapping[str, Any]) -> None:
        """Show the agent's status."""
        on_main_loop(lambda: self._tray.show(status))

    def lost(self) -> None:
        """Show that there is no agent."""
        on_main_loop(lambda: self._tray.show(None))

    def stop(self) -> None:
        """Take the icon away."""
        self._tray.stop()

    def _chosen(self, choice: Choice) -> None:
        # Both take their time, for which the main loop must not stand still.
        threading.Thread(target=self._do, args=(choice,), name=choice.value, daemon=True).start()

    def _do(self, choice: Choice) -> None:
        if choice is Choice.OPEN:
            command = [sys.executable, "-P", "-m", "autosync", "--config", self._source, "web", "--open"]
            subprocess.run(outside(command, os.environ), stdin=subprocess.DEVNULL, start_new_session=True, check=False)
            return
        try:
            self.stands(call(self._state_dir, choice.value) and call(self._state_dir, "status"))
        except AutosyncError as error:
            log.warning("%s: %s. %s", choice.value, error.title, error.hint)
