"""What is said of open files, and when: by real locks, and a runner that only hears of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from autosync.activities import Activity
from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import Announce
from autosync.core.model import DeviceId, RelPath, SnapshotId, TreeId
from autosync.core.presence import FORGOTTEN
from autosync.core.remarks import Remarks
from autosync.core.settings import Mode, SessionSettings
from autosync.errors import Unreachable
from autosync.link.wire import Wish
from autosync.perform import Performer
from autosync.presence.keeper import PresenceKeeper
from autosync.presence.openfiles import OpenFiles
from autosync.runner import Runner
from tests.announcements import said_by
from tests.waiting import until

LAPTOP, DESKTOP = DeviceId("laptop-00000001"), DeviceId("desktop-00000002")


def paths(*names: bytes) -> tuple[RelPath, ...]:
    return tuple(map(RelPath, names))


def lock(file: Path, *, pid: int | None = None) -> Path:
    """Put vim's swap file beside a file: version, process and host at their places (memline.c)."""
    name = file.name if file.name.startswith(".") else f".{file.name}"
    header = bytearray(1024)
    header[0:10] = b"b0VIM 9.0\0"
    header[24:28] = (pid or os.getpid()).to_bytes(4, "little")
    host = os.uname().nodename.encode()[:39]
    header[68 : 68 + len(host)] = host
    made = file.parent / f"{name}.swp"
    made.write_bytes(header)
    return made


def files(root: Path, *, ignored: Sequence[bytes] = (), secret: Sequence[bytes] = ()) -> OpenFiles:
    named = frozenset(paths(*ignored))
    return OpenFiles(os.fsencode(root), lambda asked: named & frozenset(asked), lambda path: path in secret)


