"""Files that are replaced as a whole, and waiting for the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autosync.durable import replacing, sync_directories, sync_directory


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


@pytest.mark.parametrize("sole_writer", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_the_old_one_until_all_of_the_new_one_is_there(
    tmp_path: Path, sole_writer: bool, durable: bool
) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    before = path.stat().st_ino
    with replacing(os.fsencode(path), sole_writer=sole_writer, durable=durable) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("sole_writer", [False, True])
def test_what_was_not_written_to_its_end_leaves_nothing_behind(tmp_path: Path, sole_writer: bool) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(str(path), sole_writer=sole_writer) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_what_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError), replacing(str(tmp_path / "f")) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["f"]


def test_a_draft_that_a_kill_left_is_no_obstacle_and_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "f.new").symlink_to("precious")
    with replacing(str(tmp_path / "f"), sole_writer=True) as file:
        file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == ["f", "precious"]
    assert (tmp_path / "precious").read_text() == "precious"


def test_the_mode_is_the_one_asked_for_and_a_linked_directory_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with replacing(str(tmp_path / "link" / "f"), mode=0o666) as file:
        file.write(b"new")
    assert (tmp_path / "there" / "f").stat().st_mode & 0o7777 == 0o666
    monkeypatch.chdir(tmp_path)
    with replacing("f") as file:
        file.write(b"here")
    assert (tmp_path / "f").read_text() == "here"
