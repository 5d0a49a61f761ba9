"""What keeps popups from being shown, and the line that mends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.desktop.screen import Screen

ASKS = """
import sys
from autosync.desktop import packages
packages.SYSTEM = sys.argv[1]
found = packages.popup_finding()
print(found.level.value, found.detail, found.hint, sep="|")
"""


def finding(environment: dict[str, str], system: str = "/usr/lib/python3/dist-packages") -> list[str]:
    """Return level, detail and hint, where the system's Python has its packages at ``system``."""
    command = [sys.executable, "-c", ASKS, system]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip().split("|")


def test_each_thing_that_is_missing_is_named_with_what_mends_it(tmp_path: Path) -> None:
    with Screen(tmp_path / "screen") as screen:
        assert finding(screen.environment) == ["ok", "shown by dunst", ""]
        lacking = finding(screen.environment, system=str(tmp_path))
        assert lacking == [
            "warn",
            "Python has no notify2, dbus, gi: news goes to the log",
            "apt install python3-notify2 python3-dbus python3-gi",
        ]
        for name in ("notify2.py", "dbus.py", "gi.py"):
            (tmp_path / name).write_text("raise ImportError('compiled for another Python')\n")
        level, detail, hint = finding(screen.environment, system=str(tmp_path))
        assert (level, detail.partition(" is not for Python")[0]) == ("warn", "the system's notify2, dbus, gi")
        assert hint.startswith("pip install 'autosync[desktop]'")
        screen.end_dunst()
        level, detail, hint = finding(screen.environment)
        assert (level, detail.partition(":")[0]) == ("warn", "nothing shows popups on this desktop")
        assert "apt install dunst" in hint
    gone = finding(screen.environment)
    assert gone[1].startswith("the session bus cannot be reached: ")
    without = {**screen.environment, "DBUS_SESSION_BUS_ADDRESS": "", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert finding(without)[1] == "there is no session bus: news goes to the log"
