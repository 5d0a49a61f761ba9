"""Real editors on a pair of real agents: what is saved arrives, and nothing else ever does."""

from __future__ import annotations

import fnmatch
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, entries, pair, until

TEMPORARY = (".*.sw?", "4913", ".#*", "#*#", "lu*.tmp", ".~lock.*", "sed??????", ".goutputstream-*", ".autosync*")
"""What editors put beside a file while they work on it."""
COMPLAINTS = ("changed since", "changed on disk", "modified since", "has changed", "Really edit", "Save anyway")
"""Words of vim, nano and emacs for a file that somebody else has written."""
TEXT = "".join(f"line {n}\n" for n in range(1, 10))


class Terminal:
    """Terminals of one device, kept by tmux; an editor sees a person typing."""

    def __init__(self, device: Device) -> None:
        self._directory = tempfile.mkdtemp(prefix="tmux-")  # a socket's path must be short
        self._device = device
        self._numbers = itertools.count()
        self._window = ""

    def open(self, *argv: str) -> None:
        """Run an editor in the working copy."""
        self._window = f"w{next(self._numbers)}"
        self._tmux(
            "new-session", "-d", "-s", self._window, "-x", "100", "-y", "30", "-c", str(self._device.root), *argv
        )

    def type(self, *keys: str) -> None:
        """Press keys, each given as tmux names it or as text."""
        self._tmux("send-keys", "-t", self._window, *keys)

    def screen(self) -> str:
        """Return what can be read; empty once the program has ended."""
        return self._tmux("capture-pane", "-p", "-t", self._window, check=False)

    def shows(self, *texts: str) -> None:
        """Wait until all of this can be read."""
        until(lambda: all(text in self.screen() for text in texts), why=self.screen)

    def ends(self) -> None:
        """Wait until the editor has ended by itself."""
        until(lambda: self._window not in self._tmux("list-sessions", check=False), why=self.screen)

    def close(self) -> None:
        """End everything that runs in the terminals."""
        self._tmux("kill-server", check=False)
        shutil.rmtree(self._directory)

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", f"{self._directory}/s", "-f", "/dev/null", *arguments],
            env={**self._device.environment, "TERM": "screen"},
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout


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


@pytest.fixture
def at_desktop(fleet: Fleet) -> Iterator[Terminal]:
    terminal = Terminal(fleet.devices[1])
    yield terminal
    terminal.close()


def recorded(device: Device) -> Iterator[dict[str, bytes]]:
    """Yield every tree of every snapshot that a device has kept, as path -> content."""
    store = device.root / ".git/autosync/store.git"
    ids = device.git("--git-dir", str(store), "for-each-ref", "--format=%(objectname)").split()
    assert ids, "a running agent has snapshots"
    for snapshot in dict.fromkeys(ids):
        listed = device.git("--git-dir", str(store), "ls-tree", "-r", "-z", "--full-tree", snapshot)
        lines = [line.split("\t", 1) for line in listed.split("\0") if line]
        yield {
            path: device.git("--git-dir", str(store), "cat-file", "blob", about.split()[2]).encode()
            for about, path in lines
        }


def assert_only_saved_states(fleet: Fleet, name: str, *saved: str) -> None:
    """Fail if any snapshot on any device holds a temporary file or something that was never saved."""
    allowed = {text.encode() for text in saved}
    for device in fleet.devices:
        for tree in recorded(device):
            found = [p for p in tree if any(fnmatch.fnmatch(p.rpartition("/")[2], pattern) for pattern in TEMPORARY)]
            assert not found, f"{device.name} has recorded {found}"
            assert tree[name] in allowed, f"{device.name} has recorded {tree[name]!r} as {name}"


def arrives(device: Device, name: str, text: str) -> None:
    until(lambda: device.read(name) == text, why=lambda: f"{device.read(name)!r}\n{device.log[-3000:]}")


