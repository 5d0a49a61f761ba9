"""Real editors on both sides at once: an open file waits, all that was saved is kept, nothing else travels."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.fleet import Device, Fleet, at_once, entries, pair, until
from tests.system.terminals import TEXT, Terminal, apart, arrives, assert_only_saved_states, together

CASES = ("vim vim", "nano nano", "emacs emacs", "vim emacs")
FILES = {f"{case} {lines}.txt".replace(" ", "-"): TEXT for case in CASES for lines in ("apart", "same")}


@dataclass(frozen=True)
class Editor:
    """How a person works with one editor: the command, and the keys for each step."""

    argv: tuple[str, ...]
    at_start: tuple[str, ...]
    at_end: tuple[str, ...]
    save: tuple[str, ...]
    saved: str
    close: tuple[str, ...]
    lock: str

    def open(self, terminal: Terminal, name: str) -> None:
        terminal.open(*self.argv, name)
        terminal.shows("line 1", "line 9")


EDITORS = {
    "vim": Editor(
        ("vim", "-u", "NONE"),
        ("g", "g", "I"),
        ("G", "o"),
        ("Escape", ":w", "Enter"),
        "written",
        (":q", "Enter"),
        ".{}.swp",
    ),
    "nano": Editor(("nano", "-G"), ("M-\\",), ("M-/",), ("C-o", "Enter"), "Wrote", ("C-x",), ".{}.swp"),
    "emacs": Editor(("emacs", "-nw", "-Q"), ("M-<",), ("M->",), ("C-x", "C-s"), "Wrote", ("C-x", "C-c"), ".#{}"),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Laptop and desktop, running and equal; each test has files of its own."""
    files = {**FILES, "notes.txt": TEXT, "other.txt": "other\n", "doc.odt": "first\n", "code.py": TEXT, "sed.txt": TEXT}
    with pair(tmp_path_factory.mktemp("editors") / "fleet", files) as fleet:
        yield fleet


@pytest.fixture
def terminals(fleet: Fleet) -> Iterator[tuple[Terminal, Terminal]]:
    laptop, desktop = (Terminal(device) for device in fleet.devices)
    yield laptop, desktop
    laptop.close()
    desktop.close()


def versions(device: Device, name: str) -> list[str]:
    """Return the contents of a file and of its conflict copies."""
    stem = os.fsencode(name.partition(".")[0])
    return sorted(content.decode() for found, (_, content) in entries(device.root).items() if found.startswith(stem))


def appears(lock: Path) -> None:
    """Wait for an editor's lock, which may be a link that leads nowhere."""
    until(lambda: os.path.lexists(lock), why=lambda: f"no {lock}")


def waits_for(device: Device, name: str, program: str) -> None:
    """Wait until the status says that a file is open."""
    words = f"{name}: open in {program} here ("
    until(lambda: words in (device.status()["waiting-for"] or ""), why=lambda: (device.status(), device.log[-2000:]))


# -- the same file, open on both sides -------------------------------------------------------------


@pytest.mark.parametrize("lines", ["apart", "same"])
@pytest.mark.parametrize("case", CASES)
def test_both_edit_one_file(fleet: Fleet, terminals: tuple[Terminal, Terminal], case: str, lines: str) -> None:
    name = f"{case} {lines}.txt".replace(" ", "-")
    editors = [EDITORS[program] for program in case.split()]
    at_laptop, at_desktop = terminals
    for editor, terminal in zip(editors, terminals, strict=True):
        editor.open(terminal, name)
    at_laptop.type(*editors[0].at_start, "laptop ")
    at_desktop.type(*((*editors[1].at_start, "desktop ") if lines == "same" else (*editors[1].at_end, "desktop")))
    if lines == "apart" and case.endswith("emacs"):
        at_desktop.type("Enter")
    for editor, device in zip(editors, fleet.devices, strict=True):
        appears(device.root / editor.lock.format(name))
    for editor, terminal in zip(editors, terminals, strict=True):
        terminal.type(*editor.save)
    for editor, terminal in zip(editors, terminals, strict=True):
        terminal.shows(editor.saved)
    for editor, terminal in zip(editors, terminals, strict=True):
        terminal.type(*editor.close)
        terminal.ends()
    fleet.equal()
    mine, yours = "laptop " + TEXT, TEXT + "desktop\n" if lines == "apart" else "desktop " + TEXT
    if lines == "apart":
        wanted = ["laptop " + yours]
        assert_only_saved_states(fleet, name, TEXT, mine, yours, *wanted)
    else:
        wanted = sorted([mine, yours])
        assert_only_saved_states(fleet, name, TEXT, *wanted)
    assert [versions(device, name) for device in fleet.devices] == [wanted, wanted]
    record("editor saves", 2)


