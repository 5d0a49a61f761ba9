"""What has come of a snapshot from a peer is not fetched again."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from autosync.arriving.fetching import MARGIN, WORTH_FINISHING, Arriving
from autosync.arriving.parts import MAX_AGE, MAX_PARTS, SPOOL, WORTH_KEEPING, Part, Parts
from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import Fetch, Source, SourceKind
from autosync.core.model import DeviceId, RelPath, Snapshot, SnapshotId, Version
from autosync.errors import Missing, Occupied, Unreachable, Unsafe
from autosync.link.fetching import OtherAnswer
from autosync.link.wire import Wish
from autosync.perform import Performer
from tests import figures

LAPTOP, DESKTOP = DeviceId("laptop-00000001"), DeviceId("desktop-00000002")
WANT = SnapshotId("a" * 40)
CONTENT = os.urandom(6 << 20)


class Holder:
    """A peer whose answers break off where it is told to, and that goes on with a part as a link does."""

    def __init__(self) -> None:
        self.copy = MemoryWorkingCopy("desktop")
        self.breaks: list[int | Exception] = []
        self.wishes: list[Wish] = []
        self.sent = 0
        self._count = 0
        self.before = b""
        """What answers begin with that another holder does not have."""

    def save(self, name: bytes, content: bytes) -> Snapshot:
        """Return a snapshot with a file more."""
        self.copy.user.write(RelPath(name), content)
        reading = self.copy.read(None, None)
        self._count += 1
        version = Version.of({DESKTOP: self._count})
        return self.copy.record(
            tree=reading.tree, base=reading.base, version=version, parents=(), device="desktop", time=1
        )

    async def ask(self, _device: DeviceId, wish: Wish, sink: BinaryIO) -> None:
        self.wishes.append(wish)
        breaks = self.breaks.pop(0) if self.breaks else None
        if isinstance(breaks, Exception):
            raise breaks
        out = io.BytesIO()
        self.copy.serve(wish.want, wish.have, out)
        answer = self.before + out.getvalue()
        if hashlib.sha256(answer[: wish.begun.size]).digest() != wish.begun.sha256:
            raise OtherAnswer("desktop: the answer is another one now", hint="")
        self.sent += sink.write(answer[wish.begun.size : breaks])
        if breaks is not None:
            raise Unreachable("desktop: closed the connection", hint="")


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def network() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def receiver(
    place: Path, holder: Holder, network: ThreadPoolExecutor, copy: MemoryWorkingCopy | None = None
) -> Arriving:
    """Return the receiving side of an agent that was started just now."""
    copy = copy or MemoryWorkingCopy("laptop")
    copy.metadata = os.fsencode(place)
    performer = Performer(backend=copy, tree=copy, device=LAPTOP, name="laptop")
    arriving = Arriving(performer=performer, network=network, ask=holder.ask)
    arriving.tidy()
    return arriving


def fetch(wanted: Snapshot) -> Fetch:
    return Fetch(wanted=wanted.id, source=Source(kind=SourceKind.PEER, device=DESKTOP))


def left(place: Path) -> list[str]:
    """Return the names of the parts that are kept."""
    directory = place / "arriving"
    return sorted(os.listdir(directory)) if directory.exists() else []


async def test_a_restarted_agent_goes_on_where_it_was(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    wanted = holder.save(b"large", CONTENT)
    cuts = [2 << 20, 3 << 20, 5 << 20]
    for cut in cuts:
        holder.breaks = [cut]
        event = await receiver(tmp_path, holder, network).fetch(fetch(wanted))
        assert event == ev.SnapshotFetched(
            wanted=wanted.id,
            source=str(fetch(wanted).source),
            snapshot=None,
            reason="desktop: closed the connection",
        )
        assert left(tmp_path) == [f"{wanted.id}.json", f"{wanted.id}.part"]
    assert (await receiver(tmp_path, holder, network).fetch(fetch(wanted))).snapshot == wanted
    assert [wish.begun.size for wish in holder.wishes] == [0, *cuts]
    assert holder.sent < len(CONTENT) + 10_000, "something was sent twice"
    assert left(tmp_path) == []
    figures.record("faults injected", len(cuts))


async def test_what_is_short_leaves_nothing(tmp_path: Path, holder: Holder, network: ThreadPoolExecutor) -> None:
    wanted = holder.save(b"small", b"x" * 1000)
    holder.breaks = [10]
    arriving = receiver(tmp_path, holder, network)
    assert (await arriving.fetch(fetch(wanted))).snapshot is None
    assert left(tmp_path) == []
    assert (await arriving.fetch(fetch(wanted))).snapshot == wanted


class Unhurried(MemoryWorkingCopy):
    """Reads the beginning of what arrives, and the rest when it may."""

    def __init__(self) -> None:
        super().__init__("laptop")
        self.began, self.may = threading.Event(), threading.Event()

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        begin = pack.read(100)
        self.began.set()
        self.may.wait()
        return super().receive(want, io.BytesIO(begin + pack.read()))


async def test_an_agent_that_ends_while_an_answer_is_taken_in_says_no_more_than_that(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    copy = Unhurried()
    wanted = holder.save(b"large", CONTENT)
    fetching = asyncio.create_task(receiver(tmp_path, holder, network, copy).fetch(fetch(wanted)))
    await asyncio.to_thread(copy.began.wait)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    copy.may.set()
    network.shutdown()
    assert left(tmp_path) == [f"{wanted.id}.json", f"{wanted.id}.part"]
    assert "Traceback" not in caplog.text


def test_a_part_that_was_let_go_of_is_read_no_more(tmp_path: Path) -> None:
    part = Part(os.fsencode(tmp_path), WANT, ())
    part.write(b"begun")
    reader = part.whole()
    assert reader.read(2) == b"be"
    part.keep()
    for read in (reader.read, part.whole):
        with pytest.raises(Unreachable, match="was ended"):
            read()


async def test_other_bytes_are_fetched_from_the_beginning(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    wanted = holder.save(b"large", CONTENT)
    holder.breaks, holder.before = [3 << 20], b"another packing "
    arriving = receiver(tmp_path, holder, network)
    await arriving.fetch(fetch(wanted))
    holder.before = b""
    assert (await arriving.fetch(fetch(wanted))).snapshot == wanted
    assert [wish.begun.size for wish in holder.wishes] == [0, 3 << 20, 0]
    assert left(tmp_path) == []


@pytest.mark.parametrize("lie", [b"garbage" * 500_000, b""], ids=["garbage", "an early end"])
async def test_who_goes_on_with_a_lie_spoils_nothing_but_the_part(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor, lie: bytes
) -> None:
    wanted = holder.save(b"large", CONTENT)
    holder.breaks = [3 << 20]
    honest = receiver(tmp_path, holder, network)
    await honest.fetch(fetch(wanted))

    async def ask(_device: DeviceId, wish: Wish, sink: BinaryIO) -> None:
        assert wish.begun.size == 3 << 20
        sink.write(lie)

    liar = Arriving(performer=honest.performer, network=network, ask=ask)
    event = await liar.fetch(fetch(wanted))
    assert event.snapshot is None
    assert event.reason
    assert left(tmp_path) == []
    assert (await honest.fetch(fetch(wanted))).snapshot == wanted
    figures.record("bad inputs refused", 1)


async def test_what_came_in_large_part_is_finished_before_what_is_newer(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    old = holder.save(b"large", CONTENT)
    holder.breaks = [WORTH_FINISHING + 1]
    arriving = receiver(tmp_path, holder, network)
    await arriving.fetch(fetch(old))
    new = holder.save(b"small", b"and a small one\n")
    assert (await arriving.fetch(fetch(new))).snapshot == new
    first, rest, small = holder.wishes
    assert (rest.want, rest.begun.size) == (old.id, WORTH_FINISHING + 1)
    assert (small.want, small.begun.size, small.have[0]) == (new.id, 0, old.id)
    assert first.want == old.id
    assert left(tmp_path) == []


async def test_what_nobody_has_any_more_is_not_waited_for(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    old = holder.save(b"large", CONTENT)
    holder.breaks = [WORTH_FINISHING + 1, Missing("desktop does not have it", hint="")]
    arriving = receiver(tmp_path, holder, network)
    await arriving.fetch(fetch(old))
    new = holder.save(b"small", b"and a small one\n")
    assert (await arriving.fetch(fetch(new))).snapshot == new


@pytest.mark.parametrize(
    "problem",
    [Unreachable("desktop: closed the connection", hint=""), Occupied("desktop: it serves others first", hint="")],
    ids=["cut", "busy"],
)
async def test_who_cannot_finish_it_now_is_not_asked_for_all_of_it(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor, problem: Exception
) -> None:
    old = holder.save(b"large", CONTENT)
    holder.breaks = [WORTH_FINISHING + 1, problem]
    arriving = receiver(tmp_path, holder, network)
    await arriving.fetch(fetch(old))
    new = holder.save(b"small", b"and a small one\n")
    assert (await arriving.fetch(fetch(new))).snapshot is None
    assert (await arriving.fetch(fetch(new))).snapshot == new
    assert [wish.want for wish in holder.wishes] == [old.id, old.id, old.id, new.id]


async def test_what_is_whole_and_of_no_use_is_not_gone_on_with(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it builds on was here when it was asked for, and has been deleted since."""
    wanted = holder.save(b"large", CONTENT)
    arriving = receiver(tmp_path, holder, network)
    backend = arriving.performer.backend

    def receive(_want: SnapshotId, pack: BinaryIO) -> Snapshot:
        assert len(pack.read()) > len(CONTENT)
        raise Missing("it builds on what is not here", hint="")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "receive", receive)
        assert (await arriving.fetch(fetch(wanted))).snapshot is None
    assert left(tmp_path) == []
    assert (await arriving.fetch(fetch(wanted))).snapshot == wanted
    assert [wish.begun.size for wish in holder.wishes] == [0, 0]


