"""Finds the few new changesets that travel with a snapshot, so that a commit arrives as quickly as a save."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autosync.backends.git.store import Store
from autosync.backends.git.thin import Loose
from autosync.core.model import CommitId, TreeId
from autosync.errors import Missing, Unsafe

MOST = 16
"""Changesets that travel inline; more are fetched from the peer or the hub."""

# gitformat-commit: what git fsck demands of a commit, as far as it matters to readers.
_COMMIT = re.compile(
    rb"tree (?P<tree>[0-9a-f]{40}(?:[0-9a-f]{24})?)\n"
    rb"(?P<parents>(?:parent [0-9a-f]{40}(?:[0-9a-f]{24})?\n)*)"
    rb"author [^\n<>\0]*<[^\n<>\0]*> [0-9]{1,18} [+-][0-9]{4}\n"
    rb"committer [^\n<>\0]*<[^\n<>\0]*> [0-9]{1,18} [+-][0-9]{4}\n"
    rb"[^\0]*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """A commit with exactly one parent."""

    id: CommitId
    tree: TreeId
    parent: CommitId


def new_history(store: Store, tip: CommitId | None, known: Collection[CommitId]) -> list[Changeset]:
    """Return the changesets from the one after a ``known`` one to ``tip``, oldest first.

    Returns none if ``tip`` is known, or if they are many, or not in one line.
    """
    found: list[Changeset] = []
    while tip is not None and tip not in known and len(found) < MOST:
        kind, content = store.read(tip)
        changeset = _parse(tip, content) if kind == b"commit" else None
        if changeset is None:
            return []
        found.append(changeset)
        tip = changeset.parent
    return found[::-1] if tip in known else []


def arrived_history(store: Store, tip: CommitId | None, objects: Mapping[bytes, Loose]) -> list[Changeset]:
    """Return the changesets among ``objects`` that lead from one of the store to ``tip``, oldest first.

    Some may be in the store already: the sender cannot know that of each peer.

    Raises :class:`Missing` if they do not, :class:`Unsafe` for one that is malformed.
    """
    found: list[Changeset] = []
    wanted = tip
    while wanted is not None and (arrived := objects.get(bytes.fromhex(wanted))) is not None and len(found) < MOST:
        changeset = _parse(wanted, arrived.content) if arrived.kind == b"commit" else None
        if changeset is None:
            raise Unsafe(
                f"Changeset {wanted} that arrived with a snapshot is malformed",
                hint="The sender's autosync may be faulty or hostile; nothing of it was used.",
            )
        found.append(changeset)
        wanted = changeset.parent
    if wanted is not None and not store.has_commit(wanted):
        raise Missing(
            f"The snapshot stands on changeset {wanted}, which is not here",
            hint="It will be fetched with its base, from the peer or the hub.",
        )
    return found[::-1]


def _parse(commit: CommitId, content: bytes) -> Changeset | None:
    """Return the commit, ``None`` if it is a merge, a first commit, or none at all."""
    match = _COMMIT.fullmatch(content)
    if match is None:
        return None
    parents = match["parents"].decode().replace("parent ", "").split()
    if len(parents) != 1:
        return None
    return Changeset(id=commit, tree=TreeId(match["tree"].decode()), parent=CommitId(parents[0]))