def test_what_a_running_editor_has_open_is_found_and_forgotten(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.py", "sub/b.py"):
        (tmp_path / name).touch()
    first, second = lock(tmp_path / "a.py"), lock(tmp_path / "sub/b.py")
    found = files(tmp_path)
    assert found.look(paths(b"a.py", b".a.py", b"sub/b.py", b"gone/c.py"), 0.0) == paths(b"a.py", b"sub/b.py")
    first.unlink()
    assert found.look((), 1.0) == paths(b"sub/b.py")
    second.write_bytes(lock(tmp_path / "x", pid=2**22 + 1).read_bytes())  # its process was killed
    assert found.look((), 2.0) == ()


def test_of_two_names_for_which_a_lock_may_be_the_one_that_is_there_counts(tmp_path: Path) -> None:
    (tmp_path / ".vimrc").touch()
    lock(tmp_path / ".vimrc")
    assert files(tmp_path).look(paths(b"vimrc", b".vimrc"), 0.0) == paths(b".vimrc")
    lock(tmp_path / "new")
    assert files(tmp_path).look(paths(b"new", b".new"), 0.0) == paths(b"new")


def test_what_is_ignored_or_secret_or_left_open_is_not_found(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
        lock(tmp_path / name)
    found = files(tmp_path, ignored=[b"a"], secret=[b"b"])
    assert found.look(paths(b"a", b"b", b"c"), 0.0) == paths(b"c")
    assert found.look((), FORGOTTEN - 1) == paths(b"c")
    assert found.look((), FORGOTTEN) == ()
    assert found.look(paths(b"c"), FORGOTTEN) == paths(b"c")


# -- what is said -----------------------------------------------------------------------------------


class World:
    """What a runner has around it: it keeps what it is told."""

    def __init__(self) -> None:
        self.happenings: list[Activity] = []

    async def announce(self, _runner: Runner, _announce: Announce, _pack: bytes) -> None:
        """Say nothing."""

    async def fetch_from_peer(self, _runner: Runner, _device: DeviceId, _wish: Wish, _sink: BinaryIO) -> None:
        raise Unreachable("no way", hint="")

    def happened(self, activity: Activity) -> None:
        self.happenings.append(activity)


@asynccontextmanager
async def agent(
    root: Path, said: list[tuple[RelPath, ...]], mode: Mode = Mode.TWO_WAY
) -> AsyncIterator[PresenceKeeper]:
    """Run a working copy whose device says what is open in ``root``."""
    with ThreadPoolExecutor(1) as local, ThreadPoolExecutor(2) as network:
        copy = MemoryWorkingCopy("laptop")
        runner = Runner(
            workspace="notes",
            settings=SessionSettings(device=LAPTOP, name="laptop", mode=mode),
            performer=Performer(backend=copy, tree=copy, device=LAPTOP, name="laptop"),
            outside=World(),
            local=local,
            network=network,
        )
        keeper = PresenceKeeper(runner, files(root), lambda: said.append(keeper.editing()))
        runner.companions.append(keeper)
        runner.bind(asyncio.get_running_loop())
        await runner.start()
        assert await runner.until(runner.session.quiet, 60)
        try:
            yield keeper
        finally:
            await runner.stop()


async def comes(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(until, condition)


async def test_it_is_said_once_for_each_change(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    swap, said = lock(tmp_path / "a"), list[tuple[RelPath, ...]]()
    async with agent(tmp_path, said) as keeper:
        for _ in range(20):  # as an editor that writes its lock again and again
            await asyncio.to_thread(keeper.passed_over, paths(b".a.swp"))
        await comes(lambda: said == [paths(b"a")])
        keeper.passed_over(paths(b".a.swp"))
        swap.unlink()
        keeper.passed_over(paths(b".a.swp"))
        await comes(lambda: len(said) > 1)
    assert said == [paths(b"a"), ()]


async def test_what_another_announcement_has_said_is_not_said_again(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    lock(tmp_path / "a")
    said = list[tuple[RelPath, ...]]()
    async with agent(tmp_path, said) as keeper:
        keeper.passed_over(paths(b".a.swp"))
        await comes(lambda: said)
        assert keeper.editing() == paths(b"a")
        keeper.passed_over(paths(b".a.swp", b"b", b"c"))
        (tmp_path / "b").touch()
        lock(tmp_path / "b")
        keeper.passed_over(paths(b".b.swp"))
        await comes(lambda: len(said) > 1)
    assert said == [paths(b"a"), paths(b"a", b"b")]


async def test_where_edits_stay_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    lock(tmp_path / "a")
    said = list[tuple[RelPath, ...]]()
    async with agent(tmp_path, said, Mode.RECEIVE) as keeper:
        keeper.passed_over(paths(b".a.swp"))
        words = said_by(DESKTOP, name="desktop", remarks=Remarks(editing=paths(b"a")))
        keeper.happened(ev.Announced(announcement=words, lane="lan"))
        world = keeper._runner.outside
        assert isinstance(world, World)
        await comes(lambda: [a.text for a in world.happenings if a.kind == "presence"] == ["desktop is editing a"])
        assert keeper.editing() == ()
        assert [sight.text for sight, _ in keeper.sights()] == ["desktop is editing a"]
        # Words that were kept, or of one who pauses, say nothing of now.
        keeper.happened(ev.Announced(announcement=words, lane="lan", live=False))
        assert keeper.sights() == []
    assert said == []


async def test_what_one_device_says_ends_nothing_of_another_of_the_same_name(tmp_path: Path) -> None:
    async with agent(tmp_path, []) as keeper:
        for device, editing in ((DESKTOP, paths(b"a")), (DeviceId("desktop-00000009"), ())):
            words = said_by(device, name="desktop", remarks=Remarks(editing=editing))
            keeper.happened(ev.Announced(announcement=words, lane="lan"))
        assert [sight.text for sight, _ in keeper.sights()] == ["desktop is editing a"]


async def test_who_of_two_of_the_same_name_saved_is_told_by_where_they_are(tmp_path: Path) -> None:
    other, at = DeviceId("desktop-00000009"), SnapshotId("b" * 40)
    async with agent(tmp_path, []) as keeper:
        saved = Activity(kind="applied", workspace="notes", device="laptop", at_ms=0.0, snapshot=at, text="desktop")
        saved = replace(saved, paths=("a",), written=("a",), count=1)
        keeper.told(saved)
        assert [sight.text for sight, _ in keeper.sights()] == ["desktop has just saved a"]
        for device, snapshot in ((DESKTOP, SnapshotId("a" * 40)), (other, at)):
            words = said_by(device, name="desktop", snapshot=snapshot, tree=TreeId("c" * 40))
            keeper._runner.post(ev.Announced(announcement=words, lane="lan"))
        await comes(lambda: len(keeper._runner.session.peers.all()) == 2)
        keeper.told(replace(saved, paths=("b",), written=("b",)))
        assert [sight.id for sight, _ in keeper.sights() if sight.path == "b"] == [other]


async def test_who_deletes_a_file_works_on_it_no_more(tmp_path: Path) -> None:
    async with agent(tmp_path, []) as keeper:
        gone = Activity(kind="applied", workspace="notes", device="laptop", at_ms=0.0, text="desktop")
        keeper.told(replace(gone, paths=("a", "b"), written=("b",), count=2))
        keeper.told(replace(gone, paths=("c",), count=1))
        assert [sight.path for sight, _ in keeper.sights()] == ["b"]


async def test_many_files_at_once_are_told_in_one_go(tmp_path: Path) -> None:
    names = [b"%d" % n for n in range(8)]
    for name in names:
        lock(tmp_path / os.fsdecode(name))
    async with agent(tmp_path, []) as keeper:
        words = said_by(DESKTOP, name="desktop", remarks=Remarks(editing=paths(*names)))
        keeper.happened(ev.Announced(announcement=words, lane="lan"))
        keeper.passed_over(paths(*(b"." + name + b".swp" for name in names)))
        world = keeper._runner.outside
        assert isinstance(world, World)
        await comes(lambda: [a for a in world.happenings if a.kind == "presence"])
        [told] = [a for a in world.happenings if a.kind == "presence"]
    assert (told.text, told.count, len(told.paths)) == ("desktop is editing 0 and 7 more", 8, 5)
