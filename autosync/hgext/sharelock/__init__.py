"""share bookmarks between working copies without dead-locks and lost updates

A working copy made by :hg:`share -B` has the bookmarks of its source. Mercurial itself writes them when a
transaction has closed, and then, holding the lock of the store, waits for the lock of the source's
working copy. Whoever works in the source may hold just that one, and wait for the store: both wait until
one of them times out, and the share's bookmarks are lost (issue 4858 of Mercurial).

With this extension the lock of the store alone guards the bookmarks. All who share them share the store
too, and all write bookmarks in a transaction, so this lock is held anyhow. There is one order, in which
nobody can wait for one who waits for him:

1. the lock of the working copy (``.hg/wlock``); of several those with the lesser path first,
2. the lock of the store (``.hg/store/lock`` of the source), which guards shared bookmarks as well.

It also sees to it that:

- bookmarks are changed as they are under the lock, not as they were when they were last read;
- :hg:`recover` refuses to roll back the transaction of another working copy, which deletes files of this one;
- a process that is killed when its transaction has closed leaves them to be written by the next one;
- :hg:`unshare` takes along the bookmarks as they are, not as this share last wrote them.

Enable it for everybody who works on the store: in the system's configuration, or, if the repository has the
requirement ``share-safe``, in the source's ``.hg/hgrc``, which all shares read. Beside a Mercurial without
it, that one behaves as ever. Nothing about the repository changes; the extension can be removed at any time.
Repositories with the requirement ``bookmarksinstore`` (``format.bookmarks-in-store``) need none of this.

:hg:`shared` lists what a working copy shares, with whom, and which lock guards it.

::

  [extensions]
  share =
  sharelock = /path/to/sharelock

  [sharelock]
  # Raise an error if locks are taken in another order. For tests.
  check = no
"""

from __future__ import annotations

from typing import Any

from mercurial import bookmarks, commands, extensions, registrar

from . import bookmarking, listing, order, recovering

try:
    from mercurial.cmd_impls import clone as sharing
except ImportError:  # before 7.0
    from mercurial import hg as sharing

testedwith = b"6.3 6.9 7.2"
minimumhgversion = b"6.3"

configtable: dict[bytes, Any] = {}
registrar.configitem(configtable)(b"sharelock", b"check", default=False)

cmdtable: dict[bytes, Any] = {}
command = registrar.command(cmdtable)


def extsetup(_ui: Any) -> None:
    """Have bookmarks written otherwise."""
    extensions.wrapfunction(bookmarks.bmstore, "applychanges", bookmarking.apply)
    extensions.wrapfunction(bookmarks.bmstore, "_recordchange", bookmarking.record)
    extensions.wrapfunction(bookmarks.bmstore, "_writerepo", bookmarking.write)
    extensions.wrapfunction(sharing, "unshare", bookmarking.unshare)


def reposetup(_ui: Any, repo: Any) -> None:
    """Take locks in order, and look at shared bookmarks anew under the store's."""
    if not repo.local():
        return

    class Sharing(repo.__class__):  # type: ignore[misc]  # how hg has repositories extended
        def lock(self, *args: Any, **options: Any) -> Any:
            first = self._currentlock(self._lockref) is None
            taken = super().lock(*args, **options)
            if first:
                try:
                    bookmarking.finish_for_others(self)
                except BaseException:
                    taken.release()
                    raise
            return taken

        def recover(self) -> Any:
            with self.lock():
                recovering.demand_own(self)
                return super().recover()

        def invalidate(self, *args: Any, **options: Any) -> None:
            super().invalidate(*args, **options)
            bookmarking.forget(self)

        def _lock(self, vfs: Any, lockname: bytes, wait: bool, *args: Any, **options: Any) -> Any:
            with order.taking(self, vfs, lockname, wait=wait) as note:
                taken = super()._lock(vfs, lockname, wait, *args, **options)
                note(taken)
            return taken

    repo.__class__ = Sharing


@command(b"shared", commands.formatteropts, b"", helpcategory=command.CATEGORY_REPO_CREATION)  # type: ignore[untyped-decorator]  # Mercurial is Any
def shared(ui: Any, repo: Any, **options: Any) -> None:
    """list what this working copy shares with others, and which lock guards it

    What is in the store is always shared by its working copies, bookmarks and
    configuration if that was asked for, and the rest never.
    """
    listing.show(ui, repo, options)