def apart(fleet: Fleet) -> None:
    """Let no change travel until :func:`together`: so nobody can tell who saved first."""
    for device in fleet.devices:
        assert device.run("pause").returncode == 0


def together(fleet: Fleet) -> None:
    for device in fleet.devices:
        assert device.run("resume").returncode == 0
    fleet.equal()


# -- one side ------------------------------------------------------------------------------


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
    desktop.write("notes.txt", TEXT + "from the desktop\n")
    arrives(laptop, "notes.txt", TEXT + "from the desktop\n")
    at_laptop.type(":q!", "Enter")
    at_laptop.ends()
    fleet.equal()
    assert_only_saved_states(fleet, "notes.txt", TEXT, TEXT + "from the desktop\n")


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


# -- both sides ------------------------------------------------------------------------------


def test_edits_of_different_lines_in_vim_and_nano_are_both_in_the_result(
    fleet: Fleet, at_laptop: Terminal, at_desktop: Terminal
) -> None:
    laptop = fleet.devices[0]
    at_laptop.open("vim", "notes.txt")
    at_desktop.open("nano", "notes.txt")
    at_laptop.shows("line 9")
    at_desktop.shows("line 9")
    apart(fleet)
    at_laptop.type("G", "A", " by vim", "Escape", ":wq", "Enter")
    at_desktop.type("by nano ", "C-o", "Enter", "C-x")
    at_laptop.ends()
    at_desktop.ends()
    together(fleet)
    assert laptop.read("notes.txt") == "by nano " + TEXT.removesuffix("\n") + " by vim\n"
    assert_only_saved_states(
        fleet,
        "notes.txt",
        TEXT,
        "by nano " + TEXT,
        TEXT.removesuffix("\n") + " by vim\n",
        laptop.read("notes.txt") or "",
    )


def test_edits_of_one_line_in_vim_and_nano_are_both_kept(
    fleet: Fleet, at_laptop: Terminal, at_desktop: Terminal
) -> None:
    laptop, desktop = fleet.devices
    at_laptop.open("vim", "notes.txt")
    at_desktop.open("nano", "notes.txt")
    at_laptop.shows("line 9")
    at_desktop.shows("line 9")
    apart(fleet)
    at_laptop.type("g", "g", "I", "vim ", "Escape", ":wq", "Enter")
    at_desktop.type("nano ", "C-o", "Enter", "C-x")
    at_laptop.ends()
    at_desktop.ends()
    together(fleet)
    found = entries(laptop.root)
    assert found == entries(desktop.root)
    kept = [content for name, (_, content) in found.items() if name.startswith(b"notes")]
    assert sorted(kept) == [("nano " + TEXT).encode(), ("vim " + TEXT).encode()]
    assert any(b"(conflict, " in name for name in found)
    for device in fleet.devices:
        assert len(device.status()["conflicts"]) == 1
    assert_only_saved_states(fleet, "notes.txt", TEXT, "nano " + TEXT, "vim " + TEXT)


def test_saves_on_both_sides_without_a_pause_end_equal(fleet: Fleet, at_laptop: Terminal, at_desktop: Terminal) -> None:
    laptop, desktop = fleet.devices
    at_laptop.open("vim", "laptop.txt")
    at_desktop.open("vim", "desktop.txt")
    at_laptop.shows("[New]")
    at_desktop.shows("[New]")
    for number in range(6):
        at_laptop.type("G", "o", f"l{number}", "Escape", ":w", "Enter")
        at_desktop.type("G", "o", f"d{number}", "Escape", ":w", "Enter")
    for terminal in (at_laptop, at_desktop):
        terminal.type(":wq", "Enter")
        terminal.ends()
    fleet.equal()
    assert laptop.read("desktop.txt") == "\n" + "".join(f"d{n}\n" for n in range(6))
    assert desktop.read("laptop.txt") == "\n" + "".join(f"l{n}\n" for n in range(6))
    assert not any(b"conflict" in name for name in entries(laptop.root))
