"""`autosync hgext`: what it prints is what hg loads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from autosync.cli.main import main
from tests.backends.hg_repos import DEBIAN


def test_the_lines_that_it_prints_enable_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Debian's hg, whose Python has no autosync, loads them all from these lines."""
    assert main(["hgext", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    hgrc = ""
    for each in found:
        assert main(["hgext", each["name"]]) == 0
        hgrc += capsys.readouterr().out
    (tmp_path / "hgrc").write_text(hgrc)
    said = subprocess.run(
        [*DEBIAN, "help", "extensions"],
        env={"HGRCPATH": str(tmp_path / "hgrc"), "HGPLAIN": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stderr == ""
    enabled = said.stdout.partition("enabled extensions:")[2].partition("disabled extensions:")[0]
    told = " ".join(enabled.split())  # hg breaks long lines
    assert told == " ".join(f"{each['name']} {each['summary']}" for each in found)


def test_a_name_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hgext", "lwcop"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == 'Error: There is no extension "lwcop"'
    assert main(["hgext"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("lwcopy         store copies and renames as small deltas")
