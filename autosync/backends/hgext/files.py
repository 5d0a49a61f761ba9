"""Reads files of the working copy, never one half from before a change and half from after."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable
from typing import Any

from mercurial import pathutil

from .filters import encoder

_TRIES = 3
_YOUNG = 50_000_000
"""ns; a write that began longer ago is over, but for ..."""
_LONGEST_WRITE = 10
"""... ns for each byte of the file: a single write(2) may be that slow (100 MB/s)."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

State = tuple[int, int, int, int, int]


class Torn(Exception):
    """A file was being written while it was read."""


class Files:
    """The files of one working copy as hg would store them."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._encode: Callable[[bytes, bytes], bytes] = encoder(repo)
        self._executable = bool(repo.dirstate._checkexec)
        self._auditor = pathutil.pathauditor(repo.root)

    def read(self, path: bytes, before: bytes) -> tuple[bytes, bytes] | None:
        """Return flags (``""``, ``"x"``, ``"l"``) and content to store, ``None`` if there is no such file.

        ``before`` are the flags the path had, for where the disk cannot tell.  A file behind a
        symlink or in a nested repository does not count.  Raises :class:`Torn`, :class:`OSError`.
        """
        if not self._auditor.check(path):
            return None
        full = self._repo.wjoin(path)
        for _ in range(_TRIES):
            try:
                found = os.lstat(full)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if stat.S_ISLNK(found.st_mode):
                content = _link(full, _state(found))
            elif stat.S_ISREG(found.st_mode):
                content = _content(full, _state(found))
            else:
                return None
            if content is None:
                continue
            if stat.S_ISLNK(found.st_mode):
                return b"l", content
            executable = found.st_mode & 0o100 if self._executable else b"x" in before
            return (b"x" if executable else b""), self._encode(path, content)
        raise Torn(path)


def _link(path: bytes, before: State) -> bytes | None:
    """Return the target of a symlink, ``None`` if it was replaced meanwhile."""
    try:
        target = os.readlink(path)
        return target if _state(os.lstat(path)) == before else None
    except OSError:
        return None


def _content(path: bytes, before: State) -> bytes | None:
    """Return the content of a file, ``None`` if it changed meanwhile or may be changing now."""
    try:
        handle = os.open(path, _READ)
    except FileNotFoundError:
        return None
    try:
        if _state(os.fstat(handle)) != before or _in_writing(handle, before):
            return None
        content = _read_all(handle, before[1])
        same = len(content) == before[1] and _state(os.fstat(handle)) == before == _state(os.lstat(path))
        return content if same and not _in_writing(handle, before) else None
    except FileNotFoundError:
        return None
    finally:
        os.close(handle)


def _read_all(handle: int, size: int) -> bytes:
    """Return what is in the file; one byte more than ``size`` if it has grown."""
    content = os.read(handle, size + 1)
    while len(content) <= size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    return content


def _state(found: os.stat_result) -> State:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def _in_writing(handle: int, state: State) -> bool:
    """Return whether a write may be under way: the file is young, and somebody has it open for writing.

    The kernel grants a read lease only on a file that nobody has open, or mapped, for writing
    (fcntl(2), "Leases").  It is given back at once.  Where it cannot tell, nobody is assumed.
    """
    age = time.time_ns() - state[2]
    if not -_YOUNG < age < _YOUNG + _LONGEST_WRITE * state[1]:
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
