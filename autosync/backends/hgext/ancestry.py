"""Relates changesets to each other: those of the repository, and those of a bundle that is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mercurial import bundle2, changegroup

from .changesets import find
from .frames import Value
from .refusal import UNSAFE, Declined


def ancestor(repo: Any, nodes: Sequence[bytes]) -> dict[bytes, Value]:
    """Return the nearest common ancestor of two changesets (zeros: none), of several the smallest."""
    one, other = (find(repo, node).node() for node in nodes)
    return {b"node": repo.unfiltered().changelog.ancestor(one, other)}


def public(repo: Any, node: bytes) -> dict[bytes, Value]:
    """Return the latest public ones among a changeset and its ancestors."""
    here = repo.unfiltered()
    found = here.revs(b"heads(::%d and public())", find(here, node).rev())
    return {b"nodes": [here.changelog.node(rev) for rev in found]}


def graph(repo: Any, place: bytes) -> dict[bytes, Value]:
    """Return node, p1 and p2 of each changeset of the bundle in the file ``place``, 60 bytes each.

    What they build on need not be here.  Raises :class:`Declined` for a bundle that is damaged.
    """
    found = []
    try:
        with open(place, "rb") as file:
            for part in bundle2.getunbundler(repo.ui, file).iterparts():
                if part.type == b"changegroup":
                    unpacker = changegroup.getunbundler(part.params[b"version"], part, None)
                    unpacker.changelogheader()
                    found += [_nodes(delta) for delta in unpacker.deltaiter()]
                part.consume()
    except OSError:
        raise
    except Exception as broken:
        # hg's own readers of a damaged bundle fail in ways of which there is no list.
        raise Declined(UNSAFE, f"the history that was kept cannot be read: {broken!r}"[:300]) from None
    return {b"graph": found}


def _nodes(delta: Any) -> bytes:
    """Return node and parents of a revision as it is unpacked: a tuple until 7.0, then a class of its own."""
    return b"".join(delta[:3]) if isinstance(delta, tuple) else bytes(delta.node + delta.p1 + delta.p2)
