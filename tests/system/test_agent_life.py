"""The agent as a process: killed, stopped, started twice, paused, its state damaged, its folder taken away."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, entries, pair, until
from tests.waiting import freeze

FILES = {"a.txt": "1\n2\n3\n", "d/x": "x\n"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Laptop and desktop, running and equal."""
    with pair(tmp_path / "fleet", FILES) as fleet:
        yield fleet


# -- the same workspace twice --------------------------------------------------------------
def test_a_second_folder_of_a_workspace_is_refused(tmp_path: Path) -> None:
    """Neither of the two gets the other's memory, and the device stays who it is."""
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        fleet.configure([laptop])
        fleet.start()
        until(lambda: laptop.status()["snapshot"] is not None)
        before = laptop.status()["snapshot"], (laptop.state / "device.json").read_bytes()
        alone = laptop.config.read_text()
        other = laptop.home / "copy"
        fleet.git("clone", "-q", str(laptop.root), str(other))
        entry = f"- path: {json.dumps(str(other))}\n  workspace: copy\n  key-file: {json.dumps(str(fleet.key))}\n"
        laptop.config.write_text(alone + entry)
        told = f"{other} has the key of {laptop.root}: one device keeps a workspace in one folder"
        answer = laptop.ask("reload")
        assert (answer["added"], [f["title"] for f in answer["failed"]]) == ([], [told])
        laptop.end()
        started = laptop.run("run")
        assert (started.returncode, started.stderr.count("Error: "), told in started.stderr) == (1, 1, True)
        checked = laptop.run("check")
        assert (checked.returncode, f"fail  copy: {told}\n" in checked.stdout) == (1, True), checked.stdout
        laptop.config.write_text(alone)
        laptop.start()
        until(lambda: laptop.status()["snapshot"] is not None)
        assert (laptop.status()["snapshot"], (laptop.state / "device.json").read_bytes()) == before


