"""Which texts are ways to a device."""

from __future__ import annotations

import pytest

from autosync.core.candidates import Candidate, CandidateKind, on_lan
from tests.figures import record

GOOD = [
    ("lan", "192.168.1.5:4711"),
    ("lan", "[fe80::1%eth0]:1"),
    ("public", "box.example.org:65535"),
    ("ssh", "ann@box/4711"),
    ("ssh", "ann@box.example.org:22/4711"),
    ("ssh", "ann@[2001:db8::1]:22/4711"),
    ("reflector", "reflector.example.org:1986/0123456789abcdef0123456789abcdef"),
    ("reflector", "[2001:db8::1]:1986/0123456789abcdef0123456789abcdef"),
    ("xmpp", "ann@example.org/4b1d"),
    ("xmpp", "Jürgen.o@bücher.example/autosync desktop"),
]
BAD = [
    ("lan", ""),
    ("lan", "192.168.1.5"),
    ("lan", "192.168.1.5:0"),
    ("lan", "192.168.1.5:65536"),
    ("lan", "192.168.1.5:1\n"),
    ("lan", "-oProxyCommand=x:22"),
    ("public", "fe80::1:22"),
    ("public", "box;reboot:22"),
    ("public", "x" * 300 + ":22"),
    ("ssh", "box/4711"),
    ("ssh", "-oProxyCommand=x@box/4711"),
    ("ssh", "ann@-oProxyCommand=x/4711"),
    ("ssh", "ann@box:0/4711"),
    ("ssh", "ann@box:22/0"),
    ("ssh", "ann@box:22"),
    ("ssh", "ann @box/4711"),
    ("reflector", "box:1986"),
    ("reflector", "box:1986/0123456789abcdef"),
    ("reflector", "box:1986/0123456789abcdef0123456789abcde\n"),
    ("reflector", "box:0/0123456789abcdef0123456789abcdef"),
    ("reflector", "-box:1986/0123456789abcdef0123456789abcdef"),
    ("xmpp", "ann@example.org"),
    ("xmpp", "ann@example.org/\x00"),
    ("xmpp", "ann@-example.org/x"),
    ("xmpp", "<ann>@example.org/x"),
    ("xmpp", "-ann@example.org/x"),
]


@pytest.mark.parametrize(("kind", "address"), GOOD)
def test_a_way_to_a_device_is_taken(kind: str, address: str) -> None:
    assert Candidate(kind=CandidateKind(kind), address=address).problem() == ""


@pytest.mark.parametrize(("kind", "address"), BAD)
def test_what_is_no_way_to_a_device_is_refused(kind: str, address: str) -> None:
    problem = Candidate(kind=CandidateKind(kind), address=address).problem()
    assert problem == f"{kind} {address[:60]!r} is no address of its kind"
    record("bad inputs refused", 1)


def test_the_nearest_way_comes_first() -> None:
    ways = [Candidate(kind=kind, address="x") for kind in reversed(CandidateKind)]
    nearest_first = ["lan x", "public x", "ssh x", "reflector x", "xmpp x"]
    assert [str(way) for way in sorted(ways, key=lambda way: way.kind.rank)] == nearest_first
    assert on_lan(["a:1", "b:2"])[1] == Candidate(kind=CandidateKind.LAN, address="b:2")
