"""What is installed, and not, as the systemd of a user answers: a program in its place says what it is told to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autosync import __version__
from autosync.errors import AutosyncError
from autosync.service import manager
from autosync.service.installing import Wishes, install, uninstall
from autosync.service.manager import UserManager
from tests import figures

WISHES = Wishes(name="autosync", options=[], headless=False, sandbox=True, agent=None)
RUNS = "case $3 in show) echo ActiveState=active; echo MainPID=7;; esac"


class Systemctl:
    """systemctl(1) in a folder of its own, which writes down what it was asked and does what ``script`` says."""

    def __init__(self, place: Path) -> None:
        self._program = place / "bin/systemctl"
        self._asked = place / "asked"
        self._program.parent.mkdir()
        self.home = place / "home"
        self.unit = self.home / ".config/systemd/user/autosync.service"
        self.environ = {"HOME": str(self.home), "PATH": f"{self._program.parent}:{os.environ['PATH']}"}

    def does(self, script: str) -> None:
        self._program.write_text(f'#!/bin/sh\necho "$*" >>{self._asked}\n{script}\n')
        self._program.chmod(0o755)
        self._asked.unlink(missing_ok=True)

    def changes(self) -> list[str]:
        """Return what was asked for but mere questions."""
        asked = [line.removeprefix("--user --no-pager ") for line in self._asked.read_text().splitlines()]
        return [line for line in asked if not line.startswith("show ")]

    def files(self) -> dict[str, str]:
        return {str(path): path.read_text() for path in self.home.rglob("*") if path.is_file()}


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    systemctl = Systemctl(tmp_path)
    monkeypatch.setenv("PATH", systemctl.environ["PATH"])
    return systemctl


def test_another_version_at_the_same_place_is_started(systemctl: Systemctl) -> None:
    systemctl.does(RUNS)
    install(WISHES, systemctl.environ, rehearse=False)
    systemctl.does(RUNS)
    assert install(WISHES, systemctl.environ, rehearse=False).placing.written == []
    assert systemctl.changes() == ["daemon-reload", "enable autosync.service"]
    systemctl.unit.write_text(systemctl.unit.read_text().replace(__version__, "0.0.1"))  # as that one has written it
    systemctl.does(RUNS)
    upgraded = install(WISHES, systemctl.environ, rehearse=False)
    assert (upgraded.placing.written, upgraded.placing.replaced) == ([str(systemctl.unit)], {})
    assert systemctl.changes() == ["daemon-reload", "enable autosync.service", "restart autosync.service"]


def test_the_service_finds_the_files_of_the_shell(systemctl: Systemctl) -> None:
    systemctl.does(RUNS)
    install(WISHES, {**systemctl.environ, "XDG_STATE_HOME": "/s t", "XDG_CONFIG_HOME": "relative"}, rehearse=False)
    lines = systemctl.unit.read_text().splitlines()
    assert 'Environment="XDG_STATE_HOME=/s t"' in lines
    assert not [line for line in lines if "XDG_CONFIG_HOME" in line]


@pytest.mark.parametrize(
    "change", [lambda e: install(WISHES, e, rehearse=False), lambda e: uninstall("autosync", e, rehearse=False)]
)
def test_a_systemd_that_does_not_answer_is_not_taken_for_none(
    systemctl: Systemctl, change: Callable[[dict[str, str]], object]
) -> None:
    systemctl.does(RUNS)
    install(WISHES, systemctl.environ, rehearse=False)
    before = systemctl.files()
    systemctl.does("echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(AutosyncError, match=r"which has the unit .*, does not answer: nothing was changed") as caught:
        change(systemctl.environ)
    assert f"rm {systemctl.unit}" in caught.value.hint
    assert (systemctl.files(), systemctl.changes()) == (before, [])
    systemctl.unit.unlink()
    change(systemctl.environ)  # as it was said
    figures.record("bad inputs refused", 1)


def test_a_systemd_that_hangs_is_told(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_QUICK", 0.2)
    systemctl.does("exec sleep 60")
    assert not UserManager().is_there()
    for ask in (
        lambda: UserManager().state("a"),
        lambda: UserManager().is_active("a"),
        lambda: UserManager().change("x", within=0.2),
    ):
        with pytest.raises(AutosyncError, match=r"^`systemctl --user .*` has not ended within 0.2 seconds"):
            ask()
