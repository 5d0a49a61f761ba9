"""Makes real changesets for ``commits: auto``."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from autosync.backends.hg.content import Content
from autosync.backends.hg.head import Head
from autosync.backends.hg.history import History
from autosync.backends.hg.landing import fields_of
from autosync.backends.hg.marks import source_of
from autosync.backends.hg.repository import NULL
from autosync.backends.hg.server import HgRefuses, Server
from autosync.backends.hg.sharing import shares_of
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Fields, Value
from autosync.core.model import Base, CommitId, Entry, Kind, ObjectId, RelPath, TreeId
from autosync.errors import Busy

OURS = b"autosync"
"""In a changeset's extra: it was made by an agent for its user, so the exchange may publish it."""
_FLAGS = {Kind.FILE: b"", Kind.EXECUTABLE: b"x", Kind.SYMLINK: b"l"}


class Committing:
    """The way from a tree to a changeset of the user's repository.

    ``open`` returns the content of a file, ``tree_of`` the tree of a changeset, ``base`` what is checked out.
    """

    def __init__(
        self,
        server: Server,
        store: Store,
        history: History,
        *,
        open: Callable[[ObjectId], Content],
        tree_of: Callable[[CommitId | None], TreeId],
        base: Callable[[], Base],
    ) -> None:
        self._server = server
        self._store = store
        self._history = history
        self._open = open
        self._tree_of = tree_of
        self._base = base

    def commit(
        self, paths: Collection[RelPath] | None, *, message: str, tree: TreeId, extra_parent: CommitId | None = None
    ) -> Base:
        """Make a changeset of ``tree``, as far as it differs in ``paths`` (``None``: all), and return the new base.

        It is the current base if the changeset would be empty.  What else the user has pending stays so; what
        was unknown in ``paths`` is tracked then.  Hooks of the user do not run, as none of git's do.

        Raises :class:`Busy`, and :class:`AutosyncError` if hg does not know the user's name.
        """
        old = self._base()
        changes = self._store.changes(self._tree_of(old.commit), tree)
        wanted = None if paths is None else frozenset(paths)
        changed = {each.path: each.new for each in changes if wanted is None or each.path in wanted}
        if not changed and extra_parent is None:
            return old
        if extra_parent is not None:
            self._history.bring(extra_parent)
        marks = self._store.marks(tree)
        given: dict[bytes, Value] = dict.fromkeys(changed)
        contents = [self._content(entry) for entry in changed.values() if entry is not None]
        files = [(path, entry.kind) for path, entry in changed.items() if entry is not None]
        for (path, kind), content in zip(files, contents, strict=True):
            given[path] = [_FLAGS[kind], content.value(), source_of(marks.get(path, b"")) or b""]
        question: dict[bytes, Value] = {
            b"old": fields_of(old),
            b"p2": NULL if extra_parent in (None, old.commit) else bytes.fromhex(str(extra_parent)),
            b"given": given,
            b"message": message.encode("utf-8", "surrogateescape"),
            b"extra": {OURS: b"1"},
        }
        with self._history.recording():
            node = self._server.ask("commit", question).text(b"node")
        return Base(commit=CommitId(node.hex()), branch=old.branch)

    def message(self, commit: CommitId) -> str:
        """Return a changeset's message."""
        return self._wording(commit).text(b"message").decode("utf-8", "replace")

    def is_published(self, commit: CommitId) -> bool:
        """Return whether a changeset is public (hg help phases)."""
        return bool(self._wording(commit).number(b"public"))

    def _wording(self, commit: CommitId) -> Fields:
        return self._server.ask("wording", {b"node": bytes.fromhex(commit)})

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out changeset by the same one with another message; what is pending stays so.

        Raises :class:`Busy`, and :class:`AutosyncError` if hg refuses; then nothing has changed.
        """
        self._refuse_shared(old)
        question: dict[bytes, Value] = {b"old": fields_of(old), b"message": message.encode("utf-8", "surrogateescape")}
        node = self._server.ask("reword", question).text(b"node")
        return Base(commit=CommitId(node.hex()), branch=old.branch)

    def _refuse_shared(self, base: Base) -> None:
        """Raise :class:`HgRefuses` if another working copy of the store has the same changeset checked out.

        Without obsolescence markers hg strips what is replaced.
        """
        node = None if base.commit is None else bytes.fromhex(base.commit)
        for root in shares_of(self._server.root, ()):
            if node in Head(root).parents():
                raise HgRefuses(
                    f"the changeset is checked out in another working copy of the store as well: {os.fsdecode(root)}",
                    hint="Update that one to another changeset first; then this one gets its message.",
                )

    def _content(self, entry: Entry) -> Content:
        if entry.kind is Kind.NESTED:
            raise Busy("a nested repository cannot be committed", hint="It is left to the user.")
        return self._open(entry.oid)
