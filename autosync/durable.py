"""Waits until directories are on the disk: a new name of a file survives a power cut only then (fsync(2))."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection

_ONE_BY_ONE = 16
"""Up to so many are forced to disk each by itself, more of them by one syncfs(2).

Measured on ext4: 0.2 ms each against 1 ms for the file system; for 500 files 94 ms
against 7 ms.
"""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NONE_ANY_MORE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a directory meets that is gone, or that has become a file or a link."""


def sync_directory(path: bytes) -> None:
    """Return when the names in the directory survive a power cut."""
    directory = os.open(path, _DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sync_directories(paths: Collection[bytes], within: bytes) -> None:
    """Return when the names in these directories, all on the file system of ``within``, survive a power cut.

    One that is gone, or is no directory any more, has no names to keep.
    """
    if len(paths) > _ONE_BY_ONE:
        sync_file_system(within)
        return
    for path in paths:
        try:
            sync_directory(path)
        except OSError as error:
            if error.errno not in _NONE_ANY_MORE:
                raise


def sync_files(paths: Collection[bytes], within: bytes) -> None:
    """Return when the content of these files, all on the file system of ``within``, survives a power cut."""
    if len(paths) > _ONE_BY_ONE:
        sync_file_system(within)
        return
    for path in paths:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fdatasync(file)
        finally:
            os.close(file)


def sync_file_system(path: bytes) -> None:
    """Return when all that was written to the file system of the directory ``path`` survives a power cut."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)
