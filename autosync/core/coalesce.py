"""Names many paths by fewer: their directories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from autosync.core.model import RelPath, parent_directories

ROOT = RelPath(b"")


def collapse(paths: Collection[RelPath], *, per_directory: int = 128, total: int = 512) -> frozenset[RelPath]:
    """Return at most ``total`` paths that cover ``paths``: each is there, or a directory above it is.

    More than ``per_directory`` paths of one directory become that directory (the rule of
    Syncthing's ``watchaggregator``); if more than ``total`` are left, that number is halved until
    they fit.  The root is the last resort.

    A directory stands for its whole subtree.  So this makes a *list* short and may make the
    *look* long, and it loses which of the files below are still being written: it is for
    bounding memory, not for shaping what is looked at.
    """
    named = outermost(paths)
    limit = per_directory
    while len(named) > 1 and named != {ROOT}:
        named = _climb(named, limit)
        if len(named) <= total:
            return named
        if limit == 0:
            return frozenset({ROOT})
        limit //= 2
    return named


def outermost(paths: Collection[RelPath]) -> frozenset[RelPath]:
    """Return ``paths`` without those that lie below another one of them."""
    given = frozenset(paths)
    if ROOT in given:
        return frozenset({ROOT})
    return frozenset(path for path in given if not any(d in given for d in parent_directories(path)))


def _climb(paths: Collection[RelPath], limit: int) -> frozenset[RelPath]:
    """Replace more than ``limit`` paths of one directory by it, from the deepest upwards; never by the root."""
    levels: defaultdict[int, set[RelPath]] = defaultdict(set)
    for path in paths:
        levels[path.count(b"/")].add(path)
    for depth in range(max(levels), 0, -1):
        crowd = Counter(parent(path) for path in levels[depth])
        levels[depth - 1] |= {directory for directory, n in crowd.items() if n > limit}
        levels[depth] = {path for path in levels[depth] if crowd[parent(path)] <= limit}
    return outermost(frozenset().union(*levels.values()))


def parent(path: RelPath) -> RelPath:
    """Return the directory that ``path`` is in."""
    return RelPath(path.rpartition(b"/")[0])
