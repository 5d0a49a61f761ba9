"""A disk that is full under an hg working copy: it is told, nothing is torn, and all arrives when there is room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from tests.system import mounts
from tests.system.fleet import at_once
from tests.system.hgfleet import HgDevice, HgFleet
from tests.system.mounts import needs_mounts
from tests.waiting import until


@needs_mounts
def test_what_arrives_and_what_is_saved_waits_for_room(tmp_path: Path) -> None:
    with HgFleet(tmp_path / "fleet") as fleet, mounts.tmpfs(tmp_path / "disk", "size=6m") as disk:
        source = fleet.seed({"a.txt": "1\n"}, hub=False)
        (laptop,) = fleet.clone_hg(source, "laptop")
        desktop = cast(HgDevice, fleet.device("desktop", disk / "notes"))
        fleet.hg("clone", "-q", str(source), str(desktop.root), at=fleet.place)
        fleet.configure(fleet.devices)
        fleet.start()
        fleet.equal()
        # A changeset whose files, and whose bundle, do not fit.
        laptop.write("big", os.urandom(4 << 20))
        laptop.commit("big")
        until(lambda: _is_full(desktop, disk), why=desktop.status)
        assert desktop.read("a.txt") == "1\n"
        mounts.remount(disk, "size=60m")
        _recovers(fleet, desktop)
        # No room for what is saved here, nor for hg to take note of anything.
        filler, saved = disk / "filler", os.urandom(8000)
        with at_once(desktop), filler.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 8192)
            desktop.write("new", saved)
        until(lambda: _is_full(desktop, disk), why=desktop.status)
        filler.unlink()
        _recovers(fleet, desktop)
        assert (laptop.root / "new").read_bytes() == saved
        verified = desktop.hg_process("verify", "-q")
        assert verified.returncode == 0, verified
        assert "Traceback" not in desktop.log


def _is_full(device: HgDevice, disk: Path) -> bool:
    status = device.status()
    return f"The disk {disk} is full: " in f"{status['halt']} {status['waiting-for']}"


def _recovers(fleet: HgFleet, device: HgDevice) -> None:
    device.run("resume")
    fleet.equal()
