"""Gives the checked out changeset another message, as `hg commit --amend` does, and leaves what is pending alone."""

from __future__ import annotations

from typing import Any

from mercurial import cmdutil, context, scmutil

from . import tracking
from .bookmarking import Bookmarks
from .changesets import find
from .frames import Fields, Value
from .landing import base_of, check_base
from .locking import locked
from .refusal import MOVED, REFUSED, Declined
from .standing import refuse_subrepositories

# 7.2 has moved it.
_clean_up = getattr(scmutil, "cleanupnodes", None) or cmdutil.cleanup_nodes


def wording(repo: Any, question: Fields) -> dict[bytes, Value]:
    """Return the message of a changeset, and whether it is public: then a hub has it, and it stays as it is."""
    found = find(repo, question.text(b"node"))
    return {b"message": found.description(), b"public": int(not found.mutable())}


def reword(repo: Any, question: Fields) -> dict[bytes, Value]:
    """Replace the checked out changeset by the same one with another message, and return its node.

    What it replaces goes the way that the user's settings say: it becomes obsolete, or is stripped with
    a backup.  Raises :class:`Declined`; then nothing has changed.
    """
    refuse_subrepositories(repo)
    old = base_of(question.table(b"old"))
    check_base(repo, old)
    if Bookmarks(repo).source is not None:
        # Its lock is waited for when the transaction closes, with others held (issue 4858 of Mercurial).
        raise Declined(REFUSED, "its bookmarks are another working copy's (hg share -B): run `hg commit --amend` here")
    with locked(repo, store=True):
        check_base(repo, old)
        found = find(repo, old.node)
        if not found.mutable():
            raise Declined(REFUSED, "the changeset is public")
        if found.children():
            raise Declined(MOVED, "the changeset has got children")
        with repo.transaction(b"autosync-reword") as transaction:
            made = context.metadataonlyctx(repo, found, text=question.text(b"message"))
            with repo.ui.configoverride({(b"phases", b"new-commit"): found.phase()}, b"autosync"):
                node = bytes(repo.commitctx(made))
            if node != old.node:
                replaced = {old.node: (node,)}
                _clean_up(repo, replaced, b"amend", fixphase=True, targetphase=found.phase())
                with tracking.changing(repo):
                    tracking.write(repo.dirstate, (node, repo.nullid), [])
                repo.dirstate.write(transaction)
    return {b"node": node}
