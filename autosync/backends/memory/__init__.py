"""A complete version control system in memory."""

from __future__ import annotations

from autosync.backends.memory.hub import MemoryHub
from autosync.backends.memory.workingcopy import MemoryWorkingCopy

__all__ = ["MemoryHub", "MemoryWorkingCopy"]
