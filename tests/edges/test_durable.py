"""Waiting for the disk: what is no directory any more has no names to wait for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autosync.durable import sync_directories, sync_directory


@pytest.mark.parametrize("many", [1, 30])
def test_what_is_gone_or_has_become_something_else_is_passed_over(tmp_path: Path, many: int) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "directory").mkdir()
    names = ["file", "loop", "link", "directory", "gone", "loop/below", "file/below"] * many
    sync_directories([os.fsencode(tmp_path / name) for name in names], os.fsencode(tmp_path))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    sync_directory(os.fsencode(tmp_path / "directory"))
    with pytest.raises(NotADirectoryError):
        sync_directory(os.fsencode(tmp_path / "link"))
