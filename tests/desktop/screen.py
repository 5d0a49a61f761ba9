"""A desktop without a screen: Xvfb, a session bus and dunst, as people have them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.waiting import PATIENCE, until

_DUNST = """\
[global]
    monitor = 0
    width = (300, 460)
    offset = 16x16
    font = DejaVu Sans 11
    frame_color = "#5b6b7b"
    corner_radius = 6
    markup = full
    format = "<b>%s</b>\\n%b"
    show_indicators = yes
    word_wrap = yes
    ellipsize = end
    history_length = 200
    icon_position = left
    dmenu = {menu}
[urgency_low]
    background = "#20262c"
    foreground = "#d8dee4"
    timeout = 60
[urgency_normal]
    background = "#2a3138"
    foreground = "#ffffff"
    timeout = 60
[urgency_critical]
    background = "#7a1f1f"
    foreground = "#ffffff"
    frame_color = "#ff5f5f"
    timeout = 0
"""

_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={place}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""A session's bus (dbus-daemon(1)) without services: the machine's own dunst would be started for whoever asks."""


@dataclass(slots=True)
class Screen:
    """The desktop; a context manager.  ``environment`` is that of a program that runs on it."""

    place: Path
    width: int = 720
    height: int = 420
    environment: dict[str, str] = field(init=False)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)
    _dunst: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _seen: int = field(default=0, init=False)

    def __enter__(self) -> Screen:
        self.place.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DBUS_", "XDG_", "WAYLAND_"))},
            "DISPLAY": f":{self._start_x()}",
            "NO_AT_BRIDGE": "1",
            "GTK_THEME": "Adwaita",
            "XDG_CONFIG_HOME": str(self.place / "config"),
            "XDG_RUNTIME_DIR": str(self.place),
        }
        self.environment["DBUS_SESSION_BUS_ADDRESS"] = self._start_bus()
        with (self.place / "bus").open("wb") as heard:
            listen = ["dbus-monitor", "--session", "interface='org.freedesktop.Notifications',member='Notify'"]
            self._processes.append(subprocess.Popen(listen, env=self.environment, stdout=heard))
        self.start_dunst()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end_dunst()
        for process in reversed(self._processes):
            process.terminate()
            process.wait(PATIENCE)

    def _start_x(self) -> int:
        reading, writing = os.pipe()
        command = [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-screen",
            "0",
            f"{self.width}x{self.height}x24",
            "-nolisten",
            "tcp",
        ]
        self._processes.append(
            subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        )
        os.close(writing)
        with os.fdopen(reading) as file:  # which is closed when it has said which one it is
            return int(file.readline())

    def _start_bus(self) -> str:
        reading, writing = os.pipe()
        file = self.place / "bus.conf"
        file.write_text(_BUS.replace("{place}", str(self.place)))
        command = ["dbus-daemon", f"--config-file={file}", "--nofork", "--nopidfile", f"--print-address={writing}"]
        self._processes.append(
            subprocess.Popen(command, pass_fds=[writing], env=self.environment, stderr=subprocess.DEVNULL)
        )
        os.close(writing)
        with os.fdopen(reading) as file:
            return file.readline().strip()

    # -- dunst ---------------------------------------------------------------------------
    def start_dunst(self, settings: str = "") -> None:
        """Start what shows popups, and wait until it answers."""
        self._seen = 0
        file = self.place / "dunstrc"
        file.write_text(_DUNST.replace("{menu}", str(self._menu())) + settings)
        with (self.place / "dunst.log").open("ab") as log:
            self._dunst = subprocess.Popen(
                ["dunst", "-config", str(file)], env=self.environment, stdout=log, stderr=log
            )
        until(lambda: self.run("dunstctl", "is-paused").returncode == 0)

    def _menu(self) -> Path:
        """Return a program in the place of dmenu(1), from which dunst has people choose an action: it takes
        the one that :meth:`press` was told, and answers it."""
        menu = self.place / "menu"
        menu.write_text(
            f'#!/bin/sh\ncd {self.place}\ngrep -F -- "#$(cat choice) (" | tee chosen.new\nmv chosen.new chosen\n'
        )
        menu.chmod(0o755)
        return menu

    def end_dunst(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._dunst is not None:
            self._dunst.send_signal(how)
            self._dunst.wait(PATIENCE)
            self._dunst = None

    def press(self, button: str) -> None:
        """Press a button of a popup as soon as it is displayed."""
        (self.place / "choice").write_text(button)
        until(self._chooses)

    def _chooses(self) -> bool:
        """Have dunst ask for an action, and return whether the wanted one was among them."""
        chosen = self.place / "chosen"
        chosen.unlink(missing_ok=True)
        self.control("context")
        until(chosen.exists)
        return bool(chosen.read_text())

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program on this desktop."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def control(self, *words: str) -> str:
        """Return what dunstctl(1) answers."""
        done = self.run("dunstctl", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def count(self, which: str = "displayed") -> int:
        """Return how many popups are ``displayed``, ``waiting`` or in the ``history``."""
        return int(self.control("count", which))

    def last(self) -> str:
        """Return what was said to dunst when it was asked the last time to show something, or to show it otherwise."""
        return self.said().rpartition("member=Notify")[2]

    def said(self) -> str:
        """Return all that was said to dunst."""
        return (self.place / "bus").read_text(errors="replace")

    def history(self) -> list[dict[str, Any]]:
        """Return the popups that were closed, the last one first, each with ``summary``, ``body``, ``urgency``."""
        rows = json.loads(self.control("history"))["data"][0]
        return [{key: value["data"] for key, value in row.items()} for row in rows]

    def taken(self) -> list[dict[str, Any]]:
        """Close all popups and return all that were there since the last time, the last one first."""
        self.control("close-all")
        until(lambda: self.count() == 0)
        rows = self.history()
        new, self._seen = rows[: len(rows) - self._seen], len(rows)
        return new

    def selected(self) -> str:
        """Return the text that is selected in a window."""
        return self.run("/usr/bin/python3", "-c", _SELECTED).stdout

    def picture(self, file: Path, height: int) -> None:
        """Write what is to be seen in the upper part of the screen to a PNG file."""
        done = self.run("/usr/bin/python3", "-c", _PICTURE, str(file), str(height))
        assert done.returncode == 0, done.stderr


_SELECTED = """
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk
print(Gtk.Clipboard.get(Gdk.SELECTION_PRIMARY).wait_for_text() or "", end="")
"""

_PICTURE = """
import sys, gi
gi.require_version("Gdk", "3.0")
from gi.repository import Gdk
root = Gdk.get_default_root_window()
Gdk.pixbuf_get_from_window(root, 0, 0, root.get_width(), int(sys.argv[2])).savev(sys.argv[1], "png", [], [])
"""
