"""A runner's session always gets an answer, and goes on whatever happened to it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from autosync.activities import Activity
from autosync.arriving.parts import SPOOL
from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import Announce
from autosync.core.model import CommitId, DeviceId, RelPath, SnapshotId, TreeId, Version
from autosync.core.settings import SessionSettings
from autosync.core.sources import HELLO, Peer
from autosync.errors import Unreachable
from autosync.link.wire import Wish
from autosync.perform import Performer
from autosync.runner import Runner
from tests import figures
from tests.announcements import said_by
from tests.system.mounts import needs_mounts, tmpfs
from tests.waiting import PATIENCE

LAPTOP, DESKTOP = DeviceId("laptop-00000001"), DeviceId("desktop-00000002")
PAGE = 4096


class World:
    """What a runner has around it: it keeps what it is told, and a peer whose pack fills a disk to the brim."""

    def __init__(self, pack_size: int = 0) -> None:
        self.announced: list[Announce] = []
        self.happenings: list[Activity] = []
        self._pack_size = pack_size

    async def announce(self, _runner: Runner, announce: Announce, _pack: bytes) -> None:
        self.announced.append(announce)

    async def fetch_from_peer(self, _runner: Runner, _device: DeviceId, _wish: Wish, sink: BinaryIO) -> None:
        sink.write(bytes(self._pack_size))
        sink.write(b"the last bytes")

    def happened(self, activity: Activity) -> None:
        self.happenings.append(activity)


@asynccontextmanager
async def started(world: World, copy: MemoryWorkingCopy) -> AsyncIterator[Runner]:
    """Run a working copy until it was looked at for the first time."""
    with ThreadPoolExecutor(1) as local, ThreadPoolExecutor(2) as network:
        runner = Runner(
            workspace="notes",
            settings=SessionSettings(device=LAPTOP, name="laptop"),
            performer=Performer(backend=copy, tree=copy, device=LAPTOP, name="laptop"),
            outside=world,
            local=local,
            network=network,
        )
        runner.bind(asyncio.get_running_loop())
        await runner.start()
        assert await runner.until(runner.session.quiet, PATIENCE)
        try:
            yield runner
        finally:
            await runner.stop()


def working_copy() -> MemoryWorkingCopy:
    copy = MemoryWorkingCopy("laptop")
    copy.user.write(RelPath(b"a"), b"1\n")
    copy.user.commit("first")
    return copy


def news() -> ev.Announced:
    """Return word of a snapshot that nobody here has."""
    said = said_by(
        DESKTOP,
        name="desktop",
        snapshot=SnapshotId("5" * 40),
        tree=TreeId("7" * 40),
        version=Version.of({DESKTOP: 1}),
    )
    return ev.Announced(announcement=said, lane="lan", live=True)


async def test_why_a_fetch_fails_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """What is tried again for days, as where there is no way to a peer, does not fill the log."""
    caplog.set_level(logging.INFO)
    attempts: asyncio.Queue[None] = asyncio.Queue()

    class Unreached(World):
        async def fetch_from_peer(self, _runner: Runner, _device: DeviceId, _wish: Wish, _sink: BinaryIO) -> None:
            attempts.put_nowait(None)
            raise Unreachable("no way", hint="")

    async with started(Unreached(), working_copy()) as runner:
        runner.post(news())
        for _ in range(3):  # the log has its line before the next attempt
            await asyncio.wait_for(attempts.get(), 60)
    assert [r.message for r in caplog.records if "not to be had" in r.message] == [
        f"notes: 5555555555 not to be had from peer {DESKTOP}: no way"
    ]


def peer_of(runner: Runner) -> Peer:
    (peer,) = runner.session.peers.all()
    return peer


@needs_mounts
def test_a_pack_whose_last_bytes_find_no_room_is_a_fetch_that_failed(tmp_path: Path) -> None:
    async def fetch() -> None:
        room = SPOOL + 16 * PAGE
        copy = working_copy()
        with tmpfs(tmp_path / "disk", f"size={room}") as disk:
            copy.metadata = os.fsencode(disk)
            async with started(World(room), copy) as runner:
                runner.post(news())
                assert await runner.until(lambda: bool(peer_of(runner).reason), PATIENCE)
                assert peer_of(runner).reason.startswith(f"The disk {disk} is full")
                assert runner.session.halt is not None
                assert runner.session.halt.title == peer_of(runner).reason
        figures.record("faults injected", 1)

    asyncio.run(fetch())


class SlowToPack(MemoryWorkingCopy):
    """Packs nothing before it is let."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked, self.let = threading.Event(), threading.Event()
        self.let.set()

    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        self.asked.set()
        self.let.wait(30)
        return super().pack(snapshot, limit=limit, known=known, reached=reached)


async def test_an_agent_that_ends_has_said_what_it_recorded_last() -> None:
    world, copy = World(), SlowToPack("laptop")
    copy.user.write(RelPath(b"a"), b"1\n")
    copy.user.commit("first")
    async with started(world, copy) as runner:
        await runner.speak_out(10)
        copy.asked.clear()
        copy.let.clear()
        copy.user.write(RelPath(b"a"), b"2\n")
        runner.post(ev.PathsChanged(hints=(ev.PathHint(path=RelPath(b"a"), touch=ev.Touch.CLOSED),)))
        assert await asyncio.to_thread(copy.asked.wait, PATIENCE)
        await runner.speak_out(0)
        assert world.announced[-1].current != runner.session.current
        copy.let.set()
        await runner.speak_out(10)
        assert world.announced[-1].current == runner.session.current


async def test_a_session_that_crashed_goes_on_from_what_is_recorded_and_asks_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, copy = World(), working_copy()
    async with started(world, copy) as runner:
        runner.crash_pause = 0.0
        before = runner.session.current
        assert before is not None
        copy.user.write(RelPath(b"a"), b"2\n")
        hint = ev.PathHint(path=RelPath(b"a"), touch=ev.Touch.CLOSED)
        runner.post(ev.PathsChanged(hints=(hint,)))  # while it is looked at ...
        world.announced.clear()
        runner.post(cast(ev.Event, "what no session knows"))  # ... the session crashes
        runner.post(cast(ev.Event, "nor the next one"))
        assert runner.counts == {"crashes": 2}
        assert await runner.until(lambda: any(said.state == HELLO for said in world.announced), PATIENCE)
        assert await runner.until(runner.session.quiet, PATIENCE)
        current = runner.session.current
        assert current is not None
        assert current.parents == (before.id,)
        assert current.id == runner.performer.recorded()
        assert current.version.count(LAPTOP) == before.version.count(LAPTOP) + 1
    assert "the session failed on str" in caplog.text
