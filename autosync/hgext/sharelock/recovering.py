"""Keeps `hg recover` from rolling back the transaction of another working copy."""

from __future__ import annotations

from typing import Any

from mercurial import error

_PLAIN = b"plain"
"""What the journal calls the ``.hg`` of the working copy, without saying whose."""


def demand_own(repo: Any) -> None:
    """Raise if there is an interrupted transaction and it is another working copy's: hg would delete this one's files.

    Restoring a file, hg removes it before it finds out that it has no backup of it here
    (transaction._playback); one that was not there when the transaction began it removes for good.
    """
    for line in repo.svfs.tryread(b"journal.backupfiles").splitlines()[1:]:
        fields = line.split(b"\0")
        if fields[0] != _PLAIN or len(fields) < 4 or not fields[1]:  # the last line may be a part of one
            continue
        # Who began the transaction has its description, if there is no backup to be found.
        if not repo.vfs.exists(fields[2] or b"journal.desc"):
            raise error.Abort(
                b"the interrupted transaction is one of another working copy of this store",
                hint=b"run 'hg recover' there: it has a file .hg/journal.desc",
            )
