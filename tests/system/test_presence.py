"""Who has a file open on another device is told before two people write the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.fleet import Device, Fleet, entries, until
from tests.system.terminals import TEXT, Terminal, arrives

OPEN = ("vim", "-u", "NONE")
FILES = {"a.py": TEXT, "b.py": TEXT, "sub/.hidden": TEXT, ".env": TEXT, ".gitignore": "ignored\n"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Laptop and desktop, running and equal, and a tablet that takes no part in this."""
    with Fleet(tmp_path_factory.mktemp("presence") / "fleet") as fleet:
        fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop", "tablet")
        fleet.configure(fleet.devices)
        tablet = fleet.devices[2]
        tablet.config.write_text("presence: false\n" + tablet.config.read_text())
        fleet.start()
        fleet.equal()
        yield fleet


@pytest.fixture
def terminals(fleet: Fleet) -> Iterator[list[Terminal]]:
    found = [Terminal(device) for device in fleet.devices]
    yield found
    for terminal in found:
        terminal.close()


def seen(device: Device) -> list[tuple[str, str]]:
    """Return which files other devices have open, as the status tells."""
    return [(s["device"], s["path"]) for s in device.status()["presence"] if s["state"] == "open"]


def sees(device: Device, *expected: tuple[str, str]) -> None:
    until(lambda: seen(device) == list(expected), why=lambda: (seen(device), device.log[-2000:]))


def edit(terminal: Terminal, name: str) -> None:
    terminal.open(*OPEN, name)
    terminal.shows("line 1")


def leave(terminal: Terminal) -> None:
    terminal.type("Escape", ":q!", "Enter")
    terminal.ends()


def test_what_is_open_elsewhere_is_shown_and_told_once_you_open_it_too(fleet: Fleet, terminals: list[Terminal]) -> None:
    (laptop, desktop, tablet), (at_laptop, at_desktop, at_tablet) = fleet.devices, terminals
    until(lambda: len({d.status()["snapshot"] for d in fleet.devices}) == 1)  # nothing is left to merge
    before = laptop.status()["snapshot"]
    edit(at_desktop, "a.py")
    sees(laptop, ("desktop", "a.py"))
    assert "notes: desktop is editing a.py" in laptop.run("status").stdout.splitlines()
    assert laptop.activities("presence") == []
    edit(at_tablet, "b.py")
    edit(at_laptop, "a.py")
    until(lambda: laptop.activities("presence"), why=lambda: laptop.log)
    [told] = laptop.activities("presence")
    assert (told["text"], told["made_by"], told["paths"]) == ("desktop is editing a.py", "desktop", ["a.py"])
    # The other one had it open first, and hears of it too.
    until(lambda: [a["text"] for a in desktop.activities("presence")] == ["laptop is editing a.py"])
    leave(at_desktop)
    sees(laptop)
    leave(at_laptop)
    sees(desktop)
    leave(at_tablet)
    assert len(laptop.activities("presence")) == 1
    assert (seen(tablet), tablet.status()["presence"], tablet.activities("presence")) == ([], [], [])
    # Nothing of it is a state of anybody's.
    assert laptop.status()["snapshot"] == before
    record("files open in an editor that were told of", 2)


def test_what_is_ignored_or_secret_is_not_told(fleet: Fleet, terminals: list[Terminal]) -> None:
    (laptop, desktop, _), (_, at_desktop, _) = fleet.devices, terminals
    Path(desktop.root / "ignored").write_text(TEXT)
    for name in ("ignored", ".env", "sub/.hidden"):
        edit(at_desktop, name)
    sees(laptop, ("desktop", "sub/.hidden"))
    assert ".env" not in laptop.log


def test_a_save_of_what_is_open_elsewhere_is_told(fleet: Fleet, terminals: list[Terminal]) -> None:
    (laptop, desktop, _), (_, at_desktop, _) = fleet.devices, terminals
    sees(laptop)
    edit(at_desktop, "b.py")
    sees(laptop, ("desktop", "b.py"))
    laptop.write("b.py", TEXT + "more\n")
    until(lambda: [a["paths"] for a in laptop.activities("presence")][-1] == ["b.py"], why=lambda: laptop.log)
    leave(at_desktop)
    arrives(desktop, "b.py", TEXT + "more\n")
    laptop.write("saved.txt", "now\n")
    arrives(desktop, "saved.txt", "now\n")
    words = "notes: laptop has just saved saved.txt"
    until(lambda: words in desktop.run("status").stdout.splitlines(), why=lambda: desktop.run("status").stdout)
    assert all(b".sw" not in path for path in entries(laptop.root))


def test_who_ends_has_nothing_open_any_more(fleet: Fleet, terminals: list[Terminal]) -> None:
    (laptop, desktop, _), (_, at_desktop, _) = fleet.devices, terminals
    edit(at_desktop, "a.py")
    sees(laptop, ("desktop", "a.py"))
    assert desktop.end() == 0
    sees(laptop)
