"""Decides when a device says where it is."""

from __future__ import annotations

from autosync.core.commands import Announce, Command
from autosync.core.model import Snapshot, SnapshotId
from autosync.core.settings import Mode, SessionSettings
from autosync.core.sources import HELLO


class Saying:
    """What was said last; it is said again when it is another thing, or somebody asks."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._said: tuple[SnapshotId, str, bool] | None = None
        self._greets = False
        self.again = False
        """Whether it is to be said although nothing is new."""

    def greet(self) -> None:
        """Say it again, and have the others say where they are."""
        self.again = self._greets = True

    def commands(self, current: Snapshot, state: str, *, on_hub: bool, made_here: bool) -> list[Command]:
        """Return what says that this device is at ``current``, if that has to be said now."""
        saying = (current.id, state, on_hub)
        if saying == self._said and not self.again:
            return []
        self._said, self.again = saying, False
        greets, self._greets = self._greets and state == "ok", False
        own = current.version.count(self._settings.device) > 0
        return [
            Announce(
                state=HELLO if greets else state,
                current=current,
                share=self._settings.mode is not Mode.RECEIVE or not own,
                inline=made_here,
                on_hub=on_hub,
            )
        ]
