"""Waits for what other processes do, of which no event tells."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autosync.errors import Busy

PATIENCE = 60.0
"""Seconds after which it is taken for not happening."""
_FIRST, _SHARE, _LONGEST = 0.01, 0.1, 0.1
"""Seconds between two looks: a share of what was waited already, so that waiting leaves the processor to what is
waited for, and tells of it hardly later."""


def until(condition: Callable[[], object], seconds: float = PATIENCE, *, why: Callable[[], object] = str) -> None:
    """Return as soon as ``condition()`` is true; fail with ``why()`` after ``seconds``."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds} s: {why()}")
        time.sleep(min(max(_FIRST, waited * _SHARE), _LONGEST))


def persistently(deed: Callable[[], object]) -> None:
    """Do it as a session does: again, as long as somebody else is at it."""
    done = False

    def is_done() -> bool:
        nonlocal done
        with suppress(Busy):
            deed()
            done = True
        return done

    until(is_done)


def freeze(pid: int) -> None:
    """Let a process stand still; return when it does: some of its threads run on for a moment after the signal."""
    os.kill(pid, signal.SIGSTOP)
    stand_still(pid)


def stand_still(pid: int) -> None:
    """Wait until a process that was sent the signal to stop stands still; fail if it has ended."""
    until(lambda: {_state(thread) for thread in Path(f"/proc/{pid}/task").iterdir()} <= {"T", ""})


def _state(thread: Path) -> str:
    """Return the letter for what a thread is doing, nothing if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (thread / "stat").read_text().rpartition(") ")[2][0]
    return ""
