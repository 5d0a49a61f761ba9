"""Each way a change can take, with the others turned off; and more than two devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.trust.sealing import create_key
from tests.system.fleet import Fleet, at_once, entries, until

FILES = {"a.txt": "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "d/x": "x\n"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A place for devices."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_small_changes_travel_inside_the_announcement(fleet: Fleet) -> None:
    laptop, desktop = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
    fleet.configure(fleet.devices)
    fleet.start()
    fleet.equal()
    laptop.write("a.txt", "small\n")
    fleet.equal()
    desktop.write("d/x", "small too\n")
    fleet.equal()
    for device in fleet.devices:
        until(lambda d=device: d.activities("applied"))  # type: ignore[misc]  # told a moment after
        assert {a["lane"] for a in device.activities("applied")} == {"inline over lan"}


def test_without_inline_and_hub_everything_comes_from_the_peer(fleet: Fleet) -> None:
    laptop, desktop = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
    fleet.configure(fleet.devices, inline_limit=0)
    fleet.start()
    fleet.equal()
    laptop.write("a.txt", "small\n")
    fleet.equal()
    laptop.write("big", os.urandom(300_000))
    fleet.equal()
    laptop.commit("both")
    fleet.equal()
    lanes = {a["lane"] for a in desktop.activities("applied")}
    assert lanes == {f"peer {desktop.status()['peers'][0]['id']}"}


def test_devices_that_never_meet_exchange_by_the_hub(fleet: Fleet) -> None:
    laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
    fleet.configure(fleet.devices, peers=False, remote="origin", poll="1s")
    fleet.start()
    laptop.write("a.txt", "by the hub\n")
    laptop.run("sync")
    fleet.equal()
    desktop.write("big", os.urandom(300_000))
    desktop.commit("big")
    done = desktop.run("sync", "--wait", "--timeout", "10")
    assert (done.returncode, done.stderr) == (0, "")
    fleet.equal()
    assert laptop.head() == desktop.head()
    assert {a["lane"].split()[0] for d in fleet.devices for a in d.activities("applied")} == {"hub"}
    assert fleet.git("for-each-ref", "--format=%(refname)", "refs/heads", at=fleet.hub) == "refs/heads/main\n"
    assert "autosync" not in laptop.git("for-each-ref")


def test_three_devices(fleet: Fleet) -> None:
    one, two, three = fleet.clone(fleet.seed(FILES, hub=False), "one", "two", "three")
    fleet.configure(fleet.devices)
    fleet.start()
    fleet.equal()
    with at_once(*fleet.devices):
        one.write("a.txt", "one\n2\n3\n4\n5\n6\n7\n8\n9\n")
        two.write("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\ntwo\n")
        three.write("three", "3\n")
    fleet.equal()
    assert one.read("a.txt") == "one\n2\n3\n4\n5\n6\n7\n8\ntwo\n"
    two.commit("all of it")
    fleet.equal()
    three.kill()
    one.write("d/x", "while three is away\n")
    fleet.equal(one, two)
    one.end()
    three.start()
    fleet.equal(two, three)
    one.start()
    fleet.equal()
    with at_once(*fleet.devices):
        for device in fleet.devices:
            device.write("d/x", f"{device.name}\n")
    fleet.equal()
    versions = {content for name, (_, content) in entries(one.root).items() if name.startswith(b"d/x")}
    assert versions >= {b"one\n", b"two\n", b"three\n"}


def test_worktrees_of_one_repository_are_workspaces_of_one_agent(fleet: Fleet) -> None:
    laptop, desktop = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
    fleet.configure(fleet.devices)
    key = fleet.place / "side.key"
    create_key(str(key))
    for device in fleet.devices:
        device.git("worktree", "add", "-q", "-b", "side", "../side")
        with device.config.open("a") as file:
            file.write(f"- path: {device.home}/side\n  workspace: side\n  key-file: {key}\n")
    fleet.start()
    fleet.equal()
    (laptop.home / "side/new").write_text("on the side\n")
    laptop.write("new", "in the main one\n")
    until(lambda: (desktop.home / "side/new").exists() and desktop.read("new"), why=lambda: desktop.ask("status"))
    assert (desktop.home / "side/new").read_text() == "on the side\n"
    desktop.git("add", "-A", at=desktop.home / "side")
    desktop.git("commit", "-q", "-m", "on the side", at=desktop.home / "side")
    desktop.commit("on main")
    until(lambda: laptop.git("rev-parse", "side", "main") == desktop.git("rev-parse", "side", "main"))
    fleet.equal()
    assert laptop.git("status", "--porcelain", at=laptop.home / "side") == ""
    laptop.ask("pause", path=str(laptop.home / "side"))
    laptop.write("only", "this one goes on\n")
    fleet.equal()
    assert [w["phase"] for w in laptop.ask("status")["workspaces"]] == ["watching", "paused"]
