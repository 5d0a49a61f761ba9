"""Follows nothing: a hub in memory has branches only that are checked out somewhere."""

from __future__ import annotations

from collections.abc import Sequence

from autosync.backends.memory.hub import MemoryHub
from autosync.core.model import CommitId
from autosync.core.subscriptions import matches
from autosync.ports import Followed


class Following:
    """Implements :class:`autosync.ports.Following` for a working copy in memory."""

    def __init__(self, hub: MemoryHub | None) -> None:
        self._hub = hub
        self._patterns: tuple[str, ...] = ()
        self._added: tuple[str, ...] = ()
        self.followed: Sequence[Followed] = ()

    def follow_by(self, patterns: Sequence[str]) -> None:
        """Follow what these say."""
        self._patterns = tuple(patterns)

    def added(self) -> Sequence[str]:
        """Return the names beside those."""
        return self._added

    def add(self, names: Sequence[str]) -> None:
        """Follow these too."""
        self._added = tuple(dict.fromkeys((*self._added, *names)))

    def remove(self, names: Sequence[str]) -> None:
        """Follow these no longer."""
        self._added = tuple(name for name in self._added if name not in names)

    def keep_up(self, names: Sequence[str] | None = None) -> Sequence[Followed]:
        """Return where the hub has what is followed."""
        wanted = (*self._patterns, *self._added) if names is None else tuple(names)
        there = {} if self._hub is None else dict(self._hub.branches)
        seen = tuple(
            Followed(name=name, commit=CommitId(tip), state="current")
            for name, tip in sorted(there.items())
            if matches(wanted, name)
        )
        if names is None:
            self.followed = seen
        return seen

    def listed(self, pattern: str, *, after: str = "", limit: int) -> tuple[Sequence[tuple[str, CommitId]], bool]:
        """Return branches of the hub by name."""
        rows = [(each.name, each.commit) for each in self.keep_up([pattern]) if each.name > after]
        return [(name, tip) for name, tip in rows[:limit] if tip is not None], len(rows) > limit
