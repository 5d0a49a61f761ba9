"""Knows in which order the locks of working copies that share a store are taken, and raises if it is another."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mercurial import error

Rank = tuple[int, bytes]
"""Of two locks the one with the lesser rank is taken first."""
_WORKING_COPY, _STORE = 0, 1

_held: list[tuple[Any, bytes, Rank]] = []
"""What this process holds: a weak reference to the lock, its store, and its rank there."""


def rank(place: bytes, lockname: bytes) -> Rank:
    """Return the rank of the lock ``lockname`` in the directory ``place`` among those of one store.

    Working copies in the order of the bytes of their real paths, then the store; what is shared by
    choice, as bookmarks are, has no lock of its own but the store's.
    """
    return (_STORE, b"") if lockname == b"lock" else (_WORKING_COPY, os.path.realpath(place))


@contextmanager
def taking(repo: Any, place: Any, lockname: bytes, *, wait: bool) -> Iterator[Callable[[Any], None]]:
    """Raise if a lock must not be waited for now, by ``sharelock.check``; what is given is told of the lock."""
    if not repo.ui.configbool(b"sharelock", b"check") or lockname not in (b"lock", b"wlock"):
        yield lambda _taken: None
        return
    _held[:] = [held for held in _held if (lock := held[0]()) is not None and lock.held]
    store, wanted = os.path.realpath(repo.sharedpath), rank(place.join(b""), lockname)
    for _, its_store, its_rank in _held:
        # One who does not wait keeps nobody waiting.
        if wait and its_store == store and its_rank >= wanted:
            raise error.ProgrammingError(
                b"%s is to be taken before %s, which is held" % (_words(wanted, store), _words(its_rank, store))
            )
    yield lambda taken: _held.append((weakref.ref(taken), store, wanted))


def _words(rank: Rank, store: bytes) -> bytes:
    return b"the lock of the store " + store if rank[0] == _STORE else b"the lock of the working copy " + rank[1]
