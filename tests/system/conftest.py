"""Fixtures of the system tests."""

from pathlib import Path

import pytest

from tests.system.commandline import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home directory."""
    path = tmp_path / "home"
    path.mkdir()
    return Home(path)
