"""Compares the folders that have to be watched with what the kernel allows (inotify(7))."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from autosync.cli.finding import Finding, Level
from autosync.cli.opening import open_to_look
from autosync.config import Config, Mode, PathConfig, Vcs
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.watch.kernel import instance_limit, watch_limit

_SPARE = 8192
"""Watches that editors and desktops of the same user are left: a common default of small systems."""
_ROUND = 8192
_FILE = "/etc/sysctl.d/60-autosync.conf"
_FEW_INSTANCES = 16
_METADATA = frozenset({b".git", b".hg"})

Ignored = Callable[[Sequence[RelPath]], Collection[RelPath]]


def check_watches(config: Config) -> Finding:
    """Tell whether each folder can be watched, and which line allows it for good."""
    needed = sum(count_folders(path) for path in config.paths)
    name, allowed = watch_limit()
    detail = f"folders to watch: {needed}; allowed: {allowed}"
    if needed + _SPARE <= allowed or needed * 2 <= allowed:
        return Finding(Level.OK, "inotify", detail)
    level = Level.WARN if needed <= allowed else Level.FAIL
    more = -(-(2 * needed + _SPARE) // _ROUND) * _ROUND
    return Finding(level, "inotify", detail, f"Allow more, for good: {lasting(name, more)}")


def check_instances() -> Finding:
    """Tell whether one more program of this user may watch anything at all."""
    name, allowed = instance_limit()
    detail = f"programs of one user that may watch: {allowed}"
    if allowed >= _FEW_INSTANCES:
        return Finding(Level.OK, "inotify instances", detail)
    return Finding(Level.WARN, "inotify instances", detail, f"Allow more, for good: {lasting(name, 128)}")


def lasting(name: str, value: int) -> str:
    """Return the line that sets a sysctl now and at each start of the machine (sysctl.d(5))."""
    return f"echo {name}={value} | sudo tee -a {_FILE} && sudo sysctl --system"


def count_folders(path: PathConfig) -> int:
    """Return the number of folders in a working copy that its agent watches; what is ignored is not."""
    if path.mode is Mode.STORE:
        return 0
    root = os.fsencode(path.path)
    if path.backend is Vcs.COMMAND:
        return _count(root, lambda _: ())
    try:
        backend = open_to_look(path)
    except AutosyncError:  # told where the working copy is examined
        return _count(root, lambda _: ())
    try:
        return _count(root, backend.ignored)
    finally:
        backend.close()


def _count(root: bytes, ignored: Ignored) -> int:
    """Count level by level, so that one question is asked for each level."""
    level, count = [RelPath(b"")], 0
    while level:
        count += len(level)
        below = [RelPath(os.path.join(folder, name)) for folder in level for name in _folders(root, folder)]
        skipped = frozenset(ignored(below)) if below else frozenset()
        level = [path for path in below if path not in skipped]
    return count


def _folders(root: bytes, folder: RelPath) -> list[bytes]:
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            return [e.name for e in entries if e.name not in _METADATA and e.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or not for us: then it is not watched either
        return []
