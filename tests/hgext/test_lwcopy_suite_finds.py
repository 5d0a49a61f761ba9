"""What Mercurial's own test suite found with light-weight copies on every repository (``python -m tests.hgsuite``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.hgext.lightweight import EXTENSION, Hosts, Side, mercurials

VERSIONS = ("7.2",) if os.environ.get("AUTOSYNC_INTEROP") != "all" else ("7.2", "6.9.5", "6.3.2")
COMMANDS = (
    ("init", "."),
    ("add", "one"),
    ("commit", "-m", "one"),
    ("mv", "one", "two"),
    ("commit", "-m", "two"),
    ("lwcopy",),
    ("lwcopy", "--off"),
    ("lwcopy", "--on"),
    ("debugupgraderepo", "--run", "--quiet", "--no-backup"),
)


@pytest.mark.parametrize("hg", VERSIONS, indirect=True)
def test_mercurial_warns_its_developers_of_nothing(hg: tuple[str, ...], tmp_path: Path) -> None:
    """The suite has these warnings on: of functions that have moved, of locks in the wrong order, and the like."""
    (tmp_path / "one").write_text("some lines\n" * 100)
    config = ("--config", f"extensions.lwcopy={EXTENSION}", "--config", "format.lwcopy=yes")
    for command in COMMANDS:
        done = subprocess.run(
            [*hg, *config, "--config", "devel.all-warnings=yes", *command],
            cwd=tmp_path,
            env=os.environ | {"HGPLAIN": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "devel-warn" not in done.stdout + done.stderr, f"{command}: {done.stderr}"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_narrow_clone_streams_no_copy_without_its_source(
    tmp_path: Path, pytestconfig: pytest.Config, version: str
) -> None:
    """The stream has the files of a part of the store as they are; it becomes a usual clone of that part."""
    side = Side(version, "light")
    (tmp_path / "hosts").mkdir()
    hosts = Hosts(tmp_path / "hosts", mercurials(pytestconfig))
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    hosts.run(side, "init", theirs)
    narrow = "[extensions]\nnarrow =\n[experimental]\nserver.stream-narrow-clones = yes\n"
    (theirs / ".hg" / "hgrc").write_text(narrow)
    lines = "some lines\n" * 100
    (theirs / "outside").write_text(lines)
    for command in (("commit", "-qAm", "one"), ("mv", "outside", "inside/file"), ("commit", "-qm", "two")):
        hosts.run(side, "--cwd", theirs, *command)
    # A narrow clone has no file that it could validate outside.
    options = ["--config", "extensions.narrow=", "--config", "server.validate=no", *hosts.ssh(side)]
    address = f"ssh://host/{theirs}"
    said = hosts.run(side, "clone", *options, "--narrow", "--stream", "--include", "inside", address, ours)
    assert "light-weight copies cannot be streamed to a narrow clone" in said
    assert (ours / "inside" / "file").read_text() == lines
    hosts.run(side, "--cwd", ours, "--config", "extensions.narrow=", "verify", "--quiet")
