"""Tells whether a file is still the very inode, in the very state, that was looked at."""

from __future__ import annotations

import fcntl
import os
import signal

Signature = tuple[int, int, int, int]
"""ino, size, mtime_ns, mode; the ctime is left out because a rename changes it."""

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a file is opened that may be anything by now: no link is followed, no fifo waited for."""


def signature_at(directory: int, name: bytes) -> Signature | None:
    """Return the signature of what stands at ``name``, links not followed; ``None`` if nothing does."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return signature_of(found)


def signature_of(found: os.stat_result) -> Signature:
    """Return the signature in a stat result."""
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)


def is_being_written(directory: int, name: bytes) -> bool:
    """Return whether some process has the regular file open for writing, or mapped writable.

    ``False`` where it cannot tell, as :func:`has_writer`, or is not allowed to look.
    """
    try:
        file = os.open(name, READ, dir_fd=directory)
    except OSError:
        return False
    try:
        return has_writer(file)
    finally:
        os.close(file)


def has_writer(file: int) -> bool:
    """Return whether some process has the file behind a descriptor open for writing, or mapped writable.

    By asking for a read lease, which the kernel grants only if nobody has (fcntl(2),
    F_SETLEASE).  ``False`` where it cannot tell: no leases on this file system, or not
    our file.  The lease ends with the descriptor, which is to be closed at once.
    """
    try:
        # Should anybody open the file in this moment, we get a signal: one that does no harm.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def open_as(name: bytes, parent: int, signature: Signature) -> int | None:
    """Return a descriptor of a file, ``None`` if it may not be opened, is a link, or has not that signature."""
    try:
        file = os.open(name, READ, dir_fd=parent)
    except OSError:
        return None
    try:
        if signature_of(os.fstat(file)) == signature:
            return file
    except OSError:
        os.close(file)
        raise
    os.close(file)
    return None
