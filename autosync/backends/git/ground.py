"""Finds what a hinted path means: a file to look at, a directory to search, or nothing of ours."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from autosync.backends.git.files import look
from autosync.backends.git.nested import is_repository
from autosync.core.model import RelPath, parent_directories
from autosync.core.safety import unsafe_component


class Footing(Protocol):
    """What is known of a working copy before it is looked at."""

    def known(self, path: RelPath) -> bool:
        """Return whether something at or below ``path`` is ours."""

    def is_gitlink(self, path: RelPath) -> bool:
        """Return whether the path is a nested repository that is versioned as such."""

    def holds_files(self, path: RelPath) -> bool:
        """Return whether files below ``path`` are ours."""


class _Kind(Enum):
    DIRECTORY = "directory"
    OTHER = "other"  # a file or a link; what is below it is gone
    ABSENT = "absent"
    GITLINK = "gitlink"
    FOREIGN = "foreign"  # an untracked nested repository: not ours to look into
    DENIED = "denied"  # we may not look into it


@dataclass(slots=True)
class Places:
    """Where to look: single paths, and directories to be searched whole."""

    files: set[RelPath] = field(default_factory=set)
    directories: set[RelPath] = field(default_factory=set)


class Ground:
    """The directories of the working copy as one reading meets them, each looked at once.

    ``is_nested`` tells whether a directory is another repository's working copy.
    """

    def __init__(self, root: bytes, footing: Footing, is_nested: Callable[[bytes], bool] = is_repository) -> None:
        self._root = root
        self._footing = footing
        self._is_nested = is_nested
        self._kinds: dict[RelPath, _Kind] = {}
        self._plain: set[bytes] = {b""}  # directories of ours, with nothing but such above them

    def places(self, hints: Iterable[RelPath]) -> Places:
        """Return where to look for what the hints name."""
        places = Places()
        for hint in sorted(hints):
            self._place(hint, places)
        if b"" in places.directories:
            places.directories = {RelPath(b"")}
        return places

    def reachable(self, path: RelPath) -> bool:
        """Return whether all directories above ``path`` are there and ours."""
        directory = path.rpartition(b"/")[0]
        if directory not in self._plain:
            if not all(self._kind(above) is _Kind.DIRECTORY for above in parent_directories(path)):
                return False
            self._plain.add(directory)
        return True

    def denied(self, path: RelPath) -> bool:
        """Return whether we may not look what stands at ``path``: that says nothing about its being there."""
        return any(self._kind(above) is _Kind.DENIED for above in [*parent_directories(path)][::-1])

    def look(self, path: RelPath) -> os.stat_result | None:
        """Return lstat(2) of what stands at ``path``, ``None`` if nothing of ours can.

        Raises :class:`PermissionError` where that cannot be told.
        """
        if self.reachable(path):
            return look(self._root + b"/" + path)
        if self.denied(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(self._root + b"/" + path))
        return None

    def _place(self, hint: RelPath, places: Places) -> None:
        if not hint:
            places.directories.add(hint)
            return
        if not storable(hint) and not self._footing.known(hint):
            return
        if not self.reachable(hint):
            self._place_unreachable(hint, places)
            return
        kind = self._kind(hint)
        if kind is _Kind.DIRECTORY:
            places.directories.add(hint)
            places.files.add(hint)  # it may have been a file
        elif kind is not _Kind.FOREIGN:
            places.files.add(hint)

    def _place_unreachable(self, hint: RelPath, places: Places) -> None:
        for above in [*parent_directories(hint)][::-1]:
            kind = self._kind(above)
            if kind is _Kind.DENIED:
                places.files.add(hint)
                return
            if kind is _Kind.FOREIGN:
                return
            if kind is _Kind.GITLINK:
                places.files.add(above)
                return
            if kind is not _Kind.DIRECTORY:  # nothing can stand at the hint any more
                places.files.update((above, hint))
                return

    def _kind(self, path: RelPath) -> _Kind:
        kind = self._kinds.get(path)
        if kind is None:
            kind = self._kinds[path] = self._find_kind(path)
        return kind

    def _find_kind(self, path: RelPath) -> _Kind:
        try:
            return self._look(path)
        except PermissionError:
            return _Kind.DENIED

    def _look(self, path: RelPath) -> _Kind:
        full = self._root + b"/" + path
        found = look(full)
        if found is None:
            return _Kind.ABSENT
        if not stat.S_ISDIR(found.st_mode):
            return _Kind.OTHER
        if self._footing.is_gitlink(path):
            return _Kind.GITLINK
        if self._is_nested(full) and not self._footing.holds_files(path):
            return _Kind.FOREIGN
        return _Kind.DIRECTORY


def storable(path: RelPath) -> bool:
    """Return whether peers would take a file of that name."""
    return not any(map(unsafe_component, path.split(b"/")))
