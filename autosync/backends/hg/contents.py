"""Gives contents of files by their ids: from the private store, else from hg's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from autosync.backends.hg.content import Content, Spooled
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.core.model import ObjectId, RelPath
from autosync.errors import Missing


class Contents:
    """The contents that one working copy has, for any thread."""

    def __init__(self, repo: Repository, store: Store) -> None:
        self._repo = repo
        self._store = store

    def open(self, oid: ObjectId) -> Content:
        """Return a content.  Raises :class:`Missing`."""
        return next(self.open_many([oid]))[1]

    def open_many(self, oids: Collection[ObjectId]) -> Iterator[tuple[ObjectId, Content]]:
        """Yield each of ``oids`` with its content, in any order; hg is asked for many at once.

        Raises :class:`Missing`.
        """
        elsewhere: dict[ObjectId, tuple[RelPath, bytes]] = {}
        for oid in dict.fromkeys(oids):
            content = self._store.open(oid)
            if content is not None:
                yield oid, content
                continue
            place = self._store.where(oid)
            if place is None:
                raise _missing(oid)
            elsewhere[oid] = place
        for oid, content in zip(elsewhere, self._repo.revisions([*elsewhere.values()]), strict=True):
            if content is not None and _is(oid, content):
                yield oid, content
            else:
                yield oid, self._kept(oid, elsewhere[oid])

    def _kept(self, oid: ObjectId, place: tuple[RelPath, bytes]) -> Content:
        """Return a content that hg has lost with its changeset, from the bundles that are kept of such ones."""
        for commit in self._store.bundled():
            bundle = self._store.bundle(commit)
            with suppress(Missing):
                over = Spooled(self._store.metadata)
                for part in bundle.parts() if bundle is not None else ():
                    over.write(part)
                (content,) = self._repo.revisions([place], over=over.place)
                if content is not None and _is(oid, content):
                    self._store.pack(content.size, content.parts())
                    return content
        raise _missing(oid)


def _is(oid: ObjectId, content: Content) -> bool:
    return content.oid().hex() == oid


def _missing(oid: ObjectId) -> Missing:
    return Missing(f"content {oid} is not here", hint="It is asked for again from the other devices.")
