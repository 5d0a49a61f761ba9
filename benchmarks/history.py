"""What a long history of snapshots costs, beside the same states as commits and beside a short history.

``python -m benchmarks.history [--snapshots 10000] [--files 1000]``
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autosync.backends.git.backend import GitBackend, open_git
from autosync.core.model import DeviceId, RelPath, Snapshot, Version, WorkspaceId
from autosync.core.retention import DAY, Retention, kept_by
from autosync.history import History
from autosync.ports import Reading

SHORT = 10
"""Snapshots of the history that the long one is held against."""
_DEVICE = DeviceId("bench-00000001")
_WORKSPACE = WorkspaceId("0" * 32)
_IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0")
_WORDS = [f"word{number}" for number in range(2000)]


def git(root: Path, *arguments: str, input: bytes = b"") -> bytes:
    """Return what git printed."""
    return subprocess.run(
        ["git", *_IDENTITY, *arguments], cwd=root, input=input, capture_output=True, check=True
    ).stdout


def build(root: Path, files: int, chance: random.Random) -> list[bytes]:
    """Make a repository of ``files`` texts of some kB, 20 to a directory, and return their paths."""
    git(root.parent, "init", "-q", "-b", "main", str(root))
    paths = [f"d{number // 200}/s{number // 20 % 10}/f{number}.txt" for number in range(files)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        lines = (" ".join(chance.choices(_WORDS, k=8)) for _ in range(chance.randrange(20, 120)))
        (root / path).write_text("".join(f"{line}\n" for line in lines))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "start")
    return [os.fsencode(path) for path in paths]


class Device:
    """A working copy whose snapshots are taken and kept as the agent does it."""

    def __init__(self, root: Path, *, backend: GitBackend | None = None) -> None:
        self.root = root
        self.backend = backend or open_git(os.fsencode(root), workspace=_WORKSPACE, remote=None)
        self.history = History(self.backend, retention=Retention(all_for=30 * DAY, quota=None))
        self.history.open()
        self.took: list[float] = []
        self._version = Version()
        self._last: Reading = self.backend.read(None, None)

    def edit(self, paths: list[bytes], chance: random.Random) -> Snapshot:
        """Change a line of one file and take the snapshot of it; its seconds go to ``took``."""
        path = chance.choice(paths)
        full = os.path.join(os.fsencode(self.root), path)
        with open(full, "rb") as file:
            lines = file.readlines()
        lines[chance.randrange(len(lines))] = " ".join(chance.choices(_WORDS, k=8)).encode() + b"\n"
        with open(full, "wb") as file:
            file.writelines(lines)
        start = time.perf_counter()
        self._last = self.backend.read([RelPath(path)], (self._last.base, self._last.tree))
        self._version = self._version.bump(_DEVICE)
        snapshot = self.backend.record(
            tree=self._last.tree,
            base=self._last.base,
            version=self._version,
            parents=(),
            device="bench",
            time=1_800_000_000 + self._version.count(_DEVICE),
        )
        self.history.keep(snapshot)
        self.history.settle_on(snapshot.id)
        self.took.append(time.perf_counter() - start)
        return snapshot


def disk_bytes(directory: Path) -> int:
    """Return what all files below ``directory`` take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if not path.is_dir())


def as_commits(source: Path, target: Path, snapshots: list[Snapshot]) -> int:
    """Return what the same states take as commits on a branch, after `git gc`."""
    git(source.parent, "clone", "-q", "--no-local", source.as_uri(), str(target))
    before = disk_bytes(target / ".git/objects")
    alternates = target / ".git/objects/info/alternates"
    alternates.write_text(f"{source}/.git/autosync/store.git/objects\n")
    stream = []
    for number, snapshot in enumerate(snapshots):
        start = f"from {git(target, 'rev-parse', 'HEAD').decode().strip()}\n" if number == 0 else ""
        stream.append(
            f"commit refs/heads/history\ncommitter bench <bench@example.org> {snapshot.time} +0000\n"
            f'data 4\nsave\n{start}M 040000 {snapshot.tree} ""\n\n'
        )
    git(target, "fast-import", "--quiet", input="".join(stream).encode())
    git(target, "repack", "-q", "-a", "-d")  # takes in what the alternate holds
    alternates.unlink()
    git(target, "gc", "-q", "--prune=now")
    return disk_bytes(target / ".git/objects") - before


