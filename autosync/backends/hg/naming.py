"""Says which names hg can have and every device may write."""

from __future__ import annotations

from autosync.core.model import RelPath
from autosync.core.safety import unsafe_component


def nameable(path: RelPath) -> bool:
    """Return whether a file of that name can be in a tree."""
    return is_manifestable(path) and not any(map(unsafe_component, path.split(b"/")))


def is_manifestable(path: bytes) -> bool:
    """Return whether hg can have that name: its manifests are lines (scmutil.checkfilename)."""
    return b"\n" not in path and b"\r" not in path
