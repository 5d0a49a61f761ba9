"""Real editors in the terminals of a device, and what may come of their saves."""

from __future__ import annotations

import fnmatch
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from tests.system.fleet import Device, Fleet, until

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
