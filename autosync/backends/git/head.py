"""Tells what is checked out and what the user's git is doing, without starting a process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.backends.smallfile import read_small
from autosync.core.model import Base, CommitId

_SYMBOLIC = re.compile(rb"ref: *(refs/[^\n]+)\n?\Z")
_DIRECT = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\s*\Z")

_LINKS = 5
"""Symbolic refs that git follows one after the other (refs.c, SYMREF_MAXDEPTH)."""
_OPERATIONS = (
    (b"rebase-merge", "a rebase is in progress"),
    (b"rebase-apply", "a rebase or `git am` is in progress"),
    (b"MERGE_HEAD", "a merge is in progress"),
    (b"CHERRY_PICK_HEAD", "a cherry-pick is in progress"),
    (b"REVERT_HEAD", "a revert is in progress"),
    (b"sequencer", "a cherry-pick or revert of several commits is in progress"),
    (b"BISECT_LOG", "a bisect is in progress"),
)


class Head:
    """HEAD of one worktree and the refs that it can name (gitrepository-layout(5))."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._packed: tuple[FileSignature, dict[str, CommitId | None]] = (None, {})

    def base(self) -> Base:
        """Return what is checked out now."""
        path = os.path.join(self._repo.git_dir, b"HEAD")
        content = b"" if os.path.islink(path) else read_small(path)
        if match := _SYMBOLIC.match(content):
            branch = os.fsdecode(match[1])
            return Base(commit=self.tip(branch), branch=branch)
        if match := _DIRECT.match(content):
            return Base(commit=CommitId(match[1].decode()), branch=None)
        return self._ask_git()

    def tip(self, ref: str) -> CommitId | None:
        """Return the commit that a ref names, ``None`` if there is no such ref."""
        content = read_small(os.path.join(self._repo.common_dir, os.fsencode(ref)))
        if match := _DIRECT.match(content):
            return CommitId(match[1].decode())
        if content:  # a symbolic ref, or odd: git knows
            return self._resolve(ref)
        return self._packed_tip(ref)

    def operation(self) -> str | None:
        """Return the user's operation in progress, in words."""
        for name, words in _OPERATIONS:
            if os.path.lexists(os.path.join(self._repo.git_dir, name)):
                return words
        return None

    def locks(self) -> Iterator[bytes]:
        """Yield the locks that are held on HEAD and on the branch it names."""
        candidates = [os.path.join(self._repo.git_dir, b"HEAD.lock")]
        branch = self.base().branch
        if branch is not None:
            candidates.append(os.path.join(self._repo.common_dir, os.fsencode(branch) + b".lock"))
        return (path for path in candidates if os.path.lexists(path))

    def locks_of(self, old: Base, new: Base) -> Sequence[bytes]:
        """Return the locks that git takes to move HEAD from ``old`` to ``new`` or back."""
        refs = {ref for ref in (old.branch, new.branch) if ref is not None}
        names = [*sorted(map(os.fsencode, refs)), b"packed-refs"]
        shared = [os.path.join(self._repo.common_dir, name + b".lock") for name in names]
        return [os.path.join(self._repo.git_dir, b"HEAD.lock"), *shared]

    def locks_held(self, old: Base, new: Base) -> Sequence[bytes]:
        """Return those of :meth:`locks_of` that a prepared ``git update-ref`` on the way from ``old`` to ``new`` holds.

        Of the ref itself; of HEAD, if it names that; of the packed refs only to take one out of them.
        """
        own = os.path.join(self._repo.git_dir, b"HEAD.lock")
        if new.branch is None:
            return [own]
        names = [os.fsencode(new.branch), *([b"packed-refs"] if new.commit is None else [])]
        held = [os.path.join(self._repo.common_dir, name + b".lock") for name in names]
        return [own, *held] if new.branch == old.branch else held

    def directories(self) -> Sequence[bytes]:
        """Return the directories in which base, branch and locks show; those of the branch may be yet to come."""
        common = self._repo.common_dir
        found = {self._repo.git_dir, common, os.path.join(common, b"refs", b"heads")}
        content = read_small(os.path.join(self._repo.git_dir, b"HEAD"))
        for _ in range(_LINKS):  # a branch may be another one's second name
            match = _SYMBOLIC.match(content)
            if match is None:
                break
            ref = os.path.join(common, match[1])
            content, directory = read_small(ref), os.path.dirname(ref)
            while len(directory) > len(common):
                found.add(directory)
                directory = os.path.dirname(directory)
        return sorted(found)

    def _packed_tip(self, ref: str) -> CommitId | None:
        path = os.path.join(self._repo.common_dir, b"packed-refs")
        signature = file_signature(path)
        if self._packed[0] != signature:
            self._packed = (signature, {})
        known = self._packed[1]
        if ref not in known:
            match = re.search(
                rb"^([0-9a-f]{40,64}) " + re.escape(os.fsencode(ref)) + rb"$", read_small(path), re.MULTILINE
            )
            known[ref] = CommitId(match[1].decode()) if match else None
        return known[ref]

    def _ask_git(self) -> Base:
        _, branch = self._repo.git.call("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
        return Base(commit=self._resolve("HEAD"), branch=os.fsdecode(branch.strip()) or None)

    def _resolve(self, ref: str) -> CommitId | None:
        _, found = self._repo.git.call("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", accept=(0, 1, 128))
        return CommitId(found.decode().strip()) if found.strip() else None
