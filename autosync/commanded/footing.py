"""The folder of a working copy that is kept by commands: still the one that was opened?"""

from __future__ import annotations

import os

from autosync.commanded.listing import Lister
from autosync.errors import TransientError

BACK = "autosync goes on by itself as soon as it is back. Nothing was committed."


class Footing:
    """The folder ``root`` with what shows whose working copy it is.

    A disk that is unmounted leaves an empty folder of the same name, in which everything would
    seem to be deleted.
    """

    def __init__(self, root: bytes, lister: Lister) -> None:
        self._root = root
        self._lister = lister
        self._seen = _identity(root)
        self._marks = lister.marks()

    @property
    def has_repository(self) -> bool:
        """Whether anything shows whose working copy it is: of a version control unknown to us nothing does."""
        return bool(self._marks)

    def demand(self) -> None:
        """Raise :class:`TransientError` unless it is there."""
        try:
            is_same = _identity(self._root) == self._seen
            is_like = self._marks and self._marks <= self._lister.marks()
        except OSError as error:
            title = f"The folder {os.fsdecode(self._root)} is gone: {error.strerror}"
            raise TransientError(title, hint=f"Mount or restore it; {BACK}") from error
        if not is_same and not is_like:
            raise TransientError(
                f"Another folder stands at {os.fsdecode(self._root)}",
                hint=f"Put back the one that was there; {BACK} To go on with this one restart the agent.",
            )
        if self._marks and not is_like:
            raise TransientError(
                f"The repository of {os.fsdecode(self._root)} is gone", hint=f"Mount or restore it; {BACK}"
            )


def _identity(directory: bytes) -> tuple[int, int]:
    found = os.stat(directory)
    return found.st_dev, found.st_ino
