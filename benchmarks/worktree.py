"""What a second working copy costs on a device that has the repository, beside a plain `join` of the same workspace.

``python -m benchmarks.worktree [--vcs git|hg] [--commits 1000] [--files 1000]``
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.switch import loopback_bytes
from tests.system.fleet import Device, Fleet
from tests.system.hgfleet import HgFleet

_WORDS = [f"word{number}" for number in range(2000)]


def grow(device: Device, commits: int, files: int) -> None:
    """Give a working copy a history: texts, of which each commit changes some."""
    chance = random.Random(7)
    for number in range(commits):
        for _ in range(files if number == 0 else 5):
            name = f"d{chance.randrange(20)}/f{chance.randrange(files)}.txt"
            device.write(name, "".join(f"{' '.join(chance.choices(_WORDS, k=8))}\n" for _ in range(60)))
        device.commit(f"number {number}")


def disk(*places: Path) -> int:
    """Return the bytes that files take on the disk; those that do not exist take none."""
    there = [str(place) for place in places if place.exists()]
    done = subprocess.run(["du", "-sc", "--block-size=1", *there], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-2])


def took_part(device: Device, laptop: Device, *words: str) -> tuple[int, float]:
    """Take part in the workspace ``fix``; return bytes over the loopback interface, and seconds."""
    line = laptop.run("invite", "fix", "--once").stdout.strip()
    sent, began = loopback_bytes(), time.monotonic()
    done = device.run(*(line if word == "LINE" else word for word in words), timeout=600)
    assert done.returncode == 0, done.stderr
    return loopback_bytes() - sent, time.monotonic() - began


def measure(place: Path, vcs: str, commits: int, files: int) -> dict[str, dict[str, float]]:
    """Return bytes sent, bytes on the disk and seconds of both ways."""
    with (HgFleet if vcs == "hg" else Fleet)(place) as fleet:
        (laptop,) = fleet.clone(fleet.seed({"a.txt": "a\n"}, hub=False), "laptop")
        grow(laptop, commits, files)
        linked, plain = fleet.clone(laptop.root, "linked", "plain")
        for device in (laptop, linked, plain):
            fleet.configure([device], peers=False)
        plain.config.write_text(plain.config.read_text().partition("paths:")[0])
        fleet.start()
        assert laptop.run("worktree", "add", "fix", "--from", "notes", "--branch", "fix").returncode == 0
        (laptop.home / "fix/new.txt").write_text("not committed\n")
        rows = {}
        for name, device, words in (
            ("worktree add --join", linked, ("worktree", "add", "fix", "--join", "LINE")),
            ("join", plain, ("join", "LINE", "fix")),
        ):
            before = disk(device.root, device.home / "fix")
            sent, seconds = took_part(device, laptop, *words)
            kept = disk(device.root, device.home / "fix") - before
            rows[name] = {"bytes sent": sent, "bytes on disk": kept, "seconds": round(seconds, 2)}
        return rows


def main() -> int:
    """Print both ways and what one is of the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vcs", choices=("git", "hg"), default="git")
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1000)
    options = parser.parse_args()
    if "AUTOSYNC_BENCH_ALONE" not in os.environ:
        # In a network of its own: nobody else's bytes are counted.
        command = [
            "unshare",
            "--net",
            "--map-root-user",
            "sh",
            "-c",
            'ip link set lo up; exec "$@"',
            "sh",
            sys.executable,
        ]
        again = [*command, "-m", "benchmarks.worktree", *sys.argv[1:]]
        return subprocess.run(again, env={**os.environ, "AUTOSYNC_BENCH_ALONE": "1"}, check=False).returncode
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(Path(directory) / "fleet", options.vcs, options.commits, options.files)
    linked, plain = rows["worktree add --join"], rows["join"]
    print(f"{options.vcs}: {options.commits} commits, {options.files} files")
    for name, row in rows.items():
        print(f"  {name}: " + ", ".join(f"{value:,} {what}" for what, value in row.items()))
    print("  ratio: " + ", ".join(f"{what} {plain[what] / linked[what]:.1f}" for what in linked))
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
