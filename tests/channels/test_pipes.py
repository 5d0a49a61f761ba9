"""Pipes through the reflector: what goes in comes out, and nobody gets more of them than is his."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest

from autosync.reflector.limits import Limits
from tests.channels.reflectors import Client, Clock, Running, running
from tests.figures import record
from tests.waiting import PATIENCE, until

PLACE = "a" * 32
REFUSED = "debug!refused "


def callee(server: Running) -> Client:
    """Return a client that waits for calls."""
    client = server.client()
    client.say(f"subscribe {PLACE}")
    client.settle()
    return client


def ticket(callee: Client) -> str:
    """Return the ticket of the next call."""
    place, _, ticket = callee.line().partition("!")
    assert place == PLACE
    return ticket


def pipe(server: Running, waiting: Client) -> tuple[Client, Client]:
    """Return both ends of a new pipe, of which that of the caller comes first."""
    caller, taker = server.client(), server.client()
    caller.say(f"call {PLACE}")
    taker.say(f"take {ticket(waiting)}")
    assert (caller.line(), taker.line()) == ("pipe!open", "pipe!open")
    return caller, taker


def read(client: Client, size: int) -> bytes:
    """Return the next bytes of a pipe."""
    content = bytearray()
    while len(content) < size:
        piece = client.socket.recv(size - len(content))
        assert piece, f"ended after {len(content)} bytes"
        content += piece
    return bytes(content)


def reset(client: Client) -> None:
    """Let a connection end without a farewell."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


def test_a_pipe_carries_any_bytes_in_both_directions_beside_everything_else() -> None:
    with running() as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            there, back = os.urandom(3_000_000), b"ping\nkeep x y z\n\0\xff" * 1000
            sending = threading.Thread(target=caller.raw, args=(there,))
            sending.start()
            taker.raw(back)
            assert read(taker, len(there)) == there
            sending.join(PATIENCE)
            assert read(caller, len(back)) == back
            waiting.settle()  # lines are served as before
            # What one side has still to say arrives after the other has ended.
            caller.socket.shutdown(socket.SHUT_WR)
            assert taker.socket.recv(1) == b""
            taker.raw(b"last words")
            assert read(caller, 10) == b"last words"
            taker.socket.close()
            assert caller.socket.recv(1) == b""
        until(lambda: server.reflector.counts["pipes ended: closed"] == 1)
        assert "pipes 0;" in server.reflector.report()


def test_a_call_needs_somebody_who_takes_it_in_time() -> None:
    clock = Clock()
    with running(clock=clock) as server:
        with server.client() as lonely:
            lonely.say(f"call {PLACE}")
            assert lonely.line() == REFUSED + "nobody is there"
        with callee(server) as waiting, server.client() as caller, server.client() as late:
            caller.say(f"call {PLACE}")
            missed = ticket(waiting)
            clock.now += server.reflector.limits.call_within + 10
            waiting.settle()  # wakes the loop, which then looks
            assert caller.rest() == [REFUSED + "nobody is there"]
            for wrong in (missed, "0" * 32, PLACE):
                late.say(f"take {wrong}")
                assert late.line() == REFUSED + "nobody is there"
            for wrong in ("take", "call", "call a!b", f"call {'x' * 129}"):
                late.say(wrong)
                assert late.line() == REFUSED + "no name, or one that is too long"
    record("bad inputs refused", 7)


def test_a_caller_that_is_gone_when_nobody_has_taken_its_call_ends_nothing_else() -> None:
    clock = Clock()
    with running(Limits(lines_rate=1, lines_burst=20), clock) as server, callee(server) as waiting:
        caller = server.client()
        caller.say(*["ping"] * 40, f"call {PLACE}")  # too fast: the loop does not listen to it now
        ticket(waiting)
        caller.lines(40)
        reset(caller)
        clock.now += server.reflector.limits.call_within + 1
        waiting.settle()
        waiting.settle()  # the look at who calls comes after the answer
        assert list(server.reflector._origins.values()) == [1]
    record("faults injected", 1)


def test_of_those_who_wait_at_one_place_the_first_that_takes_a_call_has_it() -> None:
    with running() as server, callee(server) as one, callee(server) as other, server.client() as caller:
        caller.say(f"call {PLACE}")
        of_one, of_other = ticket(one), ticket(other)
        assert of_one == of_other
        with server.client() as first, server.client() as second:
            first.say(f"take {of_one}")
            assert (first.line(), caller.line()) == ("pipe!open", "pipe!open")
            second.say(f"take {of_one}")
            assert second.line() == REFUSED + "nobody is there"


