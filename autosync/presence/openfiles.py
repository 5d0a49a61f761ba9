"""Knows which files of a working copy are open in an editor on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence

from autosync.apply.editors import open_in
from autosync.core.model import RelPath
from autosync.core.presence import FORGOTTEN


class OpenFiles:
    """The files below ``root`` that are open; what ``ignored`` names is nobody's business.

    Only what an editor was seen to do anything with is looked at.  Times are seconds of the caller's clock.
    """

    def __init__(
        self,
        root: bytes,
        ignored: Callable[[Sequence[RelPath]], frozenset[RelPath]],
        is_secret: Callable[[RelPath], bool],
    ) -> None:
        self._root = root
        self._ignored = ignored
        self._is_secret = is_secret
        self._signs: dict[RelPath, float] = {}
        """When something was last seen of each file that is open."""

    def look(self, signs: Iterable[RelPath], now: float) -> tuple[RelPath, ...]:
        """Return what is open and worked on, in path order; ``signs`` are files of which a lock has just changed.

        It takes a few system calls for each.  Raises :class:`AutosyncError` or :class:`OSError` if the version
        control cannot say what is ignored.
        """
        candidates = {**self._signs, **dict.fromkeys(signs, now)}
        open_ones = {path: at for path, at in candidates.items() if self._is_open(path)}
        for path in [path for path in open_ones if self._is_taken_for_another(path, open_ones)]:
            del open_ones[path]
        self._signs = open_ones
        wanted = [p for p, at in open_ones.items() if at + FORGOTTEN > now and not self._is_secret(p)]
        return tuple(sorted(set(wanted) - self._ignored_of(wanted)))

    def _ignored_of(self, paths: Collection[RelPath]) -> frozenset[RelPath]:
        return self._ignored(list(paths)) if paths else frozenset()

    def _is_taken_for_another(self, path: RelPath, open_ones: Collection[RelPath]) -> bool:
        """Return whether ``path`` seems to be open by a lock that is its twin's: for `.a` and `a` it has one name."""
        directory, slash, name = path.rpartition(b"/")
        dotted = name.startswith(b".")
        twin = RelPath(directory + slash + (name[1:] if dotted else b"." + name))
        if twin not in open_ones or os.path.lexists(os.path.join(self._root, path)):
            return False
        return dotted or os.path.lexists(os.path.join(self._root, twin))

    def _is_open(self, path: RelPath) -> bool:
        directory, _, name = path.rpartition(b"/")
        with contextlib.suppress(OSError):
            place = os.open(os.path.join(self._root, directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return open_in(place, name) is not None
            finally:
                os.close(place)
        return False
