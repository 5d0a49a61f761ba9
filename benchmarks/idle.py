"""What an idle agent costs: CPU seconds in a minute and resident memory.

``python -m benchmarks.idle [--files 50000] [--directories 5000] [--seconds 60]``
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autosync.control import call
from autosync.errors import AutosyncError


def make_tree(root: Path, files: int, directories: int) -> None:
    """Make a repository with ``files`` small files spread over ``directories``."""
    for number in range(directories):
        (root / f"d{number % 100:02}" / f"s{number:05}").mkdir(parents=True)
    for number in range(files):
        directory = number % directories
        path = root / f"d{directory % 100:02}" / f"s{directory:05}" / f"f{number:06}.txt"
        path.write_text(f"file {number}\n" * 10)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.org", *command], cwd=root, check=True)


def process_tree(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += process_tree(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return user and system time used so far (proc(5), stat)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pids: list[int], key: str) -> float:
    """Return the sum of ``Rss`` or ``Pss`` in MiB (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(key + ":"):
                total += int(line.split()[1])
    return total / 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--directories", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="autosync-idle-"))
    try:
        work = base / "work"
        work.mkdir()
        make_tree(work, options.files, options.directories)
        key = base / "key"
        key.touch(mode=0o600)
        key.write_bytes(base64.b64encode(os.urandom(32)))
        config = base / "config.yaml"
        config.write_text(
            f"device: idle\nstate-dir: {base / 'state'}\nlisten: 127.0.0.1:0\n"
            f"paths:\n  - {{path: {work}, workspace: idle, key-file: {key}}}\n"
        )
        started = time.monotonic()
        with (base / "log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "autosync", "--config", str(config), "run"], stdout=log, stderr=log
            )
        try:
            while not ready(base / "state"):
                if agent.poll() is not None:
                    sys.stdout.write((base / "log").read_text())
                    return 1
                time.sleep(0.1)
            sys.stdout.write(f"ready after {time.monotonic() - started:.1f} s\n")
            time.sleep(5)
            pids = process_tree(agent.pid)
            before = cpu_seconds(pids)
            time.sleep(options.seconds)
            used = cpu_seconds(pids) - before
            sys.stdout.write(
                f"idle with {options.files} files in {options.directories} directories: "
                f"{used:.2f} CPU s in {options.seconds:.0f} s, "
                f"RSS of the agent {memory_mib([agent.pid], 'Rss'):.0f} MiB, "
                f"with its {len(pids) - 1} git processes {memory_mib(pids, 'Rss'):.0f} MiB "
                f"(PSS {memory_mib(pids, 'Pss'):.0f} MiB)\n"
            )
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(10)
    finally:
        shutil.rmtree(base)
    return 0


def ready(state_dir: Path) -> bool:
    """Return whether the agent watches and has looked at everything."""
    try:
        return bool(call(str(state_dir), "status")["workspaces"][0]["phase"] == "watching")
    except AutosyncError:
        return False


if __name__ == "__main__":
    sys.exit(main())
