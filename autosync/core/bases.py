"""Decides which base a merge of two snapshots stands on."""

from __future__ import annotations

from collections.abc import Callable

from autosync.core.model import Base, CommitId

IsAncestor = Callable[[CommitId, CommitId], bool]


def merge_bases(ancestor: Base | None, ours: Base, theirs: Base, is_ancestor: IsAncestor) -> Base | None:
    """Return the base that contains both, ``None`` if neither does.

    ``ancestor`` is the base of the snapshots' common ancestor, ``None`` if they
    have none.  A side that did not move since then follows the other, even
    through a rewritten history; if both moved, one has to contain the other, on
    another branch too if it was merged there.  Symmetric in ``ours`` and ``theirs``.
    """
    if theirs in (ours, ancestor):
        return ours
    if ours == ancestor:
        return theirs
    if ours.commit == theirs.commit:
        return _join_branches(ancestor, ours, theirs)
    if ancestor is None and ours.branch != theirs.branch and ours.commit and theirs.commit:
        return None
    if _contains(theirs, ours, ancestor, is_ancestor):
        return theirs
    return ours if _contains(ours, theirs, ancestor, is_ancestor) else None


def _contains(later: Base, earlier: Base, ancestor: Base | None, is_ancestor: IsAncestor) -> bool:
    if earlier.commit is None:
        return True
    if later.commit is None or (later.branch != earlier.branch and not _advanced(ancestor, earlier, is_ancestor)):
        return False
    return is_ancestor(earlier.commit, later.commit)


def _advanced(ancestor: Base | None, base: Base, is_ancestor: IsAncestor) -> bool:
    """Return whether new commits led from ``ancestor`` to ``base``: who checked out an old branch means to be there."""
    if ancestor is None or ancestor.commit is None or base.commit is None:
        return False
    return not is_ancestor(base.commit, ancestor.commit)


def _join_branches(ancestor: Base | None, ours: Base, theirs: Base) -> Base:
    """Return the base for one commit under two names: the name that changed, else the greater one."""
    before = ancestor.branch if ancestor else None
    if ours.branch == before:
        return theirs
    if theirs.branch == before:
        return ours
    return max(ours, theirs, key=lambda base: base.branch or "")
