"""`mode: store` for Mercurial, where no hub keeps what is not committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.figures import record
from tests.system.fleet import Fleet, entries, until
from tests.system.hgfleet import HgDevice, HgFleet, servers_of
from tests.system.test_store_mode import NINE, handed_over, has_all_of, stored

KILLS = 2


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A place for devices with hg working copies."""
    with HgFleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_laptop_and_desktop_are_never_awake_together(fleet: Fleet) -> None:
    *clones, server = stored(fleet, "laptop", "desktop", vcs="hg")
    laptop, desktop = (cast(HgDevice, clone) for clone in clones)
    fleet.start(laptop, server)
    handed_over(laptop)
    assert laptop.is_clean()

    laptop.write("a.txt", "laptop\n" + NINE)
    laptop.hg("mv", "-q", "d/x", "d/moved")
    laptop.hg("rm", "-q", "gone")
    laptop.write("added", "added\n")
    laptop.hg("add", "-q", "added")
    laptop.write("unknown", "?\n").chmod(0o755)
    handed_over(laptop)
    left = laptop.view()
    assert "A d/moved\n  d/x" in left[0]
    assert laptop.end() == 0
    fleet.start(desktop)
    has_all_of(desktop, left)

    desktop.commit("all of it")
    desktop.hg("branch", "-q", "feature")
    desktop.write("a.txt", "desktop\n" + NINE)
    desktop.commit("first try")
    desktop.write("a.txt", "desktop\n" + NINE + "10\n")
    desktop.hg("commit", "-q", "--amend", "-m", "second try")
    desktop.write("unfinished", "work\n")
    handed_over(desktop)
    left = desktop.view()
    assert desktop.end() == 0
    fleet.start(laptop)
    has_all_of(laptop, left)
    assert (laptop.branch(), laptop.head()) == ("feature", desktop.head())
    assert laptop.hg("log", "-r", "draft()", "-T", "{desc}\n").split("\n")[-2:] == ["second try", ""]
    assert laptop.hg("verify", "-q") == ""
    assert (server.status()["vcs"], server.status()["mode"]) == ("hg", "store")
    assert sorted(entries(server.root)) == [b"autosync-store"]
    assert server.end() == 0
    until(lambda: not servers_of(server.root / "repository"))


def test_what_both_edited_meanwhile_is_merged_though_the_store_is_killed(fleet: Fleet) -> None:
    *clones, server = stored(fleet, "laptop", "desktop", vcs="hg")
    laptop, desktop = (cast(HgDevice, clone) for clone in clones)
    for device in (laptop, desktop):
        fleet.start(*([device] if server.process else [device, server]))
        handed_over(device)
        assert device.end() == 0
    laptop.write("a.txt", "laptop\n" + NINE)
    laptop.write("d/x", "laptop's\n")
    desktop.write("a.txt", NINE + "desktop\n")
    desktop.write("d/x", "desktop's\n")
    desktop.write("gone", "not yet\n")
    desktop.commit("by desktop")
    fleet.start(laptop)
    for number in range(KILLS):
        laptop.write("counter", f"{number}\n")
        until(lambda: not laptop.status()["pending"], why=laptop.status)
        server.kill()
        server.start()
    record("kills survived", KILLS)
    handed_over(laptop)
    assert laptop.end() == 0
    fleet.start(desktop)
    handed_over(desktop)
    left = desktop.view()
    assert desktop.end() == 0
    fleet.start(laptop)
    has_all_of(laptop, left)
    assert laptop.read("a.txt") == "laptop\n" + NINE + "desktop\n"
    assert laptop.head() == desktop.head()
    versions = {c for name, (_, c) in entries(laptop.root).items() if name.startswith(b"d/x")}
    assert versions == {b"laptop's\n", b"desktop's\n"}
    assert laptop.read("counter") == f"{KILLS - 1}\n"
