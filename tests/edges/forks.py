"""Runs one job in forked children, once for each point at which it may be disturbed."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.edges.faults import ERRORS, Fault, Kill

T = TypeVar("T")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)

BASIC = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)
"""What every call that can fail so is tried with; the other errors are spread over the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended: what it returned, or the text of what it raised, or that it was killed."""

    result: object = None
    error: str = ""
    killed: bool = False


def alone(do: Callable[[], object]) -> Ended:
    """Run ``do`` in a fork of this process and wait for it."""
    mine, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        _run(do, theirs)
    os.close(theirs)
    with os.fdopen(mine, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
        return Ended(killed=True)
    return pickle.loads(answer)  # noqa: S301  # type: ignore[no-any-return]  # what _run wrote


def with_offspring(do: Callable[[], object]) -> Ended:
    """As :func:`alone`, and wait for all that ``do`` has started: killed, it leaves git processes that go on.

    Only for a process that has no other children.
    """
    library = ctypes.CDLL(None)
    library.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        ended = alone(do)
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return ended
    finally:  # or what later tests let go of would be taken for theirs
        library.prctl(_SUBREAPER, 0, 0, 0, 0)


def _run(do: Callable[[], object], answers: int) -> None:
    write, end = os.write, os._exit  # the real ones, whatever ``do`` puts in their place
    sys.settrace(None)  # what is covered here is never saved, and measuring it takes longer than the work
    threading.settrace(None)  # type: ignore[arg-type]  # as documented
    try:
        ended = Ended(result=do())
    except BaseException:
        ended = Ended(error=traceback.format_exc())
    try:
        content = pickle.dumps(ended)
        while content:
            content = content[write(answers, content) :]
    finally:  # else the child would go on as a second test runner
        end(0)


def fault_points(calls: Sequence[str]) -> Iterator[Fault]:
    """Yield the faults to try: each basic error at each call that can have it, one of the others at each."""
    for number, name in enumerate(calls, start=1):
        possible = sorted(ERRORS[name])
        rare = [error for error in possible if error not in BASIC]
        for error in possible:
            if error in BASIC or error == rare[number % len(rare)]:
                yield Fault(number, error)
        yield Fault(number, possible[number % len(possible)], lasting=True)


def kill_points(calls: Sequence[str]) -> Iterator[Kill]:
    """Yield a kill before and after each call."""
    for number in range(1, len(calls) + 1):
        yield Kill(number, after=False)
        yield Kill(number, after=True)


def spread(points: Sequence[T], count: int, *, seed: int) -> list[T]:
    """Return ``count`` of the points, evenly spread, each anywhere in its stretch; all if there are not more."""
    if count >= len(points):
        return list(points)
    chance = random.Random(seed)
    step = len(points) / count
    return [points[min(len(points) - 1, int((n + chance.random()) * step))] for n in range(count)]


def side_by_side(points: Sequence[T], attempt: Callable[[int, T], str | None]) -> list[str]:
    """Try all points in two processes; return what went wrong, in words.

    ``attempt`` is given the number of the process, for a place of its own, and the point.
    """
    parts = [points[0::2], points[1::2]]
    pids = []
    readers = []
    for number, part in enumerate(parts):
        mine, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(mine)
            _run(lambda n=number, p=part: [w for point in p if (w := _tried(attempt, n, point))], theirs)  # type: ignore[misc]
        os.close(theirs)
        pids.append(pid)
        readers.append(mine)
    wrong: list[str] = []
    for pid, reader in zip(pids, readers, strict=True):
        with os.fdopen(reader, "rb") as answers:
            answer = answers.read()
        os.waitpid(pid, 0)
        assert answer, "a process that tried points ended without an answer"
        ended: Ended = pickle.loads(answer)  # noqa: S301  # what _run wrote
        assert not ended.error, ended.error
        wrong += ended.result  # type: ignore[arg-type]  # a list of texts, see above
    return wrong


def _tried(attempt: Callable[[int, T], str | None], number: int, point: T) -> str | None:
    try:
        found = attempt(number, point)
    except Exception:
        found = traceback.format_exc()
    return f"{point}: {found}" if found else None
