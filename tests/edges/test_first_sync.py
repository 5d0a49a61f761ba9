"""What `autosync join` tells on a terminal while the first sync goes on."""

from __future__ import annotations

import sys

import pytest

from autosync.cli.firstsync import Progress


def test_a_passing_line_gives_way_to_the_next_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell = Progress(quiet=False)
    tell.say("looking", passing=True)
    tell.say("found", passing=True)
    tell.say("joined")
    assert capsys.readouterr().err == "looking\r\x1b[Kfound\r\x1b[Kjoined\n"


def test_nothing_passes_beside_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's next line would stand behind it."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell = Progress(quiet=False)
    tell.beside_a_log()
    tell.say("bringing", passing=True)
    tell.say("in sync")
    assert capsys.readouterr().err == "in sync\n"
