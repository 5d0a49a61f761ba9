"""`on-update`: how its program is run and ended, what is remembered and told of it, and how it is configured."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import IO, BinaryIO

import pytest

from autosync.activities import Activity
from autosync.backends.memory import MemoryWorkingCopy
from autosync.cli.commandcheck import check_on_update
from autosync.cli.finding import Finding, Level
from autosync.config import PathConfig, parse, read_overrides
from autosync.core import events as ev
from autosync.core.commands import Announce, TakeSnapshot
from autosync.core.echoes import Echoes
from autosync.core.model import DeviceId, RelPath, Snapshot, WorkspaceId
from autosync.core.remarks import HookReport, Remarks
from autosync.core.settings import Mode, SessionSettings
from autosync.core.updates import ECHOES, OnUpdate
from autosync.errors import ConfigError
from autosync.link.wire import Wish
from autosync.onupdate import process
from autosync.onupdate.environment import environment
from autosync.onupdate.hook import UpdateHook
from autosync.onupdate.journal import Journal, Memory
from autosync.onupdate.news import HookNews
from autosync.onupdate.process import Ended, Identity, Output, Program, end_left_over, identify, start
from autosync.perform import Performer
from autosync.runner import Runner
from tests import figures
from tests.announcements import said_at
from tests.waiting import until

LAPTOP, SERVER = DeviceId("laptop-00000001"), DeviceId("server-00000002")
WORKSPACE = WorkspaceId("c0ffee00" * 4)
PATIENCE = 60.0


async def comes(condition: Callable[[], object]) -> None:
    """Wait for what a program beside us does, and what comes of it."""
    await asyncio.to_thread(until, condition, PATIENCE)


# -- the program -------------------------------------------------------------------------------


def begin(script: str, *, given: bytes = b"") -> Program:
    return Program(start(["sh", "-c", script], directory="/", environment=dict(os.environ), given=given))


async def ran(script: str, *, given: bytes = b"") -> Ended:
    return await begin(script, given=given).wait(PATIENCE)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("true", ""),
        ("exit 7", "failed with exit code 7"),
        ("kill -SEGV $$", "was ended by SIGSEGV"),
        ("kill -36 $$", "was ended by signal 36"),
    ],
)
async def test_how_a_program_ends_is_told(script: str, problem: str) -> None:
    assert (await ran(script)).problem == problem


async def test_what_it_is_given_need_not_be_read() -> None:
    many = b"".join(b"%d\0" % n for n in range(100_000))
    assert (await ran("true", given=many)).problem == ""
    assert (await ran("tr '\\0' '\\n' | wc -l", given=many)).lines == ["100000"]


async def test_what_takes_too_long_is_ended_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    stubborn = tmp_path / "stubborn"
    stubborn.write_text(f"trap '' TERM; echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 1000")
    program = begin(f"echo begun; sh {stubborn} & wait")
    await comes((tmp_path / "pid").exists)
    ended = await program.wait(0.01)
    assert (ended.problem, ended.lines) == ("was ended: it took longer than 0.01 s", ["begun"])
    assert identify(int((tmp_path / "pid").read_text())) is None
    figures.record("faults injected", 1)


async def test_one_that_ends_in_order_may_take_its_time_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", PATIENCE)
    program = begin(f"trap 'echo bye; exit 0' TERM; touch {tmp_path}/begun; while :; do sleep 0.01; done")
    await comes((tmp_path / "begun").exists)
    ended = await program.wait(0.01)
    assert (ended.problem, ended.lines[-1]) == ("was ended: it took longer than 0.01 s", "bye")


async def test_what_it_leaves_running_goes_on_and_may_print(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    script = f"(cat {tmp_path}/gate; echo still here && touch {tmp_path}/ok) &"
    program = begin(script)
    ended = await program.wait(PATIENCE)
    assert (ended.problem, ended.lines, program.has_output) == ("", [], True)
    await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
    await comes(lambda: (tmp_path / "ok").exists() and not program.has_output)


def test_of_much_output_the_beginning_and_the_end_are_kept() -> None:
    output = Output()
    output.add(b"".join(b"line %d\n" % n for n in range(1000)))
    lines = output.lines()
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[10] == "(960 lines left out)"
    assert (lines[-1], len(lines)) == ("line 999", 41)


def test_of_the_output_only_what_a_terminal_shows_is_kept() -> None:
    output = Output()
    output.add(b"10%\r50%\r\x1b[32m100%\x1b[0m\r\n\n\xff")
    output.add(b"x" * 1_000_000)
    output.add(b"y")
    first, long = output.lines()
    assert first == "100%"
    assert long.startswith("\ufffdxxx")
    assert len(long) == 300


def holds(pipe: IO[bytes] | None) -> int:
    """Return how many bytes wait in a pipe (ioctl_tty(2), FIONREAD)."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize(("script", "problem"), [("exec yes", "was ended by SIGKILL"), ("yes & exit 0", "")])
