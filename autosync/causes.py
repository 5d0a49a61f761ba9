"""Says what the machine did not allow: room, rights, open files; where; and what to do about it."""

from __future__ import annotations

import errno
import os
import resource

from autosync.errors import Shortage

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_SILENT = frozenset({errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENXIO, errno.ENODEV})
_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What has nothing to do with the place."""
STARVED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What leaves nothing of a process's answer to rely on."""
PASSING = FULL | _FORBIDDEN | _SILENT | _MACHINE | {errno.EROFS, errno.EIO}
"""Errors of the world, not of the program: the same call succeeds when the cause is gone."""

_SAID_BY_GIT = {os.strerror(number): number for number in STARVED}
_FEW_INODES = 4096
"""More than that are never in use by one step of ours."""
_BY_ITSELF = "autosync goes on by itself."


def shortage_of(error: OSError, place: bytes) -> Shortage | None:
    """Return an operating system's error as a sentence, ``None`` if nothing that passes caused it.

    ``place`` is where it happened, for errors that name no path themselves.
    """
    number = error.errno or 0
    if number not in PASSING:
        return None
    path = _absolute(error.filename, place)
    if number == errno.ENOSPC:
        return _full(path)
    if number == errno.EDQUOT:
        return Shortage(
            f"The disk quota for {_mount_of(path)} is used up",
            hint=f"Make room there, or have the quota raised (`quota -s` shows it); {_BY_ITSELF}",
        )
    if number == errno.EROFS:
        return Shortage(
            f"{_mount_of(path)} is mounted read-only",
            hint=f"Mount it for writing again (after a disk error check it first: `dmesg`); {_BY_ITSELF}",
        )
    if number == errno.EIO:
        return Shortage(
            f"The disk reports an error at {_show(path)}",
            hint=f"Save what is on it; `dmesg` says more. When it can be read and written again, {_BY_ITSELF}",
        )
    if number in _FORBIDDEN:
        return Shortage(
            f"No permission for {_show(path)}",
            hint=f"Give it to the user who runs autosync (`ls -ld` shows who has it); {_BY_ITSELF}",
        )
    if number in _SILENT:
        return Shortage(
            f"The file system of {_show(path)} does not answer: {os.strerror(number)}",
            hint=f"Bring it back (mount it again, or reconnect the disk); {_BY_ITSELF}",
        )
    return _of_machine(number)


def error_said(text: str) -> int | None:
    """Return the errno(3) that a git process names in its messages, ``None`` if it names none of :data:`STARVED`.

    Not a lack of rights: of that the caller may know that it is about one file.
    """
    return next((number for words, number in _SAID_BY_GIT.items() if words in text), None)


def bytes_in_words(count: int) -> str:
    """Return a size as people read it: ``0 bytes``, ``40 kB``, ``1.5 GB``."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"


def _full(path: bytes) -> Shortage:
    mount = _mount_of(path)
    found = _statvfs(path)
    if found is not None and _lacks_inodes(found):
        return Shortage(
            f"No more files fit on {mount}: {found.f_favail} of its {found.f_files} inodes are free, "
            "and more are needed",
            hint=f"Delete files there that nobody needs (`df -i {mount}` counts them); {_BY_ITSELF}",
        )
    room = ""
    if found is not None:
        free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        room = f": more is needed than the {bytes_in_words(free)} of its {bytes_in_words(whole)} that are free"
    return Shortage(f"The disk {mount} is full{room}", hint=f"Make room there (`df -h {mount}` shows it); {_BY_ITSELF}")


def _lacks_inodes(found: os.statvfs_result) -> bool:
    """Return whether it is inodes that are lacking rather than room; what we had written is gone again by now."""
    if not found.f_files or found.f_favail >= _FEW_INODES:
        return False
    return found.f_favail * found.f_blocks < found.f_bavail * found.f_files


def _of_machine(number: int) -> Shortage:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if number == errno.EMFILE:
        return Shortage(
            f"The agent needs more open files than its limit of {limit}",
            hint=f"Raise it: `ulimit -n {max(1024, 2 * limit)}` before `autosync run`, "
            f"or LimitNOFILE={max(1024, 2 * limit)} in its systemd unit; then start it again.",
        )
    if number == errno.ENFILE:
        return Shortage(
            "All programs together have as many files open as this machine allows",
            hint=f"Close some, or raise the sysctl fs.file-max; {_BY_ITSELF}",
        )
    if number == errno.ENOMEM:
        return Shortage("The machine is out of memory", hint=f"Close some programs; {_BY_ITSELF}")
    return Shortage(
        "No more processes can be started",
        hint=f"Close some programs, or raise the limit (`ulimit -u`, or TasksMax= in the systemd unit); {_BY_ITSELF}",
    )


def _absolute(named: object, place: bytes) -> bytes:
    """Return the path of an error, ``place`` for what is relative to a directory that we no longer know."""
    path = os.fsencode(named) if isinstance(named, str | bytes) else b""
    return path if path.startswith(b"/") and not path.startswith(b"/proc/self/") else place


def _mount_of(path: bytes) -> str:
    """Return where the file system of ``path`` is mounted."""
    current = os.path.realpath(path)
    while current != b"/" and not os.path.ismount(current):
        current = os.path.dirname(current)
    return _show(current)


def _statvfs(path: bytes) -> os.statvfs_result | None:
    while True:
        try:
            return os.statvfs(path)
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError:
            return None


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
