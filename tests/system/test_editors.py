"""Real editors on one of a pair of real agents: what is saved arrives, and nothing else ever does."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Fleet, pair, until
from tests.system.terminals import COMPLAINTS, TEXT, Terminal, arrives, assert_only_saved_states


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Laptop and desktop, running and equal."""
    with pair(tmp_path / "fleet", {"notes.txt": TEXT, "doc.odt": "first\n"}) as fleet:
        yield fleet


@pytest.fixture
def at_laptop(fleet: Fleet) -> Iterator[Terminal]:
    terminal = Terminal(fleet.devices[0])
    yield terminal
    terminal.close()


def test_vim_saves_arrive(fleet: Fleet, at_laptop: Terminal) -> None:
    desktop = fleet.devices[1]
    at_laptop.open("vim", "notes.txt")
    at_laptop.shows("line 1", "line 9")
    text, saved = TEXT, [TEXT]
    for number in range(4):
        at_laptop.type("G", "o", f"vim {number}", "Escape", ":w", "Enter")
        text += f"vim {number}\n"
        saved.append(text)
        arrives(desktop, "notes.txt", text)
        at_laptop.shows("written")
        assert not any(word in at_laptop.screen() for word in COMPLAINTS)
    at_laptop.type(":wq", "Enter")
    at_laptop.ends()
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", *saved)
    assert sorted(os.listdir(desktop.root)) == [".git", "doc.odt", "notes.txt"]


def test_nano_saves_arrive(fleet: Fleet, at_laptop: Terminal) -> None:
    desktop = fleet.devices[1]
    at_laptop.open("nano", "-G", "notes.txt")  # -G: with a lock file
    at_laptop.shows("line 1", "line 9")
    text, saved = TEXT, [TEXT]
    for number in range(3):
        at_laptop.type(f"nano {number}", "Enter", "C-o", "Enter")
        lines = f"{''.join(f'nano {n}' + chr(10) for n in range(number + 1))}"
        text = lines + TEXT
        saved.append(text)
        arrives(desktop, "notes.txt", text)
        at_laptop.shows("Wrote")
        assert not any(word in at_laptop.screen() for word in COMPLAINTS)
    at_laptop.type("C-x")
    at_laptop.ends()
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", *saved)
    assert sorted(os.listdir(desktop.root)) == [".git", "doc.odt", "notes.txt"]


def test_emacs_saves_arrive(fleet: Fleet, at_laptop: Terminal) -> None:
    desktop = fleet.devices[1]
    at_laptop.open("emacs", "-nw", "-Q", "notes.txt")
    at_laptop.shows("line 1", "line 9", "notes.txt")
    text, saved = TEXT, [TEXT]
    for number in range(3):
        at_laptop.type(f"emacs {number}", "Enter", "C-x", "C-s")
        text = "".join(f"emacs {n}\n" for n in range(number + 1)) + TEXT
        saved.append(text)
        arrives(desktop, "notes.txt", text)
        at_laptop.shows("Wrote")
        assert not any(word in at_laptop.screen() for word in COMPLAINTS)
    at_laptop.type("C-x", "C-c")
    at_laptop.ends()
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", *saved)
    # Of a file under version control emacs makes no backup.
    assert sorted(os.listdir(desktop.root)) == [".git", "doc.odt", "notes.txt"]


def test_vim_keeps_a_swap_file_to_itself_while_it_is_open(fleet: Fleet, at_laptop: Terminal) -> None:
    laptop, desktop = fleet.devices
    at_laptop.open("vim", "notes.txt")
    at_laptop.shows("line 9")
    at_laptop.type("o", "not saved yet", "Escape", ":preserve", "Enter")
    until((laptop.root / ".notes.txt.swp").exists)
    laptop.write("other.txt", "something else meanwhile\n")
    arrives(desktop, "other.txt", "something else meanwhile\n")
    assert not (desktop.root / ".notes.txt.swp").exists()
    at_laptop.type(":q!", "Enter")
    at_laptop.ends()
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", TEXT)


def test_sed_in_place_arrives(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    states = [TEXT]
    for number in range(5):
        subprocess.run(
            ["sed", "-i", f"s/line {number + 1}$/sed {number + 1}/", "notes.txt"], cwd=laptop.root, check=True
        )
        states.append(states[-1].replace(f"line {number + 1}\n", f"sed {number + 1}\n"))
    arrives(desktop, "notes.txt", states[-1])
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", *states)


def test_a_replace_as_libreoffice_does_it_arrives(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    lock = laptop.root / ".~lock.doc.odt#"
    lock.write_text(",you,laptop,21.11.2026 10:00,file:///home/you;")
    saved = ["first\n"]
    for number in range(3):
        text = "".join(f"{number} {n}\n" for n in range(20_000))
        replacement = laptop.root / f"lu{number}3842abc.tmp"
        with replacement.open("w") as file:
            for start in range(0, len(text), 4096):
                file.write(text[start : start + 4096])
                file.flush()
        time.sleep(0.2)  # it lies there longer than anything settles
        replacement.rename(laptop.root / "doc.odt")
        saved.append(text)
        arrives(desktop, "doc.odt", text)
    lock.unlink()
    fleet.equal()
    assert_only_saved_states(fleet, "doc.odt", *saved)
