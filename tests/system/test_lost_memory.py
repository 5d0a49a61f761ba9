"""A device that has lost or gone back in its own history loses none of the saves that follow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import figures
from tests.system.fleet import Device, pair


def damaged(laptop: Device, _backup: Path) -> None:
    """Every pack of the private store is cut short."""
    packs = list((laptop.root / ".git/autosync/store.git/objects/pack").glob("*.pack"))
    assert packs
    for pack in packs:
        pack.chmod(0o600)
        os.truncate(pack, pack.stat().st_size // 2)


def gone(laptop: Device, _backup: Path) -> None:
    """The private store was deleted."""
    shutil.rmtree(laptop.root / ".git/autosync")


def restored(laptop: Device, backup: Path) -> None:
    """The working copy, its repository included, was restored from an older backup."""
    shutil.rmtree(laptop.root)
    shutil.copytree(backup, laptop.root, symlinks=True)


@pytest.mark.parametrize("mishap", [damaged, gone, restored])
def test_what_is_saved_after_the_store_was_lost_is_kept(tmp_path: Path, mishap: Callable[[Device, Path], None]) -> None:
    """States are numbered: a number of the lost past that is used again would pass for what the others have."""
    with pair(tmp_path, {"a.txt": "a\n", "b.txt": "b\n", "c.txt": "c\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.end()
        backup = shutil.copytree(laptop.root, tmp_path / "backup", symlinks=True)
        laptop.start()
        laptop.write("b.txt", "b, later\n")
        fleet.equal()
        desktop.write("c.txt", "c, on the desktop\n")
        fleet.equal()
        laptop.end()
        mishap(laptop, backup)
        laptop.write("a.txt", "a, edited meanwhile\n")
        laptop.write("new.txt", "new\n")
        laptop.start()
        fleet.equal()
        figures.record("faults injected", 1)
        assert desktop.read("a.txt") == "a, edited meanwhile\n"
        assert desktop.read("b.txt") == "b, later\n"
        assert desktop.read("c.txt") == "c, on the desktop\n"
        assert desktop.read("new.txt") == "new\n"
