"""What a working copy stands on, its folder and its repository: still the ones that were opened?"""

from __future__ import annotations

import os
from collections.abc import Callable

from autosync.apply.parents import identity_of
from autosync.durable import sync_directory
from autosync.errors import TransientError

_MARKS = (b".git", b".hg")
_STORE_MARK = b"store.mark"
_FAT_STEP = 2 * 10**9
_BACK = "autosync goes on by itself as soon as it is back. Nothing was deleted on the other devices."


class Vanished(TransientError):
    """The folder or its repository is gone, or another one stands in its place."""


def identify_store(metadata: bytes) -> int:
    """Return what tells the store in ``metadata``, our private directory, from every copy of it; never 0.

    It is when a file that nobody touches got its present inode, in ns since the epoch: no
    tool that copies or restores sets that (inode(7), ctime).  What is new gets the file.
    """
    name = os.path.join(metadata, _STORE_MARK)
    try:
        mark = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_CREAT, 0o600)
        try:
            os.fsync(mark)
            made = os.fstat(mark).st_ctime_ns
        finally:
            os.close(mark)
        sync_directory(metadata)
    except OSError as error:
        raise TransientError(
            f"{os.fsdecode(name)}: {error.strerror}",
            hint="Nothing was touched. Start the agent again when the cause is gone.",
        ) from error
    return max(1, made)


def is_same_store(known: int, found: int) -> bool:
    """Return whether two answers of :func:`identify_store` are of one store.

    FAT keeps times in steps of two seconds once it is mounted anew.
    """
    return found in (known, known - known % _FAT_STEP)


class Foothold:
    """The folder ``root`` and ``metadata``, our private directory in its repository.

    ``store`` returns the directory of the store, which may be another working copy's (a linked worktree, `hg share`).

    Not by name: a disk that is unmounted leaves an empty folder of the same name, in which
    everything would seem to be deleted; another one may be mounted over it without any event.
    """

    def __init__(self, root: bytes, metadata: bytes, store: Callable[[], bytes] | None = None) -> None:
        self._root = root
        self._store = store
        self._metadata = metadata
        self._seen = self._look()

    def take(self) -> None:
        """Take what stands there now for the right ones."""
        self._seen = self._look()

    def demand(self) -> None:
        """Raise :class:`Vanished` unless both are the ones that were taken, and the store is there."""
        if self._look() != self._seen or not self._has_store():
            self.demand_repository()
            raise self.another()

    def demand_repository(self) -> None:
        """Raise :class:`Vanished` unless there is a folder with a repository in which we have been before."""
        shown = os.fsdecode(self._root)
        if _identity(self._root) is None:
            raise Vanished(f"The folder {shown} is gone", hint=f"Mount or restore it; {_BACK}")
        if not any(os.path.lexists(os.path.join(self._root, mark)) for mark in _MARKS):
            raise Vanished(
                f"The folder {shown} has no repository any more: it is empty, or its .git or .hg is gone",
                hint=f"Mount or restore what was there; {_BACK}",
            )
        if self._store is not None and not self._has_store():
            raise Vanished(
                f"The repository of {shown}, {os.fsdecode(self._store())}, is not there",
                hint=f"Mount or restore it; {_BACK} If it was moved, tell the working copy where it is "
                "(`git worktree repair` there; for hg, the file .hg/sharedpath here) and restart the agent.",
            )
        if _identity(self._metadata) is None:
            raise Vanished(
                f"The repository in {shown} is another one, or {os.fsdecode(self._metadata)} was deleted",
                hint=f"It is not synced. Put back the one that was there; {_BACK} "
                "To sync what stands there now, restart the agent.",
            )

    def another(self) -> Vanished:
        """Return what to tell when what stands there is not the working copy that was left."""
        return Vanished(
            f"Another repository, or an older copy of it, stands at {os.fsdecode(self._root)}",
            hint=f"It is not synced. Put back the one that was there; {_BACK} "
            "To sync what stands there now, restart the agent.",
        )

    def _has_store(self) -> bool:
        return self._store is None or _identity(self._store()) is not None

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return _identity(self._root), _identity(self._metadata)


def _identity(directory: bytes) -> tuple[int, int] | None:
    """Return what tells a directory from every other one, ``None`` if none is there."""
    try:
        return identity_of(directory)
    except OSError:
        return None
