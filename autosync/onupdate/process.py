"""Runs one program to its end, for no longer than it may take, and keeps of its output what can be shown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autosync.core.remarks import printable

FIRST_LINES, LAST_LINES = 10, 30
"""Lines of the output that are kept, from its beginning and its end."""
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
LEFT_OPEN = 16
"""Outputs that are read on because something in the background still has them."""
_LONGEST_LINE = 64 * 1024
_PIECE = 64 * 1024
_LAST_PIECES = 16
"""Pieces that are read once a program has ended: more than a pipe holds, and not all that something it left prints."""
_LOOK_EVERY = 0.05
_DEAD = (b"Z", b"X")
"""States of a process that has ended."""


class Output:
    """What a program prints: its first lines and its last ones, without what steers a terminal."""

    def __init__(self) -> None:
        self._first: list[bytes] = []
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._count = 0
        self._begun = b""

    def add(self, piece: bytes) -> None:
        """Take the next bytes, as they are: of what is printed fast nearly nothing is ever shown."""
        *lines, self._begun = (self._begun + piece).split(b"\n")
        self._take([line for line in lines if line.strip()])
        if len(self._begun) > _LONGEST_LINE:
            self._begun = self._begun[:_LONGEST_LINE]

    def lines(self) -> list[str]:
        """Return what is kept, and how much is not."""
        if self._begun.strip():
            self._take([self._begun])
        self._begun = b""
        left_out = self._count - len(self._first) - len(self._last)
        between = [f"({left_out} lines left out)"] if left_out else []
        return [line for line in (*map(_seen, self._first), *between, *map(_seen, self._last)) if line]

    def _take(self, lines: Sequence[bytes]) -> None:
        room = FIRST_LINES - len(self._first)
        self._first += lines[:room]
        self._last += lines[room:]
        self._count += len(lines)


def _seen(raw: bytes) -> str:
    # What a carriage return has overwritten, as a progress bar does, nobody sees.
    return printable(raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: ``problem`` says what went wrong, empty after exit code 0."""

    problem: str
    lines: Sequence[str] = ()
    stopped: bool = False
    """Whether it was ended because the agent stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One process among all that ever have its number: when it was started, in clock ticks since which boot."""

    pid: int
    ticks: int
    boot: str


class Program:
    """One program and what it starts, in a session of its own; it has no terminal.

    Use it in one event loop.  Raises :class:`OSError` if it cannot be watched: then :func:`abandon` it.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101  # a pipe
        self._end = os.pidfd_open(process.pid)
        self._process = process
        self._stdout = process.stdout
        self._loop = asyncio.get_running_loop()
        self._output = Output()
        self._waited = False
        """Whether how it ended was returned: what comes now is nobody's."""
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(self._stdout.fileno(), False)
        self._loop.add_reader(self._stdout.fileno(), self._read)
        self._loop.add_reader(self._end, self._has_ended)

    def stop(self) -> None:
        """End it, as when its time is over."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def wait(self, seconds: float) -> Ended:
        """Return how it ended; after ``seconds`` it is ended, with all that it has started and that is in its group."""
        await asyncio.wait({self._over, self._stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        in_time = self._over.done()
        if not in_time:
            await end_group(self._process.pid, self._over)
        for _ in range(_LAST_PIECES):
            if not self._read():
                break
        self._waited = True
        lines = self._output.lines()
        if not self._over.done():  # the kernel does not let it end, as in a system call on a dead disk
            return Ended(problem="could not be ended", lines=lines, stopped=self._stopping.done())
        code = self._process.wait()  # only now: until then nobody else can get its number
        if in_time:
            return Ended(problem=_problem(code), lines=lines)
        if self._stopping.done():
            return Ended(problem="was ended, because the agent stops", lines=lines, stopped=True)
        return Ended(problem=f"was ended: it took longer than {_shown(seconds)}", lines=lines)

    @property
    def has_output(self) -> bool:
        """Whether something that it left running may still print."""
        return not self._stdout.closed

    def close(self) -> None:
        """Read no more of what it left running."""
        if not self._stdout.closed:
            self._loop.remove_reader(self._stdout.fileno())
            self._stdout.close()

    def _read(self) -> bool:
        """Take a piece of what there is, and return whether there was any.

        What is printed after the end is read for the sake of who prints it.  It is one piece at a time: who prints as
        fast as we read would hold up everything else.
        """
        if self._stdout.closed:
            return False
        try:
            piece = os.read(self._stdout.fileno(), _PIECE)
        except BlockingIOError:
            return False
        if not piece:
            self.close()
        elif not self._waited:
            self._output.add(piece)
        return bool(piece)

    def _has_ended(self) -> None:
        self._loop.remove_reader(self._end)
        os.close(self._end)
        self._over.set_result(None)
        if self._waited:  # that it could not be ended is told already
            self._process.wait()


def start(
    argv: Sequence[str], *, directory: str, environment: Mapping[str, str], given: bytes
) -> subprocess.Popen[bytes]:
    """Start a program that reads ``given``.  Raises :class:`OSError`.

    What is given lies in memory: whoever does not read it holds up nobody.
    """
    stdin = os.memfd_create("on-update", os.MFD_CLOEXEC)
    try:
        with open(stdin, "wb", closefd=False) as file:
            file.write(given)
        os.lseek(stdin, 0, os.SEEK_SET)
        return subprocess.Popen(
            argv,
            cwd=directory,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group to be ended as one, and no terminal to ask on
        )
    finally:
        os.close(stdin)


def abandon(process: subprocess.Popen[bytes]) -> None:
    """End at once what :func:`start` has started, and wait for that."""
    os.killpg(process.pid, signal.SIGKILL)  # it is there until it is waited for
    if process.stdout is not None:
        process.stdout.close()
    process.wait()


async def end_group(leader: int, over: asyncio.Future[None]) -> None:
    """End all processes in the group of ``leader``; ``over`` is done when that one has ended."""
    loop = asyncio.get_running_loop()
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, how)
        deadline = loop.time() + GRACE
        while loop.time() < deadline and not (over.done() and not _has_members(leader)):
            await asyncio.wait({over}, timeout=_LOOK_EVERY)
            if over.done():
                await asyncio.sleep(_LOOK_EVERY)


def _has_members(group: int) -> bool:
    """Return whether a living process is in the process group."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) and int(fields[2]) == group and fields[0] not in _DEAD:
            return True
    return False


def identify(pid: int) -> Identity | None:
    """Return which process has the number ``pid`` now, ``None`` if none or a dead one (proc_pid_stat(5))."""
    fields = _stat(pid)
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        return None
    return Identity(pid=pid, ticks=int(fields[19]), boot=boot) if fields and fields[0] not in _DEAD else None


def _stat(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) from the third, the state, on; none if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


async def end_left_over(left: Identity) -> bool:
    """End what a killed agent has left running; return whether there was something."""
    if identify(left.pid) != left:
        return False
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    try:
        ended = os.pidfd_open(left.pid)
    except ProcessLookupError:
        return False

    def has_ended() -> None:
        if not over.done():
            over.set_result(None)

    loop.add_reader(ended, has_ended)
    try:
        await end_group(left.pid, over)
    finally:
        loop.remove_reader(ended)
        os.close(ended)
    return True


def _problem(code: int) -> str:
    if code < 0:
        names = {known.value: known.name for known in signal.Signals}
        return f"was ended by {names.get(-code, f'signal {-code}')}"
    return f"failed with exit code {code}" if code else ""


def _shown(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