async def test_one_that_prints_without_end_holds_up_nothing(script: str, problem: str) -> None:
    begun = start(["sh", "-c", script], directory="/", environment=dict(os.environ), given=b"")
    await comes(lambda: holds(begun.stdout) >= 2**16)  # what a pipe has room for
    program = Program(begun)
    loop, turns = asyncio.get_running_loop(), 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if turns < 100:
            loop.call_soon(turn)
        elif script == "exec yes":
            begun.send_signal(signal.SIGKILL)

    turn()
    watchdog = Timer(PATIENCE, os.killpg, (begun.pid, signal.SIGKILL))  # which no loop that is held up can hold up
    watchdog.start()
    try:
        ended = await program.wait(2 * PATIENCE)
        assert ended.problem == problem
        await comes(lambda: turns == 100)
        assert watchdog.is_alive()
    finally:
        watchdog.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(begun.pid, signal.SIGKILL)
    await comes(lambda: not program.has_output)
    figures.record("faults injected", 1)


async def test_one_that_cannot_be_ended_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.01)
    begun = start(["sleep", "1000"], directory="/", environment=dict(os.environ), given=b"")
    watchdog = Timer(PATIENCE, begun.kill)
    watchdog.start()
    with monkeypatch.context() as patch:  # a signal does nothing to what sleeps in the kernel
        patch.setattr(os, "killpg", lambda _group, _signal: None)
        ended = await Program(begun).wait(0.01)
    assert (ended.problem, watchdog.is_alive()) == ("could not be ended", True)
    watchdog.cancel()
    os.kill(begun.pid, signal.SIGKILL)
    await comes(lambda: not os.path.exists(f"/proc/{begun.pid}"))  # not even as a zombie
    figures.record("faults injected", 1)


async def test_a_number_that_another_process_has_by_now_is_left_alone() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert not await end_left_over(Identity(pid=me.pid, ticks=me.ticks + 1, boot=me.boot))
    assert not await end_left_over(Identity(pid=2**22 + 1, ticks=1, boot=me.boot))


def test_the_environment_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "HGPLAIN", "NOTIFY_SOCKET", "AUTOSYNC_CONFIG", "GIT_SSH_COMMAND", "EDITOR"):
        monkeypatch.setenv(name, "theirs")
    made = environment({"AUTOSYNC_CONFIG": "ours"})
    assert {"GIT_DIR", "HGPLAIN", "NOTIFY_SOCKET"}.isdisjoint(made)
    assert (made["AUTOSYNC_CONFIG"], made["GIT_SSH_COMMAND"], made["EDITOR"]) == ("ours", "theirs", "theirs")
    assert made["PATH"] == os.environ["PATH"]


# -- the batches ---------------------------------------------------------------------------------


