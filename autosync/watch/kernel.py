"""inotify(7) through watchdog's bindings: watches in, raw events out."""

# watchdog's observers watch recursively by themselves, hold every move back for half a second
# and hide cookies and overflows; only its bindings are used, and only here.

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple

from watchdog.observers.inotify_c import InotifyConstants as Kernel
from watchdog.observers.inotify_c import Mask, WatchDescriptor, inotify_add_watch, inotify_init, inotify_rm_watch

from autosync.errors import AutosyncError

CREATE = int(Kernel.IN_CREATE)
MODIFY = int(Kernel.IN_MODIFY)
CLOSE_WRITE = int(Kernel.IN_CLOSE_WRITE)
MOVED_FROM = int(Kernel.IN_MOVED_FROM)
MOVED_TO = int(Kernel.IN_MOVED_TO)
DELETE = int(Kernel.IN_DELETE)
ATTRIB = int(Kernel.IN_ATTRIB)
DELETE_SELF = int(Kernel.IN_DELETE_SELF)
MOVE_SELF = int(Kernel.IN_MOVE_SELF)
UNMOUNT = int(Kernel.IN_UNMOUNT)
IGNORED = int(Kernel.IN_IGNORED)
OVERFLOW = int(Kernel.IN_Q_OVERFLOW)
IS_DIRECTORY = int(Kernel.IN_ISDIR)
DONT_FOLLOW = int(Kernel.IN_DONT_FOLLOW)
# A file that was deleted while it is open has no name any more to look at.
_ALWAYS = int(Kernel.IN_ONLYDIR | Kernel.IN_EXCL_UNLINK | Kernel.IN_MASK_ADD)

CHANGES = CREATE | MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE | ATTRIB

_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len
_READ_BYTES = 256 * 1024
_READ_MOST = 16  # times _READ_BYTES, then what was read is told before more is read

_WATCHES = ("fs.inotify.max_user_watches", "user.max_inotify_watches")
_INSTANCES = ("fs.inotify.max_user_instances", "user.max_inotify_instances")


class RawEvent(NamedTuple):
    """``struct inotify_event``: ``name`` is empty when the event is about the directory itself."""

    wd: int
    mask: int
    cookie: int
    name: bytes


class WatchLimitReached(Exception):
    """The kernel has no watch left for this user (ENOSPC)."""


class Inotify:
    """One inotify instance; every method may raise :class:`OSError`."""

    def __init__(self) -> None:
        """Raises :class:`AutosyncError` when the user or the process has too many already."""
        self._fd = inotify_init()
        if self._fd == -1:
            raise _no_instance(ctypes.get_errno())
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when events are queued."""
        return self._fd

    def watch(self, directory: bytes, mask: int) -> int:
        """Watch ``directory`` and return the watch's number.

        A directory that is watched already keeps its number, and ``mask`` is added to its
        mask.  Raises :class:`WatchLimitReached`; :class:`OSError` if it is no directory,
        not there or not readable.
        """
        wd = inotify_add_watch(self._fd, directory, Mask(mask | _ALWAYS))
        if wd != -1:
            return wd
        code = ctypes.get_errno()
        if code == errno.ENOSPC:
            raise WatchLimitReached
        raise OSError(code, os.strerror(code), directory)

    def unwatch(self, wd: int) -> None:
        """Let go of a watch; one that the kernel has let go of is no error."""
        inotify_rm_watch(self._fd, WatchDescriptor(wd))

    def read(self) -> list[RawEvent]:
        """Return the queued events, oldest first, without waiting."""
        events: list[RawEvent] = []
        for _ in range(_READ_MOST):
            try:
                buffer = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            offset = 0
            while offset < len(buffer):
                wd, mask, cookie, length = _HEADER.unpack_from(buffer, offset)
                offset += _HEADER.size
                events.append(RawEvent(wd, mask, cookie, buffer[offset : offset + length].rstrip(b"\0")))
                offset += length
        return events

    def close(self) -> None:
        """Release the instance and all its watches."""
        os.close(self._fd)


def watch_limit() -> tuple[str, int]:
    """Return the sysctl that limits the number of watches here, and its value."""
    return _smallest(_WATCHES)


def instance_limit() -> tuple[str, int]:
    """Return the sysctl that limits how many programs may watch, and its value."""
    return _smallest(_INSTANCES)


def _smallest(names: tuple[str, ...]) -> tuple[str, int]:
    """Return the lowest of the limits; user.* holds within a user namespace (namespaces(7))."""
    values = {}
    for name in names:
        try:
            values[name] = int(Path("/proc/sys", *name.split(".")).read_text())
        except OSError:
            continue
    if not values:
        return names[0], 0
    name = min(values, key=values.__getitem__)
    return name, values[name]


def _no_instance(code: int) -> AutosyncError:
    if code != errno.EMFILE:
        return AutosyncError(
            f"The kernel refuses to watch files: {os.strerror(code)}",
            hint="inotify is needed; see `dmesg` and whether the system is out of memory or of open files.",
        )
    try:
        os.close(os.dup(0))
    except OSError:
        return AutosyncError(
            "This process has as many files open as it may, so files cannot be watched",
            hint="Raise the limit of open files (`ulimit -n`, or LimitNOFILE= in the systemd unit) and start again.",
        )
    name, limit = _smallest(_INSTANCES)
    return AutosyncError(
        f"All {limit} inotify instances of this user are taken, so files cannot be watched",
        hint=f"Close a program that watches files, or run: sudo sysctl {name}={max(2 * limit, 128)}",
    )
