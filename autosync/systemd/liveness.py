"""Tells a thread that works, if slowly, from one that will never come back."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

STUCK = 300.0
"""Seconds for which a step may stand still, taking no processor and moving no byte, before it counts as stuck."""
_TUNNELS = frozenset({"ssh"})
"""Programs whose own chatter says nothing of a step's."""
_apart: set[int] = set()
"""Process ids of programs that are no part of any step; of the event loop's thread alone."""


class Pulse:
    """Whether one thread lives: it takes turns, or what it does gets on.

    ``ask`` asks it for a turn and returns what is done then, with the thread's native id.  ``stuck`` is in seconds.
    """

    def __init__(
        self, ask: Callable[[], Future[int]], *, stuck: float = STUCK, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._stuck = stuck
        self._now = now
        self._turn: Future[int] | None = None
        self._thread: int | None = None
        self._work = -1
        self._moved_at = now()

    def stands_still(self) -> float:
        """Return for how many seconds nothing was seen to move, 0 if something was since the last look."""
        if self._turn is None or self._turn.done():
            if self._turn is not None:
                self._thread = self._turn.result()
            self._turn = self._ask()
            self._work, self._moved_at = -1, self._now()
            return 0.0
        work = work_done(self._thread)
        if work != self._work:
            self._work, self._moved_at = work, self._now()
        return self._now() - self._moved_at

    def lives(self) -> bool:
        """Return whether there is evidence enough that it goes on."""
        return self.stands_still() < self._stuck


@contextlib.contextmanager
def apart(pid: int) -> Iterator[None]:
    """Have the work of a program that this process has started, and of all that it starts, count for nothing."""
    _apart.add(pid)
    try:
        yield
    finally:
        _apart.discard(pid)


def work_done(thread: int | None) -> int:
    """Return a sum that grows as this thread, or a program that this process has started, works (proc(5)).

    Processor time counts and, of the programs, what they read and wrote.
    """
    own = 0 if thread is None else _ticks(f"/proc/self/task/{thread}/stat")
    return own + sum(_ticks(f"/proc/{pid}/stat") + _moved(pid) for pid in _descendants(os.getpid()))


def _descendants(pid: int) -> Iterable[int]:
    for child in _children(pid):
        if child not in _apart and _text(f"/proc/{child}/comm").strip() not in _TUNNELS:
            yield child
            yield from _descendants(child)


def _children(pid: int) -> Iterable[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return
    for thread in threads:
        yield from map(int, _text(f"/proc/{pid}/task/{thread}/children").split())


def _ticks(stat: str) -> int:
    # The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
    fields = _text(stat).rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def _moved(pid: int) -> int:
    lines = dict(line.split(": ") for line in _text(f"/proc/{pid}/io").splitlines())
    return int(lines.get("rchar", 0)) + int(lines.get("wchar", 0))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # it has ended
        return ""
