"""A device that has lost or gone back in its own history loses none of the saves that follow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autosync.errors import AutosyncError
from autosync.foothold import identify_store
from tests import figures
from tests.system.fleet import Device, Fleet, pair
from tests.waiting import until


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


FOUND_OUT = "Another machine has gone on under the identity of this one"


def cloned(fleet: Fleet, device: Device, name: str) -> Device:
    """Return what the image of a machine becomes on another one: no file of it tells that it is a copy."""
    twin = Device(name, fleet.place / name, fleet.place / name / "notes", fleet.environment)
    shutil.copytree(device.home, twin.home, symlinks=True)
    fleet.devices.append(twin)
    fleet.configure(fleet.devices)
    twin.config.write_text(twin.config.read_text().replace(f"device: {name}", f"device: {device.name}"))
    known = twin.state / "device.json"
    _amend(known, inode=known.stat().st_ino)
    for file in (twin.state / "workspaces").iterdir():
        state = json.loads(file.read_text())["state"]
        _amend(file, state={**state, "store": identify_store(os.fsencode(twin.root / ".git/autosync"))})
    return twin


def _amend(file: Path, **fields: object) -> None:
    """Change a file in its place."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def identity(device: Device) -> str:
    """Return the id of a device, empty while its agent starts again."""
    try:
        device.ask("status")
        return str(json.loads((device.state / "device.json").read_text())["id"])
    except (AutosyncError, FileNotFoundError):
        return ""


def become_equal(fleet: Fleet) -> bool:
    """Wait until all is equal; return false if an agent begins anew just then."""
    try:
        fleet.equal()
    except AutosyncError:
        return False
    return True


def test_two_machines_with_one_identity_lose_nothing(tmp_path: Path) -> None:
    """Both would give the same numbers to what is saved on them, and pass for each other's past."""
    with pair(tmp_path, {"a.txt": "a\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.write("a.txt", "a, edited\n")
        fleet.equal()
        desktop.end()
        laptop.end()
        twin = cloned(fleet, laptop, "twin")
        desktop.start()
        for machine in (laptop, twin):  # each saves while the other is away
            machine.start()
            machine.write(f"{machine.home.name}.txt", "saved here\n")
            machine.write("a.txt", f"a, on {machine.home.name}\n")
            until(lambda name=f"{machine.home.name}.txt": desktop.read(name))  # type: ignore[misc]
            until(lambda asked=machine: identity(asked))  # type: ignore[misc]
            machine.end()
        fleet.start(laptop, twin)
        until(lambda: FOUND_OUT in laptop.log + twin.log, why=lambda: laptop.log + twin.log)
        until(lambda: len({identity(machine) for machine in (laptop, twin)} - {""}) == 2)
        until(lambda: become_equal(fleet))
        laptop.write("later-1.txt", "later\n")
        twin.write("later-2.txt", "later\n")
        fleet.equal()
        figures.record("faults injected", 1)
        assert {"laptop.txt", "twin.txt", "later-1.txt", "later-2.txt"} <= {f.name for f in twin.root.iterdir()}
        versions = {f.read_text() for f in twin.root.glob("a*.txt")}
        assert versions == {"a, on laptop\n", "a, on twin\n"}
