"""Brings the files of one working copy to new states, compare-and-swap."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from autosync.apply.application import Application
from autosync.apply.claim import claim
from autosync.apply.content import Stage
from autosync.apply.limbo import QUIET, Limbo
from autosync.apply.looks import Looks, Standings
from autosync.apply.obstacle import obstacle_of
from autosync.apply.parents import Parents, identity_of
from autosync.apply.rename import Renames, probe
from autosync.apply.rescue import Rescue
from autosync.apply.swap import Swapper
from autosync.causes import shortage_of
from autosync.core.model import Entry, RelPath, parent_directories
from autosync.durable import make_directory, sync_directories
from autosync.errors import AutosyncError, TransientError
from autosync.ports import Applied, Operation, Standing

Written = Callable[[Mapping[RelPath, tuple[Entry, os.stat_result]]], None]
"""Is told what was put where, and how it stands there; :meth:`autosync.ports.Backend.written`."""


class WorkingTree:
    """The files below ``root``; implements :class:`autosync.ports.Tree`.

    ``metadata`` is a private directory on the same file system.  ``standing``, ``standings`` and ``stage``
    are those of the backend.  For one thread at a time, and for one object per working copy.
    """

    def __init__(
        self,
        root: bytes,
        metadata: bytes,
        *,
        standing: Callable[[RelPath], Standing],
        stage: Stage,
        standings: Standings | None = None,
        written: Written = lambda _: None,
        new_times: bool = False,
        renames: Renames | None = None,
        quiet: float = QUIET,
    ) -> None:
        """Take over what an agent that was killed has left; ``renames`` are probed if not given.

        A replaced file is let go after ``quiet`` seconds without a change.  ``written`` is told of the
        regular files that an application has put there.  With ``new_times`` a file that is moved has a time of
        its own afterwards, as one that was written; else it keeps that which it has.

        Raises :class:`TransientError` if ``metadata`` cannot be written to, and
        :class:`AutosyncError` if another process looks after the working copy.
        """
        self._root = root
        self._standing = standing
        self._standings = standings
        self._written = written
        self._stage = stage
        self._new_times = new_times
        with contextlib.ExitStack() as opened:
            try:
                self._identity = identity_of(root)
                make_directory(metadata)
                self._claim = claim(metadata, root)
                opened.callback(self._claim.release)
                self._limbo = Limbo(os.path.join(metadata, b"limbo"), quiet=quiet)
                opened.callback(self._limbo.close)
                self._swapper = Swapper(renames or probe(self._limbo.directory), self._limbo)
            except OSError as error:
                raise TransientError(
                    f"Cannot write to {os.fsdecode(metadata)}: {obstacle_of(error).reason}",
                    hint="autosync prepares new content there; make room, or make the directory writable for you.",
                ) from error
            opened.pop_all()
        self._rescue = Rescue(root, self._identity, self._limbo, self._swapper, stage)

    def close(self) -> None:
        """Release the directories; files that are still kept are found again at the next start."""
        self._limbo.close()
        self._claim.release()

    def apply(self, operations: Sequence[Operation]) -> Applied:
        """Perform the operations, each only if its path still is what it expects.

        Deletions first, then renames, then new content.  A path that cannot be brought to
        its new state is left alone and named with the reason, and so are all that come
        after a full disk.  On return what was done survives a power cut: HEAD and the recorded
        state, which come next, must never be newer than the files.  Raises
        :class:`AutosyncError` if the root cannot be opened or the disk cannot be waited for.
        """
        parents = Parents(self._root, self._identity)
        try:
            looks = Looks(self._standing, self._standings)
            application = Application(
                self._limbo, self._swapper, looks, self._stage, parents, new_times=self._new_times
            )
            applied = application.run(operations)
        finally:
            parents.close()
        with contextlib.suppress(OSError, AutosyncError):  # they are read, then
            self._written(application.written)
        above = {directory for path in applied.done for directory in parent_directories(path)}
        try:
            sync_directories({os.path.join(self._root, directory) for directory in (b"", *above)}, self._root)
        except OSError as error:
            raise shortage_of(error, self._root) or TransientError(
                f"What was brought to {os.fsdecode(self._root)} cannot be forced to the disk: {error.strerror}",
                hint="It stands there, and is looked at again by itself.",
            ) from error
        return applied

    def sweep(self) -> frozenset[RelPath]:
        """Look after the replaced files that are still kept; return the paths that a late writer
        has changed and that were brought back."""
        return self._rescue.sweep()

    def keeps(self) -> bool:
        """Return whether replaced files are still kept, so that another sweep is due."""
        return bool(self._limbo.kept())
