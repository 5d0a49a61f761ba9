"""What a long operation shows: a bar on a terminal and nothing after it, a line now and then elsewhere."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from autosync.cli.firstlook import under_way
from autosync.cli.progress import PAUSE, Progress
from autosync.errors import AutosyncError


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_where_there_is_no_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress(now=clock) as tell:
        tell.step("packing", done=1, total=4)  # what is quick tells nothing
        clock.now += PAUSE
        tell.step("packing", done=2000, total=4000)
        tell.step("packing", done=3000, total=4000)
        clock.now += PAUSE
        tell.step("waiting")
        tell.say("done")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "packing: 2,000 of 4,000\nwaiting\ndone\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    tell = Progress(quiet=True, now=clock)
    clock.now += PAUSE
    tell.step("packing")
    tell.say("done")
    tell.clear()
    assert capsys.readouterr() == ("", "")


def test_beside_a_log_there_are_lines_that_stay_alone(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    tell = Progress(now=clock)
    tell.beside_a_log()
    clock.now += PAUSE
    tell.step("bringing")
    tell.say("in sync")
    assert capsys.readouterr().err == "in sync\n"


def test_what_is_waited_for_is_looked_at_and_its_outcome_returned() -> None:
    looked = threading.Event()

    def fail() -> None:
        looked.wait()
        raise AutosyncError("No", hint="")

    assert Progress().during(lambda: looked.wait() and "done", looked.set) == "done"
    looked.clear()
    with pytest.raises(AutosyncError, match="No"):
        Progress().during(fail, looked.set)


def on_a_terminal(program: str, *, interrupt: bool = False) -> tuple[int, str]:
    """Run a program whose standard error is a terminal; return how it ended and what came there."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment,
        text=True,
    ) as process:
        os.close(slave)
        assert process.stdout is not None
        assert process.stdout.readline() == "shown\n"
        if interrupt:
            process.send_signal(signal.SIGINT)
        seen = b""
        while True:
            try:
                seen += os.read(master, 65536)
            except OSError:  # the last one who had it open is gone (pty(7))
                break
    os.close(master)
    return process.returncode, seen.decode()


@pytest.mark.parametrize("interrupt", [False, True])
def test_on_a_terminal_a_bar_is_shown_and_taken_away_again(*, interrupt: bool) -> None:
    code, seen = on_a_terminal(
        """
        import sys, threading
        from autosync.cli.failures import exit_code_of
        from autosync.cli.progress import Progress

        def work():
            with Progress() as tell:
                tell.step("seeds [red]", done=3, total=4)  # no markup: names come from others
                tell.say("seed 7 [blue] fails")
                tell.step("seeds [red]", done=4, total=4)
                print("shown", flush=True)
                if INTERRUPT:
                    tell.during(threading.Event().wait, lambda: None)
            print("after", file=sys.stderr)

        sys.exit(exit_code_of(work, lambda: None))
        """.replace("INTERRUPT", str(interrupt)),
        interrupt=interrupt,
    )
    assert code == (130 if interrupt else 0)
    assert "seeds [red]" in seen
    assert "100%" in seen
    assert "seed 7 [blue] fails\r\n" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is back
    # The line of the bar is erased before what follows is written.
    assert seen.rpartition("\x1b[2K")[2].strip() == ("Interrupted." if interrupt else "after")


def test_rich_is_not_imported_where_it_is_not_needed() -> None:
    program = "import sys; from autosync.cli import gc, join, steering, torture; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_is_looked_through_for_the_first_time_is_known() -> None:
    rows = (
        ("new", "git", None, None),
        ("old", "git", "s1", None),
        ("gone", None, None, {}),
        ("stuck", "hg", None, {"title": ""}),
    )
    workspaces = [{"name": name, "vcs": vcs, "snapshot": snapshot, "halt": halt} for name, vcs, snapshot, halt in rows]
    assert under_way(workspaces) == ["new"]
