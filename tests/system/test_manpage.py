"""The manual page: complete, and clean to those who render it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autosync.cli.main import SECTIONS, main
from autosync.cli.manpage import roff


@pytest.fixture
def page(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795305600")
    assert main(["manpage"]) == 0
    file = tmp_path / "autosync.1"
    file.write_text(capsys.readouterr().out)
    return file


def test_it_is_clean_and_shows_every_command(page: Path) -> None:
    linted = subprocess.run(["mandoc", "-Tlint", "-Wstyle", page], capture_output=True, text=True, check=False)
    problems = [line for line in linted.stdout.splitlines() if "referenced manual not found" not in line]
    assert problems == []
    shown = subprocess.run(["mandoc", "-Tutf8", "-Owidth=200", page], capture_output=True, text=True, check=True).stdout
    text = "".join(c for i, c in enumerate(shown) if c != "\b" and shown[i + 1 : i + 2] != "\b")  # without overstrikes
    for names in SECTIONS.values():
        for name in names:
            assert f"autosync {name}" in text
    assert "2026-11-22" in text
    assert "Example: autosync status --json" in text
    assert "EXIT STATUS" in text


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("-x", r"\-x"),
        ("it's `a b` \\ …", r"it\(aqs \fBa b\fR \e \[u2026]"),
        ('"x"', r"\(dqx\(dq"),
    ],
)
def test_what_roff_would_take_for_its_own_is_escaped(text: str, source: str) -> None:
    assert roff(text) == source
