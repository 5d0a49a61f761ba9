"""One-way working copies, and commits that autosync makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, at_once, entries, until

NINE = "".join(f"{n}\n" for n in range(1, 10))
FILES = {"a.txt": NINE, "d/x": "x\n"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A place for devices."""
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_a_sender_takes_nothing_and_a_receiver_gives_nothing(fleet: Fleet) -> None:
    sender, receiver = fleet.clone(fleet.seed(FILES, hub=False), "sender", "receiver")
    fleet.configure(fleet.devices, own={"sender": "mode: send", "receiver": "mode: receive"})
    fleet.start()
    sender.write("a.txt", "sent\n")
    fleet.equal()
    receiver.write("mine", "stays here\n")
    receiver.write("a.txt", "edited here\n")
    until(lambda: not receiver.status()["pending"] and receiver.status()["tree"] != sender.status()["tree"])
    sender.write("a.txt", "sent again\n")
    sender.commit("committed")
    until(lambda: receiver.head() == sender.head(), why=receiver.status)
    until(
        lambda: (
            sorted(c for n, (_, c) in entries(receiver.root).items() if n[:1] == b"a")
            == [b"edited here\n", b"sent again\n"]
        ),
        why=lambda: entries(receiver.root),
    )
    assert sorted(entries(sender.root)) == [b"a.txt", b"d/x"]
    assert receiver.read("mine") == "stays here\n"
    assert sender.git("status", "--porcelain") == ""
    assert [d.status()["mode"] for d in fleet.devices] == ["send", "receive"]


def hub_tip(fleet: Fleet) -> str:
    return fleet.git("rev-parse", "main", at=fleet.hub).strip()


def pushed(fleet: Fleet, *devices: Device) -> None:
    """Wait until everything is committed, on the hub, and the same everywhere."""
    until(
        lambda: all(d.head() == hub_tip(fleet) and d.is_clean() for d in devices),
        why=lambda: "\n".join(d.log[-2000:] + d.git("status") + str(d.status()) for d in devices),
    )
    fleet.equal(*devices)


def test_commits_are_made_pushed_and_merged(fleet: Fleet) -> None:
    hub = fleet.seed(FILES)
    laptop, desktop = fleet.clone(hub, "laptop", "desktop")
    (outsider,) = fleet.clone(hub, "outsider")
    fleet.configure([laptop, desktop], remote="origin", commits="auto", commit_after="1s", poll="1s")
    fleet.start(laptop, desktop)
    fleet.equal(laptop, desktop)
    with at_once(laptop):  # so that it is one commit
        laptop.write("new", "1\n")
        laptop.write("a.txt", "laptop\n" + NINE)
        (laptop.root / "d/x").rename(laptop.root / "d/renamed")
    until(lambda: laptop.git("rev-list", "--count", "HEAD").strip() == "2", why=laptop.status)
    pushed(fleet, laptop, desktop)
    message = desktop.git("log", "-1", "--format=%B")
    for line in ("Change a.txt", "Add new", "Rename d/x to d/renamed", "By autosync on "):  # whoever is first
        assert line in message

    outsider.git("pull", "-q")
    outsider.write("a.txt", (outsider.read("a.txt") or "") + "outsider\n")
    outsider.commit("by somebody else")
    with at_once(laptop, desktop):  # who has not seen it yet
        outsider.git("push", "-q")
        laptop.write("a.txt", (laptop.read("a.txt") or "").replace("5\n", "five\n"))
        desktop.write("from desktop", "1\n")
    until(lambda: "by somebody else" in laptop.git("log", "--format=%s"), why=laptop.status)
    pushed(fleet, laptop, desktop)
    merged = ("laptop\n" + NINE + "outsider\n").replace("5\n", "five\n")
    assert laptop.read("a.txt") == desktop.read("a.txt") == merged
    assert laptop.read("from desktop") == "1\n"

    outsider.git("pull", "-q")
    outsider.write("new", "outsider's\n")
    outsider.commit("the same line")
    with at_once(laptop, desktop):
        outsider.git("push", "-q")
        laptop.write("new", "laptop's\n")
    until(lambda: "the same line" in laptop.git("log", "--format=%s"), why=laptop.status)
    pushed(fleet, laptop, desktop)
    versions = {content for name, (_, content) in entries(desktop.root).items() if name.startswith(b"new")}
    assert versions == {b"outsider's\n", b"laptop's\n"}
    assert outsider.git("fsck", "--no-dangling") == laptop.git("fsck", "--no-dangling") == ""


def test_what_the_user_has_staged_is_not_lost_by_an_automatic_commit(fleet: Fleet) -> None:
    (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
    fleet.configure(fleet.devices, commits="auto", commit_after="1s")
    fleet.start()
    laptop.write("a.txt", "staged\n")
    laptop.git("add", "a.txt")
    until(lambda: laptop.git("rev-list", "--count", "HEAD").strip() == "2", why=laptop.status)
    assert laptop.git("status", "--porcelain") == ""
    assert laptop.git("show", "HEAD:a.txt") == "staged\n"
