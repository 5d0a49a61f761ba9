"""Brings back what was written to a file after it had been replaced or deleted."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from time import time

from autosync.apply.content import Stage
from autosync.apply.limbo import NEVER, Kept, Limbo
from autosync.apply.obstacle import Obstacle
from autosync.apply.parents import Parents
from autosync.apply.signature import Signature, signature_at
from autosync.apply.swap import Swapper, kept_file
from autosync.core.copies import conflict_name
from autosync.core.model import Kind, RelPath
from autosync.errors import AutosyncError

_LATE = "saved late"
_REGULAR = frozenset({Kind.FILE, Kind.EXECUTABLE})


class Rescue:
    """Looks after the limbo of one working copy."""

    def __init__(self, root: bytes, identity: tuple[int, int], limbo: Limbo, swapper: Swapper, stage: Stage) -> None:
        """``identity`` tells ``root`` from another folder that may stand there later."""
        self._root = root
        self._identity = identity
        self._limbo = limbo
        self._swapper = swapper
        self._stage = stage

    def sweep(self) -> frozenset[RelPath]:
        """Let go of the quiet files and bring back the changed ones; return where those stand now."""
        with contextlib.suppress(OSError):  # the next sweep tries again
            self._limbo.dismiss(self._limbo.over())
        found = self._limbo.kept()
        if not found:
            return frozenset()
        back: set[RelPath] = set()
        parents = Parents(self._root, self._identity)
        try:
            for kept in found:
                # An obstacle may pass: the file stays and the next sweep tries again.
                with contextlib.suppress(OSError, Obstacle):
                    if (path := self._look_after(kept, parents)) is not None:
                        back.add(path)
        finally:
            parents.close()
        return frozenset(back)

    def _look_after(self, kept: Kept, parents: Parents) -> RelPath | None:
        now = self._limbo.look(kept)
        quiet = self._limbo.is_quiet(kept)
        if now is None:
            self._limbo.release(kept)
            return None
        if now == kept.was and not quiet:
            return None
        if (now != kept.was or kept.held) and not self._has_old_content(kept, now):
            return self._bring_back(kept, parents)
        kept.was = now
        if quiet:
            self._limbo.release(kept)
        return None

    def _has_old_content(self, kept: Kept, now: Signature) -> bool:
        """Return whether the content is what it was, although the file was touched or held open.

        A program may set the times of a file that it has written before, and one that has
        it mapped may write without changing them.
        """
        if kept.entry is None or (kept.entry.kind not in _REGULAR and kept.was != NEVER):
            return now == kept.was
        scratch = os.path.join(self._limbo.directory, b"compare")
        try:
            os.mkdir(scratch, 0o700)
            self._stage([(kept.path, kept.entry)], scratch)
            staged, held = os.path.join(scratch, b"0"), os.path.join(self._limbo.directory, kept.slot)
            if os.path.islink(staged) or os.path.islink(held):
                return os.readlink(staged) == os.readlink(held)
            return filecmp.cmp(staged, held, shallow=False)
        except (OSError, AutosyncError):
            return now == kept.was
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _bring_back(self, kept: Kept, parents: Parents) -> RelPath:
        """Make the late version the file if what we put there still stands, else put it beside it."""
        with parents.opened(kept.path, create=True) as (parent, name):
            if kept.placed is None:
                with contextlib.suppress(FileExistsError):
                    self._swapper.create(kept.slot, parent, name)
                    self._limbo.release(kept)
                    return kept.path
            elif signature_at(parent, name) == kept.placed:
                with contextlib.suppress(Obstacle):
                    self._swapper.replace(kept_file(kept.slot, kept.path, None, kept.placed), None, parent, name)
                    return kept.path
            return self._put_beside(kept, parent)

    def _put_beside(self, kept: Kept, parent: int) -> RelPath:
        def is_taken(path: RelPath) -> bool:
            return signature_at(parent, path.rpartition(b"/")[2]) is not None

        while True:
            path = conflict_name(kept.path, device=_LATE, time=int(time()), taken=is_taken)
            with contextlib.suppress(FileExistsError):
                self._swapper.create(kept.slot, parent, path.rpartition(b"/")[2])
                self._limbo.release(kept)
                return path
