"""Tells whether an editor on this machine has a file open, by the lock that it keeps beside it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from autosync.apply.obstacle import Obstacle

_HEADER = 1024
"""Bytes; longer than all that is looked at in any lock."""
_TRUNCATED = 31
"""Bytes; nano cuts host names to this length, vim to 39."""
_SLACK = 2.0
"""Seconds by which the kernel's time of its start and a file system's clock may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """Who a lock says it is from; ``pid`` is ``None`` where the lock does not tell."""

    program: str
    host: str
    pid: int | None


def demand_closed(directory: int, name: bytes) -> None:
    """Raise :class:`Obstacle` if an editor on this machine has the file open; see :func:`open_in`."""
    found = _found_open(directory, name)
    if found is not None:
        program, who = found
        raise Obstacle(f"open in {program} here ({who}); it is brought in when you close it")


def open_in(directory: int, name: bytes) -> str | None:
    """Return the editor on this machine that has the file open, ``None`` if none has.

    Looked at are the swap files of vim (memline.c, ``struct block0``) and nano
    (files.c, ``write_lockfile``), which have one form, the links of Emacs (filelock.c) and
    the lock files of LibreOffice (svl, ``LockFileCommon``).  A lock counts while its
    process runs here; one from another machine, or left by a crash, does not.
    ``directory`` is a descriptor; a path without locks costs four access(2), or six if its name begins with a dot.
    """
    found = _found_open(directory, name)
    return found[0] if found is not None else None


def _found_open(directory: int, name: bytes) -> tuple[str, str] | None:
    """Return the program that has the file open, and which process or lock says so."""
    for lock in _locks(directory, name):
        holder = _read(directory, lock)
        if holder is not None and _is_live(holder, directory, lock):
            who = f"process {holder.pid}" if holder.pid is not None else lock.decode("utf-8", "backslashreplace")
            return holder.program, who
    return None


def _locks(directory: int, name: bytes) -> Iterator[bytes]:
    """Yield the names of the locks that exist."""
    for lock in (b".#" + name, b".~lock." + name + b"#"):
        if _exists(directory, lock):
            yield lock
    # vim puts no second dot before a name that has one, nano does.
    for stem in (b"." + name, name) if name.startswith(b".") else (b"." + name,):
        # A second vim takes .swo, a third .swn; the first may be the first to close.
        for number, last in enumerate(b"ponmlkjihgfedcba"):
            swap = stem + b".sw" + bytes((last,))
            found = _exists(directory, swap)
            if found:
                yield swap
            elif number > 0:
                break


def _exists(directory: int, name: bytes) -> bool:
    return os.access(name, os.F_OK, dir_fd=directory, follow_symlinks=False)


# -- what a lock says --------------------------------------------------------------------------
def _read(directory: int, lock: bytes) -> _Holder | None:
    """Return who made the lock, ``None`` if it is none or gone."""
    with contextlib.suppress(OSError, ValueError):
        if lock.startswith(b".#"):
            return _parse_emacs(_link_or_content(directory, lock))
        if lock.startswith(b".~lock."):
            return _parse_libreoffice(_content(directory, lock))
        return _parse_swap(_content(directory, lock))
    return None


def _link_or_content(directory: int, lock: bytes) -> bytes:
    try:
        return os.readlink(lock, dir_fd=directory)
    except OSError:  # where there are no symbolic links, Emacs writes a file
        return _content(directory, lock)


def _content(directory: int, lock: bytes) -> bytes:
    file = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, _HEADER) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)


def _parse_swap(header: bytes) -> _Holder | None:
    """Read a swap file: ``b0``, 10 bytes of version ("VIM 9.0"), pid at 24, host name at 68."""
    if len(header) < 108 or header[:1] != b"b":
        return None
    version = header[2:12].partition(b"\0")[0].decode("ascii", "replace").split()
    program = version[0].lower() if version and version[0].isalnum() else "an editor"
    return _Holder(
        program=program,
        host=_text(header[68:108].partition(b"\0")[0]),
        pid=int.from_bytes(header[24:28], "little"),
    )


def _parse_emacs(link: bytes) -> _Holder:
    """Read ``user@host.pid`` or ``user@host.pid:boot``; raises :class:`ValueError`."""
    where = _text(link).rpartition("@")[2]
    host, _, process = where.rpartition(".")
    return _Holder(program="Emacs", host=host, pid=int(process.partition(":")[0]))


def _parse_libreoffice(line: bytes) -> _Holder | None:
    """Read ``name,login,host,date time,profile;``; a comma within a field is escaped."""
    fields = _text(line).replace("\\,", "").split(",")
    return _Holder(program="LibreOffice", host=fields[2], pid=None) if len(fields) > 2 else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()


# -- whether that still holds ------------------------------------------------------------------
def _is_live(holder: _Holder, directory: int, lock: bytes) -> bool:
    if not _is_here(holder.host):
        return False
    if holder.pid is None:
        return True
    started = _start_of(holder.pid)
    try:
        locked = os.stat(lock, dir_fd=directory, follow_symlinks=False).st_mtime
    except OSError:
        return False
    # After a crash somebody else may have got the number; but he has started after the last write.
    return started is not None and started <= locked + _SLACK


def _is_here(host: str) -> bool:
    """Return whether ``host`` is this machine, by its name without the domain."""
    theirs, ours = (text.partition(".")[0].casefold() for text in (host, os.uname().nodename))
    return theirs == ours or (len(host) >= _TRUNCATED and bool(theirs) and ours.startswith(theirs))


def _start_of(pid: int) -> float | None:
    """Return when a running process was started, in seconds since the epoch (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/stat", "rb") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
    except (OSError, StopIteration):
        return None
    if fields[0] in (b"Z", b"X"):  # it has ended
        return None
    return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
