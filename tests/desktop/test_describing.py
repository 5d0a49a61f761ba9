"""The window in which a commit is described: where it is shown, when it cannot be, and that it ends with the agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autosync.desktop.describing import Describing
from autosync.desktop.launching import with_display
from autosync.errors import AutosyncError
from tests import figures
from tests.desktop.screen import Screen
from tests.desktop.scripted import ScriptedAgent, status
from tests.waiting import until

TITLE = "notes: describe the last commit"
(GDK,) = Path("/usr/lib").glob("*/girepository-1.0/Gdk-3.0.typelib")


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    with Screen(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(tmp_path / "state", status(tmp_path)) as agent:
        agent.answer = lambda _command, _arguments: {"commit": "c", "message": "m", "workspace": "notes"}
        yield agent


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that are found first, for a process without a display."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def windows(screen: Screen) -> list[str]:
    return screen.run("xdotool", "search", "--name", TITLE).stdout.split()


def test_a_newer_gdk_beside_it_is_not_taken(tmp_path: Path, screen: Screen) -> None:
    shutil.copy(GDK, tmp_path / "Gdk-4.0.typelib")
    command = [sys.executable, "-P", "-m", "autosync.desktop.window"]
    environment = {**screen.environment, "GI_TYPELIB_PATH": str(tmp_path)}
    said = tmp_path / "said"
    with (
        said.open("wb") as file,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=file, env=environment) as window,
    ):
        assert window.stdin is not None
        window.stdin.write(json.dumps({"title": TITLE, "text": "m", "problem": ""}).encode())
        window.stdin.close()
        until(lambda: window.poll() is not None or windows(screen))
        assert window.poll() is None
        window.terminate()
    assert "Gdk was imported without specifying a version" not in said.read_text()


def test_a_service_shows_it_where_the_session_is_and_takes_it_away(
    tmp_path: Path, screen: Screen, agent: ScriptedAgent, programs: Path
) -> None:
    write(programs / "systemctl", f"echo LANG=C; echo DISPLAY={screen.environment['DISPLAY']}")
    describing = Describing(str(agent.state))
    asking = threading.Thread(target=describing.describe, args=(str(tmp_path), "c"))
    asking.start()
    until(lambda: not asking.is_alive() or windows(screen))
    assert asking.is_alive()
    describing.stop()
    asking.join(20)
    assert not asking.is_alive()
    until(lambda: not windows(screen))
    assert agent.asked[-1] == ("describe", {"path": str(tmp_path), "hold": 0})
    describing.describe(str(tmp_path), "c")  # too late: it returns at once


@pytest.mark.parametrize(
    "failure",
    [
        ("echo 'Gtk-WARNING: cannot open display: ' >&2; exit 1", "Gtk-WARNING: cannot open display:"),
        ("echo 'symbol lookup error' >&2; exit 127", "symbol lookup error"),
        ("exit 255", "it ended with 255"),
    ],
)
def test_another_window_that_fails_is_no_answer(
    tmp_path: Path, agent: ScriptedAgent, programs: Path, monkeypatch: pytest.MonkeyPatch, failure: tuple[str, str]
) -> None:
    write(programs / "systemctl", "exit 1")
    zenity, words = failure
    write(programs / "zenity", zenity)
    shutil.copy(GDK, tmp_path / "Gtk-3.0.typelib")  # which is none
    monkeypatch.setenv("GI_TYPELIB_PATH", str(tmp_path))
    with pytest.raises(AutosyncError) as caught:
        Describing(str(agent.state)).describe(str(tmp_path), "c")
    assert caught.value.title == f"No window can be shown to describe the commit: {words}"
    write(programs / "zenity", "exit 1")
    Describing(str(agent.state)).describe(str(tmp_path), "c")
    figures.record("faults injected", 1)


def test_without_any_display_it_is_told(tmp_path: Path, agent: ScriptedAgent, programs: Path) -> None:
    write(programs / "systemctl", "exit 1")
    write(programs / "zenity", "touch $0.started")
    with pytest.raises(AutosyncError, match="No window can be shown to describe the commit: no display was found"):
        Describing(str(agent.state)).describe(str(tmp_path), "c")
    assert not (programs / "zenity.started").exists()


def test_the_display_is_asked_for_only_where_there_is_none(programs: Path) -> None:
    write(programs / "systemctl", r"""printf '%s\n' DISPLAY=:7 "XAUTHORITY=\$'/a b/it\\'s'" PATH=/x""")
    environ: dict[str, Any] = {"PATH": os.environ["PATH"]}
    assert with_display(environ) == {**environ, "DISPLAY": ":7", "XAUTHORITY": "/a b/it's"}
    assert with_display({**environ, "WAYLAND_DISPLAY": "w"}) == {**environ, "WAYLAND_DISPLAY": "w"}
    assert with_display({"PATH": "/nowhere"}) == {"PATH": "/nowhere"}
