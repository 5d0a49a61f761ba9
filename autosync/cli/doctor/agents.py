"""Looks for agents: whether one is started at login, whether two keep the same folder, what a killed one has left."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping

from autosync.cli.finding import Finding, Level
from autosync.config import Config, PathConfig
from autosync.control import call
from autosync.errors import AutosyncError
from autosync.service.placing import Places

_NAME = "autosync"
UNIT = f"{_NAME}.service"
_WITHIN = 5.0
_OLD = 600.0
"""Seconds after which a lock of git or hg is remarkable: it is held for as long as a commit takes."""
_WATCH = re.compile(r"^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+) ", re.MULTILINE)


def check_service(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether the agent is started at login."""
    units = [place for place in _unit_places(environ) if os.path.lexists(place)]
    if units and (problem := _unit_problem()) is not None:
        yield problem
    elif units:
        yield Finding(Level.OK, "service", f"{units[0]} starts the agent")
    elif found := [place for place in _autostart_places(environ) if os.path.lexists(place)]:
        yield Finding(Level.OK, "service", f"{found[0]} starts the agent at login")
    else:
        hint = "To have it started at login: `autosync install-service`"
        yield Finding(Level.WARN, "service", "nothing starts the agent by itself", hint)


def _unit_problem() -> Finding | None:
    """Return what systemd says against the unit, ``None`` if nothing or if it cannot be asked."""
    if shutil.which("systemctl") is None:
        return None
    for question, hint in (("is-enabled", "enable"), ("is-active", "restart")):
        done = _systemctl(question)
        if done is not None and done in ("disabled", "failed", "inactive"):
            line = f"systemctl --user {hint} --now {UNIT}" if hint == "enable" else f"systemctl --user {hint} {UNIT}"
            return Finding(Level.WARN, "service", f"{UNIT} is {done}", f"{line}    starts it")
    return None


def _systemctl(question: str) -> str | None:
    try:
        done = subprocess.run(
            ["systemctl", "--user", question, UNIT], capture_output=True, text=True, timeout=_WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _unit_places(environ: Mapping[str, str]) -> list[str]:
    """Return where systemd looks for the unit, the user's own place first (systemd.unit(5))."""
    system = [os.path.join(folder, "systemd/user", UNIT) for folder in ("/etc", "/usr/local/lib", "/usr/lib", "/lib")]
    return [Places.of(environ, _NAME).unit, *system]


def _autostart_places(environ: Mapping[str, str]) -> list[str]:
    folders = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return [Places.of(environ, _NAME).autostart, *(os.path.join(f, "autostart", f"{_NAME}.desktop") for f in folders)]


def check_twins(config: Config) -> Iterator[Finding]:
    """Tell if another agent than that of this configuration watches one of its working copies."""
    try:
        own = int(call(config.state_dir, "status")["agent"]["pid"])
    except AutosyncError:  # none runs
        own = 0
    for path in config.paths:
        watchers = [pid for pid in _agents() if pid not in (own, os.getpid()) and _watches(pid, path.path)]
        if watchers:
            pids = " ".join(map(str, watchers))
            detail = f"{path.path} is kept by another agent too (pid {pids}), of another configuration"
            yield Finding(
                Level.FAIL, path.workspace, detail, f"End it, or take the path out of one of them: kill {pids}"
            )


def _agents() -> Iterator[int]:
    """Yield the processes of this user that are called as an agent is."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if any(b"autosync" in os.path.basename(word) for word in words[:3]):
                yield int(name)


def _watches(pid: int, folder: str) -> bool:
    """Return whether a process has an inotify watch on ``folder`` (proc(5), /proc/[pid]/fdinfo)."""
    try:
        inode, device = os.stat(folder).st_ino, os.stat(folder).st_dev
        numbers = os.listdir(f"/proc/{pid}/fdinfo")
    except OSError:
        return False
    for number in numbers:
        try:
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        for ino, sdev in _WATCH.findall(text):
            # The kernel writes its own form of a device's number: 20 bits of minor.
            if int(ino, 16) == inode and (int(sdev, 16) >> 20, int(sdev, 16) & 0xFFFFF) == (
                os.major(device),
                os.minor(device),
            ):
                return True
    return False


def check_locks(path: PathConfig) -> Iterator[Finding]:
    """Tell of locks of git and hg that are older than any command of theirs takes."""
    for lock in _locks(path.path):
        try:
            age = time.time() - os.lstat(lock).st_mtime
        except OSError:
            continue
        if age > _OLD:
            detail = f"{lock} is {age / 60:.0f} minutes old: what took it may have been killed"
            yield Finding(Level.WARN, path.workspace, detail, f"If no git or hg runs there: rm {shlex.quote(lock)}")


def _locks(root: str) -> Iterator[str]:
    git, hg = _git_directory(root), os.path.join(root, ".hg")
    for name in ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock"):
        yield os.path.join(git, name)
    for name in ("wlock", "store/lock"):
        yield os.path.join(hg, name)


def _git_directory(root: str) -> str:
    """Return where git's metadata are: in a linked worktree a file says so (gitrepository-layout(5))."""
    mark = os.path.join(root, ".git")
    try:
        with open(mark, encoding="utf-8", errors="surrogateescape") as file:
            return os.path.join(root, file.read(4096).removeprefix("gitdir:").strip())
    except OSError:
        return mark
