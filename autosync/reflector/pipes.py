"""The pipes through the reflector: which two connections are one, and what is on its way between them."""

from __future__ import annotations

import secrets
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autosync.reflector.limits import Limits
from autosync.reflector.pacing import Pace

_PIECE = 16 * 1024
"""Bytes that wait in one direction of a pipe at most: then nothing more is read until the other end has taken them."""
_TICKET_BYTES = 16


class End:
    """One of the two connections of a pipe; ``origin`` is what connections are counted by."""

    __slots__ = (
        "connection",
        "events",
        "has_ended",
        "moved_at",
        "origin",
        "other",
        "pace",
        "resume_at",
        "stuck_since",
        "unsent",
    )

    def __init__(self, connection: socket.socket, origin: str, limits: Limits, now: float) -> None:
        self.connection = connection
        self.origin = origin
        self.other = self
        self.unsent = memoryview(b"")
        """What the other end has said and this one has not taken yet."""
        self.has_ended = False
        """Whether it says nothing more."""
        self.pace = Pace(rate=limits.pipe_rate, burst=limits.pipe_burst, now=now)
        self.resume_at: float | None = None
        """When it may be read again."""
        self.stuck_since: float | None = None
        self.moved_at = now
        self.events = 0


@dataclass(slots=True)
class Call:
    """A connection that waits for somebody to take its call."""

    connection: socket.socket
    origin: str
    at: float


