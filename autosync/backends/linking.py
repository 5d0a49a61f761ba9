"""What makes a further working copy on a store that is there, of either version control."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autosync.config import Vcs
from autosync.errors import AutosyncError


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a working copy comes from and where it goes: ``source`` is one of the same store.

    ``hg`` is the command that is Mercurial, as in the configuration.
    """

    source: str
    dest: str
    hg: tuple[str, ...] | None = None


class Link(Protocol):
    """A working copy that is to be made on the store of another one; a :class:`Folder` of the command line."""

    vcs: Vcs
    spot: Spot

    def check(self) -> None:
        """Raise :class:`AutosyncError` if it cannot be made; nothing is changed."""

    def holder(self, branch: str) -> str | None:
        """Return the working copy of this store that is on the branch, or bookmark; ``None`` if there is none."""

    def make(self) -> None:
        """Make it.  Raises :class:`AutosyncError` or :class:`OSError`; then :meth:`unmake` has to follow."""

    def unmake(self) -> None:
        """Take away what :meth:`make` has made, as far as it came."""

    def is_untouched(self) -> bool:
        """Return whether nothing is in it that :meth:`make` has not put there."""

    def by_hand(self) -> Sequence[str]:
        """Return the lines for a shell that do what :meth:`unmake` does."""

    def words(self) -> str:
        """Return what it is, in words."""

    def facts(self) -> Mapping[str, str]:
        """Return what tells it from others, for :func:`note` and the output for programs."""

    def remotes(self) -> tuple[str, ...] | None:
        """Return ``None``: it is not there yet."""

    def how_to_add(self, remote: str) -> str:
        """Return what gives the repository a remote."""


def check_dest(dest: str) -> None:
    """Raise :class:`AutosyncError` unless the folder ``dest`` is not there yet, or is empty."""
    if not os.path.lexists(dest):
        return
    if not os.path.isdir(dest):
        raise AutosyncError(f"{dest} is not a directory", hint="Name a folder that does not exist yet.")
    if os.listdir(dest):
        raise AutosyncError(
            f"{dest} is not empty",
            hint="Name a folder that does not exist yet. Files that are in the way are never touched.",
        )


def clear(dest: str, *, was_there: bool) -> None:
    """Remove the folder ``dest`` with all that was made in it; as an empty one it stays if it was there before."""
    shutil.rmtree(dest, ignore_errors=True)
    if was_there:
        os.makedirs(dest, exist_ok=True)


def holds_nothing(dest: str, mark: str) -> bool:
    """Return whether there is nothing in the folder ``dest`` but perhaps ``mark``."""
    return not os.path.isdir(dest) or set(os.listdir(dest)) <= {mark}
