"""Keeps this hg process from running hooks, and from writing below ``.hg`` while it only looks."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mercurial import context, hook, util
from mercurial.dirstateutils import timestamp

_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


run_hooks = hook.hook
"""What hg runs hooks by; for those of others."""

_questions = 0
"""How many questions are being answered: one, or none."""


@contextmanager
def looking(repo: Any) -> Iterator[None]:
    """Answer a question: with nothing remembered that may have changed, and nothing tried out by writing."""
    global _questions  # noqa: PLW0603 - hg's own functions have no other place to look
    # hg takes a dirstate of the same size, time and inode for the same, and rules for the same as long as
    # .hgignore is, whatever it includes.  Only what is asked for is read again.
    repo.dirstate.invalidate()
    repo.dirstate._filecache.pop(b"_ignore", None)
    _questions += 1
    try:
        yield
    finally:
        _questions -= 1


def make_harmless() -> None:
    """Change hg's own functions; for this process, once, before it opens a repository."""
    # Any command runs pre-<command> and post-<command>; ours are nobody's business.
    hook.hook = _no_hook
    # `hg status` takes the wlock, if it can have it, and writes what it found into the dirstate.
    context.workingctx._poststatusfixup = _no_fixup
    # Makes a file in .hg to see what time it is there; without it, no file counts as surely clean.
    asked = timestamp.get_fs_now
    timestamp.get_fs_now = lambda vfs: None if _questions else asked(vfs)
    # Both make files to see what becomes of them.
    util.checkexec = can_execute
    util.checklink = can_link
    eol = sys.modules.get("hgext.eol")
    if eol is not None:
        # It takes the wlock and writes its cache when a repository is opened; see `filters`.
        eol.reposetup = _no_setup  # type: ignore[attr-defined]  # a module, as the loader left it


def _no_hook(*_args: Any, **_named: Any) -> bool:
    return False


def _no_fixup(*_args: Any, **_named: Any) -> None:
    return None


def _no_setup(_ui: Any, _repo: Any) -> None:
    return None


def can_execute(root: bytes) -> bool:
    """Return whether the file system of the working copy at ``root`` keeps the executable bit.

    hg leaves two marks when it has tried (posix.checkexec).  Where they are missing, it is tried
    with a file that has no name (open(2), ``O_TMPFILE``); where that cannot be, it is assumed.
    """
    marks = os.path.join(root, b".hg", b"wcache")
    try:
        if os.stat(os.path.join(marks, b"checkisexec")).st_mode & _EXECUTABLE:
            return not os.stat(os.path.join(marks, b"checknoexec")).st_mode & _EXECUTABLE
    except OSError:
        pass
    try:
        handle = os.open(os.path.join(root, b".hg"), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return True
    try:
        without = os.fstat(handle).st_mode & _EXECUTABLE
        os.fchmod(handle, 0o700)
        return not without and bool(os.fstat(handle).st_mode & _EXECUTABLE)
    except OSError:
        return False
    finally:
        os.close(handle)


def can_link(root: bytes) -> bool:
    """Return whether the file system of the working copy at ``root`` has symbolic links: assumed, unless
    there are links in hg's own directory that read as files."""
    mark = os.path.join(root, b".hg", b"wcache", b"checklink")
    try:
        return os.path.islink(mark) or not os.path.lexists(mark)
    except OSError:
        return True
