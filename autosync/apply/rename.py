"""Renames that never replace anything, and exchanges of two names."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import Protocol

_NOREPLACE, _EXCHANGE = 1, 2  # renameat2(2)
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

ASIDE = b".aside"
"""Suffix of what :class:`Stepwise` holds in the middle of an exchange."""


class Renames(Protocol):
    """Names are given as (descriptor of the directory, name in it)."""

    def move(self, source_dir: int, source: bytes, target_dir: int, target: bytes) -> None:
        """Rename; raises :class:`FileExistsError` if ``target`` exists."""

    def exchange(self, staged_dir: int, staged: bytes, target_dir: int, target: bytes) -> None:
        """Let the two names change places; raises :class:`FileNotFoundError` if one is missing."""


class Kernel:
    """renameat2(2): both in one step."""

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).renameat2

    def move(self, source_dir: int, source: bytes, target_dir: int, target: bytes) -> None:
        """Rename; raises :class:`FileExistsError` if ``target`` exists."""
        self._rename(source_dir, source, target_dir, target, _NOREPLACE)

    def exchange(self, staged_dir: int, staged: bytes, target_dir: int, target: bytes) -> None:
        """Let the two names change places; raises :class:`FileNotFoundError` if one is missing."""
        self._rename(staged_dir, staged, target_dir, target, _EXCHANGE)

    def _rename(self, source_dir: int, source: bytes, target_dir: int, target: bytes, flags: int) -> None:
        if self._call(source_dir, source, target_dir, target, flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)


class Stepwise:
    """For file systems that know no flags (NFS, some FUSE): no content is lost, but for a
    moment in the middle of an exchange the target is missing."""

    def move(self, source_dir: int, source: bytes, target_dir: int, target: bytes) -> None:
        """Rename; raises :class:`FileExistsError` if ``target`` exists.

        By a hard link, which never replaces anything.  For a directory, or without hard
        links, by a look before the rename: the one case with a window, of microseconds.
        """
        try:
            if stat.S_ISDIR(os.lstat(source, dir_fd=source_dir).st_mode):
                raise PermissionError
            os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
        except (PermissionError, NotImplementedError):
            self._look_and_rename(source_dir, source, target_dir, target)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._look_and_rename(source_dir, source, target_dir, target)
        else:
            os.unlink(source, dir_fd=source_dir)

    def exchange(self, staged_dir: int, staged: bytes, target_dir: int, target: bytes) -> None:
        """Let the two names change places.

        Raises :class:`FileExistsError` if somebody made ``target`` anew in between; what
        he replaced by that then stays at ``staged`` + :data:`ASIDE`.
        """
        aside = staged + ASIDE
        os.rename(target, aside, src_dir_fd=target_dir, dst_dir_fd=staged_dir)
        try:
            self.move(staged_dir, staged, target_dir, target)
        except OSError:
            with contextlib.suppress(FileExistsError):
                self.move(staged_dir, aside, target_dir, target)
            raise
        os.rename(aside, staged, src_dir_fd=staged_dir, dst_dir_fd=staged_dir)

    @staticmethod
    def _look_and_rename(source_dir: int, source: bytes, target_dir: int, target: bytes) -> None:
        try:
            os.lstat(target, dir_fd=target_dir)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def probe(directory: bytes) -> Renames:
    """Return the best renames that the file system of ``directory`` offers."""
    names = (b".probe-1", b".probe-2")
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=descriptor))
        kernel = Kernel()
        kernel.exchange(descriptor, names[0], descriptor, names[1])
        os.unlink(names[1], dir_fd=descriptor)
        kernel.move(descriptor, names[0], descriptor, names[1])
    except AttributeError:  # a C library older than 2018 has no renameat2
        return Stepwise()
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return Stepwise()
    else:
        return kernel
    finally:
        for name in names:
            with contextlib.suppress(OSError):  # the limbo removes at its next start what it does not know
                os.unlink(name, dir_fd=descriptor)
        os.close(descriptor)