def test_many_saves_on_both_sides_while_both_have_it_open(fleet: Fleet, terminals: tuple[Terminal, Terminal]) -> None:
    vim = EDITORS["vim"]
    laptop, desktop = fleet.devices
    for terminal in terminals:
        vim.open(terminal, "notes.txt")
    for number in range(5):
        for device, terminal in zip(fleet.devices, terminals, strict=True):
            terminal.type("g", "g", "0", "C", f"{device.name} {number}", *vim.save)
            until(lambda at=device, n=number: (at.read("notes.txt") or "").startswith(f"{at.name} {n}\n"))  # type: ignore[misc]
    # Both wait for the other's version, which has to wait, and go on with everything else.
    laptop.write("other.txt", "meanwhile\n")
    arrives(desktop, "other.txt", "meanwhile\n")
    until(lambda: any("open in vim here" in (d.status()["waiting-for"] or "") for d in fleet.devices))
    for terminal in terminals:
        terminal.type(*vim.close)
        terminal.ends()
    fleet.equal()
    rest = TEXT.partition("\n")[2]
    kept = versions(laptop, "notes.txt")
    assert f"laptop 4\n{rest}" in kept
    assert f"desktop 4\n{rest}" in kept
    # Of what both saved before, a copy more is there if they merged at the same moment: but nothing that nobody saved.
    assert set(kept) <= {f"{device.name} {number}\n{rest}" for device in fleet.devices for number in range(5)}
    record("editor saves", 10)


def test_saves_of_new_files_on_both_sides_without_a_pause(fleet: Fleet, terminals: tuple[Terminal, Terminal]) -> None:
    for device, terminal in zip(fleet.devices, terminals, strict=True):
        terminal.open("vim", "-u", "NONE", f"by-{device.name}")
        terminal.shows("[New")
    for number in range(6):
        for terminal in terminals:
            terminal.type("G", "o", f"line {number}", "Escape", ":w", "Enter")
    for terminal in terminals:
        terminal.type(":q", "Enter")
        terminal.ends()
    fleet.equal()
    text = "\n" + "".join(f"line {n}\n" for n in range(6))
    for device in fleet.devices:
        assert [versions(device, f"by-{other.name}") for other in fleet.devices] == [[text], [text]]
    record("editor saves", 12)


# -- open on one side, changed on the other ---------------------------------------------------------


def test_a_file_that_is_open_waits_and_everything_else_goes_on(
    fleet: Fleet, terminals: tuple[Terminal, Terminal]
) -> None:
    laptop, desktop = fleet.devices
    at_laptop, _ = terminals
    before = laptop.read("code.py")
    EDITORS["vim"].open(at_laptop, "code.py")
    branch, text = desktop.branch(), TEXT + "by a checkout\n"
    desktop.git("checkout", "-q", "-b", "other")
    desktop.write("code.py", text)
    desktop.write("new.py", "new\n")
    desktop.git("add", "-A")
    desktop.git("commit", "-q", "-m", "other")
    arrives(laptop, "new.py", "new\n")
    waits_for(laptop, "code.py", "vim")
    assert laptop.read("code.py") == before
    laptop.write("from-the-laptop", "1\n")  # what is saved here does not wait
    arrives(desktop, "from-the-laptop", "1\n")
    at_laptop.type(":q", "Enter")
    at_laptop.ends()
    arrives(laptop, "code.py", text)
    fleet.equal()
    assert laptop.branch() == "other"
    # The user's own checkout changes a file below his editor; that is his business, and travels.
    EDITORS["vim"].open(at_laptop, "code.py")
    laptop.git("stash", "-q", "-u")
    laptop.git("checkout", "-q", branch)
    arrives(desktop, "code.py", before or "")
    at_laptop.type(":q!", "Enter")
    at_laptop.ends()
    fleet.equal()
    assert desktop.branch() == branch
    record("editor saves", 1)


# -- programs that save in other ways -----------------------------------------------------------------


def test_an_office_program_on_both_sides(fleet: Fleet) -> None:
    locks = [device.root / ".~lock.doc.odt#" for device in fleet.devices]
    for lock in locks:
        lock.write_text(f",you,{os.uname().nodename},21.11.2026 10:00,file:///home/you;")
    for device in fleet.devices:
        for number in range(3):
            replacement = device.write(f"lu{number}3842abc.tmp", f"{device.name} {number}\n" * 5000)
            replacement.rename(device.root / "doc.odt")
    until(lambda: any("open in LibreOffice here" in (d.status()["waiting-for"] or "") for d in fleet.devices))
    for lock in locks:
        lock.unlink()
    fleet.equal()
    kept = [versions(device, "doc.odt") for device in fleet.devices]
    assert kept[0] == kept[1]
    assert {f"{d.name} 2\n" * 5000 for d in fleet.devices} <= set(kept[0])
    record("editor saves", 6)


def test_a_program_that_writes_in_place_on_both_sides(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    before = laptop.read("code.py") or ""
    apart(fleet)
    for number in range(3):
        laptop.write("code.py", f"laptop {number}\n" + before)
        desktop.write("code.py", before + f"desktop {number}\n")
    together(fleet)
    assert versions(laptop, "code.py") == ["laptop 2\n" + before + "desktop 2\n"]
    record("editor saves", 6)


def test_sed_on_both_sides_at_once(fleet: Fleet) -> None:
    lines = TEXT.splitlines()
    for number in range(3):
        with at_once(*fleet.devices):
            running = [
                subprocess.Popen(["sed", "-i", f"s/^{lines[at]}$/sed {at}/", "sed.txt"], cwd=device.root)
                for at, device in zip((number, 8 - number), fleet.devices, strict=True)
            ]
            assert [process.wait() for process in running] == [0, 0]
        lines[number], lines[8 - number] = f"sed {number}", f"sed {8 - number}"
        for device in fleet.devices:
            arrives(device, "sed.txt", "\n".join(lines) + "\n")
    fleet.equal()
    record("editor saves", 6)
