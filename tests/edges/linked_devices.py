"""Devices that consist of their links alone, in this process or in one of their own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from autosync.core.candidates import on_lan
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import Missing
from autosync.link import Links, Timing
from autosync.trust.identity import load_or_create_identity
from autosync.trust.sealing import WorkspaceKey
from tests.waiting import PATIENCE

KEY = WorkspaceKey(bytes(range(32)))
OTHER_KEY = WorkspaceKey(bytes(32))
QUICK = Timing(
    hello=2.0, ping=0.2, patience=2.0, stall=5.0, stagger=0.05, retry_first=0.02, retry_most=0.2, settled=0.5
)
PATIENT = replace(QUICK, hello=PATIENCE, patience=PATIENCE, stall=PATIENCE)
"""Where one side says nothing, or takes nothing, for as long as the test wants it."""
LOOPBACK = ("127.0.0.1", 0)
BLOCK = bytes(64 * 1024)
WANTED = SnapshotId("a" * 40)

Answer = Callable[[Sequence[str], BinaryIO], None]


def serving(pack: bytes) -> Answer:
    """Return an answer that is always this."""

    def answer(have: Sequence[str], out: BinaryIO) -> None:
        out.write(pack)

    return answer


class Workspace:
    """A workspace that keeps what is announced to it and serves what it is told to."""

    def __init__(self, name: str, key: WorkspaceKey = KEY, *, device: DeviceId | None = None) -> None:
        self.key = key
        self.name = name
        self.device = device or DeviceId(f"{name}-00000000")
        self.heard: asyncio.Queue[tuple[DeviceId, bytes]] = asyncio.Queue()
        self.answers: dict[SnapshotId, Answer] = {}

    def announced(self, sealed: bytes, peer: DeviceId) -> None:
        self.heard.put_nowait((peer, sealed))

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        if want not in self.answers:
            raise Missing(f"no {want}", hint="")
        self.answers[want](have, out)


class Device:
    """One device with one workspace."""

    def __init__(self, state: Path, name: str, key: WorkspaceKey, listen: tuple[str, int], timing: Timing) -> None:
        identity = load_or_create_identity(str(state / name))
        self.workspace = Workspace(name, key, device=identity.device_id(name))
        self._last_heard: dict[DeviceId, bytes] = {}
        self.links = Links(identity, listen=listen, timing=timing)

    @property
    def id(self) -> DeviceId:
        return self.workspace.device

    @property
    def address(self) -> str:
        """Its address on loopback."""
        return f"127.0.0.1:{self.links.port}"

    def say(self, text: str) -> None:
        self.links.broadcast(self.workspace.key.id, text.encode())

    async def hears(self) -> tuple[str, str]:
        """Return who said something new, and what; a link that replaces another repeats the last word."""
        async with asyncio.timeout(PATIENCE):
            while True:
                peer, sealed = await self.workspace.heard.get()
                if self._last_heard.get(peer) != sealed:
                    self._last_heard[peer] = sealed
                    return peer.partition("-")[0], sealed.decode()

    def knows(self, other: Device, *addresses: str) -> None:
        self.links.learn(self.workspace.key.id, other.id, on_lan(addresses or (other.address,)))

    def linked_with(self) -> list[str]:
        return sorted(p.name for p in self.links.peers(self.workspace.key.id) if p.connected)

    async def fetch(
        self, other: DeviceId, want: SnapshotId, sink: BinaryIO | io.RawIOBase, have: Sequence[str] = ()
    ) -> None:
        # A raw file is a BinaryIO but for the type stubs.
        await self.links.fetch(self.workspace.key.id, other, want, have, cast(BinaryIO, sink))


@contextlib.asynccontextmanager
async def running(
    state: Path,
    name: str,
    *,
    key: WorkspaceKey = KEY,
    listen: tuple[str, int] = LOOPBACK,
    timing: Timing = QUICK,
) -> AsyncIterator[Device]:
    """A device that listens, in this loop."""
    device = Device(state, name, key, listen, timing)
    await device.links.start()
    device.links.add(device.workspace)
    try:
        yield device
    finally:
        await device.links.stop()


@contextlib.asynccontextmanager
async def linked_pair(state: Path, *, timing: Timing = QUICK) -> AsyncIterator[tuple[Device, Device]]:
    """Two devices with a link."""
    async with running(state, "laptop", timing=timing) as laptop, running(state, "desktop", timing=timing) as desktop:
        laptop.knows(desktop)
        await eventually(lambda: laptop.linked_with() and desktop.linked_with())
        yield laptop, desktop


class Sink(io.RawIOBase):
    """Counts what is written to it; with a gate, waits for that first."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        super().__init__()
        self.size = 0
        self._gate = gate

    def writable(self) -> bool:
        return True

    def write(self, written: Any) -> int:
        if self._gate is not None:
            self._gate.wait(PATIENCE)
        self.size += len(written)
        return len(written)

    async def reached(self, size: int) -> None:
        """Wait until so many bytes were written."""
        await eventually(lambda: self.size >= size)


async def eventually(is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so that tells nobody when it changes."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)


class Child:
    """A device in a process of its own, which can be killed or frozen.

    It serves any snapshot with as many blocks as ``have`` names, for ever without one.
    """

    def __init__(self, process: asyncio.subprocess.Process, name: str, port: int, device: DeviceId) -> None:
        self.process = process
        self.name = name
        self.id = device
        self.address = f"127.0.0.1:{port}"

    async def hears(self) -> tuple[str, str]:
        """Return who said what next."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            peer, text = json.loads(await self.process.stdout.readline())
        return peer, text

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def peak_memory(self) -> int:
        """Return the most memory it ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextlib.asynccontextmanager
async def child(state: Path, name: str, *peers: str, says: str = "here I am") -> AsyncIterator[Child]:
    """A device in a process of its own, dialling ``peers``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.edges.linked_devices"),
        json.dumps({"state": str(state), "name": name, "peers": peers, "says": says}),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            port, device = json.loads(await process.stdout.readline())
        yield Child(process, name, port, device)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _be_child(settings: dict[str, Any]) -> None:
    def answer(have: Sequence[str], out: BinaryIO) -> None:
        count = 0
        while not have or count < len(have):
            out.write(BLOCK)
            count += 1

    async with running(Path(settings["state"]), settings["name"]) as device:
        device.workspace.answers = _Everything(answer)
        print(json.dumps([device.links.port, device.id]), flush=True)
        device.say(settings["says"])
        device.links.learn(None, None, on_lan(settings["peers"]))
        while True:
            peer, sealed = await device.workspace.heard.get()
            print(json.dumps([peer.partition("-")[0], sealed.decode()]), flush=True)


class _Everything(dict[SnapshotId, Answer]):
    """Has the same answer for every snapshot."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: SnapshotId) -> Answer:
        return self._answer


if __name__ == "__main__":
    asyncio.run(_be_child(json.loads(sys.argv[1])))
