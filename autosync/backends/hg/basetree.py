"""Turns the manifest of a changeset into a tree of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from autosync.backends.hg.naming import nameable
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.core.model import CommitId, Entry, Kind, ObjectId, RelPath, TreeId
from autosync.errors import Missing

_AT_ONCE = 1000
"""Files whose ids one question asks for: hg is free for others in between."""
_KINDS = {b"": Kind.FILE, b"x": Kind.EXECUTABLE, b"l": Kind.SYMLINK}

Revisions = Mapping[RelPath, tuple[bytes, bytes] | None]
"""Path -> (file node, flags), ``None`` for what is not there."""


class BaseTrees:
    """The trees of changesets: without marks, and without the names that no device may write.

    The first one is made of the whole manifest, for which hg reads each content once; what was
    learned is remembered in the store.  The next ones follow from what differs.
    """

    def __init__(self, repo: Repository, store: Store) -> None:
        self._repo = repo
        self._store = store
        self._nearest: tuple[CommitId, TreeId] | None = None

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return the tree of a changeset (of nothing for ``None``); raises :class:`Missing` if it is not here."""
        if commit is None:
            return self._store.empty_tree
        nearest = self._nearest
        if nearest is not None and nearest[0] == commit:
            return nearest[1]
        tree = self._store.commit_tree(commit)
        if tree is None:
            tree = self._make(commit, nearest)
            self._store.learn_commit_tree(commit, tree)
        self._nearest = (commit, tree)
        return tree

    def _make(self, commit: CommitId, nearest: tuple[CommitId, TreeId] | None) -> TreeId:
        node = bytes.fromhex(commit)
        if nearest is not None:
            # Should it have been stripped, or the other one be away, that is told below.
            with suppress(Missing):
                differing = self._repo.difference(bytes.fromhex(nearest[0]), node)
                return self._edited(nearest[1], {path: sides[1] for path, sides in differing.items()})
        tree = self._edited(self._store.empty_tree, self._repo.manifest(node))
        # All of it was read, which is not to be done again after a kill.
        self._store.learn_commit_tree(commit, tree)
        self._store.flush()
        return tree

    def _edited(self, tree: TreeId, revisions: Revisions) -> TreeId:
        named = {path: revision for path, revision in revisions.items() if nameable(path)}
        ids = self._ids([(path, revision[0]) for path, revision in named.items() if revision is not None])
        edits = {
            path: None if revision is None else Entry(kind=_KINDS[revision[1]], oid=ids[revision[0]])
            for path, revision in named.items()
        }
        return self._store.splice(tree, edits)

    def _ids(self, revisions: list[tuple[RelPath, bytes]]) -> dict[bytes, ObjectId]:
        """Return the id of the content at each file node."""
        found = self._store.known_files([node for _, node in revisions])
        for some in _chunks([revision for revision in revisions if revision[1] not in found]):
            learned = {}
            for revision, oid in zip(some, self._repo.hashes(some), strict=True):
                if oid is None:
                    raise Missing(
                        f"hg has no content for {revision[0].decode('utf-8', 'replace')} at {revision[1].hex()}",
                        hint="Run `hg verify` in that folder; if it finds nothing, this passes by itself.",
                    )
                learned[revision] = found[revision[1]] = oid
            self._store.learn_files(learned)
        return found


def _chunks(revisions: list[tuple[RelPath, bytes]]) -> Iterator[list[tuple[RelPath, bytes]]]:
    for start in range(0, len(revisions), _AT_ONCE):
        yield revisions[start : start + _AT_ONCE]
