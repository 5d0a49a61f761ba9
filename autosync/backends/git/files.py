"""Reads files of the working copy, never one half from before a change and half from after."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from autosync.errors import TransientError

_TRIES = 3
_CHUNK = 1 << 20

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
    then :class:`Torn`.  A writer through shared memory shows in none of them (mmap(2));
    its change is found when the file is looked at again.  Raises :class:`OSError` if it
    cannot be opened.
    """
    for _ in range(_TRIES):
        with _opened(path) as file:
            before = state_of(os.fstat(file.fileno()))
            if not stat.S_ISREG(before[4]):
                break
            content = file.read()
            if len(content) == before[1] and _unchanged(file, path, before):
                return before, content
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
        if size != before[1] or not _unchanged(file, path, before):
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
            if not _unchanged(file, path, expected):
                raise Torn(path)
    except FileNotFoundError:
        raise Torn(path) from None


@contextmanager
def _opened(path: bytes) -> Iterator[BinaryIO]:
    # NONBLOCK: opening a fifo that took the place of a file would wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        yield file


def _unchanged(file: BinaryIO, path: bytes, before: State) -> bool:
    named = look(path)
    return named is not None and state_of(os.fstat(file.fileno())) == before == state_of(named)