def test_a_connection_is_a_pipe_or_something_else() -> None:
    with running() as server, callee(server) as waiting:
        for request in (f"call {PLACE}", "take " + "0" * 32):
            waiting.say(request)
            assert waiting.line() == REFUSED + "this connection is used for something else"
        with server.client() as hasty:
            hasty.say(f"call {PLACE}")
            ticket(waiting)
            hasty.say("ping")
            assert hasty.rest() == []
        with server.client() as hasty:
            hasty.say(f"call {PLACE}", "subscribe other", "follow another")
            ticket(waiting)
            assert hasty.rest() == []
        until(lambda: set(server.reflector._names) == {PLACE.encode()})
        assert server.reflector._subscriptions.total() == 1
        with server.client() as gone:
            gone.say(f"call {PLACE}")
            missed = ticket(waiting)
        until(lambda: server.reflector.counts["ended: closed"] == 1)
        with server.client() as taker:
            taker.say(f"take {missed}")
            assert taker.line() == REFUSED + "nobody is there"
            taker.raw(f"take {missed}\nmore".encode())
            assert taker.line() == REFUSED + "this connection is used for something else"
    record("bad inputs refused", 6)


@pytest.mark.parametrize("limits", [Limits(pipes=2), Limits(pipes_per_address=5)])
def test_there_are_so_many_pipes_and_no_more(limits: Limits) -> None:
    with running(limits) as server, callee(server) as waiting, contextlib.ExitStack() as stack:
        first, *_ = ends = [stack.enter_context(end) for _ in range(2) for end in pipe(server, waiting)]
        with server.client() as caller:
            caller.say(f"call {PLACE}")
            if limits.pipes_per_address == 5:  # the call has room, and then its taker has none
                with server.client() as taker:
                    taker.say(f"take {ticket(waiting)}")
                    assert taker.line() == REFUSED + "too many pipes"
            else:
                assert caller.line() == REFUSED + "too many pipes"
        first.socket.close()
        assert ends[1].socket.recv(1) == b""
        ends[1].socket.close()
        until(lambda: server.reflector.counts["pipes ended: closed"] == 1)
        for end in pipe(server, waiting):
            end.socket.close()


def test_no_pipes_at_all_if_the_operator_wants_none() -> None:
    with running(Limits(pipes=0)) as server, callee(server) as waiting, server.client() as caller:
        caller.say(f"call {PLACE}")
        assert caller.line() == REFUSED + "too many pipes"
        waiting.settle()


def test_the_ends_of_pipes_count_as_clients() -> None:
    with running(Limits(clients=3)) as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            with Client(server.port) as more:
                assert more.rest() == ["debug!busy"]
            caller.socket.close()
            assert taker.socket.recv(1) == b""
        until(lambda: server.reflector.counts["pipes ended: closed"] == 1)
        server.client().socket.close()


def test_who_takes_nothing_holds_up_his_own_pipe_alone_and_is_dropped() -> None:
    clock = Clock()
    limits = Limits(pipe_burst=1 << 30)
    with running(limits, clock) as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            caller.socket.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += caller.socket.send(bytes(65536))
            assert server.reflector.counts["piped bytes"] <= sent
            with server.client() as another:
                another.settle()

            def dropped() -> bool:
                clock.now += limits.stuck + 10  # from whenever it has been found to be stuck
                waiting.settle()
                return server.reflector.counts["pipes ended: stuck"] == 1

            until(dropped)
    record("faults injected", 1)


def test_a_pipe_on_which_nothing_is_said_is_ended() -> None:
    clock = Clock()
    with running(clock=clock) as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            clock.now += server.reflector.limits.pipe_idle - 10
            caller.raw(b"x")
            assert read(taker, 1) == b"x"
            clock.now += server.reflector.limits.pipe_idle - 10
            waiting.settle()
            taker.raw(b"y")
            assert read(caller, 1) == b"y"
            clock.now += server.reflector.limits.pipe_idle + 10
            waiting.settle()
            assert (caller.socket.recv(1), taker.socket.recv(1)) == (b"", b"")


def test_each_end_is_held_to_its_rate() -> None:
    clock = Clock()
    limits = Limits(pipe_rate=1000, pipe_burst=50_000)
    with running(limits, clock) as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            caller.raw(bytes(200_000))
            taker.raw(b"is not held up")
            assert read(caller, 14) == b"is not held up"

            def said(more_than: int) -> int:
                """Return how much the caller has said, once that is more than so much."""
                until(lambda: server.reflector.counts["piped bytes"] - 14 > more_than)
                return server.reflector.counts["piped bytes"] - 14

            got = len(read(taker, 50_000))
            allowed = 50_000
            while got < 200_000:
                # It is held up by the piece with which it says more than it may, and no earlier.
                held_up_at = said(more_than=min(allowed, 199_999))
                for _ in range(5):
                    waiting.settle()  # the loop has turned, and time has stood still
                assert said(more_than=0) == held_up_at <= allowed + 16_384
                read(taker, held_up_at - got)
                got = held_up_at
                allowed += 20_000
                clock.now += 20
                waiting.settle()


def test_the_end_of_the_reflector_ends_its_pipes() -> None:
    with running() as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with caller, taker:
            server.stop()
            assert (caller.socket.recv(1), taker.socket.recv(1)) == (b"", b"")


def test_a_reset_at_one_end_ends_the_other() -> None:
    with running() as server, callee(server) as waiting:
        caller, taker = pipe(server, waiting)
        with taker:
            reset(caller)
            assert taker.socket.recv(1) == b""
        until(lambda: server.reflector.counts["pipes ended: broken"] == 1)
