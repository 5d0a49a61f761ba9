"""Moves parent, branch, bookmark and dirstate of a working copy to another changeset, as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from mercurial import error, scmutil

from . import tracking
from .bookmarking import ACTIVE, Bookmarks, Place, active
from .changesets import find
from .frames import Fields, Value
from .locking import locked
from .refusal import BUSY, DIVERGED, MOVED, UNSAFE, Declined
from .standing import held, operation, refuse_subrepositories

_BRANCH = b"branch"
_DIRSTATE = b"dirstate"


class Base(NamedTuple):
    """What is checked out; ``bookmark`` is the active one, empty if there is none."""

    node: bytes
    branch: bytes
    bookmark: bytes


def check(repo: Any, question: Fields) -> dict[bytes, Value]:
    """Raise what :func:`land` would raise, changing nothing.

    ``bookmark`` in the answer is where the bookmark is that would have to be contained in the new
    changeset, if that is not here yet; empty if nothing has to be.
    """
    landing = _Landing(repo, question)
    here = repo.unfiltered().changelog.hasnode(landing.new.node)
    landing.check(here=here)
    locks = held(repo.vfs.join(b"wlock"), b"working copy")
    if landing.bookmark is not None:
        locks += held(repo.sjoin(b"lock"), b"repository")
    if locks:
        raise Declined(BUSY, "hg is at work here: " + locks[0].decode("utf-8", "replace"))
    return {b"bookmark": b"" if here else landing.to_be_contained()}


def land(repo: Any, question: Fields) -> dict[bytes, Value]:
    """Move to the base and the marks that the question names; no file of the working copy is touched.

    What takes time is done before the lock; under it, it is done again only if the dirstate was written
    meanwhile.  Raises :class:`Declined`; then nothing has changed.
    """
    seen = _signature(repo)
    landing = _Landing(repo, question)
    landing.check()
    changed = landing.changed()
    if not changed and landing.old == landing.new and landing.bookmark is None:
        return {}
    source = None if landing.bookmark is None else landing.bookmarks.source
    with locked(repo, store=landing.bookmark is not None, source=source):
        if _signature(repo) != seen:
            repo.dirstate.invalidate()
            landing.check()
            changed = landing.changed()
        landing.check_again()
        landing.move(changed)
    return {}


class _Landing:
    """One way from a base to another."""

    def __init__(self, repo: Any, question: Fields) -> None:
        self._repo = repo
        self.old, self.new = base_of(question.table(b"old")), base_of(question.table(b"new"))
        self._marks = _marks(question, b"marks")
        self._known = _marks(question, b"known") if b"known" in question else None
        self.bookmarks = Bookmarks(repo)
        self.bookmark: bytes | None = None
        """Content of the file of bookmarks, if one has to move."""

    def check(self, *, here: bool = True) -> None:
        """Raise :class:`Declined` unless everything may move; if not ``here``, the new changeset is yet to come."""
        refuse_subrepositories(self._repo)
        check_base(self._repo, self.old)
        for name in (self.new.branch, self.new.bookmark):
            _check_name(self._repo, name)
        name = self.new.bookmark
        # A commit of another working copy may have moved it.
        self.bookmarks = Bookmarks(self._repo)
        if here:
            find(self._repo, self.new.node)
            self.bookmark = self.bookmarks.moved(name, self.new.node) if name and self._has_to_move(name) else None

    def to_be_contained(self) -> bytes:
        """Return where the bookmark is, unless it may move from there to wherever it likes."""
        at = self.bookmarks.node(self.new.bookmark) or b""
        return b"" if self.new.bookmark == self.old.bookmark and at == self.old.node else at

    def _has_to_move(self, name: bytes) -> bool:
        """Return whether the bookmark has to come along; raises :class:`Declined` if it would lose changesets."""
        at = self.bookmarks.node(name)
        if at == self.new.node:
            return False
        same = name == self.old.bookmark
        if at is None or (same and at == self.old.node) or _contains(self._repo, self.new.node, at):
            return True
        if same and _contains(self._repo, at, self.new.node):
            return False  # a pull has moved it ahead of what is checked out, and `hg update` goes there
        raise Declined(
            DIVERGED,
            f"the bookmark {_shown(name)} has changesets here that the other device lacks",
        )

    def check_again(self) -> None:
        """Raise :class:`Declined` if somebody has been quicker; under the lock."""
        name = self.new.bookmark
        check_base(self._repo, self.old)
        now = Bookmarks(self._repo)
        if name and (now.node(name), name in now) != (self.bookmarks.node(name), name in self.bookmarks):
            raise Declined(MOVED, f"the bookmark {_shown(name)} has just moved")
        if self.bookmark is not None:  # with the others as they are now
            self.bookmarks, self.bookmark = now, now.moved(name, self.new.node)

    def changed(self) -> list[tracking.Tracked]:
        """Return what changes in the dirstate."""
        before, after = (find(self._repo, base.node).manifest() for base in (self.old, self.new))
        return tracking.switch(self._repo.dirstate, before, after, self._marks, self._known)

    def move(self, changed: list[tracking.Tracked]) -> None:
        """Write everything, the dirstate last: until it is there, the old changeset is checked out."""
        vfs = self._repo.vfs
        files: dict[Place, bytes | None] = {}
        if self.bookmark is not None:
            files.update((place, self.bookmark) for place in self.bookmarks.places())
        if self.new.branch != self.old.branch:
            files[vfs, _BRANCH] = self.new.branch + b"\n"
        if self.new.bookmark != self.old.bookmark:
            files[vfs, ACTIVE] = self.new.bookmark or None
        replace_all(files, lambda: self._write_dirstate(changed))

    def _write_dirstate(self, changed: list[tracking.Tracked]) -> None:
        dirstate = self._repo.dirstate
        with tracking.changing(self._repo):
            tracking.write(dirstate, (self.new.node, self._repo.nullid), changed)
        dirstate.write(None)  # done by now but in 6.3, which would do it when the lock is given back


def check_base(repo: Any, expected: Base) -> None:
    """Raise :class:`Declined` if the user is in the middle of something, or has gone elsewhere."""
    if words := operation(repo):
        raise Declined(BUSY, words.decode())
    branch = repo.vfs.tryread(_BRANCH).strip() or b"default"
    if Base(repo.dirstate.p1(), branch, active(repo)) != expected:
        raise Declined(MOVED, "what is checked out has just changed")


def replace_all(files: Mapping[Place, bytes | None], then: Callable[[], None]) -> None:
    """Write small files (``None``: delete) and do the rest; if that fails, the files are as they were."""
    former = {(vfs, name): _read(vfs, name) for vfs, name in files}
    try:
        for (vfs, name), content in files.items():
            _replace(vfs, name, content)
        then()
    except BaseException:
        for (vfs, name), content in former.items():
            with suppress(OSError):
                _replace(vfs, name, content)
        raise


def _replace(vfs: Any, name: bytes, content: bytes | None) -> None:
    if content is None:
        vfs.tryunlink(name)
        return
    # As hg writes them: whole or not at all, and so that one who has read the old one notices.
    with vfs(name, b"w", atomictemp=True, checkambig=True) as file:
        file.write(content)


def _read(vfs: Any, name: bytes) -> bytes | None:
    return bytes(vfs.read(name)) if vfs.exists(name) else None


def _contains(repo: Any, node: bytes, ancestor: bytes) -> bool:
    return bool(repo.unfiltered().changelog.isancestor(ancestor, node))


def _check_name(repo: Any, name: bytes) -> None:
    if not name:
        return
    try:
        scmutil.checknewlabel(repo, name, b"bookmark")
    except error.Abort as refused:
        raise Declined(UNSAFE, f"{_shown(name)} cannot be the name of a branch or bookmark: {refused}") from None


def _signature(repo: Any) -> tuple[int, int, int, int] | None:
    """Return what is another one once the dirstate was written: hg always puts a new file in its place."""
    try:
        found = os.stat(repo.vfs.join(_DIRSTATE))
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def base_of(fields: Fields) -> Base:
    """Return the base that a question names."""
    return Base(fields.text(b"node"), fields.text(b"branch"), fields.text(b"bookmark"))


def _marks(question: Fields, name: bytes) -> dict[bytes, bytes]:
    table = question.table(name)
    return {path: table.text(path) for path in table}


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:100]
