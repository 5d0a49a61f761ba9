"""Two devices with real agents, one of them with a desktop: what people see and press, from the save to the answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desktop.screen import Screen
from tests.system.fleet import Device, Fleet
from tests.waiting import until

PICTURES = os.environ.get("AUTOSYNC_PICTURES")
"""A folder for pictures of what is to be seen; `make pictures` keeps them in docs/images."""


def keep_picture(screen: Screen, name: str, *, height: int = 130) -> None:
    """Keep what is to be seen above, if that is asked for."""
    if PICTURES:
        screen.picture(Path(PICTURES) / f"{name}.png", height)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with Screen(tmp_path / "screen", width=620, height=330) as screen:
        yield screen


@pytest.fixture
def fleet(tmp_path: Path, screen: Screen) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, _ = fleet.clone(fleet.seed({"a.txt": "1\n2\n3\n"}), "laptop", "desktop")
        laptop.environment = {**laptop.environment, **screen.environment}
        yield fleet


def begin(fleet: Fleet, **options: object) -> tuple[Device, Device]:
    """Start both; the first one has the desktop."""
    laptop, desktop = fleet.devices
    fleet.configure([laptop, desktop], **options)
    fleet.start()
    fleet.equal()
    return laptop, desktop


def test_conflicts_and_held_paths_are_settled_by_buttons(fleet: Fleet, screen: Screen) -> None:
    laptop, desktop = begin(fleet)
    for name in ("report.md", "todo.txt", "figures/plan.svg"):
        desktop.write(name, "x\n")
    until(lambda: "3 files from desktop" in screen.said(), why=lambda: laptop.log)
    keep_picture(screen, "popup-arrived")
    screen.taken()
    laptop.ask("pause")
    laptop.write("a.txt", "laptop\n")
    desktop.write("a.txt", "desktop\n")
    laptop.ask("resume")
    until(lambda: "conflict in a.txt" in screen.said(), why=lambda: laptop.log)
    until(lambda: screen.count() >= 1)
    keep_picture(screen, "popup-conflict")
    screen.press("Keep mine")
    until(lambda: laptop.status()["conflicts"] == [], why=lambda: laptop.log)
    fleet.equal()
    assert desktop.read("a.txt") == "laptop\n"
    screen.taken()
    laptop.write(".env", "SECRET=1\n")
    until(lambda: "holds back .env" in screen.said(), why=lambda: laptop.log)
    until(lambda: screen.count() >= 1)
    keep_picture(screen, "popup-held")
    screen.press("Ignore")
    until(lambda: laptop.status()["held"]["count"] == 0, why=lambda: laptop.log)
    assert "ignore: [/.env]" in laptop.config.read_text()
    laptop.write("b.pem", "SECRET=1\n")
    until(lambda: "holds back b.pem" in screen.said(), why=lambda: laptop.log)
    until(lambda: screen.count() >= 1)
    screen.press("Sync")
    until(lambda: desktop.read("b.pem") is not None)
    assert desktop.read(".env") is None


def test_a_commit_is_described_in_a_window_before_it_is_pushed(fleet: Fleet, screen: Screen) -> None:
    laptop, desktop = begin(fleet, commits="auto", commit_after="1s", remote="origin")
    before = fleet.git("rev-parse", "main", at=fleet.hub)
    laptop.write("a.txt", "better\n")
    until(lambda: "Change a.txt" in screen.said(), why=lambda: laptop.log)
    until(lambda: screen.count() >= 1)
    keep_picture(screen, "popup-commit")
    screen.press("Describe…")
    title = "notes: describe the last commit"
    windows: list[str] = []
    search = ("xdotool", "search", "--onlyvisible", "--name", title)
    until(lambda: windows.extend(screen.run(*search).stdout.split()) or windows, why=lambda: laptop.log)
    window = windows[0]
    screen.run("xdotool", "windowfocus", "--sync", window)

    def holds(text: str) -> bool:
        screen.run("xdotool", "key", "--window", window, "ctrl+a")
        return screen.selected().strip() == text

    # Keys that come before the window takes them are lost.
    until(lambda: holds("Change a.txt"), why=screen.selected)
    screen.run("xdotool", "type", "--window", window, "Say it better")
    until(lambda: holds("Say it better"), why=screen.selected)
    screen.run("xdotool", "key", "--window", window, "ctrl+End")  # nothing is selected in the picture
    keep_picture(screen, "describe", height=screen.height)
    assert fleet.git("rev-parse", "main", at=fleet.hub) == before
    screen.run("xdotool", "key", "--window", window, "ctrl+Return")
    until(lambda: "Say it better" in laptop.git("log", "-1", "--format=%B"), why=lambda: laptop.log)
    until(lambda: fleet.git("rev-parse", "main", at=fleet.hub).strip() == laptop.head(), why=lambda: laptop.log)
    until(lambda: desktop.head() == laptop.head())
    pushed = laptop.run("describe", "-m", "Too late")
    assert pushed.returncode == 1
    assert "was pushed to the hub already" in pushed.stderr
