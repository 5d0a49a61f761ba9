"""What every channel promises: the same tests over all of them, each with its real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autosync.errors import AutosyncError, Unreachable
from tests.channels.conftest import MEDIA, Join
from tests.channels.media import Medium
from tests.edges.xmpp_devices import eventually
from tests.figures import record

SERVED = pytest.mark.parametrize("medium", [name for name in MEDIA if name != "lan"], indirect=True)
"""Over a server; whether links come back is tested with the links."""
KEEPING = pytest.mark.parametrize("medium", ["ejabberd", "prosody", "reflector"], indirect=True)
"""The server keeps what was said."""


async def test_what_one_says_reaches_the_others(medium: Medium, join: Join) -> None:
    laptop, desktop, server = await join("laptop"), await join("desktop"), await join("server")
    assert [device.state for device in (laptop, desktop, server)] == ["online"] * 3
    await laptop.say(b"from the laptop \0\xff\n!")
    await desktop.heard.until(b"from the laptop \0\xff\n!")
    await server.heard.until(b"from the laptop \0\xff\n!")
    await server.say(b"from the server")
    await laptop.heard.until(b"from the server")
    await desktop.heard.until(b"from the server")
    own = {b"from the laptop \0\xff\n!"} if medium.echoes else set()
    assert set(laptop.heard.received) <= {b"from the server", *own}
    assert laptop.dropped == {}


async def test_a_channel_tells_when_it_is_ready_and_has_caught_up_once(medium: Medium, join: Join) -> None:
    laptop = await join("laptop")
    await laptop.say(b"x")
    assert sorted(t for t in laptop.heard.told if isinstance(t, str)) == ["caught up", "ready"]
    status = laptop.channel.status()
    assert (status.state, bool(status.kind), bool(status.detail)) == ("online", True, True)


async def test_saying_the_same_twice_does_no_harm(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    for _ in range(3):
        await laptop.say(b"the same")
    await laptop.say(b"the last")
    await desktop.heard.until(b"the last")
    assert set(desktop.heard.received) <= {b"the same", b"the last"}


async def test_a_latecomer_learns_where_everybody_is(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    await laptop.say(b"laptop, old")
    await laptop.say(b"laptop, new")
    await desktop.say(b"desktop")
    await desktop.heard.until(b"laptop, new")
    await laptop.heard.until(b"desktop")
    late = await join("late")
    if not medium.keeps:  # then he says that he has come, and they say again where they are
        assert late.heard.received == []
        await late.say(b"hello")
        await laptop.heard.until(b"hello")
        await laptop.say(b"laptop, new")
        await desktop.say(b"desktop")
    await late.heard.until(b"laptop, new", b"desktop")
    assert b"laptop, old" not in late.heard.received


@KEEPING
async def test_states_that_were_kept_come_before_the_channel_says_so(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    await laptop.say(b"laptop")
    await desktop.say(b"desktop")
    await laptop.heard.until(b"desktop")
    await desktop.heard.until(b"laptop")
    late = await join("late")
    caught_up = late.heard.told.index("caught up")
    assert {b"laptop", b"desktop"} <= set(late.heard.told[:caught_up])


async def test_what_is_too_large_is_refused_and_the_next_goes_out(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    with pytest.raises(AutosyncError, match="too large") as refused:
        await laptop.say(bytes(medium.too_large))
    assert refused.value.hint
    await laptop.say(b"small")
    await desktop.heard.until(b"small")
    assert desktop.heard.received == [b"small"]
    assert laptop.state == "online"
    record("bad inputs refused", 1)


async def test_a_stranger_is_counted_and_believed_by_nobody(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    await medium.attack(laptop)
    await eventually(lambda: bool(laptop.dropped))
    await desktop.say(b"genuine")
    await laptop.heard.until(b"genuine")
    assert laptop.heard.received == [b"genuine"]
    record("bad inputs refused", 1)


@SERVED
async def test_a_server_that_comes_back_is_found_again(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    await asyncio.to_thread(medium.stop_server)
    await laptop.becomes("offline")
    await desktop.becomes("offline")
    with pytest.raises(Unreachable) as unreachable:
        await laptop.say(b"nobody hears this")
    assert unreachable.value.hint
    await asyncio.to_thread(medium.start_server)
    await laptop.heard.until("ready", count=2)
    await desktop.heard.until("ready", count=2)
    await laptop.say(b"back")
    await desktop.heard.until(b"back")
    assert laptop.state == "online"
    record("faults injected", 1)


async def test_a_nudge_leaves_a_good_connection_alone(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    for _ in range(3):
        laptop.channel.nudge()
    await laptop.say(b"still here")
    await desktop.heard.until(b"still here")
    assert laptop.state == "online"
    await laptop.channel.stop()
    laptop.channel.nudge()
    assert laptop.state == "offline"


async def test_who_stops_is_gone_and_can_say_nothing_more(medium: Medium, join: Join) -> None:
    laptop, desktop = await join("laptop"), await join("desktop")
    await laptop.say(b"good-bye")
    await laptop.channel.stop()
    await desktop.heard.until(b"good-bye")
    await laptop.channel.stop()
    assert laptop.state == "offline"


async def test_a_channel_stops_while_it_connects(medium: Medium, join: Join, tmp_path: Path) -> None:
    device = await join("laptop", ready=False)
    await device.channel.stop()
    assert device.state == "offline"
    assert device.heard.received == []
