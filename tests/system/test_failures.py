"""Every way a command can end becomes words and an exit code."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from autosync.cli.failures import exit_code_of
from autosync.control import NAME, ControlServer
from autosync.errors import AutosyncError, Unreachable
from tests.system.commandline import Home


def end(error: BaseException | None = None, result: object = None, directory: str | None = None) -> int:
    """Return the exit code of a command that raises ``error`` or returns ``result``."""

    def action() -> object:
        if error is not None:
            raise error
        return result

    return exit_code_of(action, lambda: directory)


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_what_a_command_returns(result: object, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(result=result) == code
    assert capsys.readouterr().err == ""


DELIBERATE = AutosyncError("The disk is gone", hint="Mount it.")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DELIBERATE, 1, "Error: The disk is gone\n  Mount it.\n"),
        (AutosyncError("Only this", hint=""), 1, "Error: Only this\n"),
        (
            ExceptionGroup("tasks", [DELIBERATE, ExceptionGroup("more", [Unreachable("No hub", hint="Wait.")])]),
            1,
            "Error: The disk is gone\n  Mount it.\nError: No hub\n  Wait.\n",
        ),
        (OSError(13, "Permission denied", "/x"), 1, "Error: /x: Permission denied\n  Check the path"),
        (OSError(28, "No space left on device", "/x"), 1, "Error: The disk / is full: "),
        (OSError(24, "Too many open files"), 1, "Error: The agent needs more open files than its limit of "),
        (click.UsageError("no such option"), 2, "Error: no such option\n"),
        (click.FileError("/x", "gone"), 1, "Error: Could not open file '/x': gone\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (click.Abort(), 130, "Interrupted.\n"),
    ],
)
def test_what_a_command_raises(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(error) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        ExceptionGroup("tasks", [ZeroDivisionError("division by zero"), DELIBERATE]),
        OSError(9, "Bad file descriptor"),
    ],
)
def test_a_bug_is_exit_code_3_and_leaves_a_report(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(error, directory=str(tmp_path)) == 3
    (report,) = tmp_path.iterdir()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text()
    assert "Traceback (most recent call last)" in text
    assert str(error.args[-1] if isinstance(error, OSError) else "division by zero") in text
    said = capsys.readouterr().err
    assert said.startswith("Bug: autosync failed in a way it should not: ")
    assert f"The details are in {report}; please report them." in said


def test_a_bug_before_the_state_directory_is_known_is_reported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert end(ZeroDivisionError("x"), directory=str(tmp_path / "never made")) == 3
    assert str(next(tmp_path.iterdir())) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert end(ZeroDivisionError("x")) == 3
    assert "ZeroDivisionError: x\n" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_bug(home: Home) -> None:
    command = [sys.executable, "-m", "autosync", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, env=home.environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


STATUS = {
    "device": "laptop",
    "agent": {"pid": 17, "uptime": 7300.5, "rss": 41 * 1024**2},
    "channels": [{"kind": "xmpp", "state": "offline", "detail": "No route.", "dropped": {}}],
    "workspaces": [
        {
            "name": "notes",
            "path": "/home/you/notes",
            "vcs": "git",
            "phase": "watching",
            "base": "ab" * 20,
            "branch": "refs/heads/main",
            "snapshot": None,
            "tree": None,
            "pending": 3,
            "waiting-for": "a rebase in progress",
            "last-sync": None,
            "halt": None,
            "peers": [
                {"device": "evil\x1b[2J", "snapshot": None, "tree": None, "seen": None, "state": "away"},
            ],
        },
        {
            "name": "work",
            "path": "/home/you/work",
            "vcs": "git",
            "phase": "halted",
            "base": "ab" * 20,
            "branch": None,
            "snapshot": None,
            "tree": None,
            "pending": 0,
            "last-sync": "2026-01-02T03:04:05+00:00",
            "halt": {"title": "Everything was deleted", "hint": "Bring it back."},
            "peers": [],
        },
    ],
}


async def test_status_shows_what_is_pending_halted_and_how_to_go_on(home: Home) -> None:
    (home.path / "state").mkdir(mode=0o700)

    async def answer(_command: str, _arguments: dict[str, object]) -> dict[str, object]:
        return STATUS

    server = ControlServer(str(home.path / "state" / NAME), answer)
    await server.start()
    config = home.configured("device: laptop\nstate-dir: state\n")
    shown = await asyncio.to_thread(home.run, "--config", config, "status")
    await server.stop()
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0] == "laptop: agent 17, up 2 h, 41 MB; channel xmpp offline: No route."
    assert lines[2].split() == ["WORKSPACE", "STATE", "BRANCH", "PENDING", "LAST", "SYNC", "PATH"]
    assert lines[3].split() == ["notes", "watching", "main", "3", "never", "/home/you/notes"]
    assert lines[4].startswith("work       halted    at ababababab  0        ")
    assert lines[7].split() == ["notes", r"evil\x1b[2J", "away", "never", "-"]
    assert lines[9:] == [
        "notes waits: a rebase in progress",
        "",
        "work is halted: Everything was deleted",
        "  Bring it back.",
        f"  To try again at once: autosync --config {config} resume /home/you/work",
    ]