class World:
    """What a runner has around it: it keeps what it is told."""

    def __init__(self, laptop: MemoryWorkingCopy) -> None:
        self.happenings: list[Activity] = []
        self._laptop = laptop

    async def announce(self, _runner: Runner, _announce: Announce, _pack: bytes) -> None:
        """Say nothing."""

    async def fetch_from_peer(self, _runner: Runner, _device: DeviceId, wish: Wish, sink: BinaryIO) -> None:
        self._laptop.serve(wish.want, wish.have, sink)

    def happened(self, activity: Activity) -> None:
        self.happenings.append(activity)

    def told(self, kind: str) -> list[str]:
        return [activity.text for activity in self.happenings if activity.kind == kind]


class Desk:
    """A laptop whose saves a server takes, and the `on-update` of that server, in a folder of its own."""

    def __init__(self, place: Path, script: str, *, settings: OnUpdate | None = None) -> None:
        self.place = place
        self.said = 0
        self.laptop = MemoryWorkingCopy("laptop")
        self.world = World(self.laptop)
        self.copy = MemoryWorkingCopy("server")
        self.there = Performer(backend=self.laptop, tree=self.laptop, device=LAPTOP, name="laptop")
        self.here = Performer(backend=self.copy, tree=self.copy, device=SERVER, name="server")
        self.at: Snapshot | None = None
        self._seq = 0
        (place / "work").mkdir(exist_ok=True)
        self.config = settings or OnUpdate(run=("sh", "-c", script), debounce=0.0)

    @property
    def journal(self) -> Journal:
        return Journal(str(self.place), WORKSPACE)

    @asynccontextmanager
    async def agent(self, *, root: str = "") -> AsyncIterator[tuple[Runner, UpdateHook]]:
        """Run the server's agent until its first look is done."""
        (self.place / "workspaces").mkdir(exist_ok=True)
        with ThreadPoolExecutor(1) as local, ThreadPoolExecutor(2) as network:
            runner = Runner(
                workspace="notes",
                settings=SessionSettings(device=SERVER, name="server", mode=Mode.TWO_WAY, max_wait=0.05),
                performer=self.here,
                outside=self.world,
                local=local,
                network=network,
            )
            echoes, journal = Echoes(), self.journal
            hook = UpdateHook(
                runner,
                self.config,
                root=root or str(self.place / "work"),
                source="/config.yaml",
                journal=journal,
                echoes=echoes,
                say=self._say,
                names=lambda: {LAPTOP: "laptop"},
            )
            runner.companions += [HookNews(runner, journal, echoes), hook]
            runner.bind(asyncio.get_running_loop())
            await runner.start()
            assert await runner.until(runner.session.quiet, PATIENCE)
            if self.at is None:  # the laptop goes on from the server's first state
                first = runner.session.current
                assert first is not None
                pack = self.copy.pack(first.id, limit=1 << 20, known=(), reached=())
                self.at = self.laptop.absorb(first.id, pack or b"")
            try:
                yield runner, hook
            finally:
                await runner.stop()

    def _say(self) -> None:
        self.said += 1

    def save(self, runner: Runner, *names: str, content: bytes = b"new\n", echoes: int = 0) -> Snapshot:
        """Save files on the laptop, and let the server hear of it."""
        for name in names:
            self.laptop.user.write(RelPath(name.encode()), content)
        taken = self.there.local(TakeSnapshot(paths=None, current=self.at, above=0))
        assert isinstance(taken, ev.SnapshotTaken)
        assert taken.snapshot is not None
        self.at = taken.snapshot
        self._seq += 1
        said = said_at(self.at, LAPTOP, name="laptop", seq=self._seq, remarks=Remarks(echoes=echoes))
        runner.post(ev.Announced(announcement=said, lane="lan"))
        return self.at

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file that the program has written, beside the folder."""
        file = self.place / name
        return file.read_text().splitlines() if file.exists() else []


PATHS = "printf '%s\\n' \"$(tr '\\0' ' ')\" >>../paths"  # a line at once, or half of one would be read


async def test_own_edits_run_nothing_and_those_of_others_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PATHS)
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a", "b")
        await comes(lambda: desk.lines("paths"))
        desk.copy.user.write(RelPath(b"own"), b"here\n")
        runner.post(ev.PathsChanged(hints=(ev.PathHint(path=RelPath(b"own"), touch=ev.Touch.CLOSED),)))
        await comes(lambda: [a for a in desk.world.happenings if a.kind == "saved" and "own" in a.paths])
        desk.save(runner, "c")
        await comes(lambda: len(desk.lines("paths")) == 2 and hook.state == "idle")
    assert desk.lines("paths") == ["a b ", "c "]
    assert (desk.world.told("hook-failed"), desk.said) == ([], 0)


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (("no-such-program", "-x"), "cannot be run: there is no such program"),
        (("/etc/passwd",), "cannot be run: Permission denied"),
        (("sh", "-c", "x" * 200_000), "cannot be run: Argument list too long"),
    ],
)
async def test_what_cannot_be_run_is_told(tmp_path: Path, run: tuple[str, ...], problem: str) -> None:
    desk = Desk(tmp_path, "", settings=OnUpdate(run=run, debounce=0.0))
    async with desk.agent() as (runner, hook):
        at = desk.save(runner, "a")
        await comes(lambda: hook.state == "failed")
    [text] = desk.world.told("hook-failed")
    assert text.endswith(problem)
    report = desk.journal.memory.report
    assert report is not None
    assert (report.problem, report.causes, report.snapshot, desk.said) == (problem, (LAPTOP,), at.id, 1)
    figures.record("faults injected", 1)


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "true")
    async with desk.agent(root=str(tmp_path / "gone")) as (runner, hook):
        desk.save(runner, "a")
        await comes(lambda: hook.state == "failed")
    assert desk.world.told("hook-failed") == ["server: sh -c true cannot be run: the folder is not there"]


async def test_an_agent_that_stops_ends_the_run_and_the_next_begins_it_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"{PATHS}; [ -e ../go ] || exec sleep 1000")
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a")
        await comes(lambda: desk.lines("paths") and desk.journal.memory.running)
        left = desk.journal.memory.running
        assert left is not None
        assert (hook.state, identify(left.pid)) == ("running", left)
        desk.save(runner, "b")
        await comes(lambda: [a for a in desk.world.happenings if "b" in a.paths])
    assert identify(left.pid) is None
    assert desk.world.told("hook-failed") == []
    (tmp_path / "go").touch()
    async with desk.agent() as (_, hook):
        await comes(lambda: len(desk.lines("paths")) == 2 and hook.state == "idle")
    assert desk.lines("paths") == ["a ", "a b "]
    async with desk.agent() as (_, hook):
        assert hook.state == "idle"
    assert len(desk.lines("paths")) == 2


async def test_one_that_cannot_be_watched_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def no_more_descriptors(pid: int, _flags: int = 0) -> int:
        begun.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", no_more_descriptors)
    desk = Desk(tmp_path, "exec sleep 1000")
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a")
        await comes(lambda: hook.state == "failed")
    [pid] = begun
    assert not await asyncio.to_thread(os.path.exists, f"/proc/{pid}")  # not even as a zombie
    assert desk.world.told("hook-failed") == ["server: sh -c 'exec sleep 1000' cannot be run: Too many open files"]
    figures.record("faults injected", 1)


async def test_what_is_begun_is_remembered_at_once_whatever_else_the_agent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, loop, create = Desk(tmp_path, "exec sleep 1000"), asyncio.get_running_loop(), os.memfd_create
    busy, done, seen = Event(), Event(), list[Identity | None]()

    def be_busy() -> None:
        """Leave the event loop no turn until the journal has it, or until it will not."""
        busy.set()
        with contextlib.suppress(AssertionError):
            until(lambda: desk.journal.memory.running, PATIENCE)
        seen.append(desk.journal.memory.running)
        done.set()

    def create_while_busy(name: str, flags: int) -> int:
        if not busy.is_set():
            loop.call_soon_threadsafe(be_busy)
            busy.wait()
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", create_while_busy)  # what the thread does right before it
    async with desk.agent() as (runner, _):
        desk.save(runner, "a")
        await comes(done.is_set)
        [left] = seen
        assert left is not None
        assert identify(left.pid) == left


async def test_the_paths_of_a_failed_run_are_remembered_over_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"{PATHS}; [ -e ../go ]")
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a")
        await comes(lambda: hook.state == "failed")
    async with desk.agent() as (runner, hook):
        assert hook.state == "failed"
        (tmp_path / "go").touch()
        desk.save(runner, "c")
        await comes(lambda: hook.state == "idle")
    assert desk.lines("paths") == ["a ", "a c "]
    assert len(desk.world.told("hook-recovered")) == 1
    assert desk.said == 2


async def test_many_batches_become_one_run_and_never_two_at_a_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    desk = Desk(tmp_path, f"mkdir ../running || exit 1; {PATHS}; cat ../gate; rmdir ../running")
    async with desk.agent() as (runner, hook):
        desk.save(runner, "0")
        await comes(lambda: desk.lines("paths"))
        for number in range(1, 6):
            desk.save(runner, str(number))
            await comes(
                lambda n=number: [a for a in desk.world.happenings if a.kind == "applied" and str(n) in a.paths]
            )
        await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
        await comes(lambda: len(desk.lines("paths")) == 2)
        await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
        await comes(lambda: hook.state == "idle")
    assert desk.lines("paths") == ["0 ", "1 2 3 4 5 "]
    assert desk.world.told("hook-failed") == []


async def test_an_echo_of_echoes_is_not_run_for_until_a_person_changes_something(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PATHS)
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a", echoes=ECHOES)
        await comes(lambda: hook.state == "halted")
        assert desk.lines("paths") == []
        [text] = desk.world.told("hook-failed")
        assert "is not run any more: 8 runs in a row were each caused by what the one before" in text
        desk.save(runner, "b", echoes=ECHOES)
        await comes(lambda: [a for a in desk.world.happenings if a.kind == "applied" and "b" in a.paths])
        desk.save(runner, "c")
        await comes(lambda: hook.state == "idle")
    assert desk.lines("paths") == ["a b c "]
    assert len(desk.world.told("hook-failed")) == 1
    assert len(desk.world.told("hook-recovered")) == 1


async def test_a_journal_that_cannot_be_used_or_written_keeps_nothing_from_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    desk = Desk(tmp_path, PATHS)
    (tmp_path / "workspaces").mkdir()
    file = tmp_path / "workspaces" / f"{WORKSPACE}.on-update.json"
    contents = (b"", b'{"schema":1,"memory":[]}', b"[" * 100_000, b'{"schema":2,"memory":{}}')
    for content in contents:
        file.write_bytes(content)
        assert desk.journal.memory == Memory()
    file.unlink()
    file.mkdir()
    async with desk.agent() as (runner, hook):
        desk.save(runner, "a")
        await comes(lambda: desk.lines("paths") and hook.state == "idle")
    assert sum("cannot be used" in r.message or "not used" in r.message for r in caplog.records) == len(contents) + 1, (
        caplog.text
    )
    assert any("cannot be written" in r.message for r in caplog.records)
    # Of what is not known any more it is run for everything.
    file.rmdir()
    file.write_bytes(b"\0" * 100)
    async with desk.agent() as (_, hook):
        await comes(lambda: len(desk.lines("paths")) == 2 and hook.state == "idle")
    assert desk.lines("paths") == ["a ", "a "]
    figures.record("bad inputs refused", len(contents))


# -- what is heard of others ------------------------------------------------------------------------


def report(at_ms: int, problem: str = "failed with exit code 2", causes: Sequence[DeviceId] = (SERVER,)) -> HookReport:
    return HookReport(at_ms=at_ms, command="make", problem=problem, line="no" if problem else "", causes=tuple(causes))


async def test_a_failure_is_told_once_to_its_cause_and_its_end_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "true")
    async with desk.agent() as (runner, _):
        failed, recovered = [], []
        for said in (
            report(1, "", []),  # nothing was ever wrong
            report(2, causes=[LAPTOP]),  # not our doing
            report(3),
            report(3),
            report(4),
            report(5, ""),
            report(6, ""),
            None,
        ):
            assert runner.session.current is not None
            announcement = said_at(runner.session.current, LAPTOP, name="laptop", remarks=Remarks(hook=said))
            HookNews(runner, desk.journal, Echoes()).happened(ev.Announced(announcement=announcement, lane="lan"))
            failed.append(len(desk.world.told("hook-failed")))
            recovered.append(len(desk.world.told("hook-recovered")))
    assert failed == [0, 0, 1, 1, 2, 2, 2, 2]
    assert recovered == [0, 0, 0, 0, 0, 1, 1, 1]
    assert desk.world.told("hook-failed")[0] == "laptop: make failed with exit code 2\nno"


# -- the configuration --------------------------------------------------------------------------------


def read(*lines: str) -> OnUpdate | None:
    text = "paths:\n- path: /a\n  workspace: a\n  key-file: /k\n" + "".join(f"  {line}\n" for line in lines)
    return parse(text, "/c", {"HOME": "/home/you"}).paths[0].on_update


def test_both_forms_are_read() -> None:
    assert read() is None
    assert read("on-update: [make, restart]") == OnUpdate(run=("make", "restart"), debounce=1.0, time_limit=300.0)
    assert read("on-update: {run: [~/bin/x, ~/y], debounce: 0, time-limit: 1h}") == OnUpdate(
        run=("/home/you/bin/x", "~/y"), debounce=0.0, time_limit=3600.0
    )


@pytest.mark.parametrize(
    ("lines", "title", "hint"),
    [
        (["on-update: make restart"], "must be a program and its arguments; no shell reads it", "[make, restart]"),
        (["on-update: []"], "must begin with a program", "[make, restart]"),
        (["on-update: {run: []}"], "on-update.run: must begin with a program", "[make, restart]"),
        (["on-update: {debounce: 2s}"], 'the key "run" is missing', "run: [make, restart]"),
        (["on-update: {run: [a], tiem-limit: 3}"], "unknown key", "time-limit"),
        (["on-update: {run: [a], time-limit: 0}"], "must be between 1 and 86400 seconds", "range"),
        (["on-update: [a]", "mode: store"], "is never run with `mode: store`", "where the files of others arrive"),
        (["on-update: [a]", "mode: send"], "is never run with `mode: send`", "where the files of others arrive"),
        (
            ["on-update: [a]", "backend: command", "commands: {commit: [x]}"],
            "is not run with `backend: command`",
            "a step of `pull`",
        ),
    ],
)
def test_mistakes_are_told_with_the_way_out(lines: list[str], title: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(*lines)
    assert caught.value.title.startswith("/c, line 5: paths[0].on-update")
    assert title in caught.value.title
    assert hint in caught.value.hint
    figures.record("bad inputs refused", 1)


def test_a_program_that_is_not_there_is_found_by_check(tmp_path: Path) -> None:
    path = PathConfig(path=str(tmp_path), workspace="notes", key_file="/k")
    deploy = tmp_path / "deploy"
    deploy.touch(0o700)
    for run in ((), ("sh", "-c", "true"), ("./deploy",), (str(deploy),)):
        assert not list(check_on_update(replace(path, on_update=OnUpdate(run=run) if run else None)))
    [finding] = check_on_update(replace(path, on_update=OnUpdate(run=("no-such-program",))))
    assert finding == Finding(
        Level.FAIL,
        "notes",
        f"{tmp_path}: there is no program no-such-program",
        "Install it, or correct `on-update`.",
    )


def test_a_file_that_travels_with_the_content_says_nothing_of_what_is_run() -> None:
    for text in ("on-update: [rm, -rf, /]", "presence: false"):
        with pytest.raises(ConfigError, match="is not allowed in this file, which travels with the working copy"):
            read_overrides(text, "/w/.autosync")
