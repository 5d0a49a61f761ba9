"""Runs several devices on one machine: real agents in processes of their own, on real git working copies."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from autosync.cli.main import main as run_main
from autosync.control import call
from autosync.errors import AutosyncError
from autosync.trust.sealing import create_key
from tests.ports import free_ports
from tests.waiting import PATIENCE, freeze, until

WORKSPACE = "notes"

Entry = tuple[str, bytes]
"""What stands at a path: ``file``, ``executable`` or ``link``, and its content or target."""


def entries(root: Path) -> dict[bytes, Entry]:
    """Return every file and link below ``root`` with its content; repository metadata is left out."""
    top = os.fsencode(root)
    found: dict[bytes, Entry] = {}
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in (b".git", b".hg")]
        for name in [*files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
            if name != b".git" and (entry := _entry(os.path.join(directory, name))) is not None:
                found[os.path.relpath(os.path.join(directory, name), top)] = entry
    return found


def _entry(path: bytes) -> Entry | None:
    """Return what stands there, ``None`` if nothing does any more: an agent may be at work."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return "link", os.readlink(path)
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                return "executable" if mode & 0o100 else "file", file.read()
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


@dataclass(slots=True)
class Device:
    """One device: a configuration, a state directory, an agent and its first working copy, ``root``."""

    name: str
    home: Path
    root: Path
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()
    """A command that starts the agent: ``prlimit``, ``setpriv``."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def config(self) -> Path:
        return self.home / "config.yaml"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def log(self) -> str:
        """What its agents have logged."""
        file = self.home / "agent.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # -- git -----------------------------------------------------------------------------
    def git(self, *arguments: str, ok: Sequence[int] = (0,), at: Path | None = None) -> str:
        """Run git in the working copy, as the user, and return what it printed."""
        done = subprocess.run(
            ["git", *arguments], cwd=at or self.root, env=self.environment, capture_output=True, check=False
        )
        if done.returncode not in ok:
            raise AssertionError(f"{self.name}: git {' '.join(arguments)}: {done.returncode}: {done.stderr.decode()}")
        return done.stdout.decode("utf-8", "surrogateescape")

    def commit(self, message: str) -> str:
        """Commit everything and return the commit's id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def branch(self) -> str:
        """Return the name of the branch, empty for a detached HEAD."""
        return self.git("symbolic-ref", "-q", "--short", "HEAD", ok=(0, 1)).strip()

    def porcelain(self) -> str:
        """Return what git says of the working copy, the branch and the commit included."""
        lines = self.git("--no-optional-locks", "status", "--porcelain=v2", "--branch", "-uall", "-z").split("\0")
        return "\n".join(line for line in lines if not line.startswith(("# branch.upstream", "# branch.ab")))

    def is_clean(self) -> bool:
        """Return whether nothing differs from the commit; takes no lock, unlike a plain `git status`."""
        return all(line.startswith("#") for line in self.porcelain().splitlines())

    def view(self) -> tuple[str, dict[bytes, Entry]]:
        """Return all that has to be equal on two devices."""
        return self.porcelain(), entries(self.root)

    # -- files ---------------------------------------------------------------------------
    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def save(self, name: str, content: str | bytes) -> None:
        """Save as editors do: nobody ever sees half of it, so it is one state however slow the machine is."""
        new, path = self.home / "new", self.root / name
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(new, path)

    def read(self, name: str) -> str | None:
        """Return a file's text, ``None`` if there is no such file."""
        try:
            return (self.root / name).read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    # -- autosync ------------------------------------------------------------------------
    def run(self, *arguments: str, timeout: float = 60, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `autosync` with this device's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "autosync", "--config", str(self.config), *arguments],
            cwd=self.home,
            env=self.environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )

    def run_here(self, *arguments: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Do what :meth:`run` does in this process: most of a short command's time goes into its start."""
        said, told = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        command = ["--config", str(self.config), *arguments]
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(at or self.home)
            code = run_main(command)
        for stream in (said, told):
            stream.seek(0)
        return subprocess.CompletedProcess(command, code, said.read(), told.read())

    def start(self) -> None:
        """Start the agent; return when it answers."""
        self.launch()
        until(self.answers, why=lambda: f"{self.name} did not start:\n{self.log}")

    def launch(self) -> None:
        """Start the agent without waiting for it."""
        with (self.home / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "autosync", "--config", str(self.config), "run"],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def answers(self) -> bool:
        """Return whether the agent runs; fails if it has ended."""
        process = self.process
        if process is None or process.poll() is not None:
            raise AssertionError(f"{self.name}'s agent ended:\n{self.log}")
        try:
            return bool(self.ask("status")["agent"]["pid"] == process.pid)
        except AutosyncError:
            return False

    def end(self, how: signal.Signals = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """End the agent and return its exit code; fails if that takes longer than ``within`` seconds."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not end within {within} s:\n{self.log}") from None

    def kill(self) -> None:
        """End the agent without any warning."""
        self.end(signal.SIGKILL)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return what the agent answers."""
        return call(str(self.state), command, **arguments)

    def status(self, workspace: str = WORKSPACE) -> dict[str, Any]:
        """Return the status of one workspace."""
        found: dict[str, Any] = next(w for w in self.ask("status")["workspaces"] if w["name"] == workspace)
        return found

    def resting_at(self) -> str | None:
        """Return the tree of the first workspace's state, ``None`` while anything is under way."""
        status = self.status()
        return None if status["pending"] or status["phase"] != "watching" else str(status["tree"])

    def activities(self, kind: str) -> list[dict[str, Any]]:
        """Return everything of one kind that happened here since the agent's start."""
        return [a for a in self.ask("activity")["activities"] if a["kind"] == kind]

    def applied(self, path: str) -> dict[str, Any]:
        """Return what the agent tells of how ``path`` came, for which it is waited: it does so a moment after."""
        found: list[dict[str, Any]] = []

        def is_told() -> bool:
            found[:] = [told for told in self.activities("applied") if path in told["paths"]]
            return bool(found)

        until(is_told, why=lambda: self.log[-3000:])
        return found[-1]

    def fingerprint(self) -> dict[str, bytes]:
        """Return the bytes of all that is the user's in the repository: index, HEAD, refs, reflogs, stash."""
        git = Path(self.git("rev-parse", "--absolute-git-dir").strip())
        names = [git / "index", git / "HEAD", git / "packed-refs", git / "config"]
        names += [p for top in ("refs", "logs") for p in sorted((git / top).rglob("*")) if p.is_file()]
        return {str(p.relative_to(git)): p.read_bytes() for p in names if p.exists()}


@dataclass(slots=True)
class Fleet:
    """Devices below one directory; a context manager that ends all their agents."""

    place: Path
    devices: list[Device] = field(default_factory=list)
    key: Path = field(init=False)
    hub: Path = field(init=False)
    environment: dict[str, str] = field(init=False)
    ports: dict[str, int] = field(default_factory=dict, init=False)
    """Where each configured device listens."""

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.key = self.place / "notes.key"
        self.hub = self.place / "hub.git"
        create_key(str(self.key))
        home = self.place / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(
            "[user]\nname = You\nemail = you@example.org\n[init]\ndefaultBranch = main\n"
            '[protocol "file"]\nallow = always\n[gc]\nauto = 0\n[core]\neditor = true\n'
        )
        kept = {
            k: os.environ[k] for k in ("PATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if k in os.environ
        }
        self.environment = {**kept, "HOME": str(home), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
        if "PYTHONPATH" not in self.environment:
            self.environment["PYTHONPATH"] = str(Path(__file__).parents[2])

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for device in self.devices:
            if device.process is not None:
                device.process.kill()
        for device in self.devices:
            if device.process is not None:
                device.process.wait()

    # -- making ----------------------------------------------------------------------------
    def git(self, *arguments: str, at: Path | None = None) -> str:
        """Run git and return what it printed."""
        done = subprocess.run(
            ["git", *arguments], cwd=at or self.place, env=self.environment, capture_output=True, check=True
        )
        return done.stdout.decode()

    def seed(self, files: dict[str, str], *, hub: bool = True) -> Path:
        """Make a repository of one commit on main, its hub too if asked for; return what is to be cloned."""
        seed = self.place / "seed"
        self.git("init", "-q", str(seed))
        for name, content in files.items():
            (seed / name).parent.mkdir(parents=True, exist_ok=True)
            (seed / name).write_text(content)
        self.git("add", "-A", at=seed)
        self.git("commit", "-q", "-m", "first", at=seed)
        if not hub:
            return seed
        self.git("clone", "-q", "--bare", str(seed), str(self.hub))
        return self.hub

    def device(self, name: str, root: Path | None = None) -> Device:
        """Make a device without a configuration; its working copy is made by the caller."""
        home = self.place / name
        home.mkdir()
        device = self._made(name, home, root or home / "notes")
        self.devices.append(device)
        return device

    def _made(self, name: str, home: Path, root: Path) -> Device:
        return Device(name, home, root, self.environment)

    def clone(self, source: Path, *names: str) -> list[Device]:
        """Make devices that are clones of one repository."""
        made = []
        for name in names:
            device = self.device(name)
            self.git("clone", "-q", str(source), str(device.root))
            made.append(device)
        return made

    def configure(
        self,
        devices: Sequence[Device],
        *,
        peers: bool = True,
        top: str = "",
        own: dict[str, str] | None = None,
        **options: object,
    ) -> None:
        """Write the configurations: ``options`` are keys of the path with ``_`` for ``-``, ``own`` per device."""
        ports = dict(zip([d.name for d in devices], free_ports(len(devices)), strict=True))
        self.ports.update(ports)
        for device in devices:
            others = [f"127.0.0.1:{port}" for name, port in ports.items() if name != device.name] if peers else []
            lines = [f"{key.replace('_', '-')}: {json.dumps(value)}" for key, value in options.items()]
            lines += (own or {}).get(device.name, "").splitlines()
            device.config.write_text(
                f"device: {device.name}\nstate-dir: state\nlisten: 127.0.0.1:{ports[device.name]}\n"
                f"discovery: false\nlog-level: debug\npeers: {json.dumps(others)}\n{top}"
                f"paths:\n- path: {json.dumps(str(device.root))}\n  workspace: {WORKSPACE}\n"
                f"  key-file: {json.dumps(str(self.key))}\n" + "".join(f"  {line}\n" for line in lines)
            )
            device.config.chmod(0o600)

    # -- waiting -----------------------------------------------------------------------------
    def start(self, *devices: Device) -> None:
        """Start agents together; return when all of them answer."""
        for device in devices or self.devices:
            device.launch()
        for device in devices or self.devices:
            until(device.answers, why=lambda d=device: f"{d.name} did not start:\n{d.log}")  # type: ignore[misc]

    def equal(self, *devices: Device, seconds: float = PATIENCE) -> None:
        """Wait until all working copies are equal to the eye of git and of the agents, and nothing is pending."""
        chosen = devices or tuple(self.devices)
        until(lambda: self._are_equal(chosen), seconds, why=lambda: self._differences(chosen))

    def _are_equal(self, devices: Sequence[Device]) -> bool:
        trees = {d.resting_at() for d in devices}
        if len(trees) > 1 or None in trees:
            return False
        first, *others = [d.view() for d in devices]
        # Once more: what was under way has changed the views.  An hg that is asked makes its agent look, so it may.
        return all(other == first for other in others) and {d.status()["tree"] for d in devices} == trees

    @staticmethod
    def _differences(devices: Sequence[Device]) -> str:
        lines = []
        for device in devices:
            status = device.status()
            shown = {k: status[k] for k in ("phase", "base", "tree", "pending", "waiting-for", "halt")}
            problems = [(p["device"], p["state"], p["problem"]) for p in status["peers"]]
            lines += [f"--- {device.name}: {shown} {problems}", device.porcelain(), repr(sorted(entries(device.root)))]
            lines += device.log.splitlines()[-25:]
        return "\n".join(lines)


@contextlib.contextmanager
def at_once(*devices: Device) -> Iterator[None]:
    """Do what is in the block at one moment, for these agents: they stand still until its end."""
    processes = [d.process for d in devices if d.process is not None]
    for process in processes:
        freeze(process.pid)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def pair(place: Path, files: dict[str, str], *, hub: bool = False, **options: object) -> Iterator[Fleet]:
    """Two running devices, laptop and desktop, with clones of one repository."""
    with Fleet(place) as fleet:
        fleet.clone(fleet.seed(files, hub=hub), "laptop", "desktop")
        fleet.configure(fleet.devices, **options)  # type: ignore[arg-type]
        fleet.start()
        fleet.equal()
        yield fleet
