"""Sleep and changes of the networks are noticed, and nothing else is taken for them."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

import pytest

from autosync.link.addresses import machine_addresses, multicast_addresses, reachable
from autosync.link.networks import NetworkWatch, is_break
from autosync.wakefulness import Clocks, Wakefulness, interruption
from tests.edges.linked_devices import eventually
from tests.networks import ip, needs_network
from tests.waiting import PATIENCE

START = Clocks(monotonic=100.0, boottime=5_000.0, realtime=1_795_000_000.0)


def later(*, ran: float, slept: float = 0.0, set_by: float = 0.0) -> Clocks:
    """Return the clocks when the machine ran and slept for so many seconds after the start."""
    return Clocks(
        monotonic=START.monotonic + ran,
        boottime=START.boottime + ran + slept,
        realtime=START.realtime + ran + slept + set_by,
    )


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (later(ran=5.0), ""),
        (later(ran=7.9), ""),  # a busy machine
        (later(ran=5.0, slept=0.9), ""),  # two clocks cannot be read at one moment
        (later(ran=5.0, slept=1.1), "this machine slept for 1 s"),
        (later(ran=0.1, slept=28_800.0), "this machine slept for 28800 s"),
        (later(ran=5.0, slept=3_600.0, set_by=-3_600.0), "this machine slept for 3600 s"),
        (later(ran=25.0), "this process stood still for 20 s"),
        (later(ran=5.0, set_by=600.0), "the time of day was set by 600 s"),  # as in a virtual machine that was kept
        (later(ran=5.0, set_by=-3_600.0), "the time of day was set by -3600 s"),
        (later(ran=5.0, set_by=9.0), ""),  # a correction
    ],
)
def test_what_the_clocks_tell(after: Clocks, reason: str) -> None:
    assert interruption(START, after, expected=5.0) == reason


async def test_sleep_is_told_once() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    slept = 0.0

    def clocks() -> Clocks:
        return later(ran=asyncio.get_running_loop().time(), slept=slept)

    watching = Wakefulness(told.put_nowait, clocks=clocks, look=0.01)
    watching.start()
    slept = 60.0
    async with asyncio.timeout(PATIENCE):
        assert await told.get() == "this machine slept for 60 s"
        slept = 90.0
        assert await told.get() == "this machine slept for 30 s"
    watching.stop()
    assert told.empty()


class Counted:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def changes(commands: Callable[[], None], *, least: int = 1) -> int:
    """Return how many changes a watch tells of while and after ``commands`` run."""
    counted = Counted()
    watch = NetworkWatch(counted, settle=0.05, gap=0.0)
    watch.start()
    try:
        commands()
        await eventually(lambda: counted.times >= least)
        return counted.times
    finally:
        watch.stop()


def all_at_once(*commands: str) -> Callable[[], None]:
    """Return what runs these commands of ip(8)."""
    return lambda: [ip(command) for command in commands] and None


@needs_network
async def test_changes_of_the_networks_are_told() -> None:
    # Together they count once: nothing is read between them.
    assert await changes(all_at_once("link add lan type bridge", "addr add 192.0.2.1/24 dev lan", "link set lan up"))
    assert await changes(all_at_once("addr add 2001:db8::1/64 dev lan nodad"))
    assert await changes(all_at_once("addr del 192.0.2.1/24 dev lan", "addr add 192.0.2.2/24 dev lan"))
    assert await changes(all_at_once("route add default via 192.0.2.254"))
    # As before when it is looked at, yet another network may be behind it.
    assert await changes(all_at_once("link set lo down", "link set lo up"))
    assert await changes(all_at_once("link del lan"))


@needs_network
async def test_what_is_no_change_is_not_told() -> None:
    ip("link add lan type bridge")
    ip("addr add 192.0.2.1/24 dev lan")
    ip("link set lan up")
    await eventually(lambda: any(a.ip.is_link_local for a in machine_addresses()))
    counted = Counted()
    watch = NetworkWatch(counted, settle=0.0, gap=0.0)
    watch.start()
    ip("link set lan mtu 1400")
    ip("route add 198.51.100.0/24 via 192.0.2.254")
    ip("addr change 192.0.2.1/24 dev lan valid_lft 1000 preferred_lft 1000")  # as DHCP does every hour
    for _ in range(10):  # all has arrived when ip(8) returns: the first turn reads it, the next compares
        await asyncio.sleep(0)
    assert counted.times == 0
    ip("addr add 192.0.2.9/24 dev lan")
    await eventually(lambda: counted.times == 1)
    watch.stop()


@needs_network
async def test_without_the_news_of_the_kernel_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a sandbox that forbids netlink, but not to read /proc."""
    real = socket.socket

    class Forbidding(real):
        def __init__(self, family: int = socket.AF_INET, *arguments: int, **more: int) -> None:
            if family == socket.AF_NETLINK:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().__init__(family, *arguments, **more)

    monkeypatch.setattr(socket, "socket", Forbidding)
    assert machine_addresses() == ()
    counted = Counted()
    watch = NetworkWatch(counted, look=0.01)
    watch.start()
    ip("link add lan type bridge")
    ip("link set lan up")
    ip("addr add 192.0.2.1/24 dev lan")
    await eventually(lambda: counted.times > 0)
    watch.stop()


def link_message(flags: int) -> bytes:
    """Return the body of a message about an interface."""
    return struct.pack("=HHiII", 0, 0, 2, flags, 0)


@pytest.mark.parametrize(
    ("kind", "message", "breaks"),
    [
        (16, link_message(0x1043), False),
        (16, link_message(0x1003), True),  # no carrier
        (17, link_message(0x1043), True),
        (20, struct.pack("=BBBBI", 2, 24, 0, 0, 2), False),
        (21, struct.pack("=BBBBI", 2, 24, 0x80, 0, 2), True),
        (21, struct.pack("=BBBBI", 10, 64, 0x01, 0, 2), False),  # an address for privacy has expired
        (24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0), True),
        (25, struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0), False),
        (16, b"", True),
        (21, b"", False),
        (24, b"", False),
        (99, b"", False),
    ],
)
def test_what_breaks_connections(kind: int, message: bytes, breaks: bool) -> None:
    assert is_break(kind, message) is breaks


@needs_network
async def test_addresses_that_last_are_told_first() -> None:
    """Those that are made for privacy or are about to go come last, and none that is down or not yet certain."""
    ip("link add lan type bridge")
    ip("link set lan up")
    for address in ("2001:db8::1/64 preferred_lft 0", "2001:db8::2/64", "fd00::3/64"):
        ip(f"addr add {address.replace('/64', '/64 dev lan nodad', 1)}")
    ip("addr add 192.0.2.1/24 dev lan")
    ip("link add away type bridge")
    ip("addr add 198.51.100.1/24 dev away")
    assert reachable("", 7) == (*("192.0.2.1:7", "[2001:db8::2]:7", "[fd00::3]:7", "[2001:db8::1]:7", "127.0.0.1:7"),)
    await eventually(lambda: any(a.ip.is_link_local for a in machine_addresses()))
    places = [str(a.ip) for a in multicast_addresses(machine_addresses())]
    assert places[:2] == ["127.0.0.1", "192.0.2.1"]
    assert places[2].startswith("fe80::") and len(places) == 3
