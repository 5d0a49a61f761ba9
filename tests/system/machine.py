"""A machine's own places for a test: /run with a real journald, hidden from all other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.waiting import PATIENCE, until

_JOURNALD = "/usr/lib/systemd/systemd-journald"
_SETTINGS = (
    "[Journal]\nStorage=volatile\nReadKMsg=no\nForwardToSyslog=no\nForwardToKMsg=no\nForwardToWall=no\nAudit=no\n"
    "RateLimitBurst=0\n"
)
_MANAGER = "/usr/lib/systemd/systemd"
_CGROUPS = "/sys/fs/cgroup"
_INSIDE = """
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/system /run/log/journal
mount --bind "$1" /etc/machine-id
mount -t tmpfs none /etc/systemd
printf %s "$2" >/etc/systemd/journald.conf
has=
if [ -n "$3" ]; then
    umount -R -l /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null && mkdir "/sys/fs/cgroup/$3" && has=cgroups
fi
echo "up $has"
read -r _
if [ -n "$has" ]; then find "/sys/fs/cgroup/$3" -depth -type d -exec rmdir {} +; fi
"""


class Machine:
    """A context manager; only root may have one (see :func:`tests.system.mounts.needs_mounts`).

    ``prefix`` is what comes before a command line so that it runs there.  With ``cgroups`` a systemd may run there.
    """

    def __init__(self, place: Path, *, cgroups: bool = False) -> None:
        self._place = place
        self._group = f"autosync-test-{os.getpid()}" if cgroups else ""
        self.has_cgroups = False
        """Whether a systemd can run there: only the real root may have cgroups of his own."""
        self._ends: list[Callable[[], object]] = []
        self._keeper: subprocess.Popen[str]

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "--mount", f"--target={self._keeper.pid}", f"--wd={os.getcwd()}")

    def __enter__(self) -> Machine:
        identity = self._place / "machine-id"
        identity.write_text(f"{os.urandom(16).hex()}\n")
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "bash", "-euc", _INSIDE, "bash", identity, _SETTINGS, self._group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        up, _, has = self._keeper.stdout.readline().rstrip("\n").partition(" ")
        assert up == "up"
        self.has_cgroups = bool(has)
        self.run_beside([_JOURNALD])
        until(lambda: self.run("test", "-S", "/run/systemd/journal/socket").returncode == 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for end in reversed(self._ends):
            end()
        self._keeper.communicate("end\n", PATIENCE)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program there and return how it ended."""
        return subprocess.run(
            [*self.prefix, *command], capture_output=True, text=True, check=False, timeout=PATIENCE, **options
        )

    def run_beside(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program there that is ended with the machine."""
        process = subprocess.Popen([*self.prefix, *command], stderr=sys.stderr, **options)

        def end() -> None:
            process.terminate()
            process.wait(PATIENCE)

        self._ends.append(end)
        return process

    def start_user_manager(self, environment: dict[str, str]) -> None:
        """Start the systemd of a user whose environment that is; ``XDG_RUNTIME_DIR`` is in it."""
        runtime = Path(environment["XDG_RUNTIME_DIR"])
        runtime.mkdir(mode=0o700)
        entering = f"echo $$ >{_CGROUPS}/{self._group}/cgroup.procs; exec {_MANAGER} --user --unit=basic.target"
        # Its own messages go to the journal; where it cannot start at all it says so on standard error.
        self.run_beside(["sh", "-c", entering], env=environment)
        command = ("systemctl", "--user", "is-active", "basic.target")
        until(lambda: self.run(*command, env=environment).stdout == "active\n")

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the entries of the journal that match, as `journalctl -o json` has them."""
        self.run("journalctl", "--sync")
        said = self.run("journalctl", "-o", "json", "--all", *matches)
        assert said.returncode == 0, said.stderr
        return [json.loads(line) for line in said.stdout.splitlines()]