def test_a_renamed_folder_is_taken_up_by_a_restart(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    moved = laptop.home / "renamed"
    laptop.root.rename(moved)
    laptop.config.write_text(laptop.config.read_text().replace(str(laptop.root), str(moved)))
    (failed,) = laptop.ask("reload")["failed"]
    assert failed["hint"] == "If the folder was moved or renamed, start the agent again."
    laptop.end()
    laptop.start()
    desktop.write("a.txt", "after the move\n")
    until(lambda: (moved / "a.txt").read_text() == "after the move\n", why=lambda: laptop.log)


# -- ends ----------------------------------------------------------------------------------
def test_an_agent_that_is_killed_again_and_again_loses_nothing(fleet: Fleet) -> None:
    chance = random.Random(7)
    written: set[bytes] = set()
    for burst in range(4):
        when = {chance.randrange(40): device for device in fleet.devices}
        for step in range(40):
            for device in fleet.devices:
                name, content = f"of {device.name}/{step % 8}", f"{device.name} {burst} {step}\n"
                device.write(name, content)
                written.add(content.encode())
            if step in when:
                when[step].kill()
                when[step].launch()
        for device in fleet.devices:
            until(device.answers)
        fleet.equal()
        for device in fleet.devices:
            last = [f"{device.name} {burst} {step}\n".encode() for step in range(32, 40)]
            held = {content for _, content in entries(fleet.devices[0].root).values()}
            assert set(last) <= held
    # Nothing torn, and nothing that nobody wrote.
    assert {content for name, (_, content) in entries(fleet.devices[1].root).items() if name[:3] == b"of "} <= written
    assert {d.git("fsck", "--no-dangling") for d in fleet.devices} == {""}


def test_a_killed_agent_has_not_made_the_files_it_was_applying_its_own(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    for number in range(400):
        laptop.write(f"many/{number}", "first\n")
    fleet.equal()
    for round_ in range(3):
        for number in range(400):
            laptop.write(f"many/{number}", f"second {round_}\n")
        until(lambda n=round_: any(c == b"second %d\n" % n for _, c in entries(desktop.root).values()))  # type: ignore[misc]
        desktop.kill()
        for number in range(400):
            laptop.write(f"many/{number}", f"third {round_}\n")
        until(lambda: not laptop.status()["pending"])
        desktop.start()
        fleet.equal()
    assert not [name for name in entries(desktop.root) if b"conflict" in name]
    assert {content for name, (_, content) in entries(laptop.root).items() if name[:4] == b"many"} == {b"third 2\n"}


def change_much(device: Device) -> bytes:
    """Write many files anew; return what the first one holds."""
    contents = [os.urandom(2000) for _ in range(2000)]
    for number, content in enumerate(contents):
        device.write(f"many/{number % 50}/{number}", content)
    return contents[0]


def meets_a_change(device: Device, first: bytes) -> None:
    """Wait until an agent brings in a large change, of which ``first`` is what its first file gets."""
    file = device.root / "many" / "0" / "0"
    until(
        lambda: device.status()["phase"] in ("applying", "fetching") or (file.exists() and file.read_bytes() == first)
    )


def test_sigterm_ends_it_in_the_middle_of_a_large_change(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    meets_a_change(desktop, change_much(laptop))
    assert [device.end(signal.SIGTERM) for device in (desktop, laptop)] == [0, 0]
    ends = [device.log.count("Traceback") for device in fleet.devices]
    assert ends == [0, 0], [device.log[-2000:] for device in fleet.devices]
    fleet.start()
    fleet.equal()
    assert laptop.end(signal.SIGINT) == 130


def test_a_second_agent_is_refused_with_the_pid_of_the_first(fleet: Fleet) -> None:
    laptop, _ = fleet.devices
    assert laptop.process is not None
    done = laptop.run("run")
    assert done.returncode == 1
    assert str(laptop.process.pid) in done.stderr
    assert laptop.answers()


# -- steering ------------------------------------------------------------------------------
def test_a_pause_outlives_a_restart(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    assert desktop.run("pause").stdout == "paused: notes\n"
    desktop.end()
    desktop.start()
    assert desktop.status()["phase"] == "paused"
    laptop.write("a.txt", "meanwhile\n")
    desktop.write("d/x", "meanwhile too\n")
    until(lambda: desktop.status()["peers"])  # it has heard of the other again
    until(lambda: desktop.status()["peers"][0]["tree"] == laptop.status()["tree"] != desktop.status()["tree"])
    assert (desktop.read("a.txt"), laptop.read("d/x")) == (FILES["a.txt"], "x\n")
    assert desktop.run("resume").returncode == 0
    fleet.equal()
    assert (desktop.read("a.txt"), laptop.read("d/x")) == ("meanwhile\n", "meanwhile too\n")


def test_sync_wait_tells_by_its_exit_code(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write("a.txt", "now\n")
    done = laptop.run("sync", "--wait", "--timeout", "10")
    assert (done.returncode, done.stdout, done.stderr) == (0, "in sync: notes\n", "")
    assert desktop.read("a.txt") == "now\n"
    desktop.ask("pause")
    laptop.write("a.txt", "later\n")
    until(lambda: laptop.status()["peers"][0]["state"] == "paused")
    until(lambda: laptop.status()["peers"][0]["tree"] != laptop.status()["tree"])
    done = laptop.run("sync", "--wait", "--timeout", "0.5")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Not in sync: waiting for desktop, which is paused\n")
    desktop.ask("resume")
    fleet.equal()
    assert desktop.process is not None
    freeze(desktop.process.pid)
    laptop.write("a.txt", "while it is frozen\n")
    until(lambda: laptop.status()["peers"][0]["state"] == "behind")
    done = laptop.run("sync", "--wait", "--timeout", "0.5")
    desktop.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1
    assert re.match(r"Error: Not in sync: waiting for desktop, which was last heard \d+ s ago\n", done.stderr)
    desktop.end()
    until(lambda: laptop.status()["peers"][0]["state"] == "away")
    done = laptop.run("sync", "--wait", "--timeout", "0.5")
    assert "no other device can be reached" in done.stderr + done.stdout
    laptop.end()
    done = laptop.run("sync", "--wait")
    assert done.returncode == 1
    assert "not running" in done.stderr
    assert f"`autosync --config {laptop.config} run`" in done.stderr


def test_status_is_what_others_rely_on(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    laptop.write("a.txt", "1\n")
    fleet.equal()
    shown = json.loads(laptop.run("status", "--json").stdout)
    text, number, nothing = str, (int, float), type(None)
    documented = {
        "device": text,
        "agent": {"pid": int, "started": str, "uptime": number, "rss": int},
        "channel": {"kind": text, "state": text},
    }
    workspace = {
        **dict.fromkeys(("name", "path", "vcs", "phase", "base", "branch", "snapshot", "tree"), text),
        "pending": int,
        "last-sync": (text, nothing),
        "halt": nothing,
        "peers": list,
    }
    peer = dict.fromkeys(("device", "snapshot", "tree", "seen", "state"), text)
    check(documented, shown)
    (only,) = shown["workspaces"]
    check(workspace, only)
    (other,) = only["peers"]
    check(peer, other)
    assert (shown["device"], other["device"], other["state"]) == ("laptop", "desktop", "equal")
    assert laptop.process is not None
    assert shown["agent"]["pid"] == laptop.process.pid
    assert only["base"] == laptop.head()
    assert only["tree"] == other["tree"] == desktop.status()["tree"]
    assert (only["branch"], only["vcs"]) == ("refs/heads/main", "git")


def check(wanted: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Assert that every documented key is there and of its type."""
    for key, kind in wanted.items():
        if isinstance(kind, Mapping):
            value = found[key]
            assert isinstance(value, Mapping)
            check(kind, value)
        else:
            assert isinstance(found[key], kind), (key, found[key])  # type: ignore[arg-type]


# -- damage --------------------------------------------------------------------------------
def test_a_damaged_state_file_is_set_aside_and_everything_goes_on(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    desktop.end()
    (file,) = (desktop.state / "workspaces").glob("*.json")
    file.write_text('{"schema": 1, "state": {"seq"')
    laptop.write("a.txt", "meanwhile\n")
    desktop.write("d/x", "meanwhile too\n")
    done = desktop.run("run")
    assert done.returncode == 1
    assert f"Error: {file}: is corrupt (" in done.stderr
    desktop.start()
    fleet.equal()
    assert (desktop.read("a.txt"), laptop.read("d/x")) == ("meanwhile\n", "meanwhile too\n")


def test_a_folder_that_goes_away_deletes_nothing_and_comes_back(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    away = desktop.home / "away"
    desktop.root.rename(away)
    until(lambda: desktop.status()["halt"], why=desktop.status)
    assert desktop.status()["halt"]["title"] == f"The folder {desktop.root} is gone"
    done = desktop.run("resume")
    assert done.returncode == 1
    assert f"The folder {desktop.root} is gone" in done.stderr
    desktop.root.mkdir()  # as an unmounted disk leaves it
    assert desktop.run("resume").returncode == 1
    laptop.write("a.txt", "meanwhile\n")
    until(lambda: "has no repository any more" in desktop.status()["halt"]["title"], why=desktop.status)
    desktop.root.rmdir()
    away.rename(desktop.root)
    fleet.equal()
    assert set(entries(laptop.root)) == {b"a.txt", b"d/x"}
    desktop.write("d/x", "seen again\n")
    fleet.equal()
    laptop.write("new", "1\n")
    fleet.equal()


# -- size ------------------------------------------------------------------------------------
def test_a_large_file_does_not_pass_through_memory(fleet: Fleet) -> None:
    laptop, _ = fleet.devices
    block = os.urandom(1 << 20)
    with (laptop.root / "large").open("wb") as file:
        for number in range(200):
            file.write(number.to_bytes(4, "big") + block)
    until(lambda: laptop.status()["held"]["count"])
    assert laptop.run("release", str(laptop.root / "large")).returncode == 0
    fleet.equal(seconds=90)
    for device in fleet.devices:
        assert peak_memory(device) < 150 << 20


def peak_memory(device: Device) -> int:
    """Return the most memory an agent has had, in bytes (proc(5), VmHWM)."""
    assert device.process is not None
    lines = Path(f"/proc/{device.process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_folder_that_is_missing_at_the_start_is_waited_for_if_it_was_kept_before(tmp_path: Path, left: str) -> None:
    with pair(tmp_path, {"a.txt": "a\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.end()
        away = laptop.root.with_name("unmounted")
        laptop.root.rename(away)
        if left == "an empty folder":
            laptop.root.mkdir()
        (away / "b.txt").write_text("saved elsewhere\n")
        laptop.start()
        status = laptop.status()
        assert status["phase"] == "halted"
        assert str(laptop.root) in status["halt"]["title"]
        assert "notes is halted" in laptop.run("status").stdout
        waiting = laptop.run("sync", "--wait", "--timeout", "1")
        assert waiting.returncode == 1
        assert "notes:" in waiting.stderr
        assert str(laptop.root) in laptop.run("conflicts", "notes").stderr
        if left == "an empty folder":
            laptop.root.rmdir()
        away.rename(laptop.root)
        until(lambda: desktop.read("b.txt") == "saved elsewhere\n")
        desktop.write("c.txt", "back\n")
        until(lambda: laptop.read("c.txt") == "back\n")
        fleet.equal()
        assert laptop.status()["halt"] is None


def test_a_folder_that_comes_but_cannot_be_opened_yet_is_tried_again(tmp_path: Path) -> None:
    with pair(tmp_path, {"a.txt": "a\n"}) as fleet:
        laptop, desktop = fleet.devices
        laptop.end()
        away = laptop.root.with_name("unmounted")
        laptop.root.rename(away)
        laptop.start()
        assert str(laptop.root) in laptop.status()["halt"]["title"]
        packed = laptop.root / ".git/autosync/store.git/packed-refs"
        (away / packed.relative_to(laptop.root)).symlink_to(packed.name)  # to itself: unreadable, as on a bad disk
        away.rename(laptop.root)
        until(lambda: "Too many levels" in laptop.status()["halt"]["title"])
        packed.unlink()
        laptop.write("b.txt", "saved here\n")
        until(lambda: desktop.read("b.txt") == "saved here\n")
        assert laptop.status()["halt"] is None
