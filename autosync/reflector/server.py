"""The reflector's loop: who is connected, who hears what, and who goes too far."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

from autosync.reflector import protocol
from autosync.reflector.client import Client
from autosync.reflector.keeping import Keeper
from autosync.reflector.limits import Limits
from autosync.reflector.pipes import Pipes
from autosync.reflector.port import listen, origin_of, prepare
from autosync.reflector.protocol import GREETING, MAX_FANOUT_LINE, NOBODY, OPENED, Malformed, Request, Verb

log = logging.getLogger(__name__)

_PIECE = 64 * 1024
_SWEEP = 5.0
"""Seconds between looks at who is slow, silent or stuck."""
_ACCEPT_AGAIN = 1.0
"""Seconds after a lack of file descriptors."""


class Reflector:
    """One listening port.  Raises :class:`AutosyncError` if it cannot be had.

    :meth:`serve` runs until :meth:`stop`, which any thread or signal handler may call.
    ``counts`` says what happened so far, and why clients were dropped.
    """

    def __init__(
        self,
        host: str,
        port: int,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._listener = listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._keeper = Keeper(self.limits)
        self._clients: dict[socket.socket, Client] = {}
        self._origins: Counter[str] = Counter()
        self._names: dict[bytes, dict[Client, bool]] = {}
        self._subscriptions: Counter[str] = Counter()
        self._waiting = 0
        self._unread = 0
        self._resting: set[Client] = set()
        self._ending = False
        self._called, self._caller = socket.socketpair()
        self._accept_at: float | None = None
        self._selector = selectors.DefaultSelector()
        for wanted in (self._listener, self._called):
            wanted.setblocking(False)
            self._selector.register(wanted, selectors.EVENT_READ)
        self._pipes = Pipes(self._selector, self.limits, self.counts, self._leave)
        self._caller.setblocking(False)

    # -- life --------------------------------------------------------------------------------
    def serve(self) -> None:
        """Serve until :meth:`stop`."""
        sweep_at = self._clock() + _SWEEP
        try:
            while not self._ending:
                times = [sweep_at, *(c.resume_at for c in self._resting if c.resume_at is not None)]
                times += [] if self._accept_at is None else [self._accept_at]
                times += self._pipes.resumptions()
                for key, events in self._selector.select(max(0.0, min(times) - self._clock())):
                    self._look_at(key.fileobj, events)
                now = self._clock()
                self._go_on(now)
                if now >= sweep_at:
                    self._sweep(now)
                    sweep_at = now + _SWEEP
        finally:
            self.close()

    def stop(self) -> None:
        """Let :meth:`serve` end."""
        self._ending = True
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._caller.send(b"\0")

    def close(self) -> None:
        """Close every connection and the port; harmless when repeated."""
        for client in list(self._clients.values()):
            self._forget(client, "stopped")
        self._pipes.close()
        for open_one in (self._listener, self._called, self._caller):
            open_one.close()
        self._selector.close()

    def report(self) -> str:
        """Return a line that says what is going on; no id, no address."""
        counts = ", ".join(f"{what} {number}" for what, number in sorted(self.counts.items()))
        return (
            f"clients {len(self._clients)}, subscriptions {self._subscriptions.total()}, kept {len(self._keeper)} "
            f"({self._keeper.size} bytes), unsent {self._waiting} bytes, pipes {len(self._pipes)}; "
            f"so far: {counts or 'nothing'}"
        )

    def _look_at(self, ready: object, events: int) -> None:
        if ready is self._listener:
            self._accept()
        elif ready is self._called:
            with contextlib.suppress(BlockingIOError):
                self._called.recv(4096)
        elif self._pipes.holds(ready):
            self._pipes.look_at(ready, events, self._clock())
        elif (client := self._clients.get(ready)) is not None:  # type: ignore[call-overload]  # a key of any other kind is not in it
            if events & selectors.EVENT_WRITE:
                self._write(client)
            if events & selectors.EVENT_READ and client.connection in self._clients:
                self._read(client)

    # -- connections ---------------------------------------------------------------------------
    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no file descriptor is left: not asked again at once, which would spin
            log.warning("no connection can be taken now: %s", error.strerror)
            self._selector.unregister(self._listener)
            self._accept_at = self._clock() + _ACCEPT_AGAIN
            return
        origin = origin_of(address[0])
        self.counts["connections"] += 1
        limits = self.limits
        if (
            len(self._clients) + self._pipes.connections >= limits.clients
            or self._origins[origin] >= limits.clients_per_address
        ):
            self.counts["turned away"] += 1
            with contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.send(b"debug!busy\n")
            connection.close()
            return
        try:
            prepare(connection)
        except OSError:  # it is gone already
            connection.close()
            return
        client = Client(connection, origin, limits, self._keeper, self._clock())
        self._clients[connection] = client
        self._origins[origin] += 1
        self._selector.register(connection, selectors.EVENT_READ)
        client.events = selectors.EVENT_READ
        client.say(GREETING)
        self._waiting += client.waiting
        self._write(client)

    def _forget(self, client: Client, reason: str) -> None:
        if self._clients.pop(client.connection, None) is None:
            return
        self.counts[f"ended: {reason}"] += 1
        self._let_go(client)
        client.connection.close()
        self._leave(client.origin)

    def _let_go(self, client: Client) -> None:
        """Have nothing more to do with a connection, which stays open."""
        for name in list(client.names):
            self._unsubscribe(client, name)
        self._pipes.hang_up(client.connection)
        self._waiting -= client.waiting
        self._unread -= client.splitter.held
        self._resting.discard(client)
        if client.events:
            self._selector.unregister(client.connection)

    def _leave(self, origin: str) -> None:
        """Count a connection of ``origin`` no more."""
        self._origins[origin] -= 1
        if not self._origins[origin]:
            del self._origins[origin]

    def _select(self, client: Client) -> None:
        """Have the selector look for what the client can do next."""
        reads = 0 if client in self._resting else selectors.EVENT_READ
        events = reads | (selectors.EVENT_WRITE if client.wants_to_write else 0)
        if events == client.events:
            return
        if not events:
            self._selector.unregister(client.connection)
        elif not client.events:
            self._selector.register(client.connection, events)
        else:
            self._selector.modify(client.connection, events)
        client.events = events

    # -- reading -------------------------------------------------------------------------------
    def _read(self, client: Client) -> None:
        try:
            piece = client.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._forget(client, "broken")
            return
        if not piece:
            self._forget(client, "closed")
            return
        if self._pipes.is_calling(client.connection):
            self._forget(client, "spoke before the pipe")
            return
        now = self._clock()
        client.heard_at = now
        before = client.splitter.held
        try:
            lines = client.splitter.feed(piece)
        except Malformed:
            self._unread -= before
            self._refuse(client, "a line that is too long")
            self._forget(client, "too long a line")
            return
        self._unread += client.splitter.held - before
        if lines or client.line_began is None:
            client.line_began = now if client.splitter.held else None
        for line in lines:
            if self._pipes.is_calling(client.connection):
                self._forget(client, "spoke before the pipe")
            else:
                self._take(client, line, now)
            if client.connection not in self._clients:
                return
        if wait := client.spend(len(piece), len(lines), now):
            self.counts["slowed down"] += 1
            client.resume_at = now + wait
            self._resting.add(client)
        self._select(client)
        while self._unread > self.limits.unread_in_all:
            begun = (c for c in self._clients.values() if c.splitter.held)
            self._forget(min(begun, key=lambda c: c.line_began or 0.0), "slow line")

    def _take(self, client: Client, line: bytes, now: float) -> None:
        try:
            request = protocol.parse(line)
        except Malformed as malformed:
            self.counts["refused"] += 1
            client.garbage += 1
            self._refuse(client, str(malformed))
            if client.garbage > self.limits.garbage:
                self._forget(client, "garbage")
            return
        self.counts[request.verb.value.decode()] += 1
        match request.verb:
            case Verb.PING:
                self._say(client, b"%d\n" % time.time())
            case Verb.SUBSCRIBE | Verb.FOLLOW:
                self._subscribe(client, request)
            case Verb.UNSUBSCRIBE:
                self._unsubscribe(client, request.name)
            case Verb.ANNOUNCE:
                line = protocol.announced(request.name, request.payload)
                for hearer in list(self._names.get(request.name, ())):
                    self._say(hearer, line)
            case Verb.KEEP:
                self._keep(client, request, now)
            case Verb.CALL:
                self._call(client, request.name, now)
            case Verb.TAKE:
                self._take_call(client, request.name.decode("ascii"), now)

    def _keep(self, client: Client, request: Request, now: float) -> None:
        tag, slot = request.name, request.slot
        line = protocol.kept(tag, slot, request.payload)
        self._keeper.keep(tag, slot, line, origin=client.origin, now=now)
        for hearer, follows in list(self._names.get(tag, {}).items()):
            if hearer is not client and (follows or len(line) <= MAX_FANOUT_LINE):
                self._say(hearer, line, slot=(tag, slot))

    def _subscribe(self, client: Client, request: Request) -> None:
        name, follows = request.name, request.verb is Verb.FOLLOW
        if name not in client.names:
            limits = self.limits
            if (
                len(client.names) >= limits.subscriptions
                or self._subscriptions.total() >= limits.subscriptions_in_all
                or self._subscriptions[client.origin] >= limits.subscriptions_per_address
            ):
                self.counts["refused"] += 1
                self._refuse(client, "too many subscriptions")
                return
            self._subscriptions[client.origin] += 1
        client.names[name] = follows or client.names.get(name, False)
        self._names.setdefault(name, {})[client] = client.names[name]
        if follows:
            client.catch_up(name)
            self._write(client)

    def _unsubscribe(self, client: Client, name: bytes) -> None:
        if client.names.pop(name, None) is None:
            return
        client.leave_behind(name)
        self._subscriptions[client.origin] -= 1
        if not self._subscriptions[client.origin]:
            del self._subscriptions[client.origin]
        hearers = self._names[name]
        del hearers[client]
        if not hearers:
            del self._names[name]

    # -- pipes ---------------------------------------------------------------------------------
    def _may_pipe(self, client: Client, *, has_room: bool) -> bool:
        """Return whether a connection may become one end of a pipe; if not, say why."""
        reason = ""
        if client.names or client.splitter.held or client.wants_to_write or self._pipes.is_calling(client.connection):
            reason = "this connection is used for something else"
        elif not has_room:
            reason = "too many pipes"
        if reason:
            self.counts["refused"] += 1
            self._refuse(client, reason)
        return not reason

    def _call(self, client: Client, place: bytes, now: float) -> None:
        if not self._may_pipe(client, has_room=self._pipes.may_call(client.origin)):
            return
        hearers = list(self._names.get(place, ()))
        if not hearers:
            self._refuse(client, NOBODY)
            return
        line = protocol.called(place, self._pipes.call(client.connection, client.origin, now))
        for hearer in hearers:
            self._say(hearer, line)

    def _take_call(self, client: Client, ticket: str, now: float) -> None:
        if not self._may_pipe(client, has_room=self._pipes.may_take(client.origin)):
            return
        connection = self._pipes.caller(ticket)
        caller = None if connection is None else self._clients.get(connection)
        if caller is None:
            self._refuse(client, NOBODY)
            return
        both = (caller, client)
        for one in both:
            self._say(one, OPENED)
        if any(one.connection not in self._clients or one.wants_to_write for one in both):
            for one in both:
                self._forget(one, "broken")
            return
        for one in both:
            del self._clients[one.connection]
            self._let_go(one)
        self._pipes.join((caller.connection, caller.origin), (client.connection, client.origin), now)

    # -- writing -------------------------------------------------------------------------------
    def _refuse(self, client: Client, reason: str) -> None:
        self._say(client, protocol.refused(reason))

    def _say(self, client: Client, line: bytes, *, slot: tuple[bytes, bytes] | None = None) -> None:
        if client.connection not in self._clients:
            return
        before = client.waiting
        client.say(line, slot=slot)
        self._waiting += client.waiting - before
        # Its earlier lines are waiting for the kernel: so does this one.
        if not client.events & selectors.EVENT_WRITE:
            self._write(client)
        if client.waiting > self.limits.unsent:
            self._forget(client, "slow")
        while self._waiting > self.limits.unsent_in_all:
            self._forget(max(self._clients.values(), key=lambda c: c.waiting), "slow")

    def _write(self, client: Client) -> None:
        before = client.waiting
        broken = False
        try:
            client.write(self._clock())
        except OSError:
            broken = True
        self._waiting += client.waiting - before
        if broken:
            self._forget(client, "broken")
        else:
            self._select(client)

    # -- time ----------------------------------------------------------------------------------
    def _go_on(self, now: float) -> None:
        """Take up again what had to wait."""
        self._pipes.go_on(now)
        for client in [c for c in self._resting if c.resume_at is not None and c.resume_at <= now]:
            self._resting.discard(client)
            self._select(client)
        if self._accept_at is not None and self._accept_at <= now:
            self._accept_at = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _sweep(self, now: float) -> None:
        """Drop who holds a place and does nothing with it."""
        for client, reason in list(self._idlers(now)):
            self._forget(client, reason)
        for client in [self._clients[connection] for connection in self._pipes.overdue(now)]:
            self._refuse(client, NOBODY)  # which may find that it is gone
            self._forget(client, "nobody took its call")
        self._pipes.sweep(now)
        self._keeper.expire(now)

    def _idlers(self, now: float) -> Iterator[tuple[Client, str]]:
        limits = self.limits
        for client in self._clients.values():
            if client.stuck_since is not None and now - client.stuck_since > limits.stuck:
                yield client, "stuck"
            elif client in self._resting:
                continue
            elif client.line_began is not None and now - client.line_began > limits.line_within:
                yield client, "slow line"
            elif not client.names and now - client.heard_at > limits.aimless:
                yield client, "aimless"
