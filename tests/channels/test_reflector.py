"""The reflector's protocol, its limits, and those who try to get around them."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import threading
import time
import tracemalloc

import pytest

from autosync.errors import AutosyncError
from autosync.reflector.address import parse_address
from autosync.reflector.client import Client as Waiting
from autosync.reflector.keeping import ENTRY, Keeper
from autosync.reflector.limits import Limits
from autosync.reflector.protocol import MAX_FANOUT_LINE, MAX_LINE, Malformed, Request, Splitter, Verb, parse
from autosync.reflector.server import Reflector
from tests.channels.reflectors import GREETING, Client, Clock, running
from tests.figures import record
from tests.waiting import until


# -- lines ---------------------------------------------------------------------------------
def test_requests_are_read() -> None:
    assert parse(b"subscribe a") == Request(verb=Verb.SUBSCRIBE, name=b"a")
    assert parse(b"announce a b  c ") == Request(verb=Verb.ANNOUNCE, name=b"a", payload=b"b  c ")
    assert parse(b"keep t s QUJD\r") == Request(verb=Verb.KEEP, name=b"t", slot=b"s", payload=b"QUJD")
    assert parse(b"ping") == Request(verb=Verb.PING)
    assert parse("announce a größer".encode()).payload == "größer".encode()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "no such request"),
        (b"GET / HTTP/1.1", "no such request"),
        (b"SUBSCRIBE a", "no such request"),
        (b"subscribe", "no name"),
        (b"subscribe a!b", "no name"),
        (b"subscribe " + b"x" * 129, "no name"),
        (b"subscribe \x00", "no name"),
        (b"subscribe gr\xc3\xb6\xc3\x9fe", "no name"),
        (b"announce a", "empty"),
        (b"announce a b\x07", "control"),
        (b"announce a " + b"x" * MAX_FANOUT_LINE, "4096"),
        (b"follow !", "no name"),
        (b"keep t", "no slot"),
        (b"keep t s", "base64"),
        (b"keep t s !!", "base64"),
        (b"keep t s QQ==x", "base64"),
        (b"keep t s QQ== more", "base64"),
    ],
)
def test_what_is_no_request_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse(line)
    record("bad inputs refused", 1)


def test_lines_are_cut_the_same_however_they_arrive() -> None:
    rng = random.Random(5)
    for _ in range(200):
        lines = [bytes(rng.choice(b"abc!") for _ in range(rng.randrange(20))) for _ in range(rng.randrange(8))]
        stream = b"".join(line + b"\n" for line in lines) + b"rest"
        splitter, found = Splitter(), []
        while stream:
            size = rng.randrange(1, 9)
            found += splitter.feed(stream[:size])
            stream = stream[size:]
        assert (found, splitter.held) == (lines, 4)


def test_a_line_without_an_end_is_held_up_to_its_limit() -> None:
    splitter = Splitter(10)
    assert splitter.feed(b"0123456789") == []
    with pytest.raises(Malformed, match="too long"):
        splitter.feed(b"x")
    assert splitter.held == 0
    with pytest.raises(Malformed, match="too long"):
        splitter.feed(b"0123456789a\nb\n")


@pytest.mark.parametrize("text", ["", "host", "host:", "host:port", "host:70000", "::1:5", "a b:5", "[x y]:5"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AutosyncError, match="no address with a port"):
        parse_address(text)
    record("bad inputs refused", 1)


def test_addresses_are_read() -> None:
    assert parse_address("*:1986") == ("", 1986)
    assert parse_address("[::1]:0") == ("::1", 0)
    assert parse_address("host.example:65535") == ("host.example", 65535)


# -- what is kept --------------------------------------------------------------------------
def test_what_was_not_renewed_for_longest_goes_first() -> None:
    keeper = Keeper(Limits(kept=3 * (ENTRY + 10)))
    for slot in (b"a", b"b", b"c"):
        keeper.keep(b"t", slot, b"0123456789", origin="one", now=0.0)
    keeper.keep(b"t", b"a", b"9876543210", origin="one", now=1.0)
    keeper.keep(b"u", b"d", b"0123456789", origin="one", now=2.0)
    assert keeper.slots(b"t") == (b"c", b"a")
    assert keeper.line(b"t", b"b") is None
    assert keeper.size == 3 * (ENTRY + 10)


def test_a_stranger_who_fills_the_room_loses_what_is_his() -> None:
    keeper = Keeper(Limits(kept=10 * (ENTRY + 10)))
    for slot in (b"a", b"b", b"c"):
        keeper.keep(b"t", slot, b"0123456789", origin="honest", now=0.0)
    for number in range(1000):
        keeper.keep(b"%d" % number, b"s", b"0123456789", origin="stranger", now=1.0)
    assert keeper.slots(b"t") == (b"a", b"b", b"c")
    assert keeper.line(b"999", b"s") is not None
    assert keeper.line(b"992", b"s") is None
    assert len(keeper) == 10


def test_a_slot_may_come_from_another_place() -> None:
    keeper = Keeper(Limits())
    keeper.keep(b"t", b"a", b"at home", origin="home", now=0.0)
    keeper.keep(b"t", b"a", b"on the road", origin="road", now=1.0)
    assert (len(keeper), keeper.line(b"t", b"a")) == (1, b"on the road")
    keeper.drop(b"t", b"a")
    keeper.drop(b"t", b"a")
    assert (len(keeper), keeper.size, keeper.slots(b"t")) == (0, 0, ())


def test_a_tag_has_a_bounded_number_of_slots() -> None:
    keeper = Keeper(Limits(slots=2))
    for number in range(1000):
        keeper.keep(b"t", b"%d" % number, b"x", origin="one", now=0.0)
    assert keeper.slots(b"t") == (b"998", b"999")
    keeper.keep(b"u", b"0", b"x", origin="one", now=0.0)
    assert len(keeper) == 3


def test_what_nobody_renews_is_let_go() -> None:
    keeper = Keeper(Limits(kept_for=100.0))
    keeper.keep(b"t", b"a", b"x", origin="one", now=0.0)
    keeper.keep(b"t", b"b", b"x", origin="one", now=50.0)
    keeper.expire(120.0)
    assert keeper.slots(b"t") == (b"b",)
    keeper.expire(1000.0)
    assert (len(keeper), keeper.size) == (0, 0)


# -- clients -------------------------------------------------------------------------------
def test_announcements_reach_who_subscribed_and_the_sender() -> None:
    with running() as server, server.client() as one, server.client() as two, server.client() as other:
        one.say("subscribe a")
        two.say("subscribe a", "subscribe b")
        other.say("subscribe b")
        for client in (one, two, other):
            client.settle()
        one.say("announce a hello there")
        assert (one.line(), two.line()) == ("a!hello there", "a!hello there")
        two.say("unsubscribe a", "unsubscribe never")
        two.settle()
        one.say("announce a again", "announce b done", "announce nobody x")
        assert (one.line(), two.line(), other.line()) == ("a!again", "b!done", "b!done")


def test_a_ping_is_answered_by_the_time() -> None:
    with running() as server, server.client() as client:
        client.say("ping")
        assert abs(int(client.line()) - time.time()) < 600


def test_who_comes_later_gets_the_last_state_of_everybody_and_an_end() -> None:
    with running() as server, server.client() as one, server.client() as late:
        one.say("keep t a QQ==", "keep t b Qg==", "keep t a QUE=", "keep u a VQ==")
        one.settle()
        late.say("follow t", "follow empty")
        assert late.lines(4) == ["t!b Qg==", "t!a QUE=", "t!end", "empty!end"]
        one.say("keep t c Qw==")
        assert late.line() == "t!c Qw=="


def test_the_sender_is_not_told_what_it_keeps() -> None:
    with running() as server, server.client() as one, server.client() as two:
        for client in (one, two):
            client.say("follow t")
            assert client.line() == "t!end"
        one.say("keep t a QQ==")
        assert two.line() == "t!a QQ=="
        two.say("keep t b Qg==")
        assert one.line() == "t!b Qg=="


def test_who_only_subscribes_gets_no_line_that_sparkleshare_cannot_read() -> None:
    with running() as server, server.client() as plain, server.client() as full, server.client() as speaker:
        plain.say("subscribe t")
        full.say("follow t")
        plain.settle()
        assert full.line() == "t!end"
        speaker.say(f"keep t a {'Q' * 5000}", "keep t b Qg==")
        assert len(full.line()) > 5000
        assert plain.line() == "t!b Qg=="


def test_the_longest_announcement_passes_and_no_longer_line() -> None:
    with running() as server, server.client() as one, server.client() as two:
        tag, slot = "t" * 128, "s" * 128
        two.say(f"follow {tag}")
        two.line()
        payload = "Q" * 87384  # base64 of 64 KiB
        one.say(f"keep {tag} {slot} {payload}")
        assert two.line() == f"{tag}!{slot} {payload}"
        one.raw(b"k" * (MAX_LINE + 1))
        assert one.rest() == ["debug!refused a line that is too long"]


def test_what_is_refused_is_said_in_words_that_sparkleshare_passes_over() -> None:
    with running() as server, server.client() as client:
        client.say("hello", "announce", f"announce a {'x' * 4096}")
        assert client.lines(3) == [
            "debug!refused no such request",
            "debug!refused no name, or one that is too long",
            "debug!refused an announcement of more than 4096 bytes",
        ]
        client.settle()


# -- those who try to get around the limits ------------------------------------------------
def test_garbage_is_borne_for_a_while() -> None:
    with running() as server, server.client() as good:
        good.say("subscribe a")
        for seed in range(20):
            with server.client() as bad:
                rng = random.Random(seed)
                try:
                    for _ in range(40):
                        bad.raw(rng.randbytes(1000))
                except OSError:
                    pass
        with server.client() as web:
            web.say(*["GET / HTTP/1.1"] * 60)
            assert web.rest().count("debug!refused no such request") == 51
        good.say("announce a still here")
        assert good.line() == "a!still here"
        record("bad inputs refused", 20)


def test_a_client_has_a_bounded_number_of_subscriptions() -> None:
    limits = Limits(subscriptions=3, subscriptions_in_all=5)
    with running(limits) as server, server.client() as one, server.client() as two:
        one.say("subscribe a", "subscribe b", "follow c", "subscribe c", "follow d")
        assert one.lines(2) == ["c!end", "debug!refused too many subscriptions"]
        two.say("subscribe a", "subscribe b", "subscribe c", "ping")
        assert two.line() == "debug!refused too many subscriptions"
        one.say("unsubscribe b")
        one.settle()
        two.say("subscribe c", "announce c x")
        assert two.lines(2)[1] == "c!x"


def is_taken(port: int) -> bool:
    with Client(port) as client:
        return client.line() == GREETING


def test_subscriptions_of_one_address_are_bounded() -> None:
    limits = Limits(subscriptions_per_address=2)
    with running(limits) as server, server.client() as one, server.client() as two:
        one.say("subscribe a", "subscribe b")
        one.settle()
        two.say("subscribe c")
        assert two.line() == "debug!refused too many subscriptions"
        one.socket.close()
        until(lambda: not server.reflector._subscriptions)
        two.say("subscribe c", "announce c x")
        assert two.line() == "c!x"


def test_connections_are_bounded_in_all_and_by_address() -> None:
    with running(Limits(clients=3)) as server:
        clients = [server.client() for _ in range(3)]
        with Client(server.port) as fourth:
            assert fourth.rest() == ["debug!busy"]
        clients[0].socket.close()
        until(lambda: is_taken(server.port))
        for client in clients:
            client.socket.close()
    limits = Limits(clients_per_address=2)
    with running(limits) as server, server.client(), server.client(), Client(server.port) as third:
        assert third.rest() == ["debug!busy"]


def test_a_line_that_does_not_end_is_waited_for_so_long() -> None:
    clock = Clock()
    with running(Limits(line_within=30.0), clock) as server, server.client() as slow, server.client() as good:
        slow.say("subscribe a")
        slow.settle()
        for byte in b"announce":
            slow.raw(bytes([byte]))
        clock.now += 20
        good.say("subscribe b")
        good.settle()
        slow.raw(b" a x\nann")
        assert slow.line() == "a!x"
        clock.now += 25
        good.settle()
        slow.raw(b"o")
        clock.now += 25
        good.settle()
        assert slow.rest() == []
        assert server.reflector.counts["ended: slow line"] == 1
        good.settle()


def test_who_follows_nothing_and_says_nothing_is_dropped_and_who_listens_is_not() -> None:
    clock = Clock()
    with running(Limits(aimless=60.0), clock) as server, server.client() as idle, server.client() as good:
        good.say("subscribe a")
        good.settle()
        clock.now += 61
        good.settle()
        assert idle.rest() == []
        clock.now += 3600
        with server.client() as another:
            another.say("announce a still there")
        assert good.line() == "a!still there"


def test_who_does_not_read_is_dropped_and_holds_nobody_up() -> None:
    limits = Limits(unsent=300_000, rate=10**9, burst=10**9, lines_rate=10**6, lines_burst=10**6)
    with running(limits) as server, server.client(receive_buffer=4096) as deaf, server.client() as good:
        deaf.say("subscribe a")
        deaf.settle()
        good.say("subscribe a")
        said = 0
        while not server.reflector.counts["ended: slow"]:
            assert said < 5000
            good.say(f"announce a {'x' * 4000}")
            assert len(good.line()) == 4002
            said += 1
        good.settle()


def test_a_client_that_takes_nothing_for_a_minute_is_dropped() -> None:
    clock = Clock()
    limits = Limits(stuck=60.0)
    with running(limits, clock) as server, server.client(receive_buffer=4096) as deaf, server.client() as good:
        good.say(*(f"keep t s{n} {'Q' * 80_000}" for n in range(40)), "subscribe x")
        good.settle()
        deaf.say("follow t")
        until(lambda: any(c.stuck_since is not None for c in list(server.reflector._clients.values())))
        clock.now += 61
        good.settle()
        good.settle()  # the look at who is stuck comes after the answer
        assert server.reflector.counts["ended: stuck"] == 1


def test_who_reads_slowly_gets_the_newest_state_and_not_each() -> None:
    limits = Limits(rate=10**9, burst=10**9, lines_rate=10**6, lines_burst=10**6)
    with running(limits) as server, server.client(receive_buffer=4096) as slow, server.client() as good:
        slow.say("follow t")
        assert slow.line() == "t!end"
        for number in range(400):
            good.say(f"keep t s{number % 2} {number:04d}{'Q' * 40_000}")
        good.settle()
        seen = []
        while not seen or max(seen) < 399:
            seen.append(int(slow.line().split()[1][:4]))
        assert len(seen) < 400
        assert {398, 399} <= {*seen, int(slow.line().split()[1][:4]) if 398 not in seen else 398}
        assert server.reflector.counts["ended: slow"] == 0


def test_who_follows_no_more_is_not_caught_up() -> None:
    with running() as server, server.client(receive_buffer=4096) as deaf, server.client() as good:
        good.say(*(f"keep t s{n} {'Q' * 80_000}" for n in range(40)), "keep u s Qg==")
        good.settle()
        deaf.say("follow t")
        until(lambda: any(c.stuck_since is not None for c in list(server.reflector._clients.values())))
        # The names would wait beside each other without a limit: of them a client has as many as it likes.
        deaf.say(*(line for n in range(500) for line in (f"follow n{n}", f"unsubscribe n{n}")))
        deaf.say("follow u", "unsubscribe t", "follow v")
        until(lambda: server.reflector.counts["follow"] == 503)
        heard = [""]
        while heard[-1] != "v!end":
            heard.append(deaf.line())
        assert len(heard) < 40
        assert heard[-3:] == ["u!s Qg==", "u!end", "v!end"]
        assert {line[0] for line in heard[1:-3]} == {"t"}


@pytest.mark.parametrize("of_slots", [False, True])
def test_short_lines_that_wait_take_no_more_memory_than_is_counted(of_slots: bool) -> None:
    one, other = socket.socketpair()
    with one, other:
        limits = Limits()
        client = Waiting(one, "here", limits, Keeper(limits), 0.0)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(20_000):
                client.say(b"%d\n" % number, slot=(b"tag %d" % number, b"slot %d" % number) if of_slots else None)
            assert tracemalloc.get_traced_memory()[0] - before <= client.waiting
        finally:
            tracemalloc.stop()
        while client.wants_to_write:
            client.write(0.0)
            other.recv(1 << 16)
        assert client.waiting == 0


def test_what_waits_for_all_together_is_bounded() -> None:
    limits = Limits(unsent=10**9, unsent_in_all=2_000_000, rate=10**9, burst=10**9, lines_rate=10**6, lines_burst=10**6)
    with running(limits) as server, server.client() as good:
        deaf = [server.client(receive_buffer=4096) for _ in range(8)]
        for client in deaf:
            client.say("subscribe a")
            client.settle()
        said = 0
        while not server.reflector.counts["ended: slow"]:
            assert said < 20_000
            good.say(*[f"announce a {'x' * 4000}"] * 20)
            good.settle()
            said += 20
        assert server.reflector._waiting <= 2_000_000
        for client in deaf:
            client.socket.close()


def test_lines_that_have_begun_are_bounded_together() -> None:
    with running(Limits(unread_in_all=200_000)) as server, server.client() as good:
        bad = [server.client() for _ in range(6)]
        for client in bad:
            client.raw(b"keep t s " + b"Q" * 80_000)
        until(lambda: server.reflector.counts["ended: slow line"] >= 4)
        assert server.reflector._unread <= 200_000
        good.settle()
        for client in bad:
            client.socket.close()


def test_a_flood_is_slowed_down_and_the_others_are_heard() -> None:
    with running(Limits(lines_rate=50, lines_burst=100)) as server, server.client() as good:
        good.say("subscribe a")
        good.settle()
        with server.client() as bad:

            def flood() -> None:
                try:
                    while True:
                        bad.raw(b"ping\n" * 200)
                except OSError:
                    pass

            flooding = threading.Thread(target=flood)
            flooding.start()
            until(lambda: server.reflector.counts["slowed down"] > 0)
            good.say("announce a in time")
            assert good.line() == "a!in time"
            bad.socket.shutdown(socket.SHUT_RDWR)
            flooding.join()


def test_who_was_slowed_down_goes_on() -> None:
    clock = Clock()
    with (
        running(Limits(lines_rate=1, lines_burst=2), clock) as server,
        server.client() as fast,
        server.client() as good,
    ):
        fast.say(*["ping"] * 12)
        fast.lines(12)
        until(lambda: server.reflector.counts["slowed down"] > 0)
        fast.say("ping")
        clock.now += 9
        good.settle()
        assert server.reflector.counts["ping"] == 13
        clock.now += 2
        good.settle()
        assert fast.line().isdigit()


def test_a_peer_that_resets_the_connection_is_forgotten() -> None:
    with running() as server, server.client() as good:
        for _ in range(20):
            bad = server.client()
            bad.say("subscribe a", "follow b")
            bad.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            bad.socket.close()
        until(lambda: len(server.reflector._clients) == 1)
        good.say("announce a x")
        good.settle()
        assert server.reflector._names == {}
        assert server.reflector._subscriptions == {}


def test_a_lack_of_file_descriptors_passes() -> None:
    with running() as server, contextlib.ExitStack() as stack:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = stack.enter_context(socket.socket())
        client.settimeout(30)
        top = max(int(name) for name in os.listdir("/proc/self/fd"))
        taken = []
        while not taken or taken[-1] < top:  # every number below the limit is in use
            taken.append(os.dup(client.fileno()))
        stack.callback(lambda: [os.close(fd) for fd in taken])
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
        try:
            client.connect(("127.0.0.1", server.port))
            until(lambda: server.reflector._accept_at is not None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(100) == b"debug!connected...\n"
        record("faults injected", 1)


def test_an_address_in_use_is_told() -> None:
    with running() as server, pytest.raises(AutosyncError, match="Address already in use") as caught:
        Reflector("127.0.0.1", server.port)
    assert caught.value.title == f"Cannot listen on 127.0.0.1:{server.port}: Address already in use"
    with pytest.raises(AutosyncError, match="Cannot assign"):
        Reflector("192.0.2.1", 1986)
    with pytest.raises(AutosyncError, match="not known"):
        Reflector("no such host", 1986)


def test_every_interface_is_both_families() -> None:
    server = Reflector("", 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            client.settimeout(30)
            client.connect((host, server.port))
            assert client.recv(100) == b"debug!connected...\n"
    server.stop()
    thread.join(30)
    server.close()
