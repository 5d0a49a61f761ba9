"""Keeps objects that were written or read lately: the next save most likely needs them again."""

from __future__ import annotations

from collections import OrderedDict

_LIMIT = 8 << 20
"""Bytes of all objects together."""
_LARGEST = 1 << 20
"""Bytes of one object."""


class RecentObjects:
    """Kind and content of objects by their hex id, the least recently used let go.  Not for several threads at once."""

    def __init__(self) -> None:
        self._objects: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._written: set[str] = set()
        self._size = 0

    def get(self, oid: str) -> tuple[bytes, bytes] | None:
        """Return kind and content, ``None`` if the object is not kept."""
        found = self._objects.get(oid)
        if found is not None:
            self._objects.move_to_end(oid)
        return found

    def written(self, oid: str) -> tuple[bytes, bytes] | None:
        """Return as :meth:`get`, but only what this store has itself: what was read the user may prune."""
        return self.get(oid) if oid in self._written else None

    def put(self, oid: str, kind: bytes, content: bytes, *, written: bool) -> None:
        """Keep an object that was read, or ``written`` to this store."""
        if written and len(content) <= _LARGEST:
            self._written.add(oid)
        if oid in self._objects or len(content) > _LARGEST:
            return
        self._objects[oid] = (kind, content)
        self._size += len(content)
        while self._size > _LIMIT:
            gone, (_, old) = self._objects.popitem(last=False)
            self._written.discard(gone)
            self._size -= len(old)

    def clear(self) -> None:
        """Let go of everything: some of it may be in the store no more."""
        self._objects.clear()
        self._written.clear()
        self._size = 0
