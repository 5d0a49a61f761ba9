"""The independent record of every content that a user ever saved, and of what he did last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autosync.core.model import Kind, RelPath

LOOK = 3.0
"""Seconds: what stood this long at one path while the agent was free to look, counts.

An agent looks at a complete save at once, at a file saved over and over after
:attr:`~autosync.core.settings.SessionSettings.max_wait` (2 s) at the latest; the rest is for
what it is doing at that moment.
"""

Standing = tuple[Kind, bytes]
"""What stands at a path: its kind and its content."""


TOKEN = re.compile(rb"d[0-9]+ [a-z]+ [0-9]+\.")
"""What each save has in it that no other has: who did what in which act."""


def tokens(contents: Iterable[bytes]) -> set[bytes]:
    """Return the token of every save of which anything is left in ``contents``."""
    return {token for content in contents for token in TOKEN.findall(content)}


@dataclass(frozen=True, slots=True)
class _Save:
    content: bytes
    at: float


class Ledger:
    """Who saved what, where and when; kept by watching the users alone, never by asking an agent.

    The rule: a content counts from the moment it is saved.  It stops to count only if the
    user himself takes it away from where he saved it (by another save, a deletion, a
    rename, a checkout on that device) before it was kept anywhere and before it stood
    there for :data:`LOOK` seconds in which the agent was running, not paused, and not waiting for
    the user's own git.  What an agent takes away always counts.
    """

    def __init__(self) -> None:
        self.owed: set[bytes] = set()
        """Every content that has to be somewhere."""
        self.touched: set[RelPath] = set()
        """Every path at which any user did anything since :meth:`agreed`."""
        self.last: dict[tuple[int, RelPath], Standing | None] = {}
        """What the user of a device did last at a path, ``None`` for a deletion."""
        self.alive: set[bytes] = set()
        """The token of every save that no user has taken away, on his own device or where it had arrived."""
        self._standing: dict[tuple[int, RelPath], _Save] = {}

    def appeared(self, device: int, path: RelPath, what: Standing, now: float) -> None:
        """Take note that the user of ``device`` put something at ``path``."""
        self.owed.add(what[1])
        self.touched.add(path)
        self.last[device, path] = what
        self._standing[device, path] = _Save(what[1], now)

    def vanished(
        self,
        device: int,
        path: RelPath,
        what: Standing,
        *,
        free_for: Callable[[float], float],
        kept: Callable[[], bool],
    ) -> None:
        """Take note that the user of ``device`` took ``what`` away from ``path``.

        ``free_for`` returns for how many seconds since a moment the agent could have looked,
        ``kept`` whether any device has a snapshot with that content.
        """
        self.touched.add(path)
        self.last[device, path] = None
        save = self._standing.pop((device, path), None)
        if save is not None and save.content == what[1] and free_for(save.at) < LOOK and not kept():
            self.owed.discard(what[1])

    def replaced(self, before: Iterable[bytes], after: Iterable[bytes]) -> None:
        """Take note that a user made the contents ``after`` of the contents ``before``."""
        old, new = tokens(before), tokens(after)
        self.alive = (self.alive - (old - new)) | (new - old)

    def agreed(self) -> None:
        """Take note that all devices are equal."""
        self.touched.clear()
