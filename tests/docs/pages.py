"""Runs what a page of the documentation tells its reader to do, on machines that have a home directory each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_ports
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
_BOX = r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```\n"
_BLOCK = re.compile(_BOX + r"(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_OF_ITS_OWN = ", a terminal of its own"
_KEPT = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
_ENDED = (0, 130, -signal.SIGINT)
_LINE = re.compile(r"^autosync1-\w+$", re.MULTILINE)
_HUB = "git@git.example.org:"
"""What pages call the host of a git repository; here a directory is that host."""
_FOREIGN = {
    "scp": '#!/bin/sh\nexec cp -p "{place}/laptop/${{2#*:}}" "$3"\n',
    "xdg-open": "#!/bin/sh\nexit 0\n",
}
"""Programs that lead out of this machine, or onto a screen."""


STANDS_FOR: Mapping[str, str] = {
    "1a2b3c4d": "autosync log --json ~/notes | grep -om1 '\\b[0-9a-f]\\{40\\}\\b'",
}
"""What a reader reads as something of his own, and the command that tells what that is."""
ELSEWHERE: Mapping[str, str] = {
    "packaging/build-deb dist": "tests/packaging builds the package",
    "ejabberdctl": "joins a second host",
    "ssh -L": "leads to another host",
    "autosync install-service --headless": "needs a systemd of the user, which tests/system/test_service.py has",
    "autosync describe ~/notes": "needs a terminal, which tests/system/test_describe.py has",
}
"""Beginnings of lines that are not run here, and why."""


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
        kept = [line for line in commands.splitlines(keepends=True) if not line.startswith(tuple(ELSEWHERE))]
        if not kept:
            continue
        assert title, f"{page.name}: who runs this?\n{commands}"
        machine = title.removesuffix(_OF_ITS_OWN)
        found.append(Step(machine, "".join(kept), machine != title, printed or None))
    return found


@dataclass(slots=True)
class Machine:
    """One machine of a page's reader."""

    name: str
    home: Path
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
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
            timeout=PATIENCE * len(commands.splitlines()),
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {commands}{done.stdout}{done.stderr}{self.told()}"
        return done.stdout

    def start(self, commands: str, stdin: str) -> None:
        """Start what goes on until the page ends, and wait until it does what it is for."""
        self.log.append(self.home / f"log-{len(self.log)}")
        with self.log[-1].open("wb") as log:
            program = subprocess.Popen(
                ["bash", "-euc", f"exec {commands}"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self.environment,
                start_new_session=True,
            )
        self.running.append(program)
        assert program.stdin is not None
        program.stdin.write(stdin.encode())
        program.stdin.close()
        is_there: Callable[[], object] = self.told
        if "autosync join" in commands or "--join" in commands:
            # It watches before it has anything of what it joins.
            is_there = lambda: "In sync." in self.log[-1].read_text()  # noqa: E731
        elif "autosync run" in commands:
            is_there = self._is_watching
        until(lambda: self._is_up(program) and is_there(), why=self.told)

    def stop(self) -> None:
        """End what goes on with all that it has started, as Ctrl-C does, the last first."""
        codes = []
        while self.running:
            program = self.running.pop()
            os.killpg(program.pid, signal.SIGINT)
            try:
                codes.append(program.wait(PATIENCE))
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                codes.append(program.wait())
        assert set(codes) <= {*_ENDED}, f"{codes}\n{self.told()}"

    def told(self) -> str:
        """Return what its agents have printed."""
        return "".join(path.read_text() for path in self.log)

    def _is_up(self, program: subprocess.Popen[bytes]) -> bool:
        assert program.poll() is None, f"{program.args!r}: {program.returncode}\n{self.told()}"
        return True

    def _is_watching(self) -> bool:
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
        (home / ".gitconfig").write_text(
            f'[url "{place}/hub/"]\n\tinsteadOf = {_HUB}\n[url "{place}/laptop/"]\n\tinsteadOf = you@laptop:\n'
        )
        peers = ", ".join(f"127.0.0.1:{other}" for other in ports if other != port)
        # In one network they find each other by multicast; in this one the others' addresses are known.
        (home / ".config/autosync/config.yaml").write_text(
            f"device: {name}\nlisten: 127.0.0.1:{port}\ndiscovery: false\npeers: [{peers}]\n"
        )
        (home / ".config/autosync/config.yaml").chmod(0o600)
        programs = home / "bin"
        programs.mkdir()
        for program, does in _FOREIGN.items():
            (programs / program).write_text(does.format(place=place))
            (programs / program).chmod(0o755)
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        environment["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment |= {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": str(ROOT),
        }
        found[name] = Machine(name, home, environment)
    with contextlib.ExitStack() as at_the_end:
        for machine in found.values():
            at_the_end.callback(machine.stop)
        yield found


def follow(page: Path, place: Path, before: Sequence[Step] = ()) -> int:
    """Do what ``page`` says, in its order, after what was done ``before``; return how many boxes that were."""
    todo = [*before, *steps(page)]
    line = ""
    with machines(place, sorted({step.machine for step in todo})) as found:
        for step in todo:
            machine = found[step.machine]
            commands = step.commands
            for word, meant in STANDS_FOR.items():
                if word in commands:
                    commands = commands.replace(word, machine.run(meant).strip())
            if step.stays:
                machine.start(commands, line)
                continue
            printed = machine.run(commands, "y\n")
            if invited := _LINE.search(printed):
                line = f"{invited[0]}\n"
            if step.printed is not None:
                wanted = f"{page.name}: {step.commands}prints\n{printed}and not\n{step.printed}{machine.told()}"
                assert printed == step.printed, wanted
    return len(todo)
