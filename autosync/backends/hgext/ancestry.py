"""Relates changesets to each other: those of the repository, and those of a bundle that is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from mercurial import bundle2, changegroup

from .changesets import find
from .frames import Value
from .refusal import UNSAFE, Declined


def ancestor(repo: Any, nodes: Sequence[bytes]) -> dict[bytes, Value]:
    """Return the nearest common ancestor of two changesets (zeros: none), of several the smallest."""
    one, other = (find(repo, node).node() for node in nodes)
    return {b"node": repo.unfiltered().changelog.ancestor(one, other)}


def unpublished(repo: Any, node: bytes, most: int) -> dict[bytes, Value]:
    """Return those of a changeset and its ancestors that are not public, the ``most`` latest of them, and the
    public ones that they build on."""
    here = repo.unfiltered()
    own = here.revs(b"only(%d, public())", find(repo, node).rev())
    public = here.revs(b"heads(::%d and public())", find(repo, node).rev())
    own.sort(reverse=True)
    log = here.changelog
    nearest = [log.node(rev) for rev in islice(own, most)]
    return {b"nearest": nearest, b"public": [log.node(rev) for rev in public]}


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
