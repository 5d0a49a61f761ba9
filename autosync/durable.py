"""Puts files and names on the disk so that a kill or a power cut leaves the old or the new, never a half.

What was written, and the name of a new file, survive a power cut only after fsync(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Collection, Iterator
from typing import BinaryIO

_ONE_BY_ONE = 16
"""Up to so many are forced to disk each by itself, more of them by one syncfs(2).

Measured on ext4: 0.2 ms each against 1 ms for the file system; for 500 files 94 ms
against 7 ms.
"""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MINE = 0o600
"""What a file is made with: nobody else reads or writes it."""
_NONE_ANY_MORE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a directory meets that is gone, or that has become a file or a link."""


@contextlib.contextmanager
def replacing(
    path: str | bytes, *, mode: int = _MINE, sole_writer: bool = False, durable: bool = True
) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` at the end of the context, unless that raises.

    Whoever opens ``path`` meets the old content or all of the new one (rename(2)); if it is ``durable``,
    after a power cut too.  The file has the ``mode`` whatever the umask is.  It is made beside
    ``path``, under a name of its own; where there is a ``sole_writer`` as ``path`` + ``.new``, so that
    what a kill leaves is taken away the next time.  Raises :class:`OSError`.
    """
    place = os.fsdecode(path)
    directory = os.path.dirname(place) or "."
    file, draft = _sole_draft(place) if sole_writer else tempfile.mkstemp(".new", ".autosync-", directory)
    new = os.fdopen(file, "wb")
    try:
        if mode != _MINE:  # not every file system lets it be set
            os.fchmod(file, mode)
        yield new
        if durable:
            new.flush()
            os.fsync(file)
        new.close()
        os.replace(draft, place)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before this is told
            new.close()
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    if durable:
        _sync(directory, _DIRECTORY)


def _sole_draft(place: str) -> tuple[int, str]:
    draft = place + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    return os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MINE), draft


def make_directory(path: str | bytes, *, mode: int = 0o700) -> None:
    """Make a directory, by default one that only its owner may enter, unless it is there.

    None above it: where those are missing, a disk was taken out, and what stands there must stay empty.
    Raises :class:`OSError`; :class:`FileExistsError` if something else stands there.
    """
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_directories(path: bytes, *, below: bytes, mode: int = 0o700) -> None:
    """Make a directory and what is missing between it and ``below``, which must be there, as :func:`make_directory`."""
    try:
        make_directory(path, mode=mode)
    except FileNotFoundError:
        if os.path.dirname(path) == below:
            raise
        make_directories(os.path.dirname(path), below=below, mode=mode)
        make_directory(path, mode=mode)


def sync_directory(path: bytes) -> None:
    """Return when the names in the directory survive a power cut."""
    _sync(path, _DIRECTORY | os.O_NOFOLLOW)


def _sync(path: str | bytes, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
