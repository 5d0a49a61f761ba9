"""Prepares the index that belongs to another base, beside the user's own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.objects import Slot
from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.core.model import RelPath, TreeId
from autosync.errors import Busy

SETTINGS = (
    "core.hooksPath=/dev/null",  # post-index-change, reference-transaction
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.safecrlf=false",
    "core.filesRefLockTimeout=0",
    "core.packedRefsTimeout=0",
    "core.fsync=committed,index,reference",  # else a power cut leaves an empty index, or a branch without its commit
)
"""For commands that act on what is the user's: no hook of his runs, and no lock of his is waited for."""

_STAGED = re.compile(r"Entry '(.*)' (?:would be overwritten by merge|not uptodate)")


class NextIndex:
    """A copy of the user's index on its way to another tree; his staged files stay staged."""

    def __init__(self, repo: Repository) -> None:
        self._index = os.path.join(repo.git_dir, b"index")
        self._path = os.path.join(repo.metadata, b"next-index")
        self._git = Git(
            repo.root,
            config=SETTINGS,
            env={
                **repo.git.env,
                "GIT_INDEX_FILE": os.fsdecode(self._path),
                # What is only in our store can be looked at before it is brought over.
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(os.path.join(repo.store_dir, b"objects")),
            },
        )
        self._never = b"0" * repo.hex_digits
        self._source: FileSignature = None

    def switch(self, old: TreeId, new: TreeId) -> None:
        """Prepare the way from ``old`` to ``new`` (git-read-tree(1), "Two Tree Merge").

        Raises :class:`Busy` if a staged file is in the way.
        """
        self._copy()
        # -i: the files already are, or are going to be, as in the new tree.
        command = ("read-tree", "-i", "-m", old, new) if self._source else ("read-tree", new)
        try:
            self._git.run(*command)
        except GitFailed as failure:
            raise _in_the_way(failure) from failure

    def edit(self, slots: Mapping[RelPath, Slot | None]) -> None:
        """Prepare the index with these paths replaced (``None``: removed), all others as they are."""
        self._copy()
        if self._git.run("ls-files", "--unmerged", "-z"):
            raise _unresolved()
        absent = b"0 " + self._never
        # Removals first: a file may come where a directory was.
        lines = [b"%s\t%s\0" % (absent, path) for path, slot in slots.items() if slot is None]
        lines += [
            b"%s %s\t%s\0" % (slot.mode, slot.oid.hex().encode(), path)
            for path, slot in slots.items()
            if slot is not None
        ]
        self._git.run("update-index", "--add", "--replace", "-z", "--index-info", input=b"".join(lines))

    def refresh(self) -> None:
        """Take over the files' times and sizes, so that the user's next `git status` reads no file."""
        self._git.call("update-index", "-q", "--refresh", accept=(0, 1))

    def raise_if_outdated(self) -> None:
        """Raise :class:`Busy` if the user's index has changed since the copy was taken."""
        if file_signature(self._index) != self._source:
            raise Busy("the index has just changed", hint="It is tried again by itself.")

    def exists(self) -> bool:
        """Return whether one is prepared."""
        return os.path.exists(self._path)

    def put_in_place(self) -> None:
        """Make it the user's index; only for the holder of the lock."""
        os.replace(self._path, self._index)

    def drop(self) -> None:
        """Forget it."""
        for path in (self._path, self._path + b".lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _copy(self) -> None:
        self.drop()
        self._source = file_signature(self._index)
        if self._source is not None:
            with contextlib.suppress(FileNotFoundError):
                written = os.stat(self._index).st_mtime_ns
                shutil.copyfile(self._index, self._path)
                # git compares the contents of files that are as young as the index (its Documentation/technical/
                # racy-git): an edit of the same size in the instant of staging would pass for what is staged.
                os.utime(self._path, ns=(written, written))
            self.raise_if_outdated()


def _in_the_way(failure: GitFailed) -> Busy:
    if match := _STAGED.search(failure.stderr):
        return Busy(
            f"{match[1]} is staged here with other content than it gets",
            hint=f"Commit it, or take it out of the index: git restore --staged {match[1]!r}",
        )
    if "resolve your current index" in failure.stderr:
        return _unresolved()
    return Busy(f"the index cannot follow: {failure.stderr}", hint="Make `git status` work in that folder first.")


def _unresolved() -> Busy:
    return Busy("the index holds unresolved conflicts", hint="Resolve them and commit, or: git reset")