class Pipes:
    """Connections that were handed over to be joined two by two, in the ``selector`` of a server.

    ``released`` is told the origin of every connection that is closed here.  Times are seconds of the
    caller's clock.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        limits: Limits,
        counts: Counter[str],
        released: Callable[[str], None],
    ) -> None:
        self._selector = selector
        self._limits = limits
        self._counts = counts
        self._released = released
        self._calls: dict[str, Call] = {}
        self._calling: dict[socket.socket, str] = {}
        self._ends: dict[socket.socket, End] = {}
        self._resting: set[End] = set()
        self._taken: Counter[str] = Counter()
        """Pipes and calls by the origins of their ends."""

    def __len__(self) -> int:
        return len(self._ends) // 2

    @property
    def connections(self) -> int:
        """The number of connections that are ends of pipes."""
        return len(self._ends)

    # -- calls -----------------------------------------------------------------------------------
    def may_call(self, origin: str) -> bool:
        """Return whether there is room for one more call, of a connection of ``origin``."""
        return len(self) + len(self._calls) < self._limits.pipes and self.may_take(origin)

    def may_take(self, origin: str) -> bool:
        """Return whether a connection of ``origin`` may take a call."""
        return self._taken[origin] < self._limits.pipes_per_address

    def call(self, connection: socket.socket, origin: str, now: float) -> str:
        """Let a connection wait; return the ticket by which its call is taken."""
        ticket = secrets.token_hex(_TICKET_BYTES)
        self._calls[ticket] = Call(connection, origin, now)
        self._calling[connection] = ticket
        self._taken[origin] += 1
        return ticket

    def is_calling(self, connection: socket.socket) -> bool:
        """Return whether a connection waits for its call to be taken."""
        return connection in self._calling

    def caller(self, ticket: str) -> socket.socket | None:
        """Return the connection whose call has this ticket."""
        call = self._calls.get(ticket)
        return None if call is None else call.connection

    def hang_up(self, connection: socket.socket) -> None:
        """Forget the call of a connection, if it has made one."""
        ticket = self._calling.pop(connection, None)
        if ticket is not None:
            self._give_back(self._calls.pop(ticket).origin)

    def overdue(self, now: float) -> Iterator[socket.socket]:
        """Return the connections whose call nobody has taken in time."""
        late = now - self._limits.call_within
        return iter([call.connection for call in self._calls.values() if call.at < late])

    # -- pipes -----------------------------------------------------------------------------------
    def join(self, one: tuple[socket.socket, str], other: tuple[socket.socket, str], now: float) -> None:
        """Make a pipe of two connections, each with its origin, which the selector does not know."""
        left, right = (End(connection, origin, self._limits, now) for connection, origin in (one, other))
        left.other, right.other = right, left
        for end in (left, right):
            self._taken[end.origin] += 1
            self._ends[end.connection] = end
            self._select(end)
        self._counts["pipes"] += 1

    def holds(self, ready: object) -> bool:
        """Return whether this is an end of a pipe."""
        return ready in self._ends

    def look_at(self, ready: object, events: int, now: float) -> None:
        """Move what can be moved: the selector says that an end is ready."""
        end = self._ends[ready]  # type: ignore[index]  # as `holds` has found
        if events & selectors.EVENT_WRITE:
            self._flush(end, now)
        if events & selectors.EVENT_READ and end.connection in self._ends:
            self._pump(end, now)

    def resumptions(self) -> Iterator[float]:
        """Return the times at which an end may be read again."""
        return (end.resume_at for end in self._resting if end.resume_at is not None)

    def go_on(self, now: float) -> None:
        """Take up again what had to wait."""
        for end in [e for e in self._resting if e.resume_at is not None and e.resume_at <= now]:
            self._resting.discard(end)
            self._select(end)

    def sweep(self, now: float) -> None:
        """End the pipes that are stuck, or on which nothing is said."""
        for end in list(self._ends.values()):
            if end.stuck_since is not None and now - end.stuck_since > self._limits.stuck:
                self._end(end, "stuck")
            elif now - max(end.moved_at, end.other.moved_at) > self._limits.pipe_idle:
                self._end(end, "idle")

    def close(self) -> None:
        """End all of them."""
        for end in list(self._ends.values()):
            self._end(end, "stopped")

    def _pump(self, end: End, now: float) -> None:
        """Hand on what an end has said."""
        if end.other.unsent or end.has_ended or end in self._resting:
            return  # the selector was asked before that was so
        try:
            piece = end.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._end(end, "broken")
            return
        end.moved_at = now
        if not piece:
            self._said_all(end)
            return
        self._counts["piped bytes"] += len(piece)
        if wait := end.pace.spend(len(piece), now):
            end.resume_at = now + wait
            self._resting.add(end)
        end.other.unsent = memoryview(piece)
        self._flush(end.other, now)

    def _said_all(self, end: End) -> None:
        end.has_ended = True
        if end.other.has_ended:
            self._end(end, "closed")
            return
        try:
            end.other.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(end, "broken")
            return
        self._select(end)

    def _flush(self, end: End, now: float) -> None:
        """Hand what waits for an end to the kernel, as far as it takes it."""
        try:
            end.unsent = end.unsent[end.connection.send(end.unsent) :] if end.unsent else end.unsent
            end.stuck_since = now if end.unsent else None
        except BlockingIOError:
            end.stuck_since = now if end.stuck_since is None else end.stuck_since
        except OSError:
            self._end(end, "broken")
            return
        self._select(end)
        self._select(end.other)

    def _select(self, end: End) -> None:
        """Have the selector look for what the end can do next."""
        listens = not (end.has_ended or end.other.unsent or end in self._resting)
        events = (selectors.EVENT_READ if listens else 0) | (selectors.EVENT_WRITE if end.unsent else 0)
        if events == end.events:
            return
        if not events:
            self._selector.unregister(end.connection)
        elif not end.events:
            self._selector.register(end.connection, events)
        else:
            self._selector.modify(end.connection, events)
        end.events = events

    def _end(self, end: End, reason: str) -> None:
        if end.connection not in self._ends:
            return  # with the other end
        self._counts[f"pipes ended: {reason}"] += 1
        for one in (end, end.other):
            del self._ends[one.connection]
            self._resting.discard(one)
            if one.events:
                self._selector.unregister(one.connection)
            one.connection.close()
            self._give_back(one.origin)
            self._released(one.origin)

    def _give_back(self, origin: str) -> None:
        self._taken[origin] -= 1
        if not self._taken[origin]:
            del self._taken[origin]
