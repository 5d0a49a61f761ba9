"""Tells which branches are other worktrees' of the same repository (git-worktree(1))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autosync.backends.git.repository import Repository
from autosync.backends.smallfile import read_small

_SYMBOLIC = re.compile(rb"ref: *(refs/[^\n]+)\n?\Z")
_HEADS = b"refs/heads/"
_CHECKED_OUT = "checked out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A branch that is another worktree's: where that is, and what it does with the branch, in words."""

    root: str
    words: str

    @property
    def way_out(self) -> str:
        """What its user can do, as `autosync status` tells him."""
        if self.words == _CHECKED_OUT:
            return "switch that one to another branch (or `git switch --detach`), then this one follows"
        return "end that there, then this one follows"


class Worktrees:
    """All worktrees of a repository but our own.

    One whose folder is gone does not count, unless it is locked: its disk may be away.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def holder(self, branch: str) -> Held | None:
        """Return which other worktree would be moved, or led astray, if ``branch`` moved; ``None`` for none.

        As git does (its worktree.c and branch.c), this counts branches that are being rebased or bisected.
        """
        name = os.fsencode(branch)
        for git_dir, root in self._others():
            for found, words in _branches(git_dir):
                if found == name and not (git_dir == self._repo.common_dir and self._is_bare()):
                    return Held(root=os.fsdecode(root), words=words)
        return None

    def _others(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield git directory and folder."""
        common, own = self._repo.common_dir, self._repo.git_dir
        if own != common:
            yield common, common.removesuffix(b"/.git")
        try:
            names = os.listdir(os.path.join(common, b"worktrees"))
        except FileNotFoundError:
            return
        for name in sorted(names):
            git_dir = os.path.join(common, b"worktrees", name)
            # Relative, if worktree.useRelativePaths says so.
            link = os.path.normpath(os.path.join(git_dir, read_small(os.path.join(git_dir, b"gitdir")).rstrip(b"\n")))
            if git_dir != own and (os.path.lexists(link) or os.path.lexists(os.path.join(git_dir, b"locked"))):
                yield git_dir, os.path.dirname(link)

    def _is_bare(self) -> bool:
        # Asked of git: `git config --worktree` may have put it into a file of its own.
        asked = ("--git-dir", self._repo.common_dir, "config", "--type=bool", "core.bare")
        _, bare = self._repo.git.call(*asked, accept=(0, 1))
        return bare.strip() == b"true"


def _branches(git_dir: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the branches that a worktree has in hand, with what it does with each."""
    if match := _SYMBOLIC.match(read_small(os.path.join(git_dir, b"HEAD"))):
        yield match[1], _CHECKED_OUT
    for name in (b"rebase-merge", b"rebase-apply"):
        yield read_small(os.path.join(git_dir, name, b"head-name")).rstrip(b"\n"), "being rebased"
    # Ref, old and new id of each branch that moves along (sequencer.c).
    for line in read_small(os.path.join(git_dir, b"rebase-merge", b"update-refs")).split(b"\n")[::3]:
        yield line, "being rebased"
    start = read_small(os.path.join(git_dir, b"BISECT_START")).rstrip(b"\n")
    yield start if start.startswith(_HEADS) else _HEADS + start, "being bisected"
