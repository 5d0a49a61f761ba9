"""What the machine does not allow stops one working copy, says so, and passes by itself with its cause."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.trust.sealing import create_key
from tests import figures
from tests.system import mounts
from tests.system.fleet import Device, Fleet, at_once, entries, until
from tests.system.mounts import needs_mounts
from tests.system.recording import recorded
from tests.waiting import PATIENCE, freeze

FILES = {"a.txt": "1\n", "d/x": "x\n"}
QUIET = 1.5
"""Seconds over which the processor time of an agent that waits is measured."""
BUSY = 0.4
"""The share of one processor that an agent that waits does not use: one that spins uses all of it."""


class Lab:
    """Laptop and desktop with two workspaces each; things happen to the desktop's `notes`, never to its `work`."""

    def __init__(self, fleet: Fleet, laptop: Device, desktop: Device) -> None:
        self.fleet, self.laptop, self.desktop = fleet, laptop, desktop
        self.disk = desktop.root.parent
        self._written = 0

    def halted(self, *words: str) -> str:
        """Wait until the desktop says with these words what keeps it; the rest must go on, and nothing spin."""
        until(lambda: all(word in self.reason() for word in words), why=lambda: (words, self.desktop.status()))
        figures.record("resources taken away", 1)
        self.others_go_on()
        until(lambda: busyness(self.desktop) < BUSY, why=lambda: self.desktop.log[-3000:])
        return self.reason()

    def reason(self) -> str:
        status = self.desktop.status()
        if status["halt"]:
            assert status["phase"] == "halted"
            return f"{status['halt']['title']}. {status['halt']['hint']}"
        return str(status["waiting-for"] or "") if status["phase"] == "waiting" else ""

    def others_go_on(self) -> None:
        """Look that the other working copy of the desktop still gets what is saved."""
        self._written += 1
        text = f"{self._written}\n"
        (self.laptop.home / "work" / "w.txt").write_text(text)
        there = self.desktop.home / "work" / "w.txt"
        until(lambda: there.exists() and there.read_text() == text, why=lambda: self.desktop.log[-3000:])

    def recovers(self) -> None:
        """Wait until all is equal again, without any command."""
        self.fleet.equal()
        assert not [name for name in entries(self.laptop.root) if b"conflict" in name]
        assert "Traceback" not in self.desktop.log


@contextlib.contextmanager
def lab(place: Path, *, disk: str | None = None, state: str | None = None) -> Iterator[Lab]:
    """Two running and equal devices; ``disk`` and ``state`` are options of the file systems the desktop is on."""
    with contextlib.ExitStack() as stack:
        fleet = Fleet(place)
        seed = fleet.seed(FILES, hub=False)
        laptop, desktop = fleet.device("laptop"), fleet.device("desktop")
        desktop.root = desktop.home / "disk" / "notes"
        if disk is not None:
            stack.enter_context(mounts.tmpfs(desktop.root.parent, disk))
        if state is not None:
            stack.enter_context(mounts.tmpfs(desktop.state, f"mode=700,{state}"))
        fleet.configure(fleet.devices)
        key = place / "work.key"
        create_key(str(key))
        for device in fleet.devices:
            fleet.git("clone", "-q", str(seed), str(device.root))
            fleet.git("clone", "-q", str(seed), str(device.home / "work"))
            second = f"- path: {device.home / 'work'}\n  workspace: work\n  key-file: {key}\n"
            device.config.write_text(device.config.read_text() + second)
        stack.enter_context(fleet)
        fleet.start()
        fleet.equal()
        yield Lab(fleet, laptop, desktop)


