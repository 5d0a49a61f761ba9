"""``autosync explain PATH``: which rule of which file, who has it since when, conflicts, what may not be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.fleet import Device, Fleet, pair
from tests.waiting import until

COPY = "plan (conflict, desktop, 2026-11-21 10.15.02).txt"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    files = {
        "a.txt": "a\n",
        "plan.txt": "one\n",
        COPY: "two\n",
        ".gitignore": "# ours\n*.log\n!keep.log\nbuild/\n",
        "sub/.gitignore": "\n/here\n",
    }
    with pair(tmp_path_factory.mktemp("fleet"), files) as fleet:
        yield fleet


def explain(device: Device, name: str) -> dict[str, Any]:
    done = device.run("explain", "--json", str(device.root / name))
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def rule_of(device: Device, name: str) -> tuple[str, str | None, int | None, str]:
    said = explain(device, name)
    assert said["state"] == "ignored", said
    rule = said["rule"]
    return rule["pattern"], rule["file"], rule["line"], rule["path"]


def test_the_rule_that_names_a_path_is_told(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    root, home = laptop.root, Path(laptop.environment["HOME"])
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("*.private\n")
    (home / ".config/git").mkdir(parents=True, exist_ok=True)
    (home / ".config/git/ignore").write_text("\n\n*.mine\n")
    for name in ("x.log", "build/deep/x", "sub/here", "x.private", "x.mine", ".x.swp", "keep.log"):
        laptop.write(name, "x\n")
    until(lambda: explain(laptop, "keep.log")["state"] == "synced")
    assert rule_of(laptop, "x.log") == ("*.log", f"{root}/.gitignore", 2, "x.log")
    assert rule_of(laptop, "build/deep/x") == ("build/", f"{root}/.gitignore", 4, "build")
    assert rule_of(laptop, "sub/here") == ("/here", f"{root}/sub/.gitignore", 2, "sub/here")
    assert rule_of(laptop, "x.private") == ("*.private", f"{root}/.git/info/exclude", 1, "x.private")
    assert rule_of(laptop, "x.mine") == ("*.mine", f"{home}/.config/git/ignore", 3, "x.mine")
    pattern, file, line, _ = rule_of(laptop, ".x.swp")
    assert (file, line, "sw" in pattern) == (None, None, True)
    shown = laptop.run("explain", str(root / "build/deep/x")).stdout
    assert f"ignored. An ignore rule names it: `build/` in {root}/.gitignore, line 4. It names build.\n" in shown


def test_who_has_it_is_told_and_when_it_said_so(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    until(lambda: explain(laptop, "a.txt")["devices"][0]["has"] == "same")
    (device,) = explain(laptop, "a.txt")["devices"]
    assert (device["device"], device["confirmed"][:2]) == ("desktop", "20")
    assert (
        f"desktop has it as it is here, confirmed {device['confirmed'][:10]}"
        in laptop.run("explain", str(laptop.root / "a.txt")).stdout
    )


def test_a_conflict_is_told_of_the_file_and_of_the_copy(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    for name in ("plan.txt", COPY):
        (conflict,) = explain(laptop, name)["conflicts"]
        assert (conflict["file"], conflict["copy"], conflict["device"]) == ("plan.txt", COPY, "desktop")
    shown = laptop.run("explain", str(laptop.root / "plan.txt")).stdout
    assert f"Of plan.txt there is another version, {COPY}, made by desktop.\n" in shown
    assert "resolve FILE --keep mine` finishes that." in shown


def test_a_file_in_a_repository_of_its_own_is_told(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    laptop.git("init", "--quiet", "inner dir")
    laptop.write("inner dir/deep/x", "x\n")
    said = explain(laptop, "inner dir/deep/x")
    assert said["state"] == "nested"
    assert f"a repository of its own, {laptop.root}/inner dir," in said["reason"]
    assert said["next"] == f"`autosync init '{laptop.root}/inner dir'` keeps that one too."
    assert said["devices"] == []


@pytest.mark.parametrize("name", ["x.log", ".git/config", "never was"])
def test_of_what_is_not_synced_nothing_is_said_of_others(name: str, fleet: Fleet) -> None:
    assert explain(fleet.devices[0], name)["devices"] == []


def test_a_link_is_a_file_of_its_own_wherever_it_leads(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    os.symlink("/etc/passwd", laptop.root / "link")
    until(lambda: explain(laptop, "link")["state"] == "synced")
    os.unlink(laptop.root / "link")


def test_what_is_held_says_why(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    laptop.write(".env", "SECRET=1\n")
    until(lambda: explain(laptop, ".env")["state"] == "held")
    said = explain(laptop, ".env")
    assert said["reason"] == "It is held back, for it looks like a secret by its name."
    assert [device["has"] for device in said["devices"]] == ["none"]
    assert explain(laptop, "a.txt")["state"] == "synced"
    laptop.write(".env", "")
    os.unlink(laptop.root / ".env")


def test_what_became_of_a_file_is_told_with_the_way_back(fleet: Fleet) -> None:
    laptop = fleet.devices[0]
    laptop.write("going.txt", "going\n")
    laptop.write("moving.txt", "moving\n")
    until(lambda: explain(laptop, "going.txt")["state"] == explain(laptop, "moving.txt")["state"] == "synced")
    os.unlink(laptop.root / "going.txt")
    os.rename(laptop.root / "moving.txt", laptop.root / "moved.txt")
    until(
        lambda: explain(laptop, "going.txt")["state"] == "deleted" and explain(laptop, "moved.txt")["state"] == "synced"
    )
    said = explain(laptop, "going.txt")
    assert said["reason"].startswith("It was deleted by laptop at 20")
    snapshot = said["next"].split(" --at ")[1].split("`")[0]
    back = f"`autosync restore PATH --at {snapshot}` brings it back."
    assert said["next"] == f"`autosync log PATH` lists what it was; {back}"
    assert said["devices"] == []
    assert laptop.run("restore", str(laptop.root / "going.txt"), "--at", snapshot).returncode == 0
    assert (laptop.root / "going.txt").read_text() == "going\n"
    moved = explain(laptop, "moving.txt")
    assert (moved["state"], moved["reason"][:40]) == ("renamed", "It was renamed to moved.txt by laptop at")