def timed(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the median seconds of ``work``."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def fetch(device: Device, wanted: Snapshot, behind: Path, have: Snapshot | None, directory: Path) -> float:
    """Return the median seconds in which a peer gets ``wanted``; it has ``have``, or the first commit alone."""
    took = []
    for number in range(5):
        root = directory / f"peer{number}"
        shutil.copytree(behind, root, symlinks=True)
        backend = open_git(os.fsencode(root), workspace=_WORKSPACE, remote=None)
        if have is not None:
            pack = io.BytesIO()
            device.backend.serve(have.id, backend.haves(), pack)
            pack.seek(0)
            backend.receive(have.id, pack)
            backend.pin("current", have.id)
        start = time.perf_counter()
        pack = io.BytesIO()
        device.backend.serve(wanted.id, backend.haves(), pack)
        pack.seek(0)
        backend.receive(wanted.id, pack)
        took.append(time.perf_counter() - start)
        backend.close()
        shutil.rmtree(root)
    return statistics.median(took)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds that things take with one length of history."""

    save: float
    open: float
    all_read: float
    fresh: float
    behind: float


def costs(device: Device, last: Snapshot, behind: Path, directory: Path) -> Costs:
    """Return what things cost with the device's history as it is now; ``last`` is its latest snapshot."""

    def reopen() -> History:
        history = History(device.backend)
        history.open()
        return history

    earlier = device.history.load(kept_by(device.backend.pins())[-5].snapshot)
    return Costs(
        save=statistics.median(device.took),
        open=timed(reopen),
        all_read=timed(lambda: reopen().known(), 3),
        fresh=fetch(device, last, behind, None, directory),
        behind=fetch(device, last, behind, earlier, directory),
    )


def same_with_short_history(root: Path, copy: Path, paths: list[bytes], chance: random.Random) -> Device:
    """Return a device that is as far from its last commit, with :data:`SHORT` snapshots of history."""
    shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns("autosync"))
    device = Device(copy)
    for _ in range(SHORT):
        device.edit(paths, chance)
    return device


def saves_beside_a_tidying(device: Device, paths: list[bytes], chance: random.Random) -> tuple[float, list[float]]:
    """Return the seconds of a thorough tidying and those of the saves meanwhile."""
    took: list[float] = []

    def tidy() -> None:
        start = time.perf_counter()
        device.history.tidy(thorough=True)
        took.append(time.perf_counter() - start)

    before = len(device.took)
    thread = threading.Thread(target=tidy)
    thread.start()
    while thread.is_alive():
        start = time.perf_counter()
        with device.history.turns.together():
            waited = time.perf_counter() - start
            device.edit(paths, chance)
        device.took[-1] += waited
    return took[0], device.took[before:]


def compare(device: Device, paths: list[bytes], behind: Path, directory: Path, chance: random.Random) -> None:
    """Print what things cost with the device's history and with a short one."""
    few = same_with_short_history(device.root, directory / "few", paths, chance)
    for each in (device, few):
        each.took.clear()
    for _ in range(100):  # by turns, so that both meet the same machine
        long_last = device.edit(paths, chance)
        few_last = few.edit(paths, chance)
    count = len(device.history.known())
    long = costs(device, long_last, behind, directory)
    short = costs(few, few_last, behind, directory)
    print(f"{'':34} {'history':>10} {f'of {count}':>10} {f'of {SHORT + 100}':>10} {'ratio':>7}")
    for name, slow, fast in (
        ("a snapshot", long.save, short.save),
        ("opening", long.open, short.open),
        ("reading all of them, when needed", long.all_read, short.all_read),
        ("fetch by a fresh peer", long.fresh, short.fresh),
        ("fetch by a peer that is behind", long.behind, short.behind),
    ):
        print(f"  {name:42} {slow * 1000:7.1f} ms {fast * 1000:7.1f} ms {slow / fast:6.2f}x")
    longest = max(device.took)
    tidying, saves = saves_beside_a_tidying(device, paths, chance)
    ratio = statistics.median(saves) / long.save
    print(f"a gc of {tidying:.1f} s, and {len(saves)} saves beside it: the median {ratio:.2f}x of that without,")
    print(f"  the longest {max(saves) * 1000:.0f} ms; without, {longest * 1000:.0f} ms")
    few.backend.close()


def measure(count: int, files: int, directory: Path) -> None:
    """Print how a history of ``count`` snapshots compares."""
    chance = random.Random(1)
    root, behind = directory / "one", directory / "behind"
    paths = build(root, files, chance)
    git(directory, "clone", "-q", "--no-local", root.as_uri(), str(behind))
    device = Device(root)
    snapshots = []
    while len(snapshots) < count:
        snapshots.append(device.edit(paths, chance))
        if device.history.wants_tidying:
            device.history.tidy()
    store = root / ".git/autosync/store.git"
    left = disk_bytes(store)
    device.history.tidy(thorough=True)
    theirs = as_commits(root, directory / "commits", snapshots)
    print(f"{count} snapshots of one-line edits in a repository of {files} files")
    print(f"  the same as commits, after git gc  {theirs / 1024:8.0f} kB")
    print(f"  store as the agent leaves it       {left / 1024:8.0f} kB {left / theirs:6.2f}x")
    print(f"  store after autosync gc            {disk_bytes(store) / 1024:8.0f} kB {disk_bytes(store) / theirs:6.2f}x")
    print(f"  files in the store                 {sum(1 for _ in store.rglob('*')):8}")
    compare(device, paths, behind, directory, chance)
    device.backend.close()


def main() -> int:
    """Run the comparison that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as directory:
        measure(arguments.snapshots, arguments.files, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