def processor_time(device: Device) -> float:
    """Return the seconds of processor time that an agent and its children have used (proc(5), stat)."""
    assert device.process is not None
    fields = Path(f"/proc/{device.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def busyness(device: Device) -> float:
    """Return the share of one processor that an agent and its children use over some time."""
    before, began = processor_time(device), time.monotonic()
    until(lambda: time.monotonic() - began > QUIET)
    return (processor_time(device) - before) / (time.monotonic() - began)


def fill(file: Path) -> None:
    """Write to ``file`` until the disk is full."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(4096)):
            pass
    os.close(descriptor)


# -- room ----------------------------------------------------------------------------------
@needs_mounts
def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet", disk="size=6m") as at:
        # What a peer saved does not fit into the working copy ...
        at.laptop.write("big", bytes(8 << 20))
        at.laptop.write("small", "s\n")
        reason = at.halted(f"The disk {at.disk} is full: more is needed than the ", " of its 6.3 MB that are free")
        assert "Make room there" in reason
        assert at.desktop.read("a.txt") == FILES["a.txt"]
        shown = at.desktop.run("status").stdout
        assert f"notes is halted: The disk {at.disk} is full" in shown
        # ... while what is saved here still reaches the others, as long as there is room for that.
        at.desktop.write("d/x", "saved here\n")
        until(lambda: at.laptop.read("d/x") == "saved here\n")
        mounts.remount(at.disk, "size=40m")
        at.recovers()
        # No room for the snapshot of what was saved here.
        saved = os.urandom(6000)
        with at_once(at.desktop):
            fill(at.disk / "filler")
            os.truncate(at.disk / "filler", (at.disk / "filler").stat().st_size - 8192)
            at.desktop.write("d/x", saved)
        at.halted(f"The disk {at.disk} is full: ")
        (at.disk / "filler").unlink()
        at.recovers()
        assert (at.laptop.root / "d" / "x").read_bytes() == saved
        # Read-only in the middle.
        mounts.remount(at.disk, "ro")
        at.laptop.write("a.txt", "while read-only\n")
        at.halted(f"{at.disk} is mounted read-only", "Mount it for writing again")
        mounts.remount(at.disk, "rw")
        at.recovers()
        assert at.desktop.git("fsck", "--no-dangling") == ""


@needs_mounts
def test_no_inodes_left(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet", disk="size=50m,nr_inodes=350") as at:
        for number in range(400):
            at.laptop.write(f"many/{number}", f"{number}\n")
        assert "Delete files there" in at.halted(f"No more files fit on {at.disk}: ", "of its 350 inodes are free")
        mounts.remount(at.disk, "nr_inodes=4000")
        at.recovers()


@needs_mounts
def test_a_full_state_directory_loses_no_announcement(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet", state="size=1m,nr_inodes=60") as at:
        at.desktop.kill()  # its socket stays, so that the next one needs no new room for it
        with contextlib.suppress(OSError):
            for number in range(100):
                (at.desktop.state / f"filler-{number}").touch()
        at.desktop.write("a.txt", "saved\n")
        at.desktop.start()
        until(lambda: "state-dir" in at.reason(), why=at.desktop.status)
        assert f"No more files fit on {at.desktop.state}" in at.reason()
        assert at.laptop.read("a.txt") == FILES["a.txt"]
        for file in at.desktop.state.glob("filler-*"):
            file.unlink()
        at.recovers()
        at.others_go_on()


@needs_mounts
def test_a_full_hub_is_told_and_the_peers_go_on(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet, mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        fleet.hub = disk / "hub.git"
        laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
        fleet.configure(fleet.devices, remote="origin", poll=2)
        fleet.start()
        fleet.equal()
        laptop.write("big", os.urandom(2 << 20))
        until(lambda: "cannot store anything: No space left on device" in str(laptop.status()["waiting-for"]))
        laptop.write("a.txt", "meanwhile\n")
        until(lambda: desktop.read("a.txt") == "meanwhile\n")
        mounts.remount(disk, "size=20m")
        until(lambda: laptop.status()["hub"] == laptop.status()["snapshot"], why=laptop.status)
        fleet.equal()


# -- rights and limits -----------------------------------------------------------------------
def test_what_may_not_be_written_or_read_is_held_alone(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet") as at, contextlib.ExitStack() as stack:
        at.desktop.end()
        if os.geteuid() == 0:  # whom no mode keeps out
            at.desktop.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        at.desktop.start()
        at.fleet.equal()
        directory = at.desktop.root / "d"
        stack.callback(directory.chmod, 0o755)
        # A folder that may not be written to.
        directory.chmod(0o555)
        at.laptop.write("d/x", "for a closed folder\n")
        at.laptop.write("a.txt", "for an open one\n")
        at.halted("d/x: no permission to write there")
        assert at.desktop.read("a.txt") == "for an open one\n"
        at.laptop.write("b.txt", "later\n")
        until(lambda: at.desktop.read("b.txt") == "later\n")
        directory.chmod(0o755)
        at.recovers()
        # Files that may not be read, one of them synced before but not committed.
        put_unreadable(at.desktop.root / "b.txt", "hidden\n")
        put_unreadable(at.desktop.root / "new", "hidden too\n")
        at.desktop.write("a.txt", "in the open\n")
        until(lambda: at.desktop.status()["unreadable"] == ["b.txt", "new"], why=at.desktop.status)
        at.desktop.run("sync")  # which looks at everything
        until(lambda: at.laptop.read("a.txt") == "in the open\n" and not at.desktop.status()["pending"])
        assert (at.laptop.read("b.txt"), at.laptop.read("new")) == ("later\n", None)
        assert "notes leaves out what it may not read: b.txt, new\n" in at.desktop.run("status").stdout
        (at.desktop.root / "b.txt").chmod(0o644)
        (at.desktop.root / "new").chmod(0o644)
        at.recovers()
        assert (at.laptop.read("b.txt"), at.desktop.status()["unreadable"]) == ("hidden\n", [])
        # A folder that may not be looked into is not an empty one.
        at.desktop.write("d/y", "synced, not committed\n")
        at.fleet.equal()
        directory.chmod(0)
        at.desktop.run("sync")
        at.desktop.write("a.txt", "beside it\n")
        until(lambda: at.laptop.read("a.txt") == "beside it\n")
        assert at.laptop.read("d/x") == "for a closed folder\n"
        assert at.laptop.read("d/y") == "synced, not committed\n"
        directory.chmod(0o755)
        at.recovers()
        figures.record("resources taken away", 2)


def put_unreadable(path: Path, text: str) -> None:
    """Put a file there that may never be read: an agent may be faster than a `chmod` after the writing."""
    elsewhere = path.parent.parent / f"{path.name}.made"
    elsewhere.write_text(text)
    elsewhere.chmod(0)
    elsewhere.replace(path)


def limit_for_one_more(pid: int) -> int:
    """Return a limit of open files under which a process that is at rest can open one more."""
    looks: list[set[int]] = []

    def is_at_rest() -> bool:
        looks.append({int(name) for name in os.listdir(f"/proc/{pid}/fd")})
        return len(looks) >= 20 and all(look == looks[-1] for look in looks[-20:])

    until(is_at_rest)
    free = (number for number in itertools.count() if number not in looks[-1])
    return next(itertools.islice(free, 1, None))


def test_too_few_open_files_name_the_limit(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet") as at:
        process = at.desktop.process
        assert process is not None
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        limit = limit_for_one_more(process.pid)  # to answer with
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        for number in range(50):
            at.laptop.write(f"many/{number}", f"{number}\n")
        until(lambda: "more open files than its limit" in at.reason(), why=at.desktop.status)
        assert f"limit of {limit}" in at.reason()
        assert "ulimit -n 1024" in at.reason()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        at.recovers()
        at.others_go_on()
        at.desktop.end()
        at.desktop.prefix = ("prlimit", "--nofile=20:20")
        at.desktop.launch()
        assert at.desktop.process is not None
        assert at.desktop.process.wait(PATIENCE) == 1
        assert "The agent needs more open files than its limit of 20" in at.desktop.log
        figures.record("resources taken away", 2)


# -- the folder ------------------------------------------------------------------------------
def test_only_the_same_repository_is_taken_up_again(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet") as at:
        root, away = at.desktop.root, at.desktop.home / "away"
        # Renamed away and back; nothing of it is held on to.
        root.rename(away)
        at.halted(f"The folder {root} is gone", "goes on by itself as soon as it is back")
        at.laptop.write("a.txt", "meanwhile\n")
        away.rename(root)
        at.recovers()
        # The repository alone is gone: what stands there cannot tell what was deleted.
        (root / ".git").rename(away)
        (root / ".git").mkdir()
        (root / "d" / "x").unlink()
        at.halted(f"The repository in {root} is another one, or {root}/.git/autosync was deleted")
        assert at.laptop.read("d/x") == "x\n"
        (root / ".git").rmdir()
        away.rename(root / ".git")
        at.recovers()
        assert at.laptop.read("d/x") is None
        # Another clone in its place is not taken for it, not even when asked to.
        root.rename(away)
        at.fleet.git("clone", "-q", str(at.fleet.place / "seed"), str(root))
        (root / "a.txt").write_text("of another repository\n")
        at.halted(f"The repository in {root} is another one", "restart the agent")
        assert at.desktop.run("resume").returncode == 1
        assert at.laptop.read("a.txt") == "meanwhile\n"
        assert (root / "a.txt").read_text() == "of another repository\n"
        shutil.rmtree(root)
        # Nor is an older copy of the same one: its files would undo what came since.
        shutil.copytree(away, at.desktop.home / "copy", symlinks=True)
        away.rename(root)
        at.recovers()
        at.laptop.write("a.txt", "newer than the copy\n")
        at.fleet.equal()
        root.rename(away)
        (at.desktop.home / "copy").rename(root)
        at.halted(f"Another repository, or an older copy of it, stands at {root}")
        assert at.laptop.read("a.txt") == "newer than the copy\n"
        shutil.rmtree(root)
        away.rename(root)
        at.recovers()


def pointed_at(link: Path) -> str:
    """Return where a link leads, nowhere if it has just gone."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


@needs_mounts
def test_a_disk_that_is_taken_out_and_put_back(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet", disk="size=40m") as at:
        away = at.desktop.home / "away"
        away.mkdir()
        assert at.desktop.process is not None
        # An empty folder where it was mounted, and nothing of ours that keeps the disk in use.
        mounts.move(at.disk, away)
        at.desktop.root.mkdir()
        at.halted(f"The folder {at.desktop.root} has no repository any more")
        descriptors = Path(f"/proc/{at.desktop.process.pid}/fd")
        until(lambda: not [f for f in descriptors.iterdir() if "notes" in pointed_at(f)])
        at.laptop.write("a.txt", "meanwhile\n")
        until(lambda: at.desktop.status()["peers"][0]["tree"] == at.laptop.status()["tree"])
        assert list(at.desktop.root.iterdir()) == []
        at.desktop.root.rmdir()
        mounts.move(away, at.disk)
        at.recovers()
        # Another one mounted over it, of which the kernel tells nobody.
        mounts.mount(at.desktop.root)
        at.halted(f"The folder {at.desktop.root} has no repository any more")
        mounts.unmount(at.desktop.root)
        at.recovers()
        assert at.laptop.read("d/x") == "x\n"


# -- time ------------------------------------------------------------------------------------
def test_an_agent_that_is_suspended_catches_up(tmp_path: Path) -> None:
    with lab(tmp_path / "fleet") as at:
        assert at.desktop.process is not None
        freeze(at.desktop.process.pid)
        at.laptop.write("a.txt", "while the other slept\n")
        at.desktop.write("d/x", "typed before it slept\n")
        recorded(at.laptop, "a.txt")
        at.desktop.process.send_signal(signal.SIGCONT)
        at.recovers()
        assert (at.desktop.read("a.txt"), at.laptop.read("d/x")) == (
            "while the other slept\n",
            "typed before it slept\n",
        )


@pytest.mark.parametrize("wrong", ["-1h", "+10y"])
def test_a_wrong_clock_decides_nothing(tmp_path: Path, wrong: str) -> None:
    with lab(tmp_path / "fleet") as at:
        at.desktop.end()
        # The wall clock alone: the kernel's own count goes on as it does (libfaketime(1)).
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        fake = {"LD_PRELOAD": str(library), "FAKETIME": wrong, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        at.desktop.environment = {**at.desktop.environment, **fake}
        shown = subprocess.run(["date", "+%s"], env=at.desktop.environment, capture_output=True, check=True).stdout
        assert abs(int(shown) - time.time()) > 3000
        at.desktop.start()
        for number in range(3):
            for writer, reader in ((at.laptop, at.desktop), (at.desktop, at.laptop)):
                text = f"{writer.name} {number}\n"
                writer.write("a.txt", text)
                until(lambda r=reader, t=text: r.read("a.txt") == t)  # type: ignore[misc]
        at.desktop.end()
        at.laptop.write("a.txt", "saved last, whatever the clocks say\n")
        at.desktop.start()
        at.recovers()
        assert at.desktop.read("a.txt") == "saved last, whatever the clocks say\n"
