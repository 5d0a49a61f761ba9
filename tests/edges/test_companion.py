"""The process beside the agent: started again when it ends, ended with the agent, whatever ends that."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from autosync import companion
from autosync.companion import Companion, desktop_command, has_session_bus
from autosync.systemd.liveness import Pulse
from tests.waiting import until

COUNTS = "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT), b'x')"
STAYS = f"{COUNTS}; sys.stdin.read(); os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND), b'.')"


def written(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _is_other(file: Path, before: str) -> bool:
    return written(file) not in ("", before)


async def seen(file: Path, text: str) -> None:
    """Wait until this was written."""
    await asyncio.to_thread(until, lambda: written(file) == text)


async def test_it_is_started_again_and_less_often_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(companion, "AGAIN_FIRST", 0.01)
    file = tmp_path / "file"
    beside = Companion([sys.executable, "-c", COUNTS, str(file)])
    with caplog.at_level("INFO"):
        beside.start()
        await asyncio.to_thread(until, lambda: len(written(file)) >= 4)
        await beside.stop()
    pauses = [record.args[1] for record in caplog.records if record.args]
    assert pauses[:3] == [0.01, 0.02, 0.04]


async def test_what_cannot_be_started_is_told_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside = Companion([str(tmp_path / "missing")])
    beside.start()
    await asyncio.to_thread(until, lambda: "cannot be started: No such file" in caplog.text)
    await beside.stop()
    await Companion(["never started"]).stop()


async def test_it_ends_with_the_agent(tmp_path: Path) -> None:
    file = tmp_path / "file"
    beside = Companion([sys.executable, "-c", STAYS, str(file)])
    beside.start()
    await seen(file, "x")
    await beside.stop()
    ignores = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    stubborn = Companion([sys.executable, "-c", ignores + STAYS + "; signal.pause()", str(file)])
    stubborn.start()
    await seen(file, "xx")
    await stubborn.stop()


async def test_what_it_does_is_no_sign_of_life_of_a_step(tmp_path: Path) -> None:
    """It and what it starts move all the time, whatever the agent does."""
    file, going, now, go_on = tmp_path / "file", tmp_path / "going", 0.0, threading.Event()
    going.touch()
    beside = Companion(["sh", "-c", f"sh -c 'n=0; while [ -e {going} ]; do n=$((n+1)); echo $n >{file}; done'; :"])
    beside.start()
    await asyncio.to_thread(until, lambda: written(file))
    with ThreadPoolExecutor(1) as local:
        pulse = Pulse(lambda: local.submit(threading.get_native_id), stuck=10, now=lambda: now)
        assert pulse.lives()
        local.submit(go_on.wait, 60)
        local.submit(int)
        pulse.lives()
        pulse.lives()  # of its turn, which it does not take
        for _ in range(5):
            await asyncio.to_thread(until, partial(_is_other, file, written(file)))
            now += 4
            lives = pulse.lives()
        go_on.set()
    going.unlink()  # what it has started does not end with it
    await beside.stop()
    assert not lives


def test_it_ends_when_the_agent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    agent = (
        "import asyncio, sys\nfrom autosync.companion import Companion\n"
        "async def run():\n    Companion([sys.executable, '-c', sys.argv[1], sys.argv[2]]).start()\n"
        "    await asyncio.Event().wait()\nasyncio.run(run())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", agent, STAYS, str(file)])
    until(lambda: written(file) == "x")
    process.kill()
    process.wait(10)
    until(lambda: written(file) == "x.")


def test_a_session_is_told_by_its_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert not has_session_bus()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert not has_session_bus()
    os.mkfifo(tmp_path / "bus")
    assert has_session_bus()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
    assert has_session_bus()
    assert desktop_command("/c")[-4:] == ["--config", "/c", "desktop", "--beside"]
