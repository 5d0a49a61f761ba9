"""Commits given files to the user's history, beside whatever else he has pending."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from mercurial import error, phases
from mercurial.utils import dateutil

from . import memory, tracking
from .adding import add
from .bookmarking import Bookmarks
from .bundling import VERSION, changegroup_of
from .frames import Fields, Value
from .interrupted import is_elsewhere
from .landing import Base, base_of, check_base, replace_all
from .locking import locked
from .refusal import MISSING, NAMELESS, Declined
from .standing import refuse_subrepositories


def commit(repo: Any, question: Fields, given: memory.Given) -> dict[bytes, Value]:
    """Make a changeset of the given files (all others are as in the parent), and return its node.

    It is built before any lock is taken, and marked as ours.  The active bookmark comes along; user,
    branch and phase are as with `hg commit`.  Raises :class:`Declined`; then nothing has changed.
    """
    refuse_subrepositories(repo)
    old = base_of(question.table(b"old"))
    check_base(repo, old)
    wording = _wording(repo, question, old)
    parents = (old.node, question.text(b"p2"))
    try:
        made = memory.build(repo, parents, given, wording)
    except error.LookupError:
        raise Declined(MISSING, "the history changed while it was read") from None
    stream = io.BytesIO(b"".join(changegroup_of(made)))
    changed = {path: (True, True) for path in given if path not in made.removed}
    changed.update((path, (False, False)) for path in made.removed)
    bookmarks = Bookmarks(repo)
    with locked(repo, store=True, source=bookmarks.source):
        check_base(repo, old)
        bookmarks = Bookmarks(repo)
        moves = bool(old.bookmark) and bookmarks.node(old.bookmark) in parents
        marks = bookmarks.moved(old.bookmark, made.changelog.node) if moves else None
        with repo.transaction(b"autosync-commit") as transaction:
            add(repo, transaction, stream, VERSION, phases.newcommitphase(repo.ui))
            _write_dirstate(repo, transaction, made.changelog.node, changed)
            if marks is not None:
                bookmarks.add_to(transaction, marks)
        if marks is not None and bookmarks.source is not None:
            replace_all({bookmarks.places()[-1]: marks}, lambda: None)
    return {b"node": made.changelog.node}


def recover(repo: Any, _question: Fields) -> dict[bytes, Value]:
    """Undo what a process of ours that was killed has half written, as `hg recover` does.

    What another working copy of this store has left is left to that one.
    """
    if os.path.lexists(repo.sjoin(b"journal")) and not is_elsewhere(repo.path, repo.sjoin(b"")):
        with locked(repo, store=True):
            repo.recover()
    return {}


def _wording(repo: Any, question: Fields, old: Base) -> memory.Wording:
    try:
        user = bytes(repo.ui.username())
    except error.Abort:
        raise Declined(NAMELESS, "hg does not know who commits") from None
    time, offset = dateutil.makedate()
    extra = question.table(b"extra")
    return memory.Wording(
        user=user,
        time=int(time),
        offset=offset,
        message=question.text(b"message"),
        branch=old.branch,
        extra={key: extra.text(key) for key in extra},
    )


def _write_dirstate(repo: Any, transaction: Any, node: bytes, changed: Mapping[bytes, tuple[bool, bool]]) -> None:
    dirstate = repo.dirstate
    with tracking.changing(repo):
        tracking.write(
            dirstate,
            (node, repo.nullid),
            [tracking.Tracked(path, *_now(repo, path, *known), None) for path, known in changed.items()],
        )
    dirstate.write(transaction)  # 7.x has done so; 6.3 would write it even if the transaction failed


def _now(repo: Any, path: bytes, tracked: bool, there: bool) -> tuple[bool, bool]:
    """Return whether a committed path is tracked now: unless the user has told hg otherwise meanwhile."""
    entry = repo.dirstate.get_entry(path)
    if tracked:
        return not entry.removed, there
    return bool(entry.tracked) and os.path.lexists(repo.wjoin(path)), there
