"""Tells what only the user's index knows: what is staged, and which files he told git to leave alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from autosync.backends.git.objects import Slot
from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.core.model import RelPath, TreeId, parent_directories

# `ls-files -v`: S is skip-worktree, a small letter is assume-unchanged.
_FROZEN = re.compile(rb"(?:\A|\0)[a-zS] ([^\0]+)")


class Index:
    """The user's index, only ever read; looked at again when its file has changed."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._path = os.path.join(repo.git_dir, b"index")
        self._seen: tuple[TreeId, FileSignature] | None = None
        self.staged: Mapping[RelPath, Slot | None] = {}
        """Where the index differs from the base; ``None`` is a staged deletion."""
        self.frozen: frozenset[RelPath] = frozenset()
        """Paths with the assume-unchanged or skip-worktree bit."""
        self._staged_directories: frozenset[RelPath] = frozenset()

    def refresh(self, base_tree: TreeId) -> None:
        """Bring :attr:`staged` and :attr:`frozen` up to date against ``base_tree``."""
        seen = (base_tree, file_signature(self._path))
        if seen == self._seen:
            return
        if seen[1] is None:  # nothing was ever added
            self.staged, self.frozen = {}, frozenset()
        else:
            self.staged = self._compare(base_tree)
            listing = self._repo.git.run("-c", "core.fsmonitor=false", "ls-files", "-v", "-z")
            self.frozen = frozenset(map(RelPath, _FROZEN.findall(listing)))
        self._staged_directories = frozenset(above for path in self.staged for above in parent_directories(path))
        self._seen = seen

    def holds(self, path: RelPath) -> bool:
        """Return whether something new is staged at or below ``path``."""
        return self.staged.get(path) is not None or path in self._staged_directories

    def _compare(self, base_tree: TreeId) -> dict[RelPath, Slot | None]:
        arguments = ("diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
        fields = self._repo.git.run(*arguments, base_tree, "--").split(b"\0")
        staged: dict[RelPath, Slot | None] = {}
        for line, path in zip(fields[::2], fields[1::2], strict=False):
            _, mode, _, oid, status = line.split(b" ")
            if status[:1] != b"U":
                staged[RelPath(path)] = None if mode == b"000000" else Slot(mode, bytes.fromhex(oid.decode()))
        return staged
