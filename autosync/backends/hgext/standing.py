"""Tells what is checked out, and what the user is doing, in words."""

from __future__ import annotations

import os
from typing import Any

from mercurial import error, lock, mergestate

from .frames import Value
from .interrupted import is_elsewhere
from .operations import BROKEN, BROKEN_ELSEWHERE, INTERRUPTED, MERGING, OPERATIONS, UNKNOWN_MERGE, UNRESOLVED, UPDATE
from .refusal import MOVED, UNSUPPORTED, Declined


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
    for name, words in (*OPERATIONS, (UPDATE, INTERRUPTED)):
        if os.path.lexists(repo.vfs.join(name)):
            return words
    if repo.dirstate.parents()[1] != repo.nullid:
        return MERGING
    try:
        state = mergestate.mergestate.read(repo)
        if state.active() and state.unresolvedcount():
            return UNRESOLVED
    except error.UnsupportedMergeRecords:
        return UNKNOWN_MERGE
    if os.path.lexists(repo.sjoin(b"journal")) and not held(repo.sjoin(b"lock"), b""):
        return BROKEN_ELSEWHERE if is_elsewhere(repo.path, repo.sjoin(b"")) else BROKEN
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
