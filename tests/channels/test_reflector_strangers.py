"""Strangers who say anything, cut anywhere, and go at any point: the reflector goes on, and keeps nothing of them."""

from __future__ import annotations

import contextlib
import random
import re
import socket

import pytest

from autosync.reflector.limits import Limits
from autosync.reflector.server import Reflector
from tests.channels.reflectors import Clock, Running, running
from tests.figures import record
from tests.waiting import until

_TIGHT = Limits(
    clients=9,
    subscriptions=4,
    subscriptions_per_address=10,
    lines_rate=10,
    lines_burst=40,
    rate=50_000,
    burst=200_000,
    unsent=120_000,
    unsent_in_all=300_000,
    unread_in_all=120_000,
    garbage=5,
    slots=3,
    kept=150_000,
    pipes=3,
    pipes_per_address=5,
    pipe_rate=20_000,
    pipe_burst=50_000,
)
_STEPS = 120
_TICKET = re.compile(rb"![0-9a-f]{32}\n")


class Strangers:
    """Connections that do at random what a client of any make may do."""

    def __init__(self, server: Running, clock: Clock, seed: int) -> None:
        self._server = server
        self._clock = clock
        self._rng = random.Random(seed)
        self._ends: list[socket.socket] = []
        self._patient: set[socket.socket] = set()
        """Those that wait for their pipe, as they should, and seldom say anything before."""
        self._tickets = [b"0" * 32]

    def step(self) -> None:
        """Do one thing."""
        rng = self._rng
        if len(self._ends) < 3 or (len(self._ends) < 10 and rng.random() < 0.15):
            self._come(rng.choice((b"", b"call %d\n" % rng.randrange(4))))
            return
        end = rng.choice(self._ends)
        deeds = (self._say, self._hear, self._pass_time, self._go)
        rng.choices(deeds, (1 if end in self._patient else 12, 12, 1, 1))[0](end)

    def go(self) -> None:
        """Let all of them go."""
        for end in list(self._ends):
            end.close()

    def _come(self, first: bytes) -> None:
        end = socket.socket()
        if self._rng.random() < 0.3:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.connect(("127.0.0.1", self._server.port))
        end.setblocking(False)
        self._ends.append(end)
        if first:
            with contextlib.suppress(OSError):
                end.send(first)
            self._patient.add(end)

    def _say(self, end: socket.socket) -> None:
        rng = self._rng
        said = b"".join(self._line() for _ in range(rng.choice((1, 1, 2, 5, 60))))
        if rng.random() < 0.3:
            said = said[rng.randrange(len(said)) :]
        if rng.random() < 0.3:
            said = said[: rng.randrange(len(said) + 1)]
        with contextlib.suppress(OSError):
            end.send(said)

    def _line(self) -> bytes:
        rng = self._rng
        name = b"%d" % rng.randrange(4)
        size = rng.choice((4, 4, 400, 60_000))
        return rng.choices(
            (
                b"subscribe %b\n" % name,
                b"follow %b\n" % name,
                b"unsubscribe %b\n" % name,
                b"announce %b %b\n" % (name, b"x" * min(size, 4000)),
                b"keep %b %d %b\n" % (name, rng.randrange(5), b"QUJD" * (size // 4)),
                b"ping\n",
                b"call %b\n" % name,
                b"take %b\n" % rng.choice(self._tickets[-3:]),
                rng.randbytes(9) + b"\n",
                b"x" * 100_000,
            ),
            (6, 4, 4, 4, 4, 3, 8, 8, 1, 0.1),
        )[0]

    def _hear(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            heard = end.recv(self._rng.choice((1, 1 << 16, 1 << 20)))
            if b"pipe!" in heard or b"refused" in heard:
                self._patient.discard(end)
            for found in _TICKET.findall(heard):
                self._tickets.append(found[1:-1])
                self._come(b"take %b\n" % self._tickets[-1])

    def _pass_time(self, _end: socket.socket) -> None:
        self._clock.now += self._rng.choice((1.0, 1.0, 6.0, 6.0, 16.0, 61.0, 301.0))

    def _go(self, end: socket.socket) -> None:
        deed = self._rng.choice(("close", "reset", "say no more", "hear no more"))
        with contextlib.suppress(OSError):
            if deed == "say no more":
                end.shutdown(socket.SHUT_WR)
            elif deed == "hear no more":
                end.shutdown(socket.SHUT_RD)
        if deed == "reset":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if deed in ("close", "reset") or self._rng.random() < 0.5:
            end.close()
            self._ends.remove(end)


def held(reflector: Reflector) -> dict[str, object]:
    """Return what the reflector holds of anybody, beside what is kept."""
    pipes = reflector._pipes
    return {
        "clients": len(reflector._clients),
        "origins": dict(reflector._origins),
        "names": dict(reflector._names),
        "subscriptions": dict(reflector._subscriptions),
        "waiting": reflector._waiting,
        "unread": reflector._unread,
        "resting": len(reflector._resting),
        "calls": len(pipes._calls) + len(pipes._calling),
        "pipes": len(pipes) + len(pipes._resting),
        "taken": dict(pipes._taken),
        "listened to": len(reflector._selector.get_map()) - 2,
    }


@pytest.mark.parametrize("seed", range(12, 24))
def test_of_strangers_who_have_gone_nothing_is_left(seed: int) -> None:
    clock = Clock()
    with running(_TIGHT, clock) as server, server.client() as friend:
        friend.say("subscribe friend")
        friend.settle()
        until(lambda: not server.reflector._waiting)  # what was said is taken off after it is heard
        before = held(server.reflector)
        strangers = Strangers(server, clock, seed)
        for _ in range(_STEPS):
            strangers.step()
            friend.settle()  # the loop has turned, and still does
            clock.now += 0.1
        strangers.go()

        def is_as_before() -> bool:
            clock.now += 30  # who was slowed down is listened to again, and is found to be gone
            friend.say("unsubscribe nothing")  # wakes the loop, and has no answer that waits
            return held(server.reflector) == before

        until(is_as_before, why=lambda: held(server.reflector))
        friend.settle()
    record("faults injected", _STEPS)
