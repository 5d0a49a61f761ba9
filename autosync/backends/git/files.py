"""Reads files of the working copy, never one half from before a change and half from after."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from autosync.errors import TransientError

_TRIES = 3
_CHUNK = 1 << 20

_YOUNG = 50_000_000
"""ns; a write that began longer ago is over, but for ..."""
_LONGEST_WRITE = 10
"""... ns for each byte of the file: a single write(2) may be that slow (100 MB/s)."""

# NONBLOCK: opening a fifo that took the place of a file would wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

State = tuple[int, int, int, int, int]
"""(ino, size, mtime_ns, ctime_ns, mode): a file whose state is equal has not been written."""


class Torn(TransientError):
    """A file was being written while it was read."""

    def __init__(self, path: bytes) -> None:
        super().__init__(
            f"{os.fsdecode(path)} changes while it is read", hint="It is read again when its writer is done."
        )


def state_of(found: os.stat_result) -> State:
    """Return what changes when the file is written or replaced."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def look(path: bytes) -> os.stat_result | None:
    """Return lstat(2) of ``path``, ``None`` if nothing stands there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_link(path: bytes) -> tuple[State, bytes]:
    """Return state and target of a symbolic link; raises :class:`Torn` if it is replaced meanwhile."""
    try:
        before = os.lstat(path)
        target = os.readlink(path)
        after = os.lstat(path)
    except OSError:
        raise Torn(path) from None
    if state_of(before) != state_of(after):
        raise Torn(path)
    return state_of(after), target


def read_file(path: bytes) -> tuple[State, bytes]:
    """Return state and content of a regular file.

    Stat, read, stat by descriptor, stat by name: equal all three, or it is tried again,
    then :class:`Torn`.  That alone misses a long write(2), which sets the time when it
    begins, so a file that is young must not be open for writing either
    (:func:`in_writing`).  Raises :class:`OSError` if it cannot be opened.
    """
    for _ in range(_TRIES):
        handle = os.open(path, _READ)
        try:
            before = state_of(os.fstat(handle))
            if not stat.S_ISREG(before[4]) or in_writing(handle, before):
                break
            content = _read_all(handle, before[1])
            if len(content) == before[1] and _unchanged(handle, path, before):
                return before, content
        finally:
            os.close(handle)
    raise Torn(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class BigFile:
    """What one pass over a big file told; ``oid`` is the hex id of its bytes as a blob."""

    state: State
    oid: str
    has_crlf: bool
    looks_binary: bool
    has_ident: bool


def scan_big(path: bytes, hash_name: str) -> BigFile:
    """Return what a file is, reading it once in small pieces; raises as :func:`read_file`."""
    with _opened(path) as file:
        before = state_of(os.fstat(file.fileno()))
        if in_writing(file.fileno(), before):
            raise Torn(path)
        digest = hashlib.new(hash_name, b"blob %d\0" % before[1], usedforsecurity=False)
        has_crlf = looks_binary = has_ident = False
        size = 0
        edge = b""
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            # What may straddle two pieces: "\r\n" and "$Id".
            window = edge + chunk
            has_crlf = has_crlf or b"\r\n" in window
            has_ident = has_ident or b"$Id" in window
            looks_binary = looks_binary or b"\0" in chunk
            edge = window[-2:]
        if size != before[1] or not _unchanged(file.fileno(), path, before):
            raise Torn(path)
    return BigFile(
        state=before, oid=digest.hexdigest(), has_crlf=has_crlf, looks_binary=looks_binary, has_ident=has_ident
    )


@contextmanager
def opened_as(path: bytes, expected: State) -> Iterator[BinaryIO]:
    """Open the file that was found in state ``expected``; raises :class:`Torn` if it is another now or in the end."""
    try:
        with _opened(path) as file:
            if state_of(os.fstat(file.fileno())) != expected:
                raise Torn(path)
            yield file
            if not _unchanged(file.fileno(), path, expected):
                raise Torn(path)
    except FileNotFoundError:
        raise Torn(path) from None


def still_is(path: bytes, expected: State) -> bool:
    """Return whether the file is in the state it was found in, and nobody is writing to it."""
    try:
        with opened_as(path, expected):
            return True
    except (Torn, OSError):
        return False


@contextmanager
def _opened(path: bytes) -> Iterator[BinaryIO]:
    with os.fdopen(os.open(path, _READ), "rb", buffering=0) as file:
        yield file


def _read_all(handle: int, size: int) -> bytes:
    """Return what is in the file; one byte more than ``size`` if it has grown."""
    content = os.read(handle, size + 1)
    while len(content) <= size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    return content


def _unchanged(handle: int, path: bytes, before: State) -> bool:
    named = look(path)
    same = named is not None and state_of(os.fstat(handle)) == before == state_of(named)
    return same and not in_writing(handle, before)


def longest_write(size: int) -> int:
    """Return after how many nanoseconds a write to a file of ``size`` bytes counts as over."""
    return _YOUNG + _LONGEST_WRITE * size


def in_writing(handle: int, state: State) -> bool:
    """Return whether a write to the file may be under way: it is young, and somebody has it open for writing.

    The kernel grants a read lease only on a file that nobody has open, or mapped, for
    writing (fcntl(2), "Leases").  It is given back at once.  Where it cannot tell
    (leases are off, not supported there, the file is another user's), nobody is assumed.
    """
    age = time.time_ns() - state[2]
    if not -_YOUNG < age < longest_write(state[1]):
        return False
    try:
        # Should somebody open it just now, we are sent a signal; the default one would end us.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False
