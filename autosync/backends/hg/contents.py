"""Gives contents of files by their ids: from the private store, else from hg's own."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from autosync.backends.git.objects import object_id
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.core.model import ObjectId, RelPath
from autosync.errors import Missing


class Contents:
    """The contents that one working copy has, for any thread."""

    def __init__(self, repo: Repository, store: Store) -> None:
        self._repo = repo
        self._store = store

    def read(self, oid: ObjectId) -> bytes:
        """Return a content.  Raises :class:`Missing`."""
        return next(self.read_many([oid]))[1]

    def read_many(self, oids: Collection[ObjectId]) -> Iterator[tuple[ObjectId, bytes]]:
        """Yield each of ``oids`` with its content, in any order; hg is asked for many at once.

        Raises :class:`Missing`.
        """
        elsewhere: dict[ObjectId, tuple[RelPath, bytes]] = {}
        for oid in dict.fromkeys(oids):
            content = self._store.content(oid)
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

    def _kept(self, oid: ObjectId, place: tuple[RelPath, bytes]) -> bytes:
        """Return a content that hg has lost with its changeset, from the bundles that are kept of such ones."""
        for commit in self._store.bundled():
            with open(os.memfd_create("autosync-bundle"), "wb") as file, suppress(Missing):
                file.write(self._store.bundle(commit) or b"")
                file.flush()
                (content,) = self._repo.revisions([place], over=b"/proc/%d/fd/%d" % (os.getpid(), file.fileno()))
                if content is not None and _is(oid, content):
                    self._store.put(content)
                    return content
        raise _missing(oid)


def _is(oid: ObjectId, content: bytes) -> bool:
    return object_id("sha256", b"blob", content).hex() == oid


def _missing(oid: ObjectId) -> Missing:
    return Missing(f"content {oid} is not here", hint="It is asked for again from the other devices.")
