"""Keeps a watch on every directory that is wanted."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.watch import kernel
from autosync.watch.directories import Directories, Directory

logger = logging.getLogger(__name__)

_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_ROUND = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatus:
    """How many directories are watched and how many are looked at on a timer only.

    ``message`` is empty when all are watched; else it says what to do.
    """

    watched: int
    unwatched: int
    message: str = ""


class Arming:
    """The watches of one working copy's directories, as the ignore rules want them.

    Directories in ``excluded`` are left alone at any depth.  Not thread-safe.
    """

    def __init__(
        self,
        root: bytes,
        inotify: kernel.Inotify,
        *,
        excluded: frozenset[bytes],
        ignored: Callable[[Sequence[RelPath]], frozenset[RelPath]],
    ) -> None:
        self.directories = Directories()
        self.shared: set[int] = set()  # watches that others need too
        self._root = root
        self._inotify = inotify
        self._excluded = excluded
        self._ignored = ignored
        self._unwatched: set[Directory] = set()
        self._limit_reached = False

    def absolute(self, path: RelPath) -> bytes:
        """Return the absolute path of ``path``."""
        return os.path.join(self._root, path) if path else self._root

    def skipped(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return the ignored ones of ``paths``; none if that cannot be found out."""
        try:
            return self._ignored(paths) if paths else frozenset()
        except (AutosyncError, OSError) as error:
            # To look in vain costs less than to miss something.
            logger.warning("ignore rules cannot be read: %s", error)
            return frozenset()

    def arm(self, tops: Iterable[Directory]) -> list[Directory]:
        """Watch ``tops`` and everything wanted below them; return what was not known before.

        A directory is watched first and read then: whatever is made after the reading is an
        event, whatever was made before is found.  What is gone or ignored loses its watch.
        Raises :class:`OSError` if it is the root that cannot be watched.
        """
        self._limit_reached = False
        found: list[Directory] = []
        level = _outermost(tops)
        while level:
            candidates: list[tuple[Directory, bytes]] = []
            for node in level:
                if not self._watch(node):
                    continue
                names = self._subdirectories(node)
                for stale in [child for name, child in (node.children or {}).items() if name not in names]:
                    self.drop(stale)
                candidates += [(node, name) for name in names]
            paths = [node.below(name) for node, name in candidates]
            skipped = self.skipped(paths)
            level = []
            for (node, name), path in zip(candidates, paths, strict=True):
                known = node.child(name)
                if path in skipped:
                    if known is not None:
                        self.drop(known)
                    continue
                level.append(self.directories.enter(node, name))
                if known is None:
                    found.append(level[-1])
        return found

    def drop(self, top: Directory) -> None:
        """Forget a directory and all below it."""
        for node in list(top.walk()):
            self._unwatched.discard(node)
            wd = self.directories.unbind(node)
            if wd is not None:
                self._release(wd)
        self.directories.detach(top)

    def lost_watch(self, node: Directory) -> None:
        """Take note that the kernel has ended the watch of ``node``."""
        self.directories.unbind(node)

    def unwatched_tops(self) -> list[Directory]:
        """Return the unwatched directories that are not below another unwatched one."""
        return [node for node in self._unwatched if node.parent not in self._unwatched]

    def status(self) -> WatchStatus:
        """Return the counts and, if something is unwatched, what to do about it."""
        watched, unwatched = len(self.directories), len(self._unwatched)
        if not unwatched:
            return WatchStatus(watched=watched, unwatched=0)
        name, limit = kernel.watch_limit()
        needed = limit + unwatched
        return WatchStatus(
            watched=watched,
            unwatched=unwatched,
            message=(
                f"{unwatched} of {watched + unwatched} folders are not watched, only looked at now and then: "
                f"all {limit} inotify watches of this user are taken and {needed} are needed. "
                f"Run: sudo sysctl {name}={-(-needed // _ROUND) * _ROUND}"
            ),
        )

    def _watch(self, node: Directory) -> bool:
        """Watch one directory and return whether it is worth reading."""
        mask = kernel.CHANGES
        mask |= kernel.DONT_FOLLOW if node.parent is not None else kernel.DELETE_SELF | kernel.MOVE_SELF
        try:
            if self._limit_reached and node.wd is None:
                raise kernel.WatchLimitReached
            wd = self._inotify.watch(self.absolute(node.path()), mask)
        except kernel.WatchLimitReached:
            self._limit_reached = True
            self._unwatched.add(node)
            return True
        except OSError as error:
            if node.parent is None:
                raise
            if error.errno in _VANISHED:
                self.drop(node)
            elif error.errno != errno.EACCES:  # what is not readable for us is not versioned either
                logger.warning("cannot watch %s: %s", os.fsdecode(node.path()), error.strerror)
                self._unwatched.add(node)
            return False
        self._unwatched.discard(node)
        useless = self.directories.bind(node, wd)
        if useless is not None:
            self._release(useless)
        return True

    def _release(self, wd: int) -> None:
        if wd not in self.shared:
            self._inotify.unwatch(wd)

    def _subdirectories(self, node: Directory) -> set[bytes]:
        """Return the names of the directories in a directory, symlinks not followed."""
        try:
            with os.scandir(self.absolute(node.path())) as entries:
                return {
                    entry.name
                    for entry in entries
                    if entry.name not in self._excluded and entry.is_dir(follow_symlinks=False)
                }
        except OSError:
            return set()  # gone since; its parent's event will say so


def _outermost(nodes: Iterable[Directory]) -> list[Directory]:
    """Return ``nodes`` without those below another one of them."""
    given = dict.fromkeys(nodes)
    outermost = []
    for node in given:
        above = node.parent
        while above is not None and above not in given:
            above = above.parent
        if above is None:
            outermost.append(node)
    return outermost


def is_complete(path: bytes) -> bool:
    """Return whether what was just created at ``path`` will see no closing after writing.

    That is so of symlinks, hard links, pipes and sockets.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_nlink > 1
