"""autosync as one more tool of a side-by-side harness that runs two hosts in network namespaces.

The harness (``peers.py``) is given with ``--adapter`` and this file; it provides ``adapters.Adapter``.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
import time
from typing import ClassVar

import workloads  # type: ignore[import-not-found]  # the harness's own module, as the next
from adapters import Adapter, Unavailable  # type: ignore[import-not-found]

PORT = 7000
CONFIG = """\
device: {name}
state-dir: {home}/state
listen: {ip}:{port}
peers: ["{peer}:{port}"]
discovery: false
log-level: warning
paths:
  - path: {path}
    workspace: bench
    key-file: {home}/bench.key
    remote: none
"""


LARGE = 100 << 20
"""Bytes of the file of the workload ``large``."""


class Large(workloads.Workload):  # type: ignore[misc]  # as above
    """One new file of 100 MB that does not compress, renamed into place."""

    name = "large"

    def prepare(self, dirA, dirB):  # type: ignore[no-untyped-def]  # noqa: N803  # the harness's names
        """Fill both folders with 200 small files."""
        small = workloads.cached(self.opts, "small-200", lambda place: workloads.small_tree(place, 200))
        workloads.copy_tree(small, dirA, dirB)

    def measure(self, cell):  # type: ignore[no-untyped-def]
        """Return the seconds from the rename until the other side has it."""
        content = os.urandom(LARGE)
        meter = cell.meter()
        workloads.write(f"{cell.dirA}/large.tmp", content)
        start = time.perf_counter()
        os.rename(f"{cell.dirA}/large.tmp", f"{cell.dirA}/large.bin")
        kicked = cell.kick("large")
        end = workloads.wait_content(f"{cell.dirB}/large.bin", content, 240, tick=0.01)
        cell.finish(kicked)
        if end is None:
            raise workloads.Failed("not there after 240 s")
        return {"total_s": end - start, **meter.stop(), "difference": workloads.tree_difference(cell)}


workloads.ALL[Large.name] = Large


class Autosync(Adapter):  # type: ignore[misc]  # as above
    """Two agents with default settings and static addresses; no hub, no XMPP."""

    name = "autosync"
    config = "defaults; two agents, static peers, no hub; two-way, every state recorded as a snapshot"
    meta = frozenset({".git"})
    own_logs = ()

    def version(self) -> str:
        """Return the version text."""
        try:
            return str(self.first_line(sys.executable, "-m", "autosync", "--version"))
        except OSError as error:
            raise Unavailable(f"autosync does not start: {error}") from None

    def setup(self, A, B, dirA, dirB):  # type: ignore[no-untyped-def]  # noqa: N803  # the harness's names
        """Make both folders checkouts of one repository, and a configuration for each."""
        super().setup(A, B, dirA, dirB)
        self.make_checkouts(A, B, dirA, dirB)
        key = base64.b64encode(os.urandom(32))
        for host, path, peer, name in ((A, dirA, B, "a"), (B, dirB, A, "b")):
            for file, content in (
                ("bench.key", key),
                (
                    "config.yaml",
                    CONFIG.format(name=name, home=host.home, ip=host.ip, port=PORT, peer=peer.ip, path=path).encode(),
                ),
            ):
                handle = os.open(f"{host.home}/{file}", os.O_WRONLY | os.O_CREAT, 0o600)
                with open(handle, "wb") as out:
                    out.write(content)

    def make_checkouts(self, A, B, dirA, dirB):  # type: ignore[no-untyped-def]  # noqa: N803  # as above
        """Make both folders checkouts of one repository."""
        git = ["git", "-C", dirA]
        if not os.path.isdir(dirA + "/.git"):
            A.run(["git", "init", "-q", dirA])
            A.run([*git, "add", "-A"])
            A.run([*git, "commit", "-q", "--allow-empty", "-m", "start"])
            shutil.copytree(dirA + "/.git", dirB + "/.git")
            B.run(["git", "-C", dirB, "status", "-s"])

    def start(self) -> None:
        """Start both agents."""
        for host in (self.B, self.A):
            host.popen(
                [sys.executable, "-m", "autosync", "--config", f"{host.home}/config.yaml", "run"], log="autosync.log"
            )


class AutosyncHg(Autosync):
    """The same with Mercurial working copies."""

    name = "autosync-hg"
    config = Autosync.config + "; Mercurial working copies"
    meta = frozenset({".hg"})
    unsupported: ClassVar = {"switch": "the workload's own repository is git's"}

    def make_checkouts(self, A, B, dirA, dirB):  # type: ignore[no-untyped-def]  # noqa: N803  # as above
        """Make both folders checkouts of one repository."""
        hg = [sys.executable, "-P", "-m", "mercurial", "--config", "ui.username=bench"]
        A.run([*hg, "init", dirA])
        A.run([*hg, "-R", dirA, "commit", "-q", "-A", "-m", "start"])
        shutil.copytree(dirA + "/.hg", dirB + "/.hg")
        B.run([*hg, "-R", dirB, "status"])
