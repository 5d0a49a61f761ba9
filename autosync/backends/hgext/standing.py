"""Tells what is checked out, and what the user is doing, in words."""

from __future__ import annotations

import os
from typing import Any

from mercurial import error, lock, mergestate

from .frames import Value
from .refusal import MOVED, UNSUPPORTED, Declined

_OPERATIONS = (
    (b"rebasestate", b"a rebase is in progress"),
    (b"histedit-state", b"a histedit is in progress"),
    (b"graftstate", b"a graft is in progress"),
    (b"shelvedstate", b"an unshelve is in progress"),
    (b"transplant/journal", b"a transplant is in progress"),
    (b"evolvestate", b"an evolve is in progress"),
    (b"bisect.state", b"a bisect is in progress"),
    (b"updatestate", b"an update was interrupted"),
)
"""Looked for by ourselves: only the extensions that make them tell hg of them, and those are not loaded."""


def standing(repo: Any) -> dict[bytes, Value]:
    """Return parents, branch, bookmarks, phase, operation and locks of the working copy.

    ``operation`` is in words, empty if there is none; ``locks`` are words too, one for each lock
    that somebody holds.  Raises :class:`Declined`, if there are subrepositories.
    """
    refuse_subrepositories(repo)
    first, second = repo.dirstate.parents()
    here = repo.unfiltered()
    if not here.changelog.hasnode(first):
        raise Declined(MOVED, "the checked out changeset is not in the repository (yet)")
    return {
        b"p1": first,
        b"p2": second,
        b"branch": repo.dirstate.branch(),
        b"bookmark": repo._activebookmark or b"",
        b"bookmarks": sorted(repo.nodebookmarks(first)),
        b"phase": here[first].phase(),
        b"operation": operation(repo),
        b"locks": [*held(repo.vfs.join(b"wlock"), b"working copy"), *held(repo.sjoin(b"lock"), b"repository")],
    }


def refuse_subrepositories(repo: Any) -> None:
    """Raise :class:`Declined` if the working copy has subrepositories."""
    if os.path.lexists(repo.wjoin(b".hgsub")) or os.path.lexists(repo.wjoin(b".hgsubstate")):
        raise Declined(UNSUPPORTED, "it has subrepositories (.hgsub)")


def operation(repo: Any) -> bytes:
    """Return the user's operation in progress in words, empty if there is none."""
    for name, words in _OPERATIONS:
        if os.path.lexists(repo.vfs.join(name)):
            return words
    if repo.dirstate.parents()[1] != repo.nullid:
        return b"a merge is in progress"
    try:
        state = mergestate.mergestate.read(repo)
        if state.active() and state.unresolvedcount():
            return b"a merge has unresolved files"
    except error.UnsupportedMergeRecords:
        return b"a merge of a newer hg is in progress"
    if os.path.lexists(repo.sjoin(b"journal")) and not held(repo.sjoin(b"lock"), b""):
        return b"a transaction was interrupted (`hg recover` ends it)"
    return b""


def held(path: bytes, what: bytes) -> list[bytes]:
    """Return who holds a lock, in words, empty if nobody does.

    hg itself takes a lock whose owner has died on this machine for no lock (lock.lock._testlock).
    """
    try:
        owner = os.readlink(path)
    except FileNotFoundError:
        return []
    except OSError:  # a plain file, where there are no symbolic links
        return [b"the lock of the " + what + b" is held"]
    host, _, process = owner.rpartition(b":")
    if host == lock._getlockprefix() and process.isdigit() and not _lives(int(process)):
        return []
    return [b"the lock of the %s is held by process %s on %s" % (what, process, host.split(b"/")[0])]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
