"""Knows what the user told hg of paths, as long as the dirstate is the same."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from autosync.backends.git.settings import FileSignature, file_signature
from autosync.backends.hg.files import CLOCK_TICK
from autosync.backends.hg.marks import ADDED, REMOVED, Marks, meaningful
from autosync.backends.hg.naming import nameable
from autosync.backends.hg.repository import Survey
from autosync.backends.hg.store import Store
from autosync.core.model import RelPath, TreeId


class Tracking:
    """The marks of one working copy."""

    def __init__(self, root: bytes, store: Store) -> None:
        self._dirstate = os.path.join(root, b".hg", b"dirstate")
        self._store = store
        self._told: dict[RelPath, bytes] = {}
        self._at: tuple[FileSignature] | None = None
        self._asked: tuple[FileSignature, int] = (None, 0)
        self._meant: tuple[TreeId, Marks] | None = None
        self.added: frozenset[RelPath] = frozenset()
        """What is tracked and not in the base."""

    def related(self, paths: Collection[RelPath]) -> set[RelPath]:
        """Return the paths with what each was copied or moved from: half a move is none."""
        sources = {self._told[path].partition(b"\0")[2] for path in paths if path in self._told}
        return {*paths, *(RelPath(source) for source in sources if source)}

    def is_outdated(self) -> bool:
        """Return whether hg has to be asked; if so, :meth:`learn` is to follow."""
        self._asked = file_signature(self._dirstate), time.time_ns()
        return self._at is None or self._at[0] != self._asked[0]

    def learn(self, survey: Survey) -> None:
        """Note what hg told."""
        signature, when = self._asked
        # Written again within a tick it could look the same.
        settled = signature is None or signature[3] + CLOCK_TICK < when
        self._at = (signature,) if settled else None
        told = dict.fromkeys(survey.removed, REMOVED) | dict.fromkeys(survey.added, ADDED)
        for path, source in survey.copies.items():
            if told.get(path) != REMOVED:
                told[path] = (ADDED if path in told else b"m") + (b"\0" + source if nameable(source) else b"")
        told = {path: mark for path, mark in told.items() if nameable(path) and mark != b"m"}
        if told != self._told:
            self._told = told
            self._meant = None
            self.added = frozenset(path for path, mark in told.items() if mark.startswith(ADDED))

    def marks(self, base_tree: TreeId) -> Marks:
        """Return what was told that says anything on the base."""
        if self._meant is None or self._meant[0] != base_tree:
            marks = meaningful(self._told, lambda path: self._store.entry(base_tree, path) is not None)
            self._meant = (base_tree, marks)
        return self._meant[1]
