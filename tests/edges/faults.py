"""Fails, kills or watches a process at each of its file-system calls."""

from __future__ import annotations

import builtins
import ctypes
import errno
import functools
import io
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

_OPENING = frozenset({errno.EMFILE, errno.EACCES, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NAMING = frozenset({errno.EACCES, errno.EIO, errno.EROFS, *_FULL})
_LOOKING = frozenset({errno.EACCES, errno.EIO})
_CHANGING = frozenset({errno.EACCES, errno.EIO, errno.EROFS})
_STARTING = frozenset({errno.EMFILE, errno.EAGAIN, errno.ENOMEM})

ERRORS: dict[str, frozenset[int]] = {
    "open": _OPENING,
    "create": _OPENING,
    "listdir": frozenset({errno.EMFILE, errno.EACCES, errno.EIO}),
    "scandir": frozenset({errno.EMFILE, errno.EACCES, errno.EIO}),
    "read": frozenset({errno.EIO}),
    "pread": frozenset({errno.EIO}),
    "readlink": _LOOKING,
    "getxattr": _LOOKING,
    "listxattr": _LOOKING,
    "stat": _LOOKING,
    "lstat": _LOOKING,
    "fstat": frozenset({errno.EIO}),
    "write": frozenset({errno.EIO, *_FULL}),
    "pwrite": frozenset({errno.EIO, *_FULL}),
    "sendfile": frozenset({errno.EIO, *_FULL}),
    "ftruncate": frozenset({errno.EIO, *_FULL}),
    "fsync": frozenset({errno.EIO, *_FULL}),
    "fdatasync": frozenset({errno.EIO, *_FULL}),
    "syncfs": frozenset({errno.EIO, *_FULL}),
    "rename": _NAMING,
    "replace": _NAMING,
    "renameat2": _NAMING,
    "link": _NAMING,
    "symlink": _NAMING,
    "mkdir": _NAMING,
    "unlink": _CHANGING,
    "remove": _CHANGING,
    "rmdir": _CHANGING,
    "chmod": _CHANGING,
    "fchmod": _CHANGING,
    "chown": _CHANGING,
    "setxattr": _CHANGING | _FULL,
    "utime": _CHANGING,
    "dup": frozenset({errno.EMFILE}),
    "pipe": frozenset({errno.EMFILE}),
    "start": _STARTING,
}
"""What each call can plausibly fail with (its man page); ``create`` is an open(2) that makes a file."""

_BY_DESCRIPTOR = frozenset({"read", "pread", "write", "pwrite", "fstat"})
"""Calls that count only on files: pipes and sockets are no part of the file system."""


class Around(Protocol):
    """What is done instead of a call: usually the call itself, at ``perform``."""

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object: ...


@dataclass(slots=True)
class Watched:
    """Lets every call happen, and remembers their names and first arguments."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        self.calls.append((name, repr(arguments[:2])[:120]))
        return perform()


@dataclass(slots=True)
class Fault:
    """Lets call number ``at`` (from 1) fail with ``error``; ``lasting``, every later one that can, too.

    A write that meets a full disk first takes half of what it is given, as the kernel does.
    """

    at: int
    error: int
    lasting: bool = False
    count: int = 0
    happened: int = 0
    _short: bool = False

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        self.count += 1
        due = self._short or self.count == self.at or (self.lasting and self.count > self.at)
        if not due or self.error not in ERRORS[name]:
            return perform()
        self.happened += 1
        if name == "write" and self.error in _FULL and not self._short:
            written = _write_half(arguments)
            if written is not None:
                self._short = True
                return written
        self._short = False
        raise OSError(self.error, os.strerror(self.error), *arguments[:1])


def _write_half(arguments: tuple[object, ...]) -> int | None:
    content = bytes(cast(bytes, arguments[1]))
    if len(content) < 2:
        return None
    return _REAL["write"](arguments[0], content[: len(content) // 2])


@dataclass(slots=True)
class Kill:
    """Ends the process without a word before, or right after, call number ``at`` (from 1)."""

    at: int
    after: bool
    count: int = 0

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        del name, arguments
        self.count += 1
        if self.count == self.at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = perform()
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


_REAL: dict[str, Callable[..., int]] = {"write": os.write}
_on = threading.Event()


def rest() -> None:
    """Let all later calls of this process pass."""
    _on.clear()


def install(around: Around) -> None:
    """Let ``around`` stand about every file-system call of this process, for good: meant for a forked child."""
    _on.set()
    for name in sorted(ERRORS.keys() & set(dir(os)) - {"open"}):
        setattr(os, name, _wrapped(name, getattr(os, name), around))
    os.open = _wrapped_open(os.open, around)  # type: ignore[assignment]  # the same calls work
    opener = functools.partial(_open_file, around)
    builtins.open = io.open = opener  # type: ignore[assignment,misc]  # as above
    real_library = ctypes.CDLL
    ctypes.CDLL = lambda *a, **k: _Library(real_library(*a, **k), around)  # type: ignore[assignment,misc]
    subprocess._fork_exec = _wrapped("start", subprocess._fork_exec, around)  # type: ignore[attr-defined]


def _wrapped(name: str, real: Callable[..., object], around: Around) -> Callable[..., object]:
    @functools.wraps(real)
    def call(*args: object, **kwargs: object) -> object:
        if not _on.is_set() or (name in _BY_DESCRIPTOR and not _is_file(args[0])) or _is_process(args):
            return real(*args, **kwargs)
        return around(name, args, lambda: real(*args, **kwargs))

    return call


def _wrapped_open(real: Callable[..., int], around: Around) -> Callable[..., int]:
    @functools.wraps(real)
    def call(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if not _on.is_set() or _is_process((path,)):
            return real(path, flags, *args, **kwargs)
        name = "create" if flags & os.O_CREAT else "open"
        return cast(int, around(name, (path, flags, *args), lambda: real(path, flags, *args, **kwargs)))

    return call


def _is_process(arguments: tuple[object, ...]) -> bool:
    """Return whether a call looks at processes: how many there are is not for the job to say."""
    path = arguments[0] if arguments else None
    return isinstance(path, (str, bytes)) and os.fsencode(path).startswith(b"/proc")


_real_fstat = os.fstat


def _is_file(descriptor: object) -> bool:
    try:
        mode = _real_fstat(cast(int, descriptor)).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class _File(io.FileIO):
    """An open file whose reads and writes count."""

    around: Around

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]  # what io passes
        return cast("int | None", self._call("read", lambda: io.FileIO.readinto(self, buffer), buffer))

    def readall(self) -> bytes:
        return cast(bytes, self._call("read", lambda: io.FileIO.readall(self)))

    def read(self, size: int | None = -1, /) -> bytes:
        return cast(bytes, self._call("read", lambda: io.FileIO.read(self, -1 if size is None else size)))

    def write(self, content: bytes | memoryview, /) -> int:  # type: ignore[override]  # what io passes
        return cast(int, self._call("write", lambda: io.FileIO.write(self, content), content))

    def _call(self, name: str, perform: Callable[[], object], *arguments: object) -> object:
        if not _on.is_set() or not _is_file(self.fileno()):
            return perform()
        return self.around(name, (self.fileno(), *arguments), perform)


def _open_file(  # noqa: PLR0917  # as io.open
    around: Around,
    file: str | bytes | int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> object:
    """Do what io.open does, with a file whose calls count."""
    raw_mode = mode.replace("t", "").replace("b", "")
    name = "create" if set(mode) & set("wxa") else "open"

    def perform() -> _File:
        return _File(file, raw_mode, closefd, opener)

    counts = _on.is_set() and not isinstance(file, int) and not _is_process((file,))
    raw = cast(_File, around(name, (file, mode), perform) if counts else perform())
    raw.around = around
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
    buffered = kind(raw, size)
    if "b" in mode:
        return buffered
    text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
    text.mode = mode  # type: ignore[misc]  # as io.open does
    return text


class _Library:
    """The C library, of which two calls count."""

    def __init__(self, real: ctypes.CDLL, around: Around) -> None:
        self._real = real
        self._around = around

    def __getattr__(self, name: str) -> object:
        real = getattr(self._real, name)
        if name not in {"renameat2", "syncfs"}:
            return real

        def call(*args: object) -> int:
            def perform() -> int:
                if real(*args):
                    raise OSError(ctypes.get_errno(), "")
                return 0

            try:
                return cast(int, self._around(name, args, perform) if _on.is_set() else perform())
            except OSError as error:
                ctypes.set_errno(error.errno or 0)
                return -1

        return call
