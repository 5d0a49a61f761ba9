"""A lock that one process holds, in a file that tells others which one."""

from __future__ import annotations

import contextlib
import fcntl
import os


class Held(Exception):
    """Another process has the lock; ``pid`` is its process id in decimal digits, or ``unknown``."""

    def __init__(self, pid: str) -> None:
        super().__init__(pid)
        self.pid = pid


class PidLock:
    """The lock in the file ``path``; it ends with the process (flock(2)), however that ends.

    Raises :class:`Held`, and :class:`OSError` if the file cannot be opened.
    """

    def __init__(self, path: str | bytes) -> None:
        # For reading: what is open for writing keeps a file system from being remounted read-only.
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = Held(_pid_in(file))
            os.close(file)
            raise held from None
        except BaseException:
            os.close(file)
            raise
        # The lock counts; who has it is said as far as the disk has room for it.
        with contextlib.suppress(OSError):
            writing = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(writing, b"%d\n" % os.getpid())
            finally:
                os.close(writing)
        self._file = file

    def release(self) -> None:
        """Let others have it.  The file stays: removing it would let two have it at once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _pid_in(file: int) -> str:
    try:
        return os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"
