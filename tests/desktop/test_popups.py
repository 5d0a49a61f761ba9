"""Popups as people see them: a real dunst shows them, and their buttons are pressed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core.brakes import HELD_HINT
from tests.desktop.screen import Screen
from tests.desktop.scripted import ScriptedAgent, status
from tests.waiting import PATIENCE, until

PLAIN_SERVER = """
import sys, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
NAME = "org.freedesktop.Notifications"

class Server(dbus.service.Object):
    @dbus.service.method(NAME, in_signature="susssasa{sv}i", out_signature="u")
    def Notify(self, name, replaced, icon, title, body, actions, hints, timeout):
        return 1

    @dbus.service.method(NAME, out_signature="as")
    def GetCapabilities(self):
        return dbus.Array(["body"], signature="s")

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
name = dbus.service.BusName(NAME, dbus.SessionBus())
server, loop = Server(name, "/org/freedesktop/Notifications"), GLib.MainLoop()
print("ready", flush=True)
GLib.unix_fd_add_full(0, 0, GLib.IOCondition.HUP, lambda *_: loop.quit())
loop.run()
"""
"""A notification server with neither buttons nor markup (Desktop Notifications Specification)."""


class Desk:
    """A screen, an agent that says what it is told to, and the process that shows it."""

    def __init__(self, place: Path, screen: Screen) -> None:
        self.place = place
        self.screen = screen
        self.root = place / "notes"
        self.root.mkdir()
        self.config = place / "config.yaml"
        self.agent = ScriptedAgent(place / "state", status(self.root))
        self.process: subprocess.Popen[bytes] | None = None
        self.opened = place / "opened"

    def configure(self, popups: str = "{}") -> None:
        self.config.write_text(
            f"device: laptop\nstate-dir: state\npopups: {popups}\npaths:\n- path: {json.dumps(str(self.root))}\n"
            "  workspace: notes\n  key-file: notes.key\n"
        )

    def start(self, *, environment: dict[str, str] | None = None) -> None:
        """Start `autosync desktop`, and wait until it has asked."""
        opener = self.place / "bin/xdg-open"
        opener.parent.mkdir(exist_ok=True)
        # As a whole, or it would be found before anything stands in it.
        opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >{self.opened}.new\nmv {self.opened}.new {self.opened}\n')
        opener.chmod(0o755)
        path = f"{opener.parent}:{os.environ['PATH']}"
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autosync", "--config", str(self.config), "desktop", "--beside"],
                env={**self.screen.environment, "PATH": path, **(environment or {})},
                stdin=subprocess.PIPE,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def end(self) -> int:
        """Close what holds the process, as an agent does that ends; return its exit code."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def popup(self) -> dict[str, object]:
        """Wait until one popup is displayed, close it, and return it."""
        until(lambda: self.screen.count() == 1, why=lambda: self.log)
        (popup,) = self.screen.taken()
        return popup


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    with Screen(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


@pytest.fixture
def desk(tmp_path: Path, screen: Screen) -> Iterator[Desk]:
    desk = Desk(tmp_path, screen)
    desk.configure()
    with desk.agent:
        yield desk
        if desk.process is not None:
            desk.end()
    screen.taken()


def test_ten_thousand_files_are_one_popup(desk: Desk) -> None:
    desk.start()
    for n in range(200):
        desk.agent.happens("applied", *(f"d{n}/{i}.txt" for i in range(5)), count=50)
    until(lambda: desk.screen.count() == 1)
    desk.agent.happens("applied", "last.txt", text="server")
    until(lambda: "10,001 files from desktop, server" in desk.screen.last(), why=desk.screen.last)
    popup = desk.popup()
    assert popup["summary"] == "notes: 10,001 files from desktop, server"
    assert str(popup["body"]).splitlines() == [*(f"d0/{i}.txt" for i in range(5)), "and 9,996 more"]
    assert desk.end() == 0


def test_no_name_is_markup_nor_turns_the_writing(desk: Desk) -> None:
    desk.start()
    desk.agent.happens("applied", "<b>x</b>&amp;", "evil\u202egnp.exe", "new\nline", "latin \\xe9")
    assert str(desk.popup()["body"]).splitlines() == [
        "&lt;b&gt;x&lt;/b&gt;&amp;amp;",
        "evil\\u202egnp.exe",
        "new\\nline",
        "latin \\xe9",
    ]


def test_buttons_do_what_they_say(desk: Desk) -> None:
    desk.start()
    (desk.root / "d").mkdir()

    def conflict(path: str, copy: str) -> None:
        desk.agent.happens("conflict", path, copy=copy, text=f"{path}: two versions", made_by="desktop")

    conflict("d/a.txt", "d/a (conflict).txt")
    until(lambda: desk.screen.count() == 1, why=lambda: desk.log)
    desk.screen.press("Show")
    until(desk.opened.exists, why=lambda: desk.log)
    assert desk.opened.read_text() == f"{desk.root}/d\n"
    until(lambda: desk.screen.count() == 0)
    desk.agent.answer = lambda command, _: {"released": 1, "refused": {}} if command == "release" else {}
    conflict("b.txt", "b (conflict).txt")
    until(lambda: "conflicts in 2 files" in desk.screen.last())
    desk.screen.taken()
    (desk.root / ".env").touch()
    held = {"path": ".env", "reason": "secret", "text": "looks like a secret by its name"}
    desk.agent.status = status(desk.root, held={"count": 1, "reasons": {"secret": 1}, "paths": [held]})
    desk.agent.happens("told", text=f".env is held back. {HELD_HINT}")
    until(lambda: "notes holds back .env" in desk.screen.last())
    until(lambda: desk.screen.count() == 1)
    desk.screen.press("Sync")
    until(lambda: desk.agent.asked)
    assert desk.agent.asked == [("release", {"path": f"{desk.root}/.env", "restore": False})]


def test_what_cannot_be_done_is_told(desk: Desk) -> None:
    desk.start()
    desk.agent.answer = lambda command, _: {"choose": []} if command == "resolve" else {}
    desk.agent.happens("conflict", "a.txt", copy="a (conflict).txt", text="a.txt: two versions", made_by="desktop")
    until(lambda: desk.screen.count() == 1, why=lambda: desk.log)
    desk.screen.press("Keep theirs")
    until(lambda: desk.agent.asked)
    wanted = {"path": str(desk.root), "file": "a (conflict).txt", "keep": "theirs"}
    assert desk.agent.asked == [("resolve", wanted)]
    until(lambda: "more than two versions" in desk.screen.last())


def test_levels_are_heeded_and_may_change_while_it_runs(desk: Desk) -> None:
    desk.configure("{arrived: none, hook: critical}")
    desk.start()
    desk.agent.happens("applied", "a.txt")
    desk.agent.happens("hook-failed", text="server: make restart failed\nexit code 2")
    popup = desk.popup()
    assert (popup["summary"], popup["body"]) == ("server: make restart failed", "exit code 2")
    until(lambda: "variant             byte 2" in desk.screen.last(), why=desk.screen.last)
    desk.configure("{arrived: critical, hook: none}")
    until(lambda: desk.agent.happens("applied", "b.txt") or desk.screen.count() == 1)
    until(lambda: "b.txt" in desk.screen.last() and "variant             byte 2" in desk.screen.last())


def test_what_shows_popups_may_come_and_go(desk: Desk, screen: Screen) -> None:
    desk.start()
    desk.agent.happens("applied", "a.txt")
    until(lambda: screen.count() == 1)
    screen.end_dunst(signal.SIGKILL)
    desk.agent.happens("hook-failed", text="first")
    until(lambda: "first" in desk.log)
    screen.start_dunst()
    desk.agent.happens("hook-failed", workspace="other", text="second")
    assert desk.popup()["summary"] == "second"


def test_do_not_disturb_is_the_desktops_and_nothing_passes_through(desk: Desk, screen: Screen) -> None:
    desk.configure("{arrived: critical}")
    desk.start()
    screen.control("set-paused", "true")
    desk.agent.happens("applied", "<i>x</i>.txt")
    until(lambda: screen.count("waiting") == 1)
    until(lambda: "variant             byte 1" in screen.last(), why=screen.last)
    assert screen.count() == 0
    screen.control("set-paused", "false")
    assert desk.popup()["summary"] == "notes: 1 file from desktop"


def test_without_buttons_a_popup_says_the_command_and_without_markup_it_has_none(desk: Desk, screen: Screen) -> None:
    screen.end_dunst()
    command = ["/usr/bin/python3", "-c", PLAIN_SERVER]
    try:
        with subprocess.Popen(command, env=screen.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            desk.start()
            desk.agent.happens("conflict", "a<b>.txt", copy="a (c).txt", text="a<b>.txt: two versions of <b>")
            until(lambda: "autosync resolve FILE --keep mine|theirs|both" in screen.last(), why=lambda: desk.log)
            assert "two versions of <b>\n" in screen.last()
            # The buttons stand behind the text.
            until(lambda: "urgency" in screen.last(), why=screen.last)
            assert "Keep mine" not in screen.last()
    finally:
        screen.start_dunst()


def test_without_a_bus_there_are_lines_and_what_would_mend_it(desk: Desk) -> None:
    desk.start(environment={"DBUS_SESSION_BUS_ADDRESS": "", "XDG_RUNTIME_DIR": str(desk.place)})
    desk.agent.happens("applied", "a.txt", "b\u202e.txt")
    until(lambda: "notes: 2 files from desktop | a.txt | b\\u202e.txt" in desk.log, why=lambda: desk.log)
    assert "there is no session bus: news goes to the log" in desk.log
    assert desk.end() == 0


def test_only_one_runs(desk: Desk) -> None:
    desk.start()
    desk.agent.happens("applied", "a.txt")
    until(lambda: desk.screen.count() == 1, why=lambda: desk.log)
    assert desk.process is not None
    second = subprocess.run(
        [sys.executable, "-m", "autosync", "--config", str(desk.config), "desktop"],
        env=desk.screen.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (second.returncode, second.stderr.splitlines()[0]) == (
        1,
        f"Error: `autosync desktop` runs already, as process {desk.process.pid}",
    )
