"""Tables fit the terminal, and are whole where no terminal is."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from autosync.cli.table import table

ROWS = [("notes", "desktop-" + "x" * 40), ("n", "laptop")]
WHOLE = ["NAME   ID", f"notes  desktop-{'x' * 40}", "n      laptop"]
SCRIPT = f"from autosync.cli.table import *; print(*table(('NAME', 'ID'), {ROWS!r}, width=terminal_width()), sep='\\n')"


def test_the_ends_of_long_lines_are_cut_and_nothing_else() -> None:
    assert table(("NAME", "ID"), ROWS) == table(("NAME", "ID"), ROWS, width=55) == WHOLE
    assert table(("NAME", "ID"), ROWS, width=20) == ["NAME   ID", "notes  desktop-xxxx…", "n      laptop"]


def test_a_pipe_gets_all_of_it_and_a_terminal_what_fits() -> None:
    environment = {**os.environ, "COLUMNS": "20"}
    command = [sys.executable, "-c", SCRIPT]
    assert (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split("\n")[:3]
        == WHOLE
    )
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, env=environment, stdout=theirs, check=True)
        shown = b""
        while shown.count(b"\r\n") < len(WHOLE):
            shown += os.read(ours, 4096)
        assert shown.decode().split("\r\n")[1] == "notes  desktop-xxxx…"
    finally:
        os.close(ours)
        os.close(theirs)
