"""Makes sure that one process alone looks after a working copy."""

from __future__ import annotations

import os

from autosync.errors import AutosyncError
from autosync.pidlock import Held, PidLock

_NAME = b"agent"


def claim(metadata: bytes, root: bytes) -> PidLock:
    """Return the lock on the working copy at ``root``.  Raises :class:`AutosyncError` if another process has it.

    Two agents with different state directories would each take the other's work under way
    for what a killed one has left.
    """
    try:
        return PidLock(os.path.join(metadata, _NAME))
    except Held as held:
        raise AutosyncError(
            f"another autosync agent (pid {held.pid}) looks after {os.fsdecode(root)}",
            hint=f"Remove the path from one of the two configurations, or end the other agent: kill {held.pid}",
        ) from None
