"""Has a peer tell only of the bookmarks and heads that are wanted, to whoever asks it in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from mercurial import wireprotov1peer


class Chooser(Protocol):
    """What decides which bookmarks a peer tells of."""

    def bookmarks(self, peer: Any) -> dict[bytes, bytes] | None:
        """Return the bookmarks (name and hash, hexadecimal) to tell of, ``None`` for all."""


@dataclass(slots=True)
class Narrow:
    """What a narrowed peer is told."""

    chooser: Chooser
    heads: Sequence[bytes] | None = None
    """The nodes that it says are its heads, ``None`` for those that it has."""
    doubtful: set[bytes] = field(default_factory=set)
    """Names among its answers that may be those of tags and branches."""


_classes: dict[type, type] = {}


def narrow(peer: Any, chooser: Chooser) -> Narrow:
    """Make a peer answer ``listkeys bookmarks`` and ``heads`` in part only; return what it goes by."""
    kind = type(peer)
    if kind not in _classes.values():
        if kind not in _classes:
            is_wire = isinstance(peer, wireprotov1peer.wirepeer)
            _classes[kind] = _wire_class(kind) if is_wire else _local_class(kind)
        peer.__class__ = _classes[kind]
        peer.selective = Narrow(chooser)
    narrowed: Narrow = peer.selective
    return narrowed


def narrowed(peer: Any) -> Narrow | None:
    """Return what a peer goes by, ``None`` if it was not narrowed."""
    return getattr(peer, "selective", None)


@contextmanager
def only_heads(narrow: Narrow, heads: Sequence[bytes] | None) -> Iterator[None]:
    """Have a peer name these as its heads, if any are given: what else it has is not looked at, and not told of."""
    before, narrow.heads = narrow.heads, heads
    try:
        yield
    finally:
        narrow.heads = before


def _chosen(peer: Any, namespace: bytes) -> dict[bytes, bytes] | None:
    return peer.selective.chooser.bookmarks(peer) if namespace == b"bookmarks" else None


def _wire_class(kind: Any) -> type:
    """Return a class of peers at the other end of a wire.

    It answers in the manner of ``wireprotov1peer.batchable``: a result with no decoder needs no request.
    """

    class Narrowed(kind):  # type: ignore[misc]  # Mercurial is Any
        __slots__ = ()  # so that a peer that is there can become one

        @wireprotov1peer.batchable  # type: ignore[untyped-decorator]
        def heads(self: Any) -> Any:
            if self.selective.heads is not None:
                return list(self.selective.heads), None
            return super().heads.batchable(self)

        @wireprotov1peer.batchable  # type: ignore[untyped-decorator]
        def listkeys(self: Any, namespace: bytes) -> Any:
            found = _chosen(self, namespace)
            if found is not None:
                return found, None
            return super().listkeys.batchable(self, namespace)

    return Narrowed


def _local_class(kind: Any) -> type:
    """Return a class of peers that are repositories on this machine."""

    class Narrowed(kind):  # type: ignore[misc]  # Mercurial is Any
        __slots__ = ()

        def heads(self: Any) -> Any:
            return list(self.selective.heads) if self.selective.heads is not None else super().heads()

        def listkeys(self: Any, namespace: bytes) -> Any:
            found = _chosen(self, namespace)
            return found if found is not None else super().listkeys(namespace)

    return Narrowed
