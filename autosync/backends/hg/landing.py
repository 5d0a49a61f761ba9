"""Moves parent, branch, bookmark and dirstate of the user's working copy, or leaves them as they are."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import cast

from autosync.backends.hg.branches import split
from autosync.backends.hg.history import History
from autosync.backends.hg.marks import Marks
from autosync.backends.hg.repository import NULL
from autosync.backends.hg.server import HgEnded, Server
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Value
from autosync.core.model import Base, CommitId, TreeId
from autosync.durable import make_directory, replacing
from autosync.errors import AutosyncError, Diverged, Missing

_JOURNAL = b"landing"


class Landing:
    """What writes to what is the user's, by way of his hg; ``base`` returns what is checked out now.

    No lock is held while files are written, which is why nothing has to be done in slices: the lock
    of the working copy is taken for one writing of the dirstate, of which everything is worked out
    before.  Files below ``.hg`` are replaced one after the other, the dirstate last; a journal says
    how to go on after a kill in between.
    """

    def __init__(self, server: Server, store: Store, history: History, *, base: Callable[[], Base]) -> None:
        self._server = server
        self._store = store
        self._history = history
        self._base = base
        self._journal = os.path.join(store.metadata, _JOURNAL)

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise, changing nothing."""
        if old == new:
            return
        if new.commit is not None and not self._history.has_commit(new.commit):
            raise Missing(f"changeset {new.commit} is not here (yet)", hint="It is asked for by itself.")
        at = self._server.ask("check-landing", _question(old, new)).text(b"bookmark")
        if at and new.commit is not None and not self._history.is_ancestor(CommitId(at.hex()), new.commit):
            raise Diverged(
                f"{os.fsdecode(self._server.root)}: the bookmark {split(new.branch or '')[1]} has changesets here "
                "that the other device lacks",
                hint="Nothing was moved. Join them with `hg merge`, then it arrives on the others.",
            )

    def land(self, old: Base, new: Base, *, tree: TreeId, ours: TreeId | None = None) -> None:
        """Move parent, branch, bookmark and dirstate from ``old`` to ``new``, with the marks of ``tree``.

        ``ours`` is the tree that the working copy was known to have: what the user has told hg since
        then stays as he said; without it, nothing does.  No file is touched, no phase is changed and
        no hook runs.  Raises :class:`Busy` or :class:`Diverged`; then nothing has changed.
        """
        if new.commit is not None:
            self._history.bring(new.commit)
        question = _question(old, new)
        question[b"marks"] = _table(self._store.marks(tree))
        question[b"known"] = None if ours is None else _table(self._store.marks(ours))
        if old.branch == new.branch:  # then only the dirstate says where we are
            self._server.ask("land", question)
            return
        self._note(old, new, tree, ours)
        try:
            self._server.ask("land", question)
        except HgEnded:
            with contextlib.suppress(AutosyncError):  # later, then
                self.recover()
            raise
        except (AutosyncError, OSError):  # nothing has changed
            self._forget()
            raise
        self._forget()

    def recover(self) -> None:
        """Finish what a killed agent, or hg, left half done.

        Raises :class:`Busy` if that has to wait.
        """
        self._history.recover()
        noted = self._noted()
        if noted is None:
            return
        old, new, tree, ours = noted
        here = self._base()
        if here not in (old, new) and here.commit == old.commit and _is_between(here, old, new):
            with contextlib.suppress(Diverged, Missing):
                self.land(here, new, tree=tree, ours=ours)
        self._forget()

    def _note(self, old: Base, new: Base, tree: TreeId, ours: TreeId | None) -> None:
        journal = {"old": _plain(old), "new": _plain(new), "tree": tree, "ours": ours}
        make_directory(self._store.metadata)
        with replacing(self._journal, sole_writer=True) as file:
            file.write(json.dumps(journal).encode())

    def _noted(self) -> tuple[Base, Base, TreeId, TreeId | None] | None:
        try:
            with open(self._journal, "rb") as file:
                journal = json.loads(file.read())
            ours = journal["ours"]
            return (
                _base(journal["old"]),
                _base(journal["new"]),
                TreeId(journal["tree"]),
                None if ours is None else TreeId(ours),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._journal)


def fields_of(base: Base) -> dict[bytes, Value]:
    """Return a base as hg's process is told of it."""
    named, bookmark = split(base.branch or "default")
    return {
        b"node": NULL if base.commit is None else bytes.fromhex(base.commit),
        b"branch": named.encode("utf-8", "surrogateescape"),
        b"bookmark": bookmark.encode("utf-8", "surrogateescape"),
    }


def _question(old: Base, new: Base) -> dict[bytes, Value]:
    return {b"old": fields_of(old), b"new": fields_of(new)}


def _table(marks: Marks) -> dict[bytes, Value]:
    return {bytes(path): mark for path, mark in marks.items()}


def _is_between(here: Base, old: Base, new: Base) -> bool:
    """Return whether a landing could have been here on its way."""
    parts = (split(base.branch or "default") for base in (here, old, new))
    (named, bookmark), (old_named, old_bookmark), (new_named, new_bookmark) = parts
    return named in {old_named, new_named} and bookmark in {old_bookmark, new_bookmark}


def _plain(base: Base) -> dict[str, str | None]:
    return {"commit": base.commit, "branch": base.branch}


def _base(value: object) -> Base:
    fields = cast(Mapping[str, str | None], value)
    commit = fields["commit"]
    return Base(commit=None if commit is None else CommitId(commit), branch=fields["branch"])
