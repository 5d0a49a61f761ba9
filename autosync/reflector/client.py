"""One connection to the reflector: what was read of it, and what waits to be written to it."""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Hashable

from autosync.reflector.keeping import Keeper
from autosync.reflector.limits import Limits
from autosync.reflector.pacing import Pace
from autosync.reflector.protocol import Splitter, end_of

_AT_ONCE = 64
"""Lines written to one client before the others get their turn."""
_PLACE = 300
"""Bytes that a line which waits takes beside itself: its key, and its place in the queue."""


class Client:
    """``connection`` does not block; ``origin`` is what clients are counted by.

    What waits to be written are lines, each handed to the kernel by itself.  A newer state of a
    slot takes the place of the older one that still waits, so that who reads slowly gets
    fewer states and not later ones.  What was kept is taken from ``keeper`` when its turn comes.
    """

    def __init__(self, connection: socket.socket, origin: str, limits: Limits, keeper: Keeper, now: float) -> None:
        self.connection = connection
        self.origin = origin
        self.splitter = Splitter()
        self.names: dict[bytes, bool] = {}
        """What it subscribed to, and whether it follows it."""
        self.garbage = 0
        self.heard_at = now
        self.line_began: float | None = None
        self.stuck_since: float | None = None
        self.resume_at: float | None = None
        """When it may be read again."""
        self.waiting = 0
        """Bytes that the lines which wait take."""
        self.events = 0
        """What the selector looks for."""
        self._bytes = Pace(rate=limits.rate, burst=limits.burst, now=now)
        self._lines = Pace(rate=limits.lines_rate, burst=limits.lines_burst, now=now)
        self._keeper = keeper
        self._queue: OrderedDict[Hashable, bytes] = OrderedDict()
        self._number = 0
        self._rest = memoryview(b"")
        self._to_catch_up: OrderedDict[bytes, None] = OrderedDict()
        self._catching_up: tuple[bytes, deque[bytes]] | None = None
        self._kept_is_next = False

    @property
    def wants_to_write(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._rest or self._queue or self._to_catch_up or self._catching_up)

    def spend(self, size: int, lines: int, now: float) -> float:
        """Count what was read; return the seconds to wait before more is."""
        return max(self._bytes.spend(size, now), self._lines.spend(lines, now))

    def say(self, line: bytes, *, slot: tuple[bytes, bytes] | None = None) -> None:
        """Let ``line`` wait to be written, in place of an older one of its ``slot``."""
        self._number += 1
        key: Hashable = slot or self._number
        if (older := self._queue.get(key)) is not None:
            self.waiting -= _PLACE + len(older)
        self.waiting += _PLACE + len(line)
        self._queue[key] = line

    def catch_up(self, tag: bytes) -> None:
        """Let everything that is kept in ``tag`` be written, and then its end."""
        self._to_catch_up[tag] = None

    def leave_behind(self, tag: bytes) -> None:
        """Let no more of what is kept in ``tag`` be written."""
        self._to_catch_up.pop(tag, None)
        if self._catching_up is not None and self._catching_up[0] == tag:
            self._catching_up = None

    def write(self, now: float) -> None:
        """Hand what waits to the kernel, as far as it takes it.  Raises :class:`OSError`."""
        for _ in range(_AT_ONCE):
            if not self._rest:
                self._rest = memoryview(self._next())
            if not self._rest:
                break
            try:
                sent = self.connection.send(self._rest)
            except BlockingIOError:
                self.stuck_since = now if self.stuck_since is None else self.stuck_since
                return
            self._rest = self._rest[sent:]
            self.stuck_since = None

    def _next(self) -> bytes:
        """Return the next line, of the news and of what is kept in turns."""
        kept = self._next_kept() if self._kept_is_next or not self._queue else b""
        self._kept_is_next = not kept
        if kept or not self._queue:
            return kept
        line = self._queue.popitem(last=False)[1]
        self.waiting -= _PLACE + len(line)
        return line

    def _next_kept(self) -> bytes:
        while self._catching_up or self._to_catch_up:
            if self._catching_up is None:
                tag = self._to_catch_up.popitem(last=False)[0]
                self._catching_up = tag, deque(self._keeper.slots(tag))
            tag, slots = self._catching_up
            if not slots:
                self._catching_up = None
                return end_of(tag)
            line = self._keeper.line(tag, slots.popleft())
            if line is not None:
                return line
        return b""
