"""Runs what a page of the documentation tells its reader to do, on machines that have a home directory each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_ports
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
_BOX = r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```\n"
_BLOCK = re.compile(_BOX + r"(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_OF_ITS_OWN = ", a terminal of its own"
_KEPT = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
_LINE = re.compile(r"^autosync1-\w+$", re.MULTILINE)
_HUB = "git@git.example.org:"
"""What pages call the host of a git repository; here a directory is that host."""


@dataclass(frozen=True, slots=True)
class Step:
    """One box of commands: for which machine, whether they go on, and what they print (``None``: no matter)."""

    machine: str
    commands: str
    stays: bool
    printed: str | None


def steps(page: Path) -> list[Step]:
    """Return the boxes of commands of a page.  Each has to say whose they are."""
    found = []
    for language, title, commands, printed in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language != "sh":
            continue
        assert title, f"{page.name}: who runs this?\n{commands}"
        machine = title.removesuffix(_OF_ITS_OWN)
        found.append(Step(machine, commands, machine != title, printed or None))
    return found


@dataclass(slots=True)
class Machine:
    """One machine of a page's reader."""

    name: str
    home: Path
    environment: dict[str, str]
    agent: subprocess.Popen[bytes] | None = None
    log: list[Path] = field(default_factory=list)

    def run(self, commands: str, stdin: str = "") -> str:
        """Return what commands print; fails if one of them does."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            input=stdin,
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {commands}{done.stdout}{done.stderr}{self.told()}"
        return done.stdout

    def start(self, commands: str, stdin: str) -> None:
        """Start what goes on until the page ends, and wait until the agent answers for its working copies."""
        self.log.append(self.home / f"log-{len(self.log)}")
        with self.log[-1].open("wb") as log:
            self.agent = subprocess.Popen(
                ["bash", "-euc", f"exec {commands}"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self.environment,
            )
        assert self.agent.stdin is not None
        self.agent.stdin.write(stdin.encode())
        self.agent.stdin.close()
        until(self._is_ready, why=self.told)

    def stop(self) -> None:
        """End the agent as Ctrl-C does."""
        if self.agent is not None:
            self.agent.send_signal(signal.SIGINT)
            assert self.agent.wait(PATIENCE) in (0, 130), self.told()
            self.agent = None

    def told(self) -> str:
        """Return what its agents have printed."""
        return "".join(path.read_text() for path in self.log)

    def _is_ready(self) -> bool:
        assert self.agent is not None
        assert self.agent.poll() is None, self.told()
        command = ["autosync", "status", "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.returncode == 0 and '"phase": "watching"' in done.stdout


@contextlib.contextmanager
def machines(place: Path, names: list[str]) -> Iterator[dict[str, Machine]]:
    """Machines in one network, which have autosync and git, a host for repositories, and nothing else."""
    hub = place / "hub/me/notes.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", hub], check=True)
    found: dict[str, Machine] = {}
    ports = free_ports(len(names))
    for name, port in zip(names, ports, strict=True):
        home = place / name
        (home / ".config/autosync").mkdir(parents=True)
        (home / ".gitconfig").write_text(f'[url "{place}/hub/"]\n\tinsteadOf = {_HUB}\n')
        peers = ", ".join(f"127.0.0.1:{other}" for other in ports if other != port)
        # In one network they find each other by multicast; in this one the others' addresses are known.
        (home / ".config/autosync/config.yaml").write_text(
            f"device: {name}\nlisten: 127.0.0.1:{port}\ndiscovery: false\npeers: [{peers}]\n"
        )
        (home / ".config/autosync/config.yaml").chmod(0o600)
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment |= {"HOME": str(home), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(ROOT)}
        found[name] = Machine(name, home, environment)
    try:
        yield found
    finally:
        for machine in found.values():
            machine.stop()


def follow(page: Path, place: Path) -> int:
    """Do what ``page`` says, in its order; return how many boxes of commands that were."""
    todo = steps(page)
    line = ""
    with machines(place, sorted({step.machine for step in todo})) as found:
        for step in todo:
            machine = found[step.machine]
            if step.stays:
                machine.start(step.commands, line)
                continue
            printed = machine.run(step.commands)
            if invited := _LINE.search(printed):
                line = f"{invited[0]}\n"
            if step.printed is not None:
                wanted = f"{page.name}: {step.commands}prints\n{printed}and not\n{step.printed}{machine.told()}"
                assert printed == step.printed, wanted
    return len(todo)
