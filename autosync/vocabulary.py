"""The words in which users of one version control system think, and the commands that they would type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from autosync.core.model import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """How a user is spoken to of a working copy of his.

    What says what to do are templates: ``{commit}`` is a changeset's id, ``{device}`` a device's
    name, ``{root}`` and ``{path}`` are quoted for a shell.
    """

    name: str
    """What the program is called: ``git``, ``Mercurial``."""
    marks: str
    """What shows that a folder is a repository, as one speaks of it: ``.git``."""
    in_ignore_file: str
    """Where ignore rules stand, ``""`` if there is no such file."""
    commits: str
    """What the user's history consists of."""
    elsewhere: str
    """What one is on when that is no branch."""
    shorten: Callable[[str], str]
    """Makes of :attr:`autosync.core.model.Base.branch` what its user calls it."""
    merge: str
    """Joins ``{commit}`` into what is checked out."""
    merge_unrelated: str
    """The same where nothing is common to both."""
    follow: str
    """Goes, on ``{device}``, to ``{commit}``, which contains what is checked out there."""
    switch: str
    """Checks out the branch BRANCH."""
    amend: str
    """Changes the last commit."""
    why_ignored: str
    """Tells which ignore rule names ``{path}``."""

    hub_lacks: str
    """What hubs do not keep, empty if they keep everything."""

    def branch(self, base: Base) -> str:
        """Return what is checked out, as its user calls it."""
        return self.elsewhere if base.branch is None else self.shorten(base.branch)

    def ask_why_ignored(self, root: bytes, path: bytes) -> str:
        """Return the command that tells which ignore rule names ``path`` below ``root``, empty if there is none."""
        return self.why_ignored.format(root=_word(root), path=_word(path))


def _word(name: bytes) -> str:
    return shlex.quote(os.fsdecode(name))


def _short_ref(branch: str) -> str:
    return branch.removeprefix("refs/heads/")


def _bookmark_first(branch: str) -> str:
    """Return ``bookmark (named branch)``, or the named branch alone; neither can hold a colon."""
    named, _, bookmark = branch.partition(":")
    return f"{bookmark} ({named})" if bookmark else named


GIT = Vocabulary(
    name="git",
    marks=".git",
    in_ignore_file=" in .gitignore",
    commits="commits",
    elsewhere="a detached HEAD",
    shorten=_short_ref,
    merge="merge on one device: `git merge {commit}`",
    merge_unrelated="merge on one device: `git merge --allow-unrelated-histories {commit}`",
    follow="merge on {device}: `git merge {commit}`",
    switch="`git switch BRANCH`",
    amend="`git commit --amend`",
    why_ignored="`git -C {root} check-ignore -v -- {path}`",
    hub_lacks="",
)
HG = Vocabulary(
    name="Mercurial",
    marks=".hg",
    in_ignore_file=" in .hgignore",
    commits="changesets",
    elsewhere="no changeset",
    shorten=_bookmark_first,
    merge="merge on one device: `hg merge -r {commit}` and `hg commit`",
    merge_unrelated="merge on one device: `hg merge -r {commit}` and `hg commit`",
    follow="update on {device}: `hg update -r {commit}`",
    switch="`hg update BRANCH`",
    amend="`hg commit --amend`",
    why_ignored="`hg --cwd {root} debugignore -- {path}`",
    hub_lacks="it keeps changesets, and what is not committed travels between the devices",
)
OTHER = Vocabulary(
    name="version control",
    marks="repository",
    in_ignore_file="",
    commits="commits",
    elsewhere="no branch",
    shorten=str,
    merge="merge the two on one device, {commit} among them",
    merge_unrelated="merge the two on one device, {commit} among them",
    follow="go to {commit} on {device}",
    switch="with your own tools",
    amend="use your own tools",
    why_ignored="",
    hub_lacks="it keeps what is committed, and all else travels between the devices",
)

_KNOWN = {"git": GIT, "memory": GIT, "hg": HG}


def vocabulary(vcs: str | None) -> Vocabulary:
    """Return the words for :attr:`autosync.ports.Backend.vcs`."""
    return _KNOWN.get(vcs or "", OTHER)
