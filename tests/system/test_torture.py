"""Three users at work, agents killed and frozen meanwhile: all end equal and nothing that was saved is gone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, entries, until

SECONDS = 12.0
"""How long the users work."""
QUIET = 90.0
"""Seconds within which all have to be equal after that."""
SEEN = 8.0
"""Seconds after which an agent that runs has seen a save: hot files wait up to two, merges are not interrupted."""

NAMES = (
    b"a.txt",
    b"b",
    b"odd\nname",
    b"bad\xff\xfe",
    "ünï".encode(),
    b"-dash",
    b" space ",
    b'q"uote',
    b"CASE",
    b"case",
)
DIRECTORIES = (b"", b"one", b"one/sub", b"deep/er/est", b"d\xe9", b"b", b"a.txt")
_PASSING = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Saved:
    """What a user saved, and when he himself replaced or deleted it again."""

    device: str
    path: bytes
    at: float
    gone: float | None = None


@dataclass
class Ledger:
    """Every content that was ever saved; each is unique."""

    saved: dict[str, Saved] = field(default_factory=dict)
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new(self, device: str) -> bytes:
        with self.lock:
            self.count += 1
            return b"%s %d\n" % (device.encode(), self.count) + b"line\n" * 8

    def save(self, device: str, path: bytes, content: bytes) -> None:
        with self.lock:
            self.saved[blob(content)] = Saved(device, path, time.monotonic())

    def undone(self, device: str, content: bytes) -> None:
        with self.lock:
            saved = self.saved.get(blob(content))
            if saved is not None and saved.device == device and saved.gone is None:
                saved.gone = time.monotonic()


class User(threading.Thread):
    """One user, who works below ``place`` of his device until ``end``."""

    def __init__(self, device: Device, place: bytes, seed: int, ledger: Ledger, *, git: bool) -> None:
        super().__init__(name=device.name)
        self.device, self.ledger = device, ledger
        self.place = os.path.join(os.fsencode(device.root), place)
        self.random = random.Random(seed)
        self.end = time.monotonic() + SECONDS
        self.refused: list[str] = []
        self.error: BaseException | None = None
        self.done = 0
        work: list[tuple[Callable[[], None], int]] = [
            (self.write_in_place, 4),
            (self.write_beside, 4),
            (self.write_with_backup, 3),
            (self.write_slowly, 3),
            (self.rename, 3),
            (self.rename_directory, 2),
            (self.delete, 2),
            (self.delete_directory, 1),
            (self.link, 2),
            (self.change_mode, 2),
            (self.make_directory_of_file, 1),
            (self.fill_directory, 1),
        ]
        if git:
            work += [(self.commit, 4), (self.amend, 1), (self.stash, 2), (self.switch, 2), (self.collect, 1)]
        self.choices = [do for do, weight in work for _ in range(weight)]

    def run(self) -> None:
        try:
            while time.monotonic() < self.end:
                with contextlib.suppress(*_PASSING):  # the others have been there: so it is for every user
                    self.random.choice(self.choices)()
                self.done += 1
                time.sleep(self.random.choice((0.0, 0.02, 0.1, 0.3)))
        except BaseException as error:  # shown by the test
            self.error = error

    # -- where ---------------------------------------------------------------------------
    def target(self) -> bytes:
        path = os.path.join(self.place, self.random.choice(DIRECTORIES), self.random.choice(NAMES))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsADirectoryError
        return path

    def files(self, place: bytes) -> list[bytes]:
        return sorted(os.path.join(top, name) for top, _, names in os.walk(place) for name in names)

    def file(self) -> bytes:
        files = self.files(self.place)
        if not files:
            raise FileNotFoundError
        return self.random.choice(files)

    def directory(self) -> bytes:
        directory = os.path.dirname(self.file())
        if directory == self.place:
            raise FileNotFoundError
        return directory

    def forget(self, path: bytes) -> None:
        """The user himself is about to replace or delete what stands here."""
        with contextlib.suppress(OSError):
            if os.path.islink(path):
                self.ledger.undone(self.device.name, os.readlink(path))
            else:
                with open(path, "rb") as file:
                    self.ledger.undone(self.device.name, file.read())

    # -- files ---------------------------------------------------------------------------
    def write_in_place(self) -> None:
        path, content = self.target(), self.ledger.new(self.device.name)
        if os.path.islink(path):
            raise FileExistsError
        self.forget(path)
        with open(path, "wb") as file:
            file.write(content)
        self.ledger.save(self.device.name, path, content)

    def write_beside(self) -> None:
        path, content = self.target(), self.ledger.new(self.device.name)
        beside = os.path.join(os.path.dirname(path), b".tmp%d" % self.random.randrange(1 << 40))
        with open(beside, "xb") as file:
            file.write(content)
        self.forget(path)
        os.replace(beside, path)
        self.ledger.save(self.device.name, path, content)

    def write_with_backup(self) -> None:
        path, content = self.target(), self.ledger.new(self.device.name)
        self.forget(path + b"~")  # of an attempt that was cut short
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path + b"~")
        with open(path, "xb") as file:
            file.write(content)
        self.forget(path + b"~")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + b"~")
        self.ledger.save(self.device.name, path, content)

    def write_slowly(self) -> None:
        """Hold the file open while others may replace it."""
        path, content = self.target(), self.ledger.new(self.device.name)
        if os.path.islink(path):
            raise FileExistsError
        self.forget(path)
        with open(path, "wb", buffering=0) as file:
            file.write(content[:9])
            time.sleep(self.random.random() * 0.3)
            file.write(content[9:])
        self.ledger.save(self.device.name, path, content)

    def rename(self) -> None:
        old, new = self.file(), self.target()
        self.forget(new)
        os.rename(old, new)

    def rename_directory(self) -> None:
        old, new = self.directory(), self.target()
        if not os.path.lexists(new) and not new.startswith(old):
            os.rename(old, new)

    def delete(self) -> None:
        path = self.file()
        self.forget(path)
        os.unlink(path)

    def delete_directory(self) -> None:
        directory = self.directory()
        for path in self.files(directory):
            self.forget(path)
        shutil.rmtree(directory, ignore_errors=True)

    def link(self) -> None:
        path = self.target()
        content = self.ledger.new(self.device.name).partition(b"\n")[0]
        beside = path + b".link%d" % self.random.randrange(1 << 40)
        os.symlink(content, beside)
        self.forget(path)
        os.replace(beside, path)
        self.ledger.save(self.device.name, path, content)

    def change_mode(self) -> None:
        path = self.file()
        if not os.path.islink(path):
            os.chmod(path, self.random.choice((0o755, 0o644, 0o600)))

    def make_directory_of_file(self) -> None:
        path, content = self.file(), self.ledger.new(self.device.name)
        self.forget(path)
        os.unlink(path)
        os.mkdir(path)
        with open(path + b"/inner", "xb") as file:
            file.write(content)
        self.ledger.save(self.device.name, path + b"/inner", content)

    def fill_directory(self) -> None:
        directory = os.path.join(self.place, b"many%d" % self.random.randrange(3))
        os.makedirs(directory, exist_ok=True)
        for number in range(60):
            path, content = b"%s/%d" % (directory, number), self.ledger.new(self.device.name)
            self.forget(path)
            with open(path, "wb") as file:
                file.write(content)
            self.ledger.save(self.device.name, path, content)

    # -- git -----------------------------------------------------------------------------
    def git(self, *arguments: str) -> None:
        done = subprocess.run(
            ["git", *arguments], cwd=self.device.root, env=self.device.environment, capture_output=True, check=False
        )
        said = done.stderr.decode("utf-8", "replace")
        if done.returncode and any(sign in said for sign in ("index.lock", "cannot lock", "bad object", "corrupt")):
            self.refused.append(f"git {' '.join(arguments)}: {said}")

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"number {self.done}")

    def amend(self) -> None:
        self.git("commit", "-q", "-a", "--amend", "--no-edit")

    def stash(self) -> None:
        """Put aside what is not committed; git deletes an untracked file below what was a tracked one before."""
        before = entries(self.device.root)
        self.git("stash", "push", "-q")
        self.git("stash", "pop", "-q")
        after = entries(self.device.root)
        for path in before.keys() - after.keys():
            self.ledger.undone(self.device.name, before[path][1])

    def switch(self) -> None:
        self.git("checkout", "-q", "-b", f"branch{self.done}")

    def collect(self) -> None:
        self.git("gc", "-q", "--prune=now")


def trouble(devices: list[Device], seed: int, end: float) -> list[tuple[str, float, float]]:
    """Kill and freeze agents until ``end``; return who was away, from when to when."""
    dice, away = random.Random(seed), []
    while time.monotonic() < end:
        time.sleep(dice.uniform(0.3, 1.5))
        device, began = dice.choice(devices), time.monotonic()
        assert device.process is not None
        if dice.random() < 0.5:
            device.kill()
            time.sleep(dice.random())
            device.start()
        else:
            device.process.send_signal(signal.SIGSTOP)
            time.sleep(dice.uniform(0.3, 2.0))
            device.process.send_signal(signal.SIGCONT)
        away.append((device.name, began, time.monotonic()))
    return away


def kept(device: Device) -> set[str]:
    """Return the ids of all that a device still has: by a snapshot that is pinned, or in the user's repository."""
    store = str(device.root / ".git/autosync/store.git")
    listed = device.git("-C", store, "rev-list", "--objects", "--all").splitlines()
    own = device.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").splitlines()
    return {line[:40] for line in (*listed, *own)}


