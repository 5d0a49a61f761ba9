"""Runs one command of another version control, for no longer than it may take."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO

from autosync.core.commanded.commands import Step
from autosync.core.settings import Halt

log = logging.getLogger(__name__)

KEPT = 64 * 1024
"""Bytes of a command's output that are kept, from its end."""
SHOWN = 300
"""Characters of a command's output that are shown."""
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_AGAIN = "it is tried again by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended: ``problem`` says what went wrong, ``None`` after exit code 0."""

    code: int | None
    out: bytes
    err: bytes = b""
    problem: Halt | None

    def is_dirty(self) -> bool | None:
        """Return whether this, of `status`, says that there is something to commit; ``None`` if it failed.

        diff(1) exits with 1 for that, but so do many programs for an error, which they tell on standard error.
        """
        if self.code == 0 or (self.code == 1 and (self.out.strip() or not self.err.strip())):
            return self.code == 1 or bool(self.out.strip())
        return None


class StepRunner:
    """Runs commands in the directory ``root``, one at a time, each for ``time_limit`` seconds at most.

    They have no terminal and no input to wait for.  :meth:`stop` may be called from any thread.
    """

    def __init__(self, root: bytes, time_limit: float) -> None:
        self._root = root
        self._limit = time_limit
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        """Release what is held; nothing may run any more."""
        os.close(self._wake)

    def stop(self) -> None:
        """End the command that runs, and every one that is to come."""
        os.eventfd_write(self._wake, 1)

    def run(self, step: Step) -> Ran:
        """Run ``step`` and return how it ended; what it printed is in the log."""
        program, may_fail = step[0].removeprefix("-"), step[0].startswith("-")
        shown = shlex.join([program, *step[1:]])
        ran = self._run((program, *step[1:]), shown)
        if ran.problem is None:
            log.debug("%s: %s", shown, ran.out.decode("utf-8", "backslashreplace").strip())
        elif may_fail and ran.code is not None:
            log.debug("%s: %s", shown, ran.problem.title)
            return Ran(code=0, out=ran.out, problem=None)
        else:
            log.warning("%s", ran.problem.title)
        return ran

    def _run(self, step: Step, shown: str) -> Ran:
        line = " ".join(shown.split())
        short = line if len(line) <= SHOWN else line[:SHOWN] + "…"
        root = os.fsdecode(self._root)
        try:
            process = subprocess.Popen(
                step,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a group to be ended as one, and no terminal to ask on
            )
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) and os.path.isdir(self._root)
            what = "there is no such program" if missing else error.strerror
            title = f"`{short}` in {root} cannot be run: {what}"
            return Ran(
                code=None, out=b"", problem=Halt(title=title, hint=f"install it or correct `commands`; {_AGAIN}")
            )
        with process:
            out, err, ended = self._follow(process)
        if not ended:
            title = f"`{short}` in {root} was ended: it took longer than {self._limit:g} s"
            return Ran(code=None, out=out, problem=Halt(title=title, hint=f"it must not ask anything; {_AGAIN}"))
        code = process.returncode
        if code == 0:
            return Ran(code=0, out=out, problem=None)
        how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
        said = " ".join((err.strip() or out.strip()).decode("utf-8", "backslashreplace").split())[-SHOWN:]
        title = f"`{short}` in {root} failed with {how}{': ' if said else ''}{said}"
        return Ran(code=code, out=out, err=err, problem=Halt(title=title, hint=f"run it by hand to see why; {_AGAIN}"))

    def _follow(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, bool]:
        """Return what the process printed, and whether it ended by itself in time.

        What it leaves running in the background may hold its output open: only the process itself is waited for.
        """
        assert process.stdout is not None  # noqa: S101  # both are pipes
        assert process.stderr is not None  # noqa: S101
        texts: dict[IO[bytes], bytes] = {process.stdout: b"", process.stderr: b""}
        ended = os.pidfd_open(process.pid)
        deadline = time.monotonic() + self._limit
        try:
            with selectors.DefaultSelector() as waiting:
                for stream in texts:
                    os.set_blocking(stream.fileno(), False)
                    waiting.register(stream, selectors.EVENT_READ)
                waiting.register(ended, selectors.EVENT_READ)
                waiting.register(self._wake, selectors.EVENT_READ)
                while (left := deadline - time.monotonic()) > 0:
                    ready = {key.fileobj for key, _ in waiting.select(left)}
                    for stream in [s for s in texts if s in ready]:
                        if not _drain(stream, texts):
                            waiting.unregister(stream)
                    if ended in ready:
                        for stream in texts:
                            _drain(stream, texts)
                        return texts[process.stdout], texts[process.stderr], True
                    if self._wake in ready:
                        break
            _end(process, ended)
        finally:
            os.close(ended)
        return texts[process.stdout], texts[process.stderr], False


def _drain(stream: IO[bytes], texts: dict[IO[bytes], bytes]) -> bool:
    """Take what there is to read; return whether more may come."""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(stream.fileno(), KEPT):
            texts[stream] = (texts[stream] + piece)[-KEPT:]
        return False
    return True


def _end(process: subprocess.Popen[bytes], ended: int) -> None:
    """End the process and all that it started and that has not left its group."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(ended, selectors.EVENT_READ)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        waiting.select(GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        waiting.select()
