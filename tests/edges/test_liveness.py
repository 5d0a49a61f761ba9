"""Threads that work, that work for long, and that will never come back."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from autosync.systemd.liveness import Pulse, work_done
from tests.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(executor: ThreadPoolExecutor, clock: Clock) -> Pulse:
    return Pulse(partial(executor.submit, threading.get_native_id), stuck=10, now=clock)


def flush(executor: ThreadPoolExecutor) -> None:
    executor.submit(int).result(10)


def test_a_thread_with_nothing_to_do_lives_however_long(
    executor: ThreadPoolExecutor, pulse: Pulse, clock: Clock
) -> None:
    for _ in range(3):
        assert pulse.lives()
        flush(executor)
        clock.now += 1000


def test_a_thread_that_waits_for_ever_is_found_out_and_may_come_back(
    executor: ThreadPoolExecutor, pulse: Pulse, clock: Clock
) -> None:
    assert pulse.lives()
    flush(executor)
    go_on = threading.Event()
    waiting = threading.Event()
    executor.submit(lambda: (waiting.set(), go_on.wait(30)))
    assert waiting.wait(10)
    for _ in range(3):  # the turn is asked for, then the work is looked at
        pulse.lives()
    clock.now += 9
    assert pulse.lives()
    clock.now += 2
    assert (pulse.lives(), pulse.stands_still()) == (False, 11)
    go_on.set()
    flush(executor)
    assert pulse.lives()


def test_a_thread_that_computes_lives(executor: ThreadPoolExecutor, pulse: Pulse, clock: Clock) -> None:
    assert pulse.lives()
    flush(executor)
    enough = threading.Event()
    executor.submit(lambda: [sum(range(1000)) for _ in iter(enough.is_set, True)])
    pulse.lives()
    pulse.lives()
    for _ in range(3):
        clock.now += 1000
        until(lambda: pulse.stands_still() == 0)
    enough.set()


def test_a_thread_whose_program_works_lives(executor: ThreadPoolExecutor, pulse: Pulse, clock: Clock) -> None:
    """A step is often one of git's."""
    program = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    waiting = executor.submit(program.wait, 60)
    pulse.lives()
    pulse.lives()
    clock.now += 1000
    until(lambda: pulse.stands_still() == 0)
    program.kill()
    waiting.result(10)


def test_a_program_that_sleeps_and_a_tunnel_that_chatters_are_no_work() -> None:
    with subprocess.Popen(["sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as sleeping:
        assert sleeping.stdout is not None
        sleeping.stdout.readline()
        last = -1

        def rests() -> bool:
            nonlocal last
            before, last = last, work_done(None)
            return before == last

        until(rests)
        tunnel = subprocess.Popen(["sh", "-c", "printf ssh >/proc/$$/comm; while :; do :; done"])
        until(lambda: Path(f"/proc/{tunnel.pid}/comm").read_text() == "ssh\n")
        until(rests)
        before = Path(f"/proc/{tunnel.pid}/stat").read_text().split()[13]
        until(lambda: Path(f"/proc/{tunnel.pid}/stat").read_text().split()[13] != before)
        assert work_done(None) == last
        tunnel.kill()
        tunnel.wait()
        sleeping.kill()
