"""Which working copy a command line means, and what it is told if it means none."""

from __future__ import annotations

from pathlib import Path

import pytest

from autosync.cli.invocation import select
from autosync.config import Config, PathConfig
from autosync.errors import AutosyncError

NONE = Config(source="config.yaml", device="laptop", state_dir="/nowhere")


def hint(path: Path) -> str:
    with pytest.raises(AutosyncError) as refused:
        select(NONE, str(path))
    return refused.value.hint


def test_only_a_repository_is_worth_adding(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "some repo/.git").mkdir(parents=True)
    (tmp_path / "some repo/sub").mkdir()
    assert hint(tmp_path / "a file") == hint(tmp_path) == "The working copies there: none yet."
    added = f"The working copies there: none yet. Add this one with `autosync init '{tmp_path}/some repo'`."
    assert hint(tmp_path / "some repo/sub") == added


def test_a_workspaces_name_is_meant_before_a_file_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, fix = (PathConfig(path=str(tmp_path / name), workspace=name, key_file="/k") for name in ("notes", "fix"))
    config = Config(source="config.yaml", device="laptop", state_dir="/nowhere", paths=(notes, fix))
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    assert select(config, "fix") == fix
    assert select(config, "./fix") == notes
    (tmp_path / "notes/fix").touch()
    assert select(config, "fix") == notes
