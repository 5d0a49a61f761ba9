"""`mode: store`: laptop and desktop are never awake together, and have the same files all the same."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.fleet import Device, Fleet, entries, until
from tests.system.mounts import needs_mounts, tmpfs

NINE = "".join(f"{n}\n" for n in range(1, 10))
FILES = {"a.txt": NINE, "d/x": "x\n", "d/y": "y\n", "gone": "soon\n"}
KILLS = 6


def test_check_asks_for_the_program_that_the_store_needs(fleet: Fleet) -> None:
    server = fleet.device("server")
    add_store(server, fleet.key, vcs="hg")
    said = server.run("check").stdout
    assert "\nok    hg: Mercurial " in said, said
    assert " git: " not in said, said


def stored(fleet: Fleet, *names: str, hub: bool = False, vcs: str = "git") -> list[Device]:
    """Make clones of one repository and a store, last; the clones reach nobody but the store."""
    clones = fleet.clone(fleet.seed(FILES, hub=hub), *names)
    server = fleet.device("server")
    add_store(server, fleet.key, vcs=vcs)
    fleet.configure(fleet.devices, own={"server": "mode: store"})
    for device in clones:
        only = f'peers: ["127.0.0.1:{fleet.ports[server.name]}"]'
        device.config.write_text(re.sub(r"^peers: .*$", only, device.config.read_text(), flags=re.MULTILINE))
    return [*clones, server]


def add_store(server: Device, key: Path, *, vcs: str = "git") -> str:
    """Make the store of a device and return what `autosync init` said of it."""
    arguments = ("--mode", "store", "--vcs", vcs, "--workspace", "notes", "--key-file", str(key))
    done = server.run("init", str(server.root), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def handed_over(device: Device) -> None:
    """Wait until the store has what stands on ``device``."""
    done = device.run("sync", "--wait", "--timeout", "30")
    assert done.returncode == 0, (done.stdout, done.stderr, device.status(), device.log[-3000:])


def has_all_of(device: Device, other: tuple[str, dict[bytes, tuple[str, bytes]]]) -> None:
    """Wait until the working copy is as the other one was."""
    until(lambda: device.view() == other, why=lambda: (device.porcelain(), device.status(), device.log[-3000:]))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A place for devices."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_laptop_and_desktop_are_never_awake_together(fleet: Fleet) -> None:
    laptop, desktop, server = stored(fleet, "laptop", "desktop")
    fleet.start(laptop, server)
    handed_over(laptop)
    assert (laptop.is_clean(), entries(laptop.root).keys()) == (True, {name.encode() for name in FILES})

    laptop.write("a.txt", "laptop\n" + NINE)
    laptop.write("new/file", "new\n").chmod(0o755)
    (laptop.root / "gone").unlink()
    (laptop.root / "d/x").rename(laptop.root / "d/renamed")
    (laptop.root / "link").symlink_to("a.txt")
    laptop.write("large", "".join(f"{n} is a line\n" for n in range(50_000)))
    handed_over(laptop)
    left = laptop.view()
    assert laptop.end() == 0
    fleet.start(desktop)
    has_all_of(desktop, left)

    desktop.commit("all of it")
    desktop.git("switch", "-q", "-c", "feature")
    desktop.write("a.txt", "desktop\n" + NINE)
    desktop.commit("first try")
    desktop.write("a.txt", "desktop\n" + NINE + "10\n")
    desktop.git("commit", "-q", "-a", "--amend", "-m", "second try")
    desktop.write("unfinished", "work\n")
    handed_over(desktop)
    left = desktop.view()
    assert desktop.end() == 0
    fleet.start(laptop)
    has_all_of(laptop, left)
    assert (laptop.branch(), laptop.head()) == ("feature", desktop.head())
    assert laptop.git("fsck", "--no-dangling") == ""
    assert entries(server.root) == {b"autosync-store": entries(server.root)[b"autosync-store"]}


def test_what_both_edited_meanwhile_is_merged(fleet: Fleet) -> None:
    """The store merges as every device does; a conflict copy has the name that any of them would have given it."""
    laptop, desktop, server = stored(fleet, "laptop", "desktop")
    for device in (laptop, desktop):  # so that they have a state in common, had from the store
        fleet.start(*([device] if server.process else [device, server]))
        handed_over(device)
        assert device.end() == 0
    laptop.write("a.txt", "laptop\n" + NINE)
    laptop.write("d/x", "laptop's\n")
    desktop.write("a.txt", NINE + "desktop\n")
    desktop.write("d/x", "desktop's\n")
    (desktop.root / "gone").unlink()
    for device in (laptop, desktop):
        fleet.start(device)
        handed_over(device)
        left = device.view()
        assert device.end() == 0
    fleet.start(laptop)
    has_all_of(laptop, left)
    assert laptop.read("a.txt") == "laptop\n" + NINE + "desktop\n"
    assert {c for name, (_, c) in entries(laptop.root).items() if name.startswith(b"d/x")} == {
        b"laptop's\n",
        b"desktop's\n",
    }
    assert laptop.read("gone") is None
    until(lambda: len(laptop.status()["conflicts"]) == 1, why=laptop.status)
    assert server.status()["conflicts"] == []


def test_a_hub_that_takes_no_snapshots(fleet: Fleet) -> None:
    laptop, desktop, server = stored(fleet, "laptop", "desktop", hub=True)
    fleet.git("config", "receive.hideRefs", "refs/autosync", at=fleet.hub)
    for device in (laptop, desktop):
        device.config.write_text(device.config.read_text() + "  remote: origin\n")
    fleet.start(laptop, server)
    laptop.write("a.txt", "not committed\n")
    laptop.commit("committed")
    laptop.git("push", "-q", "origin", "main")
    laptop.write("a.txt", "not committed\n" * 2)
    left = laptop.view()
    handed_over(laptop)
    until(lambda: laptop.activities("told"), why=laptop.status)
    assert laptop.end() == 0
    fleet.start(desktop)
    has_all_of(desktop, left)
    refs = fleet.git("for-each-ref", "--format=%(refname)", at=fleet.hub).split()
    assert refs == ["refs/heads/main"]


def test_three_devices_that_see_only_the_store(fleet: Fleet) -> None:
    *devices, server = stored(fleet, "laptop", "desktop", "phone")
    fleet.start()
    fleet.equal(*devices)
    for number in range(3):
        for device in devices:
            device.write(f"{device.name}.txt", f"{number}\n" * 1000)
            device.write(f"{number}/{device.name}", "new\n")
    (devices[0].root / "gone").unlink()
    devices[1].commit("in between")
    fleet.equal(*devices)
    assert all(device.read(f"{name}.txt") == "2\n" * 1000 for device in devices for name in ("laptop", "desktop"))
    assert len(entries(devices[2].root)) == len(FILES) - 1 + 3 + 9
    until(lambda: server.status()["tree"] == devices[0].status()["tree"], why=server.status)
    for device in devices:
        peers = {peer["device"] for peer in device.status()["peers"]}
        assert peers == {"server"}


def test_branches_that_diverged_are_told_and_joined(fleet: Fleet) -> None:
    laptop, desktop, server = stored(fleet, "laptop", "desktop")
    for device in (laptop, desktop):
        device.write(f"by {device.name}", "1\n")
        device.commit(f"by {device.name}")
    fleet.start(laptop, server)
    handed_over(laptop)
    assert laptop.end() == 0
    fleet.start(desktop)
    until(lambda: desktop.status()["halt"] and server.status()["halt"], why=desktop.status)
    assert f"`git merge {laptop.head()}`" in desktop.status()["halt"]["hint"]
    desktop.git("merge", "-q", "-m", "joined", laptop.head())
    handed_over(desktop)
    left = desktop.view()
    assert desktop.end() == 0
    until(lambda: server.status()["halt"] is None, why=server.status)
    fleet.start(laptop)
    has_all_of(laptop, left)
    assert laptop.head() == desktop.head()


def test_a_store_is_killed_again_and_again(fleet: Fleet) -> None:
    laptop, desktop, server = stored(fleet, "laptop", "desktop")
    fleet.start(laptop, server)
    for number in range(KILLS):
        laptop.write("a.txt", f"{number}\n" * 20_000)
        laptop.write(f"new/{number}", "new\n")
        if number % 4 == 3:
            laptop.commit(f"commit {number}")
        if number % 3 == 0:  # while it is at work on it, or has nothing of it yet
            until(lambda: server.status()["base"] is not None, why=server.status)
        else:
            until(lambda: server.status()["tree"] == laptop.status()["tree"], why=server.status)
        server.kill()
        server.start()
    record("kills survived", KILLS)
    handed_over(laptop)
    left = laptop.view()
    assert laptop.end() == 0
    server.kill()
    fleet.start(desktop, server)
    has_all_of(desktop, left)
    git = ["git", "-C", str(server.root / "repository/.git/autosync/store.git"), "fsck", "--no-dangling"]
    assert subprocess.run(git, capture_output=True, text=True, check=True).stdout == ""


@needs_mounts
def test_the_disk_of_a_store_is_full(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        clones = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        disk = tmp_path / "disk"
        with tmpfs(disk, "size=6m"):
            server = fleet.device("server", disk / "store")
            add_store(server, fleet.key)
            fleet.configure(fleet.devices, own={"server": "mode: store"})
            fleet.start()
            (laptop,) = clones
            handed_over(laptop)
            (disk / "filler").write_bytes(b"")
            fill(disk / "filler")
            laptop.write("a.txt", "once more\n")
            until(lambda: server.status()["halt"], why=server.status)
            assert server.status()["halt"]["title"].startswith(f"The disk {disk} is full: ")
            (disk / "filler").unlink()
            server.ask("sync")
            handed_over(laptop)
            until(lambda: server.status()["halt"] is None, why=server.status)
            server.kill()


def fill(file: Path) -> None:
    """Write to ``file`` until its disk is full."""
    with file.open("ab", buffering=0) as full:
        try:
            while True:
                full.write(bytes(4096))
        except OSError:
            pass


def test_what_the_commands_say_of_a_store(fleet: Fleet) -> None:
    laptop, server = stored(fleet, "laptop")
    assert "ok    notes: " in server.run("check").stdout
    fleet.start(laptop, server)
    laptop.write("a (conflict, desktop, 2026-11-21 10.15.02).txt", "copied by hand\n")
    handed_over(laptop)

    status = server.status()
    assert (status["mode"], status["vcs"], status["conflicts"], status["held"]["count"]) == ("store", "git", [], 0)
    assert status["branch"] == "refs/heads/main"
    assert status["base"] == laptop.head()
    assert status["tree"] == laptop.status()["tree"]
    until(lambda: server.status()["phase"] == "watching", why=server.status)
    assert "storing" in server.run("status").stdout
    check = server.run("check")
    assert check.returncode == 0
    assert f"ok    notes: {server.root}: git store at main" in check.stdout

    for path, state in (
        ("a.txt", "synced"),
        ("d", "synced"),
        ("", "synced"),
        ("nowhere", "absent"),
        ("repository", "absent"),
    ):
        answer = server.ask("explain", path=str(server.root / path))
        assert answer["state"] == state, answer
    assert json.loads(server.run("conflicts", "--json").stdout)["conflicts"] == []
    assert len(json.loads(laptop.run("conflicts", "--json").stdout)["conflicts"]) == 1
    resolve = server.run("resolve", str(server.root / "a.txt"), "--keep", "mine")
    assert (resolve.returncode, "is a store" in resolve.stderr) == (1, True)

    rows = json.loads(server.run("gc", "--json").stdout)["workspaces"]
    assert rows[0]["snapshots-after"] >= 1
    assert rows[0]["shared-bytes"] == 0

    assert server.run("pause").returncode == 0
    laptop.write("a.txt", "while the store is paused\n")
    until(lambda: laptop.status()["tree"] != status["tree"])
    assert server.status()["tree"] == status["tree"]
    assert server.run("resume").returncode == 0
    until(lambda: server.status()["tree"] == laptop.status()["tree"], why=server.status)
    assert server.run("sync", "--wait", "--timeout", "30").returncode == 0
    assert server.end() == 0
    assert json.loads(server.run("gc", "--json").stdout)["workspaces"][0]["snapshots-after"] >= 1


def test_a_store_is_no_working_copy_and_a_working_copy_no_store(fleet: Fleet) -> None:
    """Else a store would be taken for a working copy in which everything was deleted."""
    laptop, server = stored(fleet, "laptop")
    before = server.config.read_text()
    server.config.write_text(before.replace("mode: store", "mode: two-way"))
    check = server.run("check").stdout
    assert f"fail  notes: {server.root} is a store of autosync's: there are no files in it" in check
    server.config.write_text(before.replace("mode: store", "").replace(f"{server.root}", f"{server.root}/repository"))
    assert f"{server.root}/repository is a store of autosync's" in server.run("run").stderr
    laptop.config.write_text(laptop.config.read_text() + "  mode: store\n")
    check = laptop.run("check").stdout
    assert f"fail  notes: {laptop.root} is no store of autosync's" in check
    server.config.write_text(before + "  commits: auto\n")
    done = server.run("check")
    assert (done.returncode, "`commits: auto` and `mode: store` exclude each other" in done.stdout) == (1, True)
    record("bad inputs refused", 4)


def test_init_makes_a_store_or_says_why_not(fleet: Fleet) -> None:
    server = fleet.device("server")
    (server.home / "full").mkdir()
    (server.home / "full/file").write_text("mine\n")
    arguments = ("--mode", "store", "--workspace", "notes", "--key-file", str(fleet.key))
    refused = server.run("init", "full", *arguments)
    assert (refused.returncode, "is not an empty folder" in refused.stderr) == (1, True)
    refused = server.run("init", str(server.root), *arguments, "--remote", "origin")
    assert (refused.returncode, "A store has no remotes: give the URL of the hub." in refused.stderr) == (1, True)
    assert not server.root.exists()
    server.home.joinpath("config.yaml").mkdir()  # the configuration cannot be written
    assert server.run("init", str(server.root), *arguments).returncode != 0
    assert not server.root.exists()
    server.home.joinpath("config.yaml").rmdir()

    said = add_store(server, fleet.key)
    assert f'{server.root} is now a git store of the workspace "notes"; no files are in it.' in said
    assert "mode: store" in server.config.read_text()
    server.config.unlink()
    assert "(joined)" in add_store(server, fleet.key)  # the one that is there
    wrong = server.run("init", str(server.root), "--mode", "store", "--workspace", "other", "--vcs", "hg")
    assert wrong.returncode == 1
    record("bad inputs refused", 4)
