"""Tells whether two repositories have a history in common: by commits, never by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.hg.once import run_hg
from autosync.backends.hg.server import HgFailed
from autosync.config import Vcs

MOST = 40
"""Commits by which a history is known."""
_EVERYWHERE = frozenset({"0" * 40, "f" * 40})
"""What Mercurial has in every repository: the changeset before the first one, and what is in the working copy."""
_FAR = 20
"""Powers of two, as many as there are steps back that are looked at: a million commits."""


def traces_of(root: str, vcs: Vcs, hg: Sequence[str] | None) -> tuple[str, ...]:
    """Return commits that what is checked out at ``root`` comes from, the latest first, the first one of all last.

    In between they lie twice as far back each time, so that a repository that lacks the latest has one of them
    that is not much older.  Empty if there is no commit yet.
    """
    if vcs is Vcs.GIT:
        return _traces_of_git(root)
    steps = [f".~{1 << power}" for power in range(_FAR)]
    asked = f"reverse(sort({'+'.join(['.', *steps])}+limit(roots(::.),8), rev))"
    found = run_hg(hg, os.fsencode(root), "log", "-r", asked, "-T", "{node}\\n")
    return tuple(node for node in found.decode("ascii").split() if node not in _EVERYWHERE)[:MOST]


def best_trace(root: str, vcs: Vcs, hg: Sequence[str] | None, traces: Sequence[str]) -> int | None:
    """Return the place in ``traces`` of the first that the repository at ``root`` has, ``None`` if it has none."""
    held = _held_by_git(root, traces) if vcs is Vcs.GIT else _held_by_hg(root, hg, traces)
    return next((place for place, trace in enumerate(traces) if trace in held), None)


def _traces_of_git(root: str) -> tuple[str, ...]:
    git = Git(os.fsencode(root))
    code, listed = git.call("rev-list", "--first-parent", "HEAD", accept=(0, 128))
    if code:  # no commit yet
        return ()
    line = listed.decode("ascii").split()
    places = sorted({0, len(line) - 1, *(1 << power for power in range(_FAR))})
    return tuple(line[place] for place in places if place < len(line))[:MOST]


def _held_by_git(root: str, traces: Sequence[str]) -> frozenset[str]:
    asked = "".join(f"{trace}\n" for trace in traces).encode()
    try:
        said = Git(os.fsencode(root)).run("cat-file", "--batch-check=%(objecttype) %(objectname)", input=asked)
    except (GitFailed, FileNotFoundError):
        return frozenset()
    rows = (line.split() for line in said.decode("ascii", "replace").splitlines())
    return frozenset(row[1] for row in rows if row[:1] == ["commit"])


def _held_by_hg(root: str, hg: Sequence[str] | None, traces: Sequence[str]) -> frozenset[str]:
    asked = "+".join(f"present({trace})" for trace in traces)
    try:
        found = run_hg(hg, os.fsencode(root), "log", "-r", asked, "-T", "{node}\\n")
    except HgFailed:
        return frozenset()
    return frozenset(found.decode("ascii").split()) - _EVERYWHERE
