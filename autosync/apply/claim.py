"""Makes sure that one process alone looks after a working copy."""

from __future__ import annotations

import fcntl
import os

from autosync.errors import AutosyncError

_NAME = b"agent"


class Claim:
    """A lock that ends with the process (flock(2)); the file holds the pid of whoever has it.

    Two agents with different state directories would each take the other's work under way
    for what a killed one has left.
    """

    def __init__(self, metadata: bytes, root: bytes) -> None:
        """Take the lock.  Raises :class:`AutosyncError` if another process has it."""
        self._file = os.open(os.path.join(metadata, _NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise AutosyncError(
                f"another autosync agent (pid {pid}) looks after {os.fsdecode(root)}",
                hint=f"Remove the path from one of the two configurations, or end the other agent: kill {pid}",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let others have the working copy."""
        os.close(self._file)
