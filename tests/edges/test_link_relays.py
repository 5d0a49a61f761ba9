"""Links over byte pipes of any kind: as sealed, as authenticated and as fair as over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from autosync.core.candidates import Candidate, CandidateKind
from autosync.link.carriage import Carriage
from tests.edges.linked_devices import QUICK, WANTED, Device, eventually, running, serving

RELAYED = Carriage(timing=QUICK, chunk=1024, unsent=2048)
ADDRESS = "you@example.org/desktop"
PACK = bytes(range(256)) * 1200


class Wire:
    """Pumps bytes between two sockets, keeps what went over it, and can be cut."""

    def __init__(self) -> None:
        self.carried = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[socket.socket] = []

    def between(self) -> tuple[socket.socket, socket.socket]:
        """Return two ends that are connected through here."""
        left, inner_left = socket.socketpair()
        inner_right, right = socket.socketpair()
        self._ends += [inner_left, inner_right]
        for end in (left, right, inner_left, inner_right):
            end.setblocking(False)
        for source, sink in ((inner_left, inner_right), (inner_right, inner_left)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))
        return left, right

    async def cut(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            end.close()
        self._ends.clear()

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while content := await loop.sock_recv(source, 4096):
                self.carried += content
                await loop.sock_sendall(sink, content)
            sink.shutdown(socket.SHUT_WR)


@contextlib.asynccontextmanager
async def relayed(state: Path) -> AsyncIterator[tuple[Device, Device, Wire]]:
    """Two devices that only a wire can join; the laptop dials."""
    wire = Wire()
    async with running(state, "laptop") as laptop, running(state, "desktop") as desktop:

        async def connect(address: str) -> socket.socket:
            assert address == ADDRESS
            near, far = wire.between()
            desktop.links.accept(far, "me@example.org/laptop", carriage=RELAYED)
            return near

        laptop.links.add_connector(CandidateKind.XMPP, connect, carriage=RELAYED)
        try:
            yield laptop, desktop, wire
        finally:
            await wire.cut()


def learn(laptop: Device, desktop: Device) -> None:
    candidate = Candidate(kind=CandidateKind.XMPP, address=ADDRESS)
    laptop.links.learn(laptop.workspace.key.id, desktop.id, [candidate])


async def test_a_link_over_a_pipe_carries_everything_and_shows_nothing(tmp_path: Path) -> None:
    async with relayed(tmp_path) as (laptop, desktop, wire):
        desktop.workspace.answers[WANTED] = serving(PACK)
        learn(laptop, desktop)
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        laptop.say("from the laptop")
        desktop.say("from the desktop")
        assert await desktop.hears() == ("laptop", "from the laptop")
        assert await laptop.hears() == ("desktop", "from the desktop")
        sink = io.BytesIO()
        await laptop.fetch(desktop.id, WANTED, sink)
        assert sink.getvalue() == PACK
        for secret in (b"from the laptop", b"from the desktop", PACK[:256], b"laptop", b"desktop"):
            assert secret not in wire.carried
        (seen,) = desktop.links.peers(desktop.workspace.key.id)
        assert seen.address == "me@example.org/laptop"


async def test_a_pipe_that_is_cut_ends_the_link_and_is_made_anew(tmp_path: Path) -> None:
    async with relayed(tmp_path) as (laptop, desktop, wire):
        learn(laptop, desktop)
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        await wire.cut()
        laptop.say("after the cut")
        assert await desktop.hears() == ("laptop", "after the cut")


async def test_an_announcement_goes_between_the_frames_of_a_fetch(tmp_path: Path) -> None:
    async with relayed(tmp_path) as (laptop, desktop, _):
        desktop.workspace.answers[WANTED] = serving(PACK * 10)
        learn(laptop, desktop)
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        sink = io.BytesIO()
        fetching = asyncio.create_task(laptop.fetch(desktop.id, WANTED, sink))
        await eventually(lambda: sink.tell() > 0)
        desktop.say("saved meanwhile")
        assert await laptop.hears() == ("desktop", "saved meanwhile")
        assert sink.tell() < len(PACK) * 10
        await fetching
        assert sink.getvalue() == PACK * 10


async def test_a_pipe_from_a_stranger_gets_no_byte(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_path, "desktop") as desktop:
        near, far = socket.socketpair()
        near.setblocking(False)
        desktop.links.accept(far, "mallory@example.org/x", carriage=RELAYED)
        with near:
            await loop.sock_sendall(near, b"\x00\x20" + bytes(32))
            assert await loop.sock_recv(near, 1) == b""
        assert desktop.links.dropped == {"stranger": 1}
    gone, late = socket.socketpair()
    desktop.links.accept(late, "you@example.org/late", carriage=RELAYED)
    with gone:
        assert gone.recv(1) == b""
