"""``--json``: one valid document from every command that lists or reports, with the keys that the documents name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from autosync.cli.main import SECTIONS, autosync, main
from tests.system.commandline import Home
from tests.system.fleet import Device, pair

TEXT = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `autosync ([^`]+)` \| (a list of: )?(.+) \|$", TEXT, re.MULTILINE)
SILENT = frozenset({"run", "desktop", "completion", "manpage", "reflector"})
"""Commands that run until they are ended, or print what is for another program anyway."""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A running device beside another one."""
    with pair(tmp_path_factory.mktemp("fleet"), {"a.txt": "one\n"}) as fleet:
        yield fleet.devices[0]


def test_every_command_that_lists_or_reports_has_it() -> None:
    context = click.Context(autosync)
    commands = {name: autosync.get_command(context, name) for names in SECTIONS.values() for name in names}
    for name, group in list(commands.items()):
        if isinstance(group, click.Group):
            commands |= {f"{name} {below}": command for below, command in group.commands.items()}
            del commands[name]
    without = {
        name
        for name, command in commands.items()
        if command and "--json" not in {o for p in command.params for o in p.opts}
    }
    assert without == SILENT


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_keys_are_those_that_are_documented(
    row: tuple[str, str, str],
    laptop: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, is_list, keys = row
    monkeypatch.chdir(laptop.root)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = laptop.config
    if line == "init":
        (tmp_path / "new").mkdir()
        line, config = f"init {tmp_path}/new", tmp_path / "config.yaml"
    code = main(["--config", str(config), *line.split(), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert code == 0, said
    assert isinstance(said, list) is bool(is_list)
    for told in said if is_list else [said]:
        # Some may be added; none that is named here may go.
        assert set(re.findall(r"`([a-z-]+)`", keys)) <= set(told)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what was printed, which is one document."""
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("status --jsno --json", 2),
        ("nonsense --json", 2),
        ("revoke --json", 2),
        ("revoke desktop --json", 1),
        ("status --json", 1),
        ("peers --json", 1),
        ("sync --json nowhere", 1),
        ("release --json x", 1),
        ("join --json nonsense", 1),
        ("import-config --json gone", 1),
        ("explain --json x", 1),
        ("log --json", 1),
    ],
)
def test_an_error_is_a_document_too(
    line: str, code: int, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.chdir(home.path)
    home.configured("device: laptop\n")
    assert main(["--config", str(home.config), *line.split()]) == code
    said = document(capsys)
    if line == "status --json":  # it tells what it can
        assert said["agent"] is None
        return
    assert set(said) == {"error"}
    assert set(said["error"]) == {"title", "hint", "exit-code"}
    assert said["error"]["exit-code"] == code
    assert said["error"]["title"]


def test_a_word_behind_two_dashes_is_no_option(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.configured("device: laptop\n")
    assert main(["--config", str(home.config), "explain", "--", "--json"]) == 1
    assert capsys.readouterr().out == ""
