"""Cuts the power at a file-system call: what nobody had waited for is lost, as far as POSIX allows."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

_AT_CWD = -100  # openat(2)
_real_stat, _real_fstat, _real_readlink = os.stat, os.fstat, os.readlink
_real_open, _real_write, _real_close = os.open, os.write, os.close


@dataclass(slots=True)
class PowerCut:
    """Ends the process before call number ``at`` (from 1), and writes to ``report`` what had not reached the disk.

    Content counts as written when its file, a name when one of its directories, or all
    when the file system has been synced since.
    """

    at: int
    report: str
    count: int = 0
    _synced: dict[int, int] = field(default_factory=dict)
    """Inode to the size in bytes that is on the disk, of every file that was written to since the start."""
    _renames: list[tuple[str, str, int, tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        self.count += 1
        if self.count == self.at:
            self._end()
        result = perform()
        if name == "syncfs":
            self._synced.clear()
            self._renames.clear()
        elif name in {"fsync", "fdatasync"}:
            inode = _inode(arguments[0])
            self._synced[inode] = _real_fstat(cast(int, arguments[0])).st_size
            self._renames = [rename for rename in self._renames if inode not in rename[3]]
        elif name == "write":
            self._synced.setdefault(_inode(arguments[0]), 0)
        elif name == "create" and isinstance(result, int):
            self._synced.setdefault(_inode(result), 0)
        elif name == "renameat2":
            self._note(*cast("tuple[int, bytes, int, bytes, int]", arguments))
        return result

    def _note(self, source_dir: int, source: bytes, target_dir: int, target: bytes, flags: int) -> None:
        names = [
            os.path.join(_real_readlink(f"/proc/self/fd/{d}"), os.fsdecode(n))
            for d, n in ((source_dir, source), (target_dir, target))
        ]
        inodes = tuple(_real_stat(os.path.dirname(name)).st_ino for name in names)
        self._renames.append((names[0], names[1], flags, inodes))

    def _end(self) -> None:
        content = json.dumps({"synced": self._synced, "renames": [r[:3] for r in self._renames]}).encode()
        file = _real_open(self.report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        _real_write(file, content)
        _real_close(file)
        os.kill(os.getpid(), signal.SIGKILL)


def lose(root: Path, report: str, *, names: bool) -> None:
    """Make of ``root`` what the disk would hold: without the content, or the renames, that nobody waited for."""
    with open(report, encoding="ascii") as file:
        lost = json.load(file)
    if names:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        for source, target, flags in reversed(lost["renames"]):
            rename(_AT_CWD, os.fsencode(target), _AT_CWD, os.fsencode(source), flags)
        return
    for directory, _, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            inode = str(os.lstat(path).st_ino)
            if not os.path.islink(path) and inode in lost["synced"]:
                os.truncate(path, min(lost["synced"][inode], os.path.getsize(path)))


def _inode(descriptor: object) -> int:
    return _real_fstat(cast(int, descriptor)).st_ino