def lost(ledger: Ledger, devices: list[Device], away: list[tuple[str, float, float]]) -> Iterator[tuple[str, Saved]]:
    """Yield what was saved and is nowhere, though its user left it long enough for an agent to see it."""
    found = {blob(content) for d in devices for _, content in entries(d.root).values()}
    found.update(*(kept(device) for device in devices))
    for name, saved in ledger.saved.items():
        if name not in found:
            gone = saved.gone
            was_away = any(
                n == saved.device and began - SEEN < (gone or 0) and end + SEEN > saved.at for n, began, end in away
            )
            if gone is None or (gone - saved.at > SEEN and not was_away):
                yield name, saved


@pytest.mark.parametrize("shared", [False, True], ids=["own files", "the same files"])
def test_nothing_is_lost_whatever_happens(tmp_path: Path, shared: bool) -> None:
    ledger, seed = Ledger(), 20 + shared
    with Fleet(tmp_path / "fleet") as fleet:
        devices = fleet.clone(fleet.seed({"README": "hello\n"}, hub=False), "laptop", "desktop", "server")
        fleet.configure(devices)
        fleet.start()
        fleet.equal()
        places = [b"shared"] * 3 if shared else [b"laptop", b"desktop", b"server"]
        users = [
            User(device, place, seed * 10 + number, ledger, git=shared and number == 0)
            for number, (device, place) in enumerate(zip(devices, places, strict=True))
        ]
        for user in users:
            user.start()
        away = trouble(devices, seed, users[0].end)
        for user in users:
            user.join()
            if user.error is not None:
                raise user.error
        fleet.equal(seconds=QUIET)
        assert min(user.done for user in users) > 10
        assert away
        assert [line for user in users for line in user.refused] == []
        for device in devices:
            check(device, conflicts=shared, commits=shared and device is devices[0])
        missing = list(lost(ledger, devices, away))
        assert not missing, missing


def check(device: Device, *, conflicts: bool, commits: bool) -> None:
    """Nothing is broken or left over, and nothing is in the repository that the user does not know of."""
    private = device.root / ".git/autosync"
    assert device.git("fsck", "--no-dangling", "--no-progress") == ""
    assert device.git("-C", str(private / "store.git"), "fsck", "--no-dangling", "--no-progress") == ""
    until(lambda: not any((private / "limbo").iterdir()), 30, why=lambda: list((private / "limbo").rglob("*")))
    assert [p.name for p in (device.root / ".git").rglob("*.lock")] == []
    assert "Traceback" not in device.log
    moves = device.git("reflog", "--all", "--format=%gs").splitlines()
    landings = [line for line in moves if line.startswith("autosync: ")]
    assert landings == [] if commits else set(moves) - set(landings) <= {line for line in moves if "clone: " in line}
    if not conflicts:
        assert [path for path in entries(device.root) if b"(conflict, " in path] == []
