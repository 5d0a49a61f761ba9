"""The tray icon as a panel gets it, over a real session bus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autosync.desktop.launching import outside
from autosync.desktop.traymenu import Choice, face_of
from tests import figures
from tests.desktop.screen import Screen
from tests.system.fleet import Fleet, until


class Panel:
    """A panel in a process of its own (:mod:`tests.desktop.trayhost`)."""

    def __init__(self, screen: Screen) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.desktop.trayhost"],
            env=screen.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def labels(self) -> list[str]:
        """Return the lines of the menu, the ones that can be chosen in brackets."""
        shown = self("look").get("menu", [])
        return [f"[{p['label']}]" if p.get("enabled") else p.get("label", "-") for _, p in shown]

    def end(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with Screen(tmp_path / "screen") as screen:
        yield screen


@pytest.fixture
def panel(screen: Screen) -> Iterator[Panel]:
    panel = Panel(screen)
    yield panel
    panel.end()


def test_the_icon_tells_the_truth_and_its_menu_works(tmp_path: Path, screen: Screen, panel: Panel) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        opened = tmp_path / "opened"
        browser = tmp_path / "browser"
        # As a whole, or it would be found before anything stands in it.
        browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >{opened}.new\nmv {opened}.new {opened}\n')
        browser.chmod(0o755)
        laptop, desktop = fleet.clone(fleet.seed({"a.txt": "1\n"}), "laptop", "desktop")
        fleet.configure([laptop, desktop])
        laptop.environment = {**fleet.environment, **screen.environment, "BROWSER": str(browser)}
        laptop.start()
        panel("return")
        until(lambda: panel("look").get("Title") == "autosync: alone", why=lambda: laptop.log)
        alone = panel("look")
        assert (Path(alone["IconThemePath"]) / f"{alone['IconName']}.svg").is_file()
        assert (alone["Category"], alone["Id"], alone["Menu"], alone["IconPixmap"]) == (
            "ApplicationStatus",
            "autosync",
            "/MenuBar",
            [],
        )
        assert panel.labels() == ["All is recorded; no other device yet", "-", "[Pause]", "[Open the web page]"]
        desktop.start()
        in_sync = ["autosync-in-sync", [], "autosync: in sync", "In sync with desktop"]
        until(
            lambda: [(look := panel("look")).get("IconName"), look.get("ToolTip")] == [in_sync[0], in_sync],
            why=lambda: laptop.log,
        )
        signals: set[str] = set()
        wanted = {"NewIcon", "NewTitle", "NewToolTip", "LayoutUpdated"}
        until(lambda: signals.update(panel("signals")) or wanted <= signals, why=lambda: signals)

        panel("click", "Pause")
        until(lambda: laptop.status()["phase"] == "paused")
        until(lambda: panel.labels() == ["Paused", "-", "[Resume]", "[Open the web page]"])
        # A panel that crashed and was started anew shows the icon again.
        panel("leave")
        panel("return")
        until(lambda: panel("look").get("IconName") == "autosync-paused")
        panel("click", "Resume")
        until(lambda: laptop.status()["phase"] != "paused")
        until(lambda: "[Pause]" in panel.labels(), why=lambda: laptop.log)

        panel("activate")
        until(opened.exists, why=lambda: laptop.log)
        assert opened.read_text().startswith("http://127.0.0.1:")
        # Nothing that a panel may ask for is too strange, or stops it.
        assert panel("call", "GetLayout", "(iias)", "(99, -1, @as [])") == {
            "error": "GDBus.Error:org.freedesktop.DBus.Error.InvalidArgs: there is no 99 in the menu"
        }
        assert panel("call", "EventGroup", "(a(isvu))", "([(77, 'clicked', <0>, 0), (1, 'clicked', <0>, 0)],)") == [
            [77]
        ]
        root = [[0, {"children-display": "submenu"}]]
        assert panel("call", "GetGroupProperties", "(aias)", "([0], @as [])") == [root]
        assert panel("call", "AboutToShow", "(i)", "(0,)") == [False]
        assert panel("call", "GetProperty", "(is)", "(4, 'label')") == ["Pause"]
        assert panel("call", "GetGroupProperties", "(aias)", "([4], @as [])") == [
            [[4, {"label": "Pause", "enabled": True}]]
        ]
        figures.record("bad inputs refused", 2)
        laptop.end()
        until(lambda: "error" in panel("look"))  # it goes with the agent


def workspace(**changes: Any) -> dict[str, Any]:
    usual = {"phase": "watching", "pending": 0, "halt": None, "held": {"count": 0}, "conflicts": [], "peers": []}
    return {"name": "my_notes", **usual, **changes}


def test_what_needs_somebody_is_shown_so() -> None:
    face = face_of({"workspaces": [workspace(conflicts=[{}, {}])]})
    assert (face.icon, face.needs_attention, face.words) == ("autosync-problem", True, "2 conflicts to look at")
    assert [(e.label, e.choice) for e in face.entries] == [
        ("2 conflicts to look at", None),
        ("Look at 2 conflicts…", Choice.OPEN),
        ("", None),
        ("Pause", Choice.PAUSE),
        ("Open the web page", Choice.OPEN),
    ]


def test_of_several_some_may_be_paused() -> None:
    face = face_of({"workspaces": [workspace(), workspace(phase="paused")]})
    choices = [e.choice for e in face.entries if e.choice]
    assert choices == [Choice.PAUSE, Choice.RESUME, Choice.OPEN]


def test_without_an_agent_nothing_can_be_paused() -> None:
    face = face_of(None)
    assert (face.icon, face.title, face.words) == ("autosync-stopped", "autosync: stopped", "The agent is not running")
    assert [e.choice for e in face.entries] == [None, None, Choice.OPEN]


def test_outside_of_a_service_nothing_is_in_between() -> None:
    command = ["xdg-open", "/tmp"]
    assert outside(command, {"PATH": "/usr/bin:/bin"}) == command
    assert outside(command, {"PATH": "/nowhere", "INVOCATION_ID": "1"}) == command
