"""Says without naming it in which directory a device keeps its snapshots, so that another one knows its own."""

from __future__ import annotations

import functools
import os

from autosync.trust.sealing import WorkspaceKey


def store_tag(key: WorkspaceKey, directory: bytes) -> str:
    """Return the same 32 hex digits for the same directory of the same running machine and workspace only.

    Empty if there is no such directory.
    """
    try:
        info = os.stat(directory)
    except OSError:
        return ""
    return key.mark(b"%s %d %d" % (_machine(), info.st_dev, info.st_ino))


@functools.cache
def _machine() -> bytes:
    """Return what no other machine has, not even one that was cloned from this (random(4), boot_id)."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip()
