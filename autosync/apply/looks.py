"""Looks at what stands at paths that are to be replaced, so that a later write to it shows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from time import sleep, time_ns

from autosync.apply.obstacle import CHANGED, Obstacle
from autosync.apply.signature import Signature, signature_at
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.ports import Standing

_FRESH_NS = 12_000_000
"""ns; two writes within one tick of the kernel's clock (at most 10 ms) can leave one mtime,
so a file is looked at once more when it is older than that."""
_LOOKS = 4

Standings = Callable[[Sequence[RelPath]], Mapping[RelPath, Standing]]
"""What stands at many paths; :meth:`autosync.ports.Backend.standings`."""


class Looks:
    """What one apply sees; ``standing`` looks at one path, ``many`` at some together, which is cheaper for each."""

    def __init__(self, standing: Callable[[RelPath], Standing], many: Standings | None) -> None:
        self._standing = standing
        self._many = many
        self._seen: Mapping[RelPath, Standing] = {}
        self._seen_ns = 0

    def ahead(self, paths: Sequence[RelPath]) -> None:
        """Look at paths whose turn comes soon; what has changed by then is found by its signature."""
        self._seen_ns = time_ns()
        self._seen = {}
        if self._many is not None and len(paths) > 1:
            # What is wrong with one of them is found when it is looked at by itself.
            with contextlib.suppress(OSError, AutosyncError):
                self._seen = self._many(paths)

    def seen(self, path: RelPath) -> Signature | None:
        """Return the signature of what was seen at ``path``, ``None`` if nothing was or it was not looked at."""
        standing = self._seen.get(path)
        return None if standing is None else standing.signature

    def forget(self) -> None:
        """Look anew from now on."""
        self._seen = {}

    def settled(self, path: RelPath, parent: int, name: bytes) -> Standing:
        """Return what stands at ``path``, old enough for a later write to show in its time.

        ``parent`` is a descriptor of its directory, ``name`` its name there.  Raises :class:`Obstacle`.
        """
        standing = self._seen.get(path)
        if standing is None or self._may_be_fresh(standing):
            standing = self._when_old(path)
        if _time_of(standing) is not None and signature_at(parent, name) != standing.signature:
            raise Obstacle(CHANGED)
        return standing

    def _may_be_fresh(self, standing: Standing) -> bool:
        """Return whether a write after the look ahead may not show: the file may have been written during it, too."""
        written = _time_of(standing)
        return written is not None and written > self._seen_ns - _FRESH_NS

    def _when_old(self, path: RelPath) -> Standing:
        for _ in range(_LOOKS):
            standing = self._standing(path)
            fresh = _fresh_for(standing, time_ns())
            if not fresh:
                return standing
            sleep(fresh / 1e9)
        raise Obstacle("it is being written to")


def _fresh_for(standing: Standing, now: int) -> int:
    """Return for how many ns from ``now``, when it was looked at, a write may not show in the file's time."""
    written = _time_of(standing)
    if written is None:
        return 0
    age = now - written
    return _FRESH_NS - age if 0 <= age < _FRESH_NS else 0


def _time_of(standing: Standing) -> int | None:
    """Return when what stands there was written, in ns; ``None`` if it has no content."""
    return None if standing.signature is None or standing.entry is None else standing.signature[2]