async def test_a_full_disk_is_not_filled_again_before_there_is_more_room(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    wanted = holder.save(b"large", CONTENT)
    arriving = receiver(tmp_path, holder, network)
    for margin, asked in ((MARGIN, 1), (1 << 62, 2), (MARGIN, 2)):
        arriving.margin = margin
        holder.breaks = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
        event = await arriving.fetch(fetch(wanted))
        assert "is full" in event.reason
        assert event.hint
        assert len(holder.wishes) == asked
    other = holder.save(b"another", b"which is small")
    holder.breaks = []
    assert (await arriving.fetch(fetch(other))).snapshot == other, "for which there may be room"
    assert (await arriving.fetch(fetch(wanted))).snapshot == wanted
    figures.record("faults injected", 3)


async def test_who_is_busy_is_asked_again_later_and_later(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor
) -> None:
    wanted = holder.save(b"small", b"x")
    arriving = receiver(tmp_path, holder, network)
    holder.breaks = [Occupied("desktop: it serves others first", hint="") for _ in range(9)]
    waits = [(await arriving.fetch(fetch(wanted))).busy_for for _ in range(9)]
    assert 0.5 <= waits[0] <= 1.5
    assert all(2.0 <= wait <= 6.0 for wait in waits[5:])
    assert (await arriving.fetch(fetch(wanted))).busy_for == 0.0


# -- the parts themselves ----------------------------------------------------------------------
def part_of(place: Path, want: str, size: int) -> None:
    part = Part(os.fsencode(place), SnapshotId(want), ("b" * 40,))
    part.write(bytes(size))
    part.keep()


def test_parts_are_few_young_and_whole(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path)
    for number in range(MAX_PARTS + 2):
        part_of(tmp_path, f"{number:040d}", SPOOL + 1 + number)
        os.utime(tmp_path / f"{number:040d}.part", (1000 + number, 1000 + number))
    (tmp_path / "lonely.json").write_text("{}")
    parts = Parts(place, clock=lambda: 2000.0)
    parts.tidy()
    assert sorted(name.decode().split(".")[0] for name in os.listdir(place)) == sorted(
        [f"{n:040d}" for n in range(2, MAX_PARTS + 2)] * 2
    )
    assert parts.largest(WANT, SPOOL) == f"{MAX_PARTS + 1:040d}"
    assert parts.largest(WANT, 2 * SPOOL) is None
    Parts(place, clock=lambda: 2000.0 + MAX_AGE).tidy()
    assert os.listdir(place) == []
    Parts(os.path.join(place, b"nowhere")).tidy()


def test_a_part_that_is_small_is_kept_if_it_took_time(tmp_path: Path) -> None:
    part_of(tmp_path, WANT, WORTH_KEEPING)
    part = Parts(os.fsencode(tmp_path)).begin(WANT, _not_asked)
    assert part.size == WORTH_KEEPING
    part.keep()
    other = "b" * 40
    part_of(tmp_path, other, WORTH_KEEPING - 1)
    assert sorted(os.listdir(tmp_path)) == [f"{WANT}.json", f"{WANT}.part"]
    part_of(tmp_path / f"{WANT}.json", other, WORTH_KEEPING)  # where nothing can be kept


@pytest.mark.parametrize("cut", [WORTH_KEEPING, 2 * SPOOL])
async def test_a_folder_that_went_away_is_not_made_anew(
    tmp_path: Path, holder: Holder, network: ThreadPoolExecutor, cut: int
) -> None:
    """A disk that is put back later, or a folder that is renamed back, needs its place empty."""
    wanted = holder.save(b"large", CONTENT)
    holder.breaks = [cut]
    event = await receiver(tmp_path / "notes" / ".git" / "autosync", holder, network).fetch(fetch(wanted))
    assert event.snapshot is None
    assert os.listdir(tmp_path) == []


def test_parts_of_a_long_run_are_few(tmp_path: Path) -> None:
    parts = Parts(os.fsencode(tmp_path))
    for number in range(3 * MAX_PARTS):
        part = parts.begin(SnapshotId(f"{number:040d}"), lambda: ())
        part.write(bytes(SPOOL + 1))
        part.keep()
    assert len(os.listdir(tmp_path)) == 2 * (MAX_PARTS + 1)


def test_an_answer_without_end_is_refused(tmp_path: Path) -> None:
    part = Part(os.fsencode(tmp_path), WANT, (), longest=2 * SPOOL)
    part.write(bytes(2 * SPOOL))
    with pytest.raises(Unsafe, match=f"snapshot {WANT} does not end"):
        part.write(b"x")
    part.drop()
    assert os.listdir(tmp_path) == []
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("damage", ["no question", "no json", "a link", "no part"])
def test_a_damaged_part_is_begun_anew(tmp_path: Path, damage: str) -> None:
    place = tmp_path / "arriving"
    part_of(place, WANT, SPOOL + 5)
    question, part = place / f"{WANT}.json", place / f"{WANT}.part"
    victim = tmp_path / "victim"
    victim.write_bytes(b"of the user")
    match damage:
        case "no question":
            question.unlink()
        case "no json":
            question.write_bytes(b"\xff")
        case "a link":
            part.unlink()
            part.symlink_to(victim)
        case _:
            part.unlink()
    begun = Parts(os.fsencode(place)).begin(WANT, lambda: ("c" * 40,))
    assert (begun.size, begun.have) == (0, ("c" * 40,))
    begun.write(bytes(SPOOL + 1))
    assert victim.read_bytes() == b"of the user"
    assert part.stat().st_mode & 0o777 == 0o600
    begun.drop()
    figures.record("bad inputs refused", 1)


KILLED = """
import os, signal, sys
from autosync.arriving.parts import Part
part = Part(os.fsencode(sys.argv[1]), sys.argv[2], ("b" * 40,))
for number in range(64):
    part.write(bytes([number]) * (1 << 16))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_part_survives_a_kill(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), WANT], check=False)
    assert done.returncode == -signal.SIGKILL
    part = Parts(os.fsencode(tmp_path)).begin(WANT, _not_asked)
    content = b"".join(bytes([number]) * (1 << 16) for number in range(64))
    assert (part.size, part.have) == (len(content), ("b" * 40,))
    assert part.wish.begun.sha256 == hashlib.sha256(content).digest()
    part.write(b"the rest")
    assert part.whole().read() == content + b"the rest"
    part.drop()
    assert os.listdir(tmp_path) == []
    figures.record("kills survived", 1)


def _not_asked() -> Sequence[str]:
    raise AssertionError("there is a part")
