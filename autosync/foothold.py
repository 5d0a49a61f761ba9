"""What a working copy stands on, its folder and its repository: still the ones that were opened?"""

from __future__ import annotations

import os

from autosync.errors import TransientError

_MARKS = (b".git", b".hg")
_BACK = "autosync goes on by itself as soon as it is back. Nothing was deleted on the other devices."


class Vanished(TransientError):
    """The folder or its repository is gone, or another one stands in its place."""


class Foothold:
    """The folder ``root`` and ``metadata``, our private directory in its repository.

    Not by name: a disk that is unmounted leaves an empty folder of the same name, in which
    everything would seem to be deleted; another one may be mounted over it without any event.
    """

    def __init__(self, root: bytes, metadata: bytes) -> None:
        self._root = root
        self._metadata = metadata
        self._seen = self._look()

    def take(self) -> None:
        """Take what stands there now for the right ones."""
        self._seen = self._look()

    def demand(self) -> None:
        """Raise :class:`Vanished` unless both are the ones that were taken."""
        if self._look() != self._seen:
            self.demand_repository()
            raise self.another()

    def demand_repository(self) -> None:
        """Raise :class:`Vanished` unless there is a folder with a repository in which we have been before."""
        shown = os.fsdecode(self._root)
        if _identity(self._root) is None:
            raise Vanished(f"The folder {shown} is gone", hint=f"Mount or restore it; {_BACK}")
        if not any(os.path.lexists(os.path.join(self._root, mark)) for mark in _MARKS):
            raise Vanished(
                f"The folder {shown} has no repository any more: it is empty, or its .git is gone",
                hint=f"Mount or restore what was there; {_BACK}",
            )
        if _identity(self._metadata) is None:
            raise Vanished(
                f"The repository in {shown} is another one, or its .git was emptied",
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

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return _identity(self._root), _identity(self._metadata)


def _identity(directory: bytes) -> tuple[int, int] | None:
    """Return what tells a directory from every other one, ``None`` if none is there."""
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino
