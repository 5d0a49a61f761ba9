"""What it costs to follow a switch to another public changeset, beside `rsync -a` of the same change.

``python -m benchmarks.switch [--vcs git|hg] [--files 10000] [--rounds 3]``: two agents on one machine, in a network
namespace of its own, so that every byte on the loopback device is theirs; headers and all count.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autosync.control import call
from autosync.errors import AutosyncError
from benchmarks.versioning import VCS, Vcs

_INSIDE = "AUTOSYNC_BENCH_NAMESPACE"
_PORTS = {"laptop": 7001, "desktop": 7002}
PATIENCE = 300.0


def loopback_bytes() -> int:
    """Return the bytes that have gone over the loopback device (proc(5), net/dev)."""
    found = re.search(r"\blo:\s*(\d+)", Path("/proc/self/net/dev").read_text())
    assert found is not None
    return int(found[1])


def build(vcs: Vcs, root: Path, files: int) -> None:
    """Make a repository with two changesets that differ in every file, and check out the first."""
    root.mkdir()
    vcs.run(root, vcs.start)
    for line in ("first", "other"):
        if line == "other":
            vcs.run(root, [[*vcs.fork, "other"]])
        for number in range(files):
            path = root / f"d{number // 100:03}" / f"f{number:06}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{line} {number}\n" * 40)
        vcs.run(root, vcs.record)
    if vcs.name == "hg":
        vcs.run(root, [[*vcs.look[:-1], "phase", "--public", "-r", "all()"]])
    vcs.run(root, [[*vcs.switch, "main" if vcs.name == "git" else "default"]])


def configure(place: Path, name: str, root: Path, key: bytes) -> Path:
    """Write a device's configuration; return its path."""
    home = place / f"{name}-home"
    home.mkdir()
    secret = home / "key"
    secret.touch(mode=0o600)
    secret.write_bytes(key)
    other = next(port for device, port in _PORTS.items() if device != name)
    config = home / "config.yaml"
    config.write_text(
        f"device: {name}\nstate-dir: {home / 'state'}\nlisten: 127.0.0.1:{_PORTS[name]}\n"
        f"peers: ['127.0.0.1:{other}']\ndiscovery: false\nlog-level: warning\n"
        f"paths:\n  - path: {root}\n    workspace: bench\n    key-file: {secret}\n    remote: none\n"
    )
    return config


class Agent:
    """One running agent."""

    def __init__(self, config: Path, root: Path) -> None:
        self.root = root
        self._state = str(config.parent / "state")
        self._process = subprocess.Popen([sys.executable, "-m", "autosync", "--config", str(config), "run"])

    def tree(self) -> str | None:
        """Return the id of the tree that the agent stands at, ``None`` as long as it does not answer."""
        try:
            found = call(self._state, "status")["workspaces"][0]
        except (AutosyncError, LookupError):
            return None
        return str(found["tree"]) if found["phase"] == "watching" and found["tree"] else None

    def end(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


def equal(one: Agent, other: Agent, content: str) -> bool:
    """Return whether both stand at one tree, and the last file of the other one has this content."""
    last = max(other.root.glob("d*/f*.txt"))
    return last.read_text().startswith(content) and one.tree() is not None and one.tree() == other.tree()


def wait(one: Agent, other: Agent, content: str) -> None:
    """Return as soon as they are equal."""
    deadline = time.monotonic() + PATIENCE
    while not equal(one, other, content):
        assert time.monotonic() < deadline, "the devices did not become equal"
        time.sleep(0.02)


def rsync_bytes(source: Path, target: Path) -> int:
    """Return what `rsync -a` sends and receives to make ``target`` as ``source``."""
    said = subprocess.run(
        ["rsync", "-a", "--delete", "--no-whole-file", "--stats", f"{source}/", f"{target}/"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sum(int(n.replace(",", "")) for n in re.findall(r"Total bytes (?:sent|received): ([\d,]+)", said))


def measure(vcs: Vcs, files: int, rounds: int, place: Path) -> None:
    """Print the bytes and the seconds."""
    laptop, desktop, plain = place / "laptop", place / "desktop", place / "plain"
    build(vcs, laptop, files)
    for copy in (desktop, plain):
        shutil.copytree(laptop, copy, symlinks=True)
        vcs.run(copy, [vcs.look])
    before = place / "before"
    shutil.copytree(plain, before, ignore=shutil.ignore_patterns(".git", ".hg"))
    key = base64.b64encode(os.urandom(32))
    agents = [Agent(configure(place, root.name, root, key), root) for root in (laptop, desktop)]
    first = "main" if vcs.name == "git" else "default"
    sent: list[int] = []
    taken: list[float] = []
    by_hand: list[float] = []
    try:
        wait(*agents, "first")
        for _ in range(rounds):
            for name, content in (("other", "other"), (first, "first")):
                start = time.monotonic()
                vcs.run(plain, [[*vcs.switch, name]])
                by_hand.append(time.monotonic() - start)
                bytes_before = loopback_bytes()
                vcs.run(laptop, [[*vcs.switch, name]])
                start = time.monotonic()
                wait(*agents, content)
                taken.append(time.monotonic() - start)
                sent.append(loopback_bytes() - bytes_before)
    finally:
        for agent in agents:
            agent.end()
    vcs.run(plain, [[*vcs.switch, "other"]])
    after = place / "after"
    shutil.copytree(plain, after, ignore=shutil.ignore_patterns(".git", ".hg"))
    copied = rsync_bytes(after, before)
    ours = statistics.median(sent)
    print(f"{vcs.name}: switch of {files} files, median of {len(sent)}")
    print(f"  bytes: {ours:,.0f}; rsync -a {copied:,}, {copied / ours:.0f} times as many")
    seconds, alone = statistics.median(taken), statistics.median(by_hand)
    print(
        f"  after the switch until equal {seconds:.2f} s; the switch by hand {alone:.2f} s, ratio {seconds / alone:.2f}"
    )
    print(json.dumps({"vcs": vcs.name, "bytes": sent, "seconds": taken, "rsync": copied, "by-hand": by_hand}))


def main() -> int:
    """Enter a network namespace, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vcs", choices=sorted(VCS), default="git")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        again = [sys.executable, "-m", "benchmarks.switch", *sys.argv[1:]]
        inside = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *again]
        return subprocess.run(inside, env={**os.environ, _INSIDE: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as directory:
        measure(VCS[options.vcs], options.files, options.rounds, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
