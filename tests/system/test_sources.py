"""Where content comes from: the store in common, a peer whose transfer is gone on with, and how that is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import figures
from tests.system.fleet import Device, Fleet
from tests.waiting import until


def worktrees(fleet: Fleet) -> list[Device]:
    """Return two devices whose working copies are worktrees of one repository."""
    seed = fleet.seed({"a.txt": "first\n"}, hub=False)
    devices = []
    for name in ("desktop", "laptop"):
        device = fleet.device(name)
        fleet.git("worktree", "add", "-q", "--detach", str(device.root), at=seed)
        devices.append(device)
    fleet.configure(devices)
    return devices


def sent_over_tcp(device: Device) -> int:
    """Return how many bytes the agent has sent over its direct links (ss(8))."""
    assert device.process is not None
    shown = subprocess.run(["ss", "-tinpO"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in shown.splitlines() if f"pid={device.process.pid}," in line]
    return sum(int(word.partition(":")[2]) for line in mine for word in line.split() if word.startswith("bytes_sent:"))


def test_worktrees_of_one_repository_exchange_nothing_but_the_id(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        desktop, laptop = worktrees(fleet)
        fleet.start()
        fleet.equal()
        until(lambda: any(p["kind"] == "store" for p in peers_of(laptop)), why=lambda: laptop.log)
        before = sent_over_tcp(desktop)
        desktop.write("large.bin", os.urandom(5 << 20))
        fleet.equal()
        assert sent_over_tcp(desktop) - before < 2000
        assert laptop.applied("large.bin")["lane"] == "the store in common"
        shown = laptop.run("peers")
        assert "only ids are exchanged" in shown.stdout
        laptop.write("back.txt", "and back\n")
        fleet.equal()


def peers_of(device: Device) -> list[dict[str, object]]:
    (workspace,) = device.ask("peers")["workspaces"]
    found: list[dict[str, object]] = workspace["peers"]
    return found


def counted_git(fleet: Fleet) -> Path:
    """Let every git that an agent starts leave a line in the file that is returned."""
    place = fleet.place / "bin"
    place.mkdir()
    log = fleet.place / "git.log"
    log.touch()
    git = place / "git"
    git.write_text(f'#!/bin/sh\necho "$PPID $*" >>{log}\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    fleet.environment["PATH"] = f"{place}:{fleet.environment['PATH']}"
    return log


def test_a_small_save_of_a_linked_peer_starts_no_process(fleet_of_two: Fleet) -> None:
    fleet = fleet_of_two
    desktop, laptop = fleet.devices
    agents = {str(d.process.pid) for d in fleet.devices if d.process is not None}
    log = fleet.place / "git.log"
    for number in range(3):  # what is started once, and then asked again and again, is there
        desktop.write("a.txt", f"warm {number}\n")
        until(lambda number=number: laptop.read("a.txt") == f"warm {number}\n", why=lambda: laptop.log)  # type: ignore[misc]
    fleet.equal()
    before = len(log.read_text().splitlines())
    assert {line.split()[0] for line in log.read_text().splitlines()} >= agents, "what they start is counted"
    for number in range(5):
        desktop.write("a.txt", f"saved {number}\n")
        until(lambda number=number: laptop.read("a.txt") == f"saved {number}\n", why=lambda: laptop.log)  # type: ignore[misc]
    started = [line for line in log.read_text().splitlines()[before:] if line.split()[0] in agents]
    assert started == []


@pytest.fixture
def fleet_of_two(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet") as fleet:
        counted_git(fleet)
        fleet.clone(fleet.seed({"a.txt": "first\n"}, hub=False), "desktop", "laptop")
        fleet.configure(fleet.devices, top="limit-upload: 20m\n")
        fleet.start()
        fleet.equal()
        yield fleet


def test_peers_shows_who_where_and_why(fleet_of_two: Fleet) -> None:
    desktop, laptop = fleet_of_two.devices
    desktop.write("large.bin", os.urandom(1 << 20))
    fleet_of_two.equal()
    answer = json.loads(laptop.run("peers", "--json").stdout)
    (workspace,) = answer["workspaces"]
    (peer,) = [p for p in workspace["peers"] if p["device"] == "desktop"]
    assert (peer["state"], peer["kind"]) == ("linked", "lan")
    assert peer["rtt-ms"] > 0
    assert peer["throughput"] > 0
    assert peer["transfers"] == []
    shown = laptop.run("peers", str(laptop.root))
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0] == "notes"
    assert "DEVICE" in shown.stdout
    assert "linked" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert laptop.status()["transfers"] == []
    desktop.end()
    until(lambda: peers_of(laptop)[0]["state"] == "away")
    until(lambda: "Connection refused" in laptop.run("peers").stdout)  # it says farewell before it is gone
    away = laptop.run("peers").stdout
    assert "desktop: it is not reached\n    lan " in away
    assert away.count(f":{fleet_of_two.ports['desktop']}: Connection refused") == 1
    laptop.end()
    assert (laptop.state / "ways.json").exists()
    stopped = laptop.run("peers")
    assert stopped.returncode == 1
    assert "The agent is not running" in stopped.stderr


def test_a_transfer_goes_on_after_a_kill_of_both_agents(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        desktop, laptop = fleet.clone(fleet.seed({"a.txt": "first\n"}, hub=False), "desktop", "laptop")
        fleet.configure([desktop, laptop], top="limit-upload: 2m\n")
        fleet.start()
        fleet.equal()
        # Else what is saved may be merged once more, and it is another state that is fetched in the end.
        until(lambda: desktop.status()["snapshot"] == laptop.status()["snapshot"])
        desktop.write("large.bin", os.urandom(8 << 20))
        until(lambda: any(t["bytes"] > 3 << 20 for t in laptop.status()["transfers"]), why=lambda: laptop.log)
        laptop.kill()
        desktop.kill()
        fleet.start()
        fleet.equal()
        (went_on,) = re.findall(r"is gone on with at (\d+) bytes", laptop.log)
        assert int(went_on) > 2 << 20
        assert "is fetched from the beginning" not in laptop.log
        figures.record("kills survived", 2)
