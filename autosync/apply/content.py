"""Prepares new content beside the working copy: whole, on disk, with the right permissions."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from autosync.apply.obstacle import Obstacle, obstacle_of
from autosync.apply.signature import Signature
from autosync.core.model import Entry, Kind, RelPath
from autosync.durable import sync_files
from autosync.errors import AutosyncError

Stage = Callable[[Sequence[tuple[RelPath, Entry]], bytes], None]
"""Writes the content of each entry to ``directory/<index>``; :meth:`autosync.ports.Backend.stage`."""


class Slot(NamedTuple):
    """A slot of the limbo, the permission bits and the group that a new file gets by default, and what it holds."""

    name: bytes
    mode: int
    group: int
    placed: Signature | None


class Preparer:
    """Writes staged content for one apply."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def prepare(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> dict[int, Obstacle]:
        """Write ``entries`` to ``directory/<index>``; return the obstacles of single entries by index.

        Raises :class:`Obstacle` for what stops them all (a full disk).
        """
        failed: dict[int, Obstacle] = {}
        try:
            try:
                self._stage(entries, directory)
            except (OSError, AutosyncError) as error:
                failed = self._one_by_one(entries, directory, obstacle_of(error))
            # Without it a power cut leaves empty files under the new names, which would be
            # taken for the user's work and sent to everybody.
            files = [i for i, (_, e) in enumerate(entries) if e.kind is not Kind.SYMLINK and i not in failed]
            sync_files([os.path.join(directory, b"%d" % i) for i in files], directory)
        except OSError as error:
            raise obstacle_of(error) from error
        return failed

    def _one_by_one(
        self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes, obstacle: Obstacle
    ) -> dict[int, Obstacle]:
        """Stage each entry by itself, so that one that fails keeps no other from arriving."""
        if obstacle.fatal:
            raise obstacle
        if len(entries) == 1:
            return {0: obstacle}
        failed: dict[int, Obstacle] = {}
        for index, entry in enumerate(entries):
            alone = os.path.join(directory, b"alone-%d" % index)
            os.mkdir(alone, 0o700)
            try:
                self._stage([entry], alone)
                os.rename(os.path.join(alone, b"0"), os.path.join(directory, b"%d" % index))
            except (OSError, AutosyncError) as error:
                failed[index] = obstacle_of(error)
                if failed[index].fatal:
                    raise failed[index] from error
        return failed


def permissions(new: Kind, old: int | None, default: int) -> int:
    """Return the permission bits of a file of kind ``new`` in place of one with the mode ``old``.

    Who may read and write stays as it was (``default`` for what was no regular file);
    who may read an executable may run it, as git's checkout does.
    """
    base = stat.S_IMODE(old) if old is not None and stat.S_ISREG(old) else default
    if new is Kind.EXECUTABLE:
        return base | (base & 0o444) >> 2
    return base & ~0o111


def inherit(staged: bytes, group: int, old: int | bytes) -> None:
    """Give a staged file, which has ``group``, the group and the extended attributes of what it replaces.

    ``old`` is a descriptor or a path of that.  What we may not set is left out.
    """
    # Of a link itself nothing can be had through a descriptor, and nothing else through one is a link.
    follow = isinstance(old, int)
    with contextlib.suppress(OSError):
        found = os.stat(old, follow_symlinks=follow)
        if found.st_gid != group:
            os.chown(staged, -1, found.st_gid, follow_symlinks=False)
    with contextlib.suppress(OSError):
        for attribute in os.listxattr(old, follow_symlinks=follow):
            if not attribute.startswith("security."):
                os.setxattr(
                    staged, attribute, os.getxattr(old, attribute, follow_symlinks=follow), follow_symlinks=False
                )


def join_directory(staged: bytes, group: int, parent: int) -> None:
    """Give a staged file, which has ``group``, the one of a set-group-id directory (inode(7)).

    It would have that if it were created there.
    """
    with contextlib.suppress(OSError):
        found = os.fstat(parent)
        if found.st_mode & stat.S_ISGID and found.st_gid != group:
            os.chown(staged, -1, found.st_gid, follow_symlinks=False)


def permit(staged: bytes, kind: Kind, old: int | None, slot: Slot) -> Signature | None:
    """Give a staged file the permissions of what it replaces; return its signature if it is known."""
    mode = permissions(kind, old, slot.mode)
    if kind is Kind.SYMLINK or (slot.placed is not None and stat.S_IMODE(slot.placed[3]) == mode):
        return slot.placed
    os.chmod(staged, mode)
    return None


def defaults(directory: bytes) -> tuple[int, int]:
    """Return the permission bits and the group that a new file gets here: the bits that the umask leaves."""
    path = os.path.join(directory, b"mode")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        found = os.fstat(file)
        return stat.S_IMODE(found.st_mode), found.st_gid
    finally:
        os.close(file)
        os.unlink(path)
