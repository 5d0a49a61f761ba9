"""A store is known again, and every copy of it is told from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from autosync.errors import TransientError
from autosync.foothold import identify_store, is_same_store


def test_a_store_is_known_again_and_a_copy_is_not(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    known = identify_store(os.fsencode(store))
    (store / "more").write_text("content\n")
    assert identify_store(os.fsencode(store)) == known
    store.rename(tmp_path / "moved")
    assert identify_store(os.fsencode(tmp_path / "moved")) == known
    shutil.copytree(tmp_path / "moved", store)
    assert not is_same_store(known, identify_store(os.fsencode(store)))


def test_a_file_system_of_coarse_times_is_not_taken_for_a_copy() -> None:
    assert is_same_store(1_800_000_001_987_654_321, 1_800_000_000_000_000_000)
    assert not is_same_store(1_800_000_001_987_654_321, 1_800_000_002_000_000_000)


def test_a_store_that_cannot_be_marked_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"/gone/store\.mark: No such file or directory"):
        identify_store(os.fsencode(tmp_path / "gone"))
