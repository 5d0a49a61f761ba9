"""The service manager hears of life only while there is evidence of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autosync.config import PathConfig
from autosync.core.events import PathHint
from autosync.core.model import RelPath
from autosync.errors import TransientError
from autosync.supervision import Supervision
from autosync.systemd.liveness import Pulse
from autosync.systemd.notify import Notifier
from autosync.watch import TreeWatcher
from tests import figures
from tests.waiting import PATIENCE


@dataclass
class Kept:
    config: PathConfig
    local: ThreadPoolExecutor
    watcher: TreeWatcher
    listener: Listener
    """Of the watcher."""


class Manager:
    """The end of the service manager: what it was told."""

    def __init__(self, place: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(place / "notify")
        self.socket.bind(self.address)
        self.socket.setblocking(False)

    async def hear(self, seconds: float = PATIENCE) -> str:
        async with asyncio.timeout(seconds):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()

    async def until(self, word: str) -> None:
        while await self.hear() != word:
            pass

    def forget(self) -> None:
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass


class Listener:
    """Of a watcher; ``go_on`` holds its thread up in the middle of a turn."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def paths_changed(self, _hints: Sequence[PathHint]) -> None:
        self.called.set()
        self.go_on.wait(PATIENCE)

    def metadata_changed(self) -> None:
        pass

    def root_vanished(self) -> None:
        pass


def nothing(_paths: Sequence[RelPath]) -> frozenset[RelPath]:
    return frozenset()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


@pytest.fixture
async def kept(tmp_path: Path, listener: Listener) -> AsyncIterator[Kept]:
    root = tmp_path / "notes"
    root.mkdir()
    watcher = TreeWatcher(
        str(root).encode(),
        metadata_directories=tuple,
        excluded=frozenset(),
        ignored=nothing,
        listener=listener,
        rescan_interval=600,
    )
    watcher.start()
    with ThreadPoolExecutor(1) as local:
        yield Kept(PathConfig(path=str(root), workspace="notes", key_file="/k"), local, watcher, listener)
    listener.go_on.set()
    watcher.stop()


class Words:
    """What is told in words; each look asks for it."""

    def __init__(self) -> None:
        self.looks: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self) -> str:
        self.looks.put_nowait(None)
        return "In sync"

    async def ten_looks(self) -> None:
        """Wait for the next ten."""
        while not self.looks.empty():
            self.looks.get_nowait()
        for _ in range(10):
            await self.looks.get()


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
async def supervision(manager: Manager, kept: Kept, words: Words) -> AsyncIterator[Supervision]:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "90000"}
    supervision = Supervision(Notifier(environ), lambda: [kept], words, stuck=0.5)
    supervision.begin()
    yield supervision
    supervision.stop()


class Turns:
    """A clock that goes by the turns of one thread: however long that waits for a processor, it is not late."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._asked = 0

    def ask(self, *arguments: Any) -> Any:
        self._asked += 1
        return self._ask(*arguments)

    def now(self) -> float:
        return self._asked * 0.1


@contextlib.contextmanager
def time_by_turns(whose: object, method: str) -> Iterator[None]:
    """Measure what stands still from now on by the turns that ``method`` asks for."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Turns(getattr(whose, method))
        patch.setattr(whose, method, clock.ask)
        patch.setattr("autosync.supervision.Pulse", partial(Pulse, now=clock.now))
        yield


async def hears_no_more(manager: Manager, words: Words, caplog: pytest.LogCaptureFixture) -> None:
    """Wait until it is noticed that something hangs; from then on nothing more may be heard, look after look."""
    while not caplog.records:
        with contextlib.suppress(TimeoutError):
            await manager.hear(0.05)
    manager.forget()
    await words.ten_looks()
    with pytest.raises(BlockingIOError):
        manager.socket.recv(4096)


async def test_the_life_of_a_service(manager: Manager, supervision: Supervision) -> None:
    assert [await manager.hear() for _ in range(3)] == ["EXTEND_TIMEOUT_USEC=30000000", "WATCHDOG=1", "STATUS=In sync"]
    supervision.ready()
    await manager.until("READY=1")
    for _ in range(3):
        await manager.until("WATCHDOG=1")
    with supervision.reloading():
        pass
    while not (await manager.hear()).startswith("RELOADING=1\nMONOTONIC_USEC="):
        pass
    await manager.until("READY=1")
    supervision.leaving()
    await manager.until("STOPPING=1")


async def test_a_working_copy_that_hangs_stops_the_heartbeat(
    manager: Manager, kept: Kept, words: Words, supervision: Supervision, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    with time_by_turns(kept.watcher, "next_turn"):
        supervision.ready()
        await manager.until("READY=1")
        await manager.until("WATCHDOG=1")
        kept.local.submit(go_on.wait, PATIENCE)
        await hears_no_more(manager, words, caplog)
    told = "notes: its local thread has not moved for 0 s: the service manager is not told any more that all is well"
    assert [r.getMessage() for r in caplog.records] == [told]
    go_on.set()
    await manager.until("WATCHDOG=1")
    figures.record("faults injected", 1)


async def test_a_watcher_that_hangs_stops_the_heartbeat(
    manager: Manager,
    kept: Kept,
    words: Words,
    supervision: Supervision,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with time_by_turns(kept.local, "submit"):
        supervision.ready()
        await manager.until("READY=1")
        kept.listener.go_on.clear()
        (Path(kept.config.path) / "a").touch()
        assert await asyncio.to_thread(kept.listener.called.wait, PATIENCE)
        await hears_no_more(manager, words, caplog)
    kept.listener.go_on.set()
    await manager.until("WATCHDOG=1")
    figures.record("faults injected", 1)


async def test_a_long_step_that_gets_on_does_not(manager: Manager, kept: Kept, supervision: Supervision) -> None:
    supervision.ready()
    await manager.until("READY=1")
    program = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
    go_on = threading.Event()
    kept.local.submit(go_on.wait, PATIENCE)
    manager.forget()
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - began < 1.0:  # twice as long as it may stand still
        await manager.until("WATCHDOG=1")
    go_on.set()
    program.kill()
    await program.wait()


async def test_a_watcher_that_has_ended_is_the_business_of_others(
    manager: Manager, kept: Kept, supervision: Supervision
) -> None:
    """That a folder is gone is told in other ways, and no new start brings it back."""
    supervision.ready()
    kept.watcher.stop()
    await manager.until("READY=1")
    for _ in range(20):
        await manager.until("WATCHDOG=1")


async def test_a_bug_in_what_is_told_does_not_end_the_telling(manager: Manager, kept: Kept) -> None:
    calls = 0

    async def failing() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError("a bug")
        if calls == 2:
            raise TransientError("The agent is starting", hint="Wait.")
        return f"call {calls}"

    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "90000"}
    supervision = Supervision(Notifier(environ), lambda: [kept], failing)
    supervision.begin()
    await manager.until("STATUS=call 3")
    supervision.stop()


async def test_without_a_manager_nothing_is_done(kept: Kept, words: Words) -> None:
    before = asyncio.all_tasks()
    supervision = Supervision(Notifier({}), lambda: [kept], words)
    supervision.begin()
    supervision.ready()
    with supervision.reloading():
        assert asyncio.all_tasks() == before
    supervision.leaving()
    supervision.stop()
