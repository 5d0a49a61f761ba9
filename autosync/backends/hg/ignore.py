"""Knows our own ignore patterns, and when hg's ignore rules change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from autosync.backends.git.files import look
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.core.model import RelPath
from autosync.core.patterns import Patterns


class Ignore:
    """What is ignored in one working copy beside what hg ignores.

    ``patterns`` are in the form of gitignore(5); what either they or hg's rules name is ignored.
    The rules themselves only hg knows, which is asked with each look.
    """

    def __init__(self, root: bytes, patterns: Sequence[str] = ()) -> None:
        self._root = root
        self._has_patterns = bool(patterns)
        self._patterns = Patterns(patterns)
        self._seen: dict[bytes, FileSignature] = {}
        self._used_others = False

    def heed(self, sources: Iterable[bytes]) -> None:
        """Note the files that hg has just read its rules from."""
        self._seen = {path: self._seen.get(path, file_signature(path)) for path in sources}

    def changed(self) -> bool:
        """Return whether the patterns or one of the files of rules have changed since this was asked last."""
        now = {path: file_signature(path) for path in self._seen}
        changed, self._seen = now != self._seen or self._used_others, now
        self._used_others = False
        return changed

    def use(self, patterns: Sequence[str]) -> None:
        """Heed other patterns from now on; :meth:`changed` then says so once."""
        self._has_patterns, self._patterns = bool(patterns), Patterns(patterns)
        self._used_others = True

    def is_source(self, path: RelPath) -> bool:
        """Return whether rules come from the file at ``path``."""
        return os.path.join(self._root, path) in self._seen

    def named(self, paths: Iterable[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that our patterns name, or a directory above them."""
        if not self._has_patterns:
            return frozenset()
        directories: dict[bytes, bool] = {b"": False}
        found = set()
        for path in paths:
            above = path.rpartition(b"/")[0]
            if above not in directories:
                directories[above] = self._patterns.name(RelPath(above), is_directory=True)
            if directories[above] or self._patterns.name(path, is_directory=self._is_directory(path)):
                found.add(path)
        return frozenset(found)

    def _is_directory(self, path: RelPath) -> bool:
        found = look(os.path.join(self._root, path))
        return found is not None and stat.S_ISDIR(found.st_mode)
