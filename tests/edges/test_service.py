"""The files of a service: what stands in them, and whose they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from autosync.errors import AutosyncError
from autosync.service.files import MARK, autostart, menu, program_of, unit
from autosync.service.installing import program
from autosync.service.placing import Places, Placing
from tests import figures

HOSTILE = ["a b", 'a"b', "a\\b", "a$b", "a%b", "a%h", "$HOME", "a'b", "a`b`", "é漢", "a;b", "\\", "%%", "$$"]


def read_by_desktop(text: str) -> list[str]:
    """Return the arguments of an entry's Exec, read by the two rules of the Desktop Entry Specification."""
    (value,) = re.findall(r"^Exec=(.*)$", text, re.MULTILINE)
    value = value.replace("\\\\", "\0").replace("\\s", " ").replace("\0", "\\")
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    return [re.sub(r'\\(["`$\\])', r"\1", word).replace("%%", "%") for word in words]


def test_an_entry_starts_what_was_meant() -> None:
    command = ["/opt/my tools/autosync", *HOSTILE]
    for text in (autostart(command, "/icon.svg"), menu(command, "/icon.svg")):
        assert read_by_desktop(text) == command
        assert program_of(text) == command[0]
    figures.record("bad inputs refused", len(HOSTILE))


def test_systemd_reads_the_unit_as_it_was_meant(tmp_path: Path) -> None:
    """systemd itself says what it would run, and finds nothing to complain about."""
    for sandbox in (True, False):
        text = unit(
            ["/bin/echo", *HOSTILE],
            name="autosync",
            environment={"PATH": "/a b:/c%d", "XDG_STATE_HOME": "/x y%h"},
            sandbox=sandbox,
        )
        path = tmp_path / "autosync.service"
        path.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", "--man=no", path],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert ("NoNewPrivileges=yes" in text) == sandbox
        assert program_of(text) == "/bin/echo"


@pytest.mark.parametrize("word", ["a\nb", "a\0b", "caf\udce9", "\x1b"])
def test_what_no_file_can_hold_is_refused(word: str) -> None:
    for write in (
        lambda: unit(["/bin/x", word], name="n", environment={}, sandbox=True),
        lambda: unit(["/bin/x"], name="n", environment={"PATH": word}, sandbox=True),
        lambda: autostart([word], "/icon"),
    ):
        with pytest.raises(AutosyncError, match="cannot stand in a service's file"):
            write()
    figures.record("bad inputs refused", 1)


def test_the_places_are_those_of_the_user() -> None:
    places = Places.of({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "relative"}, "two")
    assert (places.unit, places.autostart) == ("/c/systemd/user/two.service", "/c/autostart/two.desktop")
    assert places.menu == "/h/.local/share/applications/two.desktop"
    assert places.icon == "/h/.local/share/icons/hicolor/scalable/apps/two.svg"


def test_the_program_is_that_of_this_installation(tmp_path: Path) -> None:
    assert program(str(tmp_path / "python3")) == [str(tmp_path / "python3"), "-m", "autosync"]
    script = tmp_path / "autosync"
    script.touch(mode=0o755)
    assert program(str(tmp_path / "python3")) == [str(script)]


# -- whose a file is ----------------------------------------------------------------------------
def test_a_file_is_written_once_and_told_when_it_was_anothers(tmp_path: Path) -> None:
    path = str(tmp_path / "d" / "autosync.desktop")
    first, second = Placing(), Placing()
    assert first.put(path, autostart(["/old/autosync"], "/i"))
    assert not second.put(path, autostart(["/old/autosync"], "/i"))
    assert second.put(path, autostart(["/new/autosync"], "/i"))
    assert (first.written, first.replaced, second.kept) == ([path], {}, [path])
    assert second.replaced == {path: "/old/autosync"}
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path / "d") == ["autosync.desktop"]


def test_a_rehearsal_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    placing = Placing(rehearse=True)
    assert placing.put(str(path), f"{MARK}\n")
    assert not path.exists()
    path.write_text(f"{MARK}\n")
    assert placing.remove(str(path))
    assert path.exists()
    assert (placing.written, placing.removed) == ([str(path)], [str(path)])


def test_what_others_have_made_is_left_alone(tmp_path: Path) -> None:
    foreign, link, masked = tmp_path / "foreign", tmp_path / "link", tmp_path / "masked.service"
    foreign.write_text("[Unit]\nDescription=mine\n")
    target = tmp_path / "target"
    target.write_text(f"{MARK}\n")
    link.symlink_to(target)
    masked.symlink_to("/dev/null")
    for path, hint in ((foreign, "--name"), (link, "mv "), (masked, "systemctl --user unmask masked.service")):
        placing = Placing()
        with pytest.raises(AutosyncError, match="nothing was changed") as caught:
            placing.put(str(path), f"{MARK}\nnew\n")
        assert hint in caught.value.hint
        assert not placing.remove(str(path))
        assert placing.kept == [str(path)]
    assert (foreign.read_text(), target.read_text()) == ("[Unit]\nDescription=mine\n", f"{MARK}\n")
    assert os.readlink(masked) == "/dev/null"
    figures.record("bad inputs refused", 3)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AutosyncError, match="cannot be read: Not a directory"):
        Placing().put(str(tmp_path / "file" / "x" / "y"), f"{MARK}\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(AutosyncError, match="cannot be read: Is a directory"):
        Placing().put(str(tmp_path / "folder"), f"{MARK}\n")


def test_the_icons_are_drawings_that_need_nothing_else() -> None:
    icons = sorted((Path(__file__).parents[2] / "autosync/desktop/icons").glob("*.svg"))
    assert len(icons) == 7
    for icon in icons:
        text = icon.read_text()
        assert text.startswith("<!-- autosync's own icon")
        root = ET.fromstring(text)  # noqa: S314 - our own file
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"href|url\(|<script|<style", text)


def test_a_desktop_takes_the_entries(tmp_path: Path) -> None:
    for name, text in (("a", menu(["/bin/true", "web"], "autosync")), ("b", autostart(["/bin/true"], "autosync"))):
        path = tmp_path / f"{name}.desktop"
        path.write_text(text)
        validate = shutil.which("desktop-file-validate")
        assert validate is not None
        done = subprocess.run([validate, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
