"""Writes bookmarks that several working copies share, under the lock of the store that they share as well."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from mercurial import bookmarks, error, extensions, vfs
from mercurial import lock as locking
from mercurial.utils import stringutil

RECORD = b"sharelock-bookmarks"
"""A file of the store: what is to become of the source's bookmarks, from the transaction's close until it is done.

First the SHA-256 of what they were, in hexadecimal digits, on a line of its own, then what they are to be.
"""
_FILE = b"bookmarks"
_ACTIVE = b"bookmarks.current"


def source_of(repo: Any) -> Any | None:
    """Return the ``.hg`` (a vfs) that has the bookmarks of this share, ``None`` if it has them itself.

    Without the extension share hg would not look there.
    """
    if not repo.shared() or bookmarks.bookmarksinstore(repo) or not _enabled(b"share"):
        return None
    return _shared_hg(repo) if _FILE in repo.vfs.tryread(b"shared").splitlines() else None


def apply(orig: Any, marks: Any, repo: Any, transaction: Any, changes: Any) -> None:
    """Change bookmarks as they are now: instead of ``bmstore.applychanges``.

    hg may have read ``marks`` before it had the lock of the store.  Where nobody shares bookmarks that of the working
    copy keeps others from writing them meanwhile.
    """
    now = marks._repo._bookmarks
    if now is not marks:
        marks._refmap, marks._nodemap = now._refmap, now._nodemap  # in common: what one changes the other has to write
    orig(marks, repo, transaction, changes)


def record(orig: Any, marks: Any, transaction: Any) -> None:
    """Have the transaction say in the store what it makes of the bookmarks: instead of ``bmstore._recordchange``."""
    orig(marks, transaction)
    repo = marks._repo
    source = source_of(repo)
    if source is None:
        return

    def say(file: Any) -> None:
        content = io.BytesIO()
        marks._write(content)
        file.write(_digest(source.tryread(_FILE)) + b"\n" + content.getvalue())

    # As a file of the store it goes with the transaction, also for an hg that does not know it.
    transaction.addfilegenerator(RECORD, (RECORD,), say, post_finalize=True)


def write(orig: Any, marks: Any, repo: Any) -> None:
    """Write the source's bookmarks, waiting for nobody: instead of ``bmstore._writerepo``, when it closed."""
    if source_of(marks._repo) is None:
        orig(marks, repo)
    else:
        finish(marks._repo)


def finish(repo: Any) -> None:
    """Do what the record says, if there is one: of this process, or of one that was killed; under the store's lock."""
    if not repo.svfs.exists(RECORD) or repo.svfs.exists(b"journal"):
        return  # if there is a journal the transaction has not closed: to recover from it removes the record
    before, _, content = repo.svfs.read(RECORD).partition(b"\n")
    source = _shared_hg(repo)
    now = source.tryread(_FILE)
    if before == _digest(now):
        _replace(source, _FILE, content)
        _forget_active(source, content)
    elif now != content:  # by an hg without this extension, when ours had been killed
        repo.ui.warn(b"sharelock: bookmarks of a process that was killed are left out, others have been set since\n")
    repo.svfs.unlink(RECORD)
    forget(repo)


def finish_for_others(repo: Any) -> None:
    """Do what a process that was killed has left to do; where that cannot be written, nothing else is kept waiting."""
    try:
        finish(repo)
    except OSError as failure:
        repo.ui.warn(
            b"sharelock: bookmarks of a process that was killed cannot be written: %s\n"
            % stringutil.forcebytestr(failure)
        )


def forget(repo: Any) -> None:
    """Have a share read its bookmarks anew: hg looks at its own file alone to see whether they have changed."""
    if repo.currenttransaction() is None and source_of(repo) is not None:
        repo._filecache.pop(b"_bookmarks", None)
        vars(repo.unfiltered()).pop("_bookmarks", None)


def unshare(orig: Any, ui: Any, repo: Any) -> Any:
    """Give a share the bookmarks that it had through its source, before it stands alone."""
    source = source_of(repo)
    if source is not None:
        with repo.wlock(), repo.lock():
            _replace(repo.vfs, _FILE, source.tryread(_FILE))
    return orig(ui, repo)


def _forget_active(source: Any, content: bytes) -> None:
    """Take from the source its active bookmark if there is none of that name any more, as hg does.

    If somebody is at work there it stays.  It counts for nothing while there is no bookmark of the name.
    """
    name = source.tryread(_ACTIVE).partition(b"\n")[0]
    if not name or any(line.partition(b" ")[2] == name for line in content.splitlines()):
        return
    try:
        with locking.lock(source, b"wlock", timeout=0):
            source.tryunlink(_ACTIVE)
    except error.LockError:
        pass


def _replace(place: Any, name: bytes, content: bytes) -> None:
    # As hg writes them: whole or not at all, and so that one who has read the old one notices.
    with place(name, b"w", atomictemp=True, checkambig=True) as file:
        file.write(content)


def _shared_hg(repo: Any) -> Any:
    found = vfs.vfs(repo.sharedpath)
    found.createmode = repo.store.createmode
    return found


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _enabled(name: bytes) -> bool:
    try:
        extensions.find(name)
    except KeyError:
        return False
    return True
