"""Compares a snapshot with the user's own commit of the same changes, in the same run.

python -m benchmarks.snapshot [--vcs git|hg] [--files 100000] [--changed 1 --changed 10000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time

from autosync.core.model import DeviceId, RelPath, Version
from autosync.ports import Backend, Reading
from benchmarks.versioning import VCS, Vcs

_DEVICE = DeviceId("bench-00000001")


def build(vcs: Vcs, root: str, files: int) -> list[bytes]:
    """Make a repository of ``files`` small files, 50 to a directory, and return their paths."""
    os.makedirs(root)
    vcs.run(root, vcs.start)
    paths = [f"d{number // 1000:03}/s{number // 50 % 20:02}/f{number}.txt" for number in range(files)]
    for number, path in enumerate(paths):
        full = os.path.join(root, path)
        if number % 50 == 0:
            os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(f"file {number}\n" * 8)
    vcs.run(root, vcs.record)
    return [os.fsencode(path) for path in paths]


def edit(root: str, paths: list[bytes], stamp: str) -> None:
    """Append a line to each of the files."""
    for path in paths:
        with open(os.path.join(os.fsencode(root), path), "ab") as file:
            file.write(stamp.encode() + b"\n")


class Snapshotter:
    """Takes one snapshot after another, as the agent does."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._version = Version()
        self._last: Reading = backend.read(None, None)

    def take(self, paths: list[bytes]) -> float:
        """Return the seconds that reading, recording and pinning took."""
        start = time.perf_counter()
        before = (self._last.base, self._last.tree)
        self._last = self._backend.read([RelPath(path) for path in paths], before)
        self._version = self._version.bump(_DEVICE)
        snapshot = self._backend.record(
            tree=self._last.tree, base=self._last.base, version=self._version, parents=(), device="bench", time=0
        )
        self._backend.pin("latest", snapshot.id)
        taken = time.perf_counter() - start
        assert not self._last.torn
        return taken


def measure(vcs: Vcs, files: int, changes: list[int], rounds: int, directory: str) -> None:
    """Print a line for each number of changed files."""
    ours, theirs = os.path.join(directory, "ours"), os.path.join(directory, "theirs")
    paths = build(vcs, ours, files)
    shutil.copytree(ours, theirs, symlinks=True)
    vcs.run(theirs, [vcs.look])
    backend = vcs.open(ours)
    chance = random.Random(1)  # the same files in every run
    try:
        snapshotter = Snapshotter(backend)
        print(f"{files} files, median of {rounds}")
        print(f"{'changed':>8} {'snapshot':>12} {vcs.name + ' commit':>12} {'ratio':>7}")
        for changed in changes:
            taken: list[float] = []
            committed: list[float] = []
            for number in range(rounds):
                chosen = chance.sample(paths, changed)
                edit(ours, chosen, f"{changed} {number}")
                taken.append(snapshotter.take(chosen))
                edit(theirs, chosen, f"{changed} {number}")
                start = time.perf_counter()
                vcs.run(theirs, vcs.record)
                committed.append(time.perf_counter() - start)
            fast, slow = statistics.median(taken), statistics.median(committed)
            print(f"{changed:>8} {fast * 1000:>9.2f} ms {slow * 1000:>9.2f} ms {slow / fast:>6.1f}x")
    finally:
        backend.close()


def main() -> int:
    """Run the comparison that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vcs", choices=sorted(VCS), default="git")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--changed", type=int, action="append", help="how many files change; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as directory:
        measure(VCS[arguments.vcs], arguments.files, arguments.changed or [1, 100, 10_000], arguments.rounds, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
