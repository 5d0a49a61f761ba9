"""Says which names hg can have and every device may write."""

from __future__ import annotations

from autosync.core.model import RelPath
from autosync.core.safety import unsafe_component

_METADATA = {b".git", b".hg"}


def nameable(path: RelPath) -> bool:
    """Return whether a file of that name can be in a tree."""
    return is_manifestable(path) and not any(map(unsafe_component, path.split(b"/")))


def is_manifestable(path: bytes) -> bool:
    """Return whether hg can have that name: its manifests are lines (scmutil.checkfilename)."""
    return b"\n" not in path and b"\r" not in path


def left_out(path: RelPath) -> RelPath | None:
    """Return the first directory on the way to ``path`` whose name, or the path itself, that cannot be in a tree.

    ``None`` for what is in a repository's own directory: nobody expects that to be synced.
    """
    names = path.split(b"/")
    for count, name in enumerate(names, start=1):
        if name in _METADATA:
            return None
        if unsafe_component(name) or not is_manifestable(name):
            return RelPath(b"/".join(names[:count]))
    return path
