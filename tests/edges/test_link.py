"""Links between devices: how they begin, end and begin again."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import signal
from pathlib import Path

import pytest

from autosync.core.candidates import on_lan
from autosync.errors import ConfigError, Unreachable
from autosync.link import Timing, wire
from autosync.link.wire import Kind
from tests.edges.link_attackers import member, relay, rest_of
from tests.edges.linked_devices import (
    BLOCK,
    KEY,
    OTHER_KEY,
    PATIENT,
    WANTED,
    Device,
    Sink,
    Workspace,
    child,
    eventually,
    linked_pair,
    running,
)
from tests.edges.looptime import loop_time
from tests.edges.tcp_proxy import TcpProxy
from tests.networks import ip, needs_network
from tests.waiting import PATIENCE, freeze


# -- linking --------------------------------------------------------------------------------
async def test_two_devices_hear_each_other(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        laptop.knows(desktop)
        laptop.say("before the link")
        assert await desktop.hears() == ("laptop", "before the link")
        desktop.say("hello back")
        assert await laptop.hears() == ("desktop", "hello back")
        laptop.say("after it")
        assert await desktop.hears() == ("laptop", "after it")

        await eventually(lambda: all(p.rtt_ms is not None for p in laptop.links.peers(KEY.id)))
        (peer,) = laptop.links.peers(KEY.id)
        assert (peer.device, peer.name, peer.address, peer.connected) == (desktop.id, "desktop", desktop.address, True)
        assert 0 < (peer.rtt_ms or 0) < 2000


async def test_three_devices_in_two_processes(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        desktop.knows(laptop)
        async with child(tmp_path, "server", laptop.address, desktop.address) as server:
            assert await laptop.hears() == ("server", "here I am")
            assert await desktop.hears() == ("server", "here I am")
            laptop.say("to all")
            assert await server.hears() == ("laptop", "to all")
            assert await desktop.hears() == ("laptop", "to all")
            assert laptop.linked_with() == ["desktop", "server"]


async def test_a_device_that_comes_later_gets_the_last_announcement_only(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop:
        for n in range(5):
            laptop.say(f"state {n}")
        async with running(tmp_path, "desktop") as desktop:
            desktop.knows(laptop)
            assert await desktop.hears() == ("laptop", "state 4")
            laptop.say("state 5")
            assert await desktop.hears() == ("laptop", "state 5")


@pytest.mark.parametrize("addresses", ["both", "wrong ones too"])
async def test_simultaneous_dials_end_in_one_link(tmp_path: Path, addresses: str) -> None:
    for n in range(15):
        async with running(tmp_path, f"a{n}") as one, running(tmp_path, f"b{n}") as other:
            more = ("127.0.0.1:1", "127.0.0.2:9") if addresses != "both" else ()
            one.links.learn(None, None, on_lan([other.address]))
            one.knows(other, *more, other.address)
            other.knows(one, *more, one.address)
            one.say("one")
            other.say("other")
            assert await other.hears() == (f"a{n}", "one")
            assert await one.hears() == (f"b{n}", "other")
            # Whatever was dialled, both sides kept the two ends of the same connection.
            await eventually(functools.partial(_ends_of_one_connection, one, other))
            one.say("still there?")
            while await other.hears() != (f"a{n}", "still there?"):
                pass


def _ends_of_one_connection(one: Device, other: Device) -> bool:
    links = [*one.links._links.values(), *other.links._links.values()]
    if len(links) != 2:  # one is replaced by the other in this moment
        return False
    there, here = links
    mine, theirs = (link._writer.get_extra_info for link in (there, here))
    settled = len(one.links._carrying) == len(other.links._carrying) == 1
    return settled and mine("sockname") == theirs("peername") and mine("peername") == theirs("sockname")


@pytest.mark.parametrize(
    ("instance", "number", "kept"),
    [
        (bytes(8), 6, "new"),
        (bytes(8), 4, "old"),
        (b"restarts", 1, "new"),
    ],
)
async def test_of_two_links_that_one_side_dialled_the_last_is_kept(
    tmp_path: Path, instance: bytes, number: int, kept: str
) -> None:
    async with (
        running(tmp_path, "laptop", timing=PATIENT) as laptop,
        member(laptop, tmp_path, number=5) as old,
        member(laptop, tmp_path, instance=instance, number=number) as new,
    ):
        given_up = old if kept == "new" else new
        await rest_of(given_up[0])
        laptop.say("to the one that is kept")
        reader = (new if kept == "new" else old)[0]
        async with asyncio.timeout(PATIENCE):
            while (await wire.read_frame(reader)) != (Kind.ANNOUNCE, b"to the one that is kept"):
                pass
        assert laptop.linked_with() == ["mallory"]


@pytest.mark.parametrize(("mine", "theirs", "kept"), [("a", "b", "dialled"), ("b", "a", "accepted")])
async def test_of_two_links_that_both_sides_dialled_that_of_the_smaller_id_is_kept(
    tmp_path: Path, mine: str, theirs: str, kept: str
) -> None:
    async with running(tmp_path, mine, timing=PATIENT) as one, running(tmp_path, theirs, timing=PATIENT) as other:
        one.knows(other)
        await eventually(lambda: one.linked_with() and other.linked_with())
        (dialled,) = one.links.peers(KEY.id)
        # What the other side would dial at the same moment, though it has a link already.
        async with member(one, tmp_path, theirs, instance=other.links.instance, number=7) as (reader, _):
            if kept == "dialled":
                await rest_of(reader)
                assert [p.address for p in one.links.peers(KEY.id)] == [dialled.address]
            else:
                await eventually(lambda: [p.address for p in one.links.peers(KEY.id)] != [dialled.address])
                assert one.linked_with() == [theirs]


async def test_it_never_links_with_itself(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop", listen=("", 0)) as laptop, relay(laptop.address) as between:
        # The same list of peers on every device is the natural thing to configure.
        own = [f"{host}:{laptop.links.port}" for host in ("127.0.0.1", "127.0.0.3", "localhost")] + [between.address]
        laptop.links.learn(None, None, on_lan(own))
        problems = {f"{address}: that is this device itself" for address in own}
        await eventually(lambda: {p.problem for p in laptop.links.peers(KEY.id)} == problems)
        assert laptop.linked_with() == []
        assert laptop.links.dropped == {}


async def test_a_copied_state_directory_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "laptop") as copy:
        copy.links.learn(None, None, on_lan([laptop.address]))
        await eventually(lambda: laptop.links.dropped["copied state-dir"])
        assert laptop.linked_with() == copy.linked_with() == []


async def test_all_interfaces_take_both_families(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop", listen=("", 0)) as laptop:
        assert laptop.links.addresses()[-1] == laptop.address
        for host in ("[::1]", "127.0.0.1", "localhost"):
            async with running(tmp_path, "desktop") as desktop:
                desktop.links.learn(None, None, on_lan([f"{host}:{laptop.links.port}"]))
                laptop.say("hello")
                assert await desktop.hears() == ("laptop", "hello")


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop:
        for host, shown in (("127.0.0.1", "127.0.0.1"), ("", "*")):
            with pytest.raises(ConfigError) as caught:
                async with running(tmp_path, "desktop", listen=(host, laptop.links.port)):
                    pass
            assert caught.value.title == f"listen: {shown}:{laptop.links.port} cannot be used: Address already in use"
            assert "with port 0 a free port is taken" in caught.value.hint


async def test_a_removed_workspace_has_no_links(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        laptop.knows(desktop)
        await eventually(laptop.linked_with)
        with pytest.raises(ValueError, match="is here already"):
            laptop.links.add(laptop.workspace)
        await laptop.links.remove(laptop.workspace)
        await eventually(lambda: laptop.links.peers(KEY.id) == [] and not desktop.linked_with())


async def test_workspaces_do_not_mix(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "desktop") as desktop:
        secrets = Workspace("laptop", OTHER_KEY, device=laptop.id)
        laptop.links.add(secrets)
        laptop.links.learn(None, None, on_lan([desktop.address]))
        laptop.say("notes")
        laptop.links.broadcast(OTHER_KEY.id, b"secrets")
        assert await desktop.hears() == ("laptop", "notes")
        theirs = Workspace("desktop", OTHER_KEY, device=desktop.id)
        desktop.links.add(theirs)
        async with asyncio.timeout(PATIENCE):
            assert await theirs.heard.get() == (laptop.id, b"secrets")
        assert desktop.workspace.heard.empty()
        assert desktop.links.linked_devices() == 1


async def test_the_log_tells_links_of_several_workspaces_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Named(Workspace):
        workspace = "secrets"

    caplog.set_level(logging.INFO, "autosync.link")
    async with linked_pair(tmp_path) as (laptop, desktop):
        secrets = Named("laptop", OTHER_KEY, device=laptop.id)
        laptop.links.add(secrets)
        desktop.links.add(Workspace("desktop", OTHER_KEY, device=desktop.id))
        laptop.links.learn(OTHER_KEY.id, desktop.id, on_lan([desktop.address]))
        await eventually(lambda: any(p.connected for p in laptop.links.peers(OTHER_KEY.id)))
        await laptop.links.remove(secrets)
    told = [m for m in caplog.messages if m.startswith("secrets: ")]
    assert told[0].startswith(f"secrets: linked with {desktop.id} at 127.0.0.1:")
    assert told[-1] == f"secrets: link to {desktop.id} ended: the workspace was removed"


# -- peers that go and come --------------------------------------------------------------------
async def test_a_peer_that_comes_back_elsewhere_is_linked_again(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop:
        laptop.say("me")
        for n in range(3):
            async with running(tmp_path, "desktop") as desktop:
                laptop.knows(desktop)
                assert await desktop.hears() == ("laptop", "me")
                desktop.say(f"life {n}")
                assert await laptop.hears() == ("desktop", f"life {n}")
            await eventually(lambda: not laptop.linked_with())


async def test_a_peer_killed_in_the_middle_of_a_fetch_and_back(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop:
        async with child(tmp_path, "server", laptop.address) as server:
            assert await laptop.hears() == ("server", "here I am")
            sink = Sink()
            fetching = asyncio.create_task(laptop.fetch(server.id, WANTED, sink))
            await sink.reached(4_000_000)
            server.send_signal(signal.SIGKILL)
            gone = r"^server: (closed the connection|Connection reset by peer|Broken pipe)"
            with pytest.raises(Unreachable, match=gone):
                await fetching
        with pytest.raises(Unreachable, match=r"^server-[a-z2-7]{26} is not linked"):
            await laptop.fetch(server.id, WANTED, io.BytesIO())
        async with child(tmp_path, "server", laptop.address, says="back again") as server:
            assert await laptop.hears() == ("server", "back again")
            again = io.BytesIO()
            await laptop.fetch(server.id, WANTED, again, have=["b" * 40])
            assert again.getvalue() == BLOCK


async def test_a_frozen_peer_is_noticed_and_taken_back(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, child(tmp_path, "server", laptop.address) as server:
        assert await laptop.hears() == ("server", "here I am")
        freeze(server.process.pid)
        await eventually(lambda: not laptop.linked_with())
        server.send_signal(signal.SIGCONT)
        await eventually(laptop.linked_with)
        laptop.say("good morning")
        assert await server.hears() == ("laptop", "good morning")


async def test_a_nudge_finds_out_at_once_that_a_peer_is_gone(tmp_path: Path) -> None:
    """Nothing is heard, and nothing is refused: as in a network that was left, or a router that was."""
    patient = Timing(ping=3600, patience=3600, doubt=0.3, retry_first=0.02, retry_most=3600, settled=0.1)
    async with (
        running(tmp_path, "laptop", timing=patient) as laptop,
        running(tmp_path, "desktop", timing=patient) as desktop,
        TcpProxy(desktop.links.port) as proxy,
    ):
        laptop.knows(desktop, f"127.0.0.1:{proxy.port}")
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        laptop.links.nudge()  # all is well, and stays so
        proxy.swallowing = True
        laptop.say("into a black hole")
        laptop.links.nudge()
        desktop.links.nudge()
        await eventually(lambda: not laptop.linked_with() and not desktop.linked_with())
        proxy.swallowing = False
        laptop.links.nudge()
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        assert await desktop.hears() == ("laptop", "into a black hole")


async def test_a_nudge_ends_the_wait_for_the_next_attempt(tmp_path: Path) -> None:
    patient = Timing(retry_first=3600, retry_most=3600)
    async with (
        running(tmp_path, "laptop", timing=patient) as laptop,
        running(tmp_path, "desktop") as desktop,
        TcpProxy(desktop.links.port) as proxy,
    ):
        proxy.refusing = True
        laptop.knows(desktop, f"127.0.0.1:{proxy.port}")
        await eventually(lambda: any(p.problem for p in laptop.links.peers(KEY.id)))
        proxy.refusing = False
        laptop.links.nudge()
        await eventually(desktop.linked_with)


@needs_network
async def test_a_link_from_an_address_that_is_gone_ends_at_once(tmp_path: Path) -> None:
    patient = Timing(ping=3600, patience=3600, doubt=3600, retry_first=0.02)
    ip("link add lan type bridge")
    ip("link set lan up")
    ip("addr add 192.0.2.1/24 dev lan")
    everywhere = ("", 0)
    async with (
        running(tmp_path, "laptop", timing=patient, listen=everywhere) as laptop,
        running(tmp_path, "desktop", timing=patient, listen=everywhere) as desktop,
    ):
        laptop.knows(desktop, f"192.0.2.1:{desktop.links.port}")
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        laptop.links.nudge()  # it is there
        ip("addr del 192.0.2.1/24 dev lan")
        laptop.knows(desktop)
        laptop.links.nudge()
        desktop.links.nudge()
        await eventually(lambda: [p.address for p in laptop.links.peers(KEY.id) if p.connected] == [desktop.address])


async def test_a_peer_that_started_again_replaces_its_dead_link(tmp_path: Path) -> None:
    """The old process left no FIN, as after a power cut: its link looks alive."""
    patient = Timing(retry_first=0.02, retry_most=0.1)
    async with running(tmp_path, "laptop", timing=patient) as laptop, child(tmp_path, "server", laptop.address) as old:
        assert await laptop.hears() == ("server", "here I am")
        freeze(old.process.pid)
        async with child(tmp_path, "server", laptop.address, says="new life") as new:
            assert await laptop.hears() == ("server", "new life")
            laptop.say("welcome")
            assert await new.hears() == ("laptop", "welcome")
            assert laptop.linked_with() == ["server"]
        old.send_signal(signal.SIGCONT)


async def test_stopping_is_quick_beside_a_frozen_peer_and_a_fetch(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, child(tmp_path, "server", laptop.address) as server:
        assert await laptop.hears() == ("server", "here I am")
        fetching = asyncio.create_task(laptop.fetch(server.id, WANTED, sink := Sink()))
        await sink.reached(1_000_000)
        freeze(server.process.pid)
        async with loop_time() as took:
            await laptop.links.stop()
        assert took.seconds < 2
        with pytest.raises(Unreachable, match=r"^server: this device was stopped"):
            await fetching
