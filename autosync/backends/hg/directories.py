"""Keeps the directories of trees: those read lately in memory, all of them among the contents of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autosync.backends.git.objects import Slot, format_tree, object_id, parse_tree
from autosync.backends.git.treecache import TreeCache
from autosync.backends.hg.objects import Kind, Objects, raw_id
from autosync.core.model import TreeId
from autosync.errors import Missing, Unsafe

_HASH = "sha256"
_UNREADABLE = frozenset({b"", b".", b"..", b".git"})


class Directories:
    """What :class:`autosync.backends.git.trees.Trees` works on, for any thread."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._lock = objects.database.lock
        self._cache = TreeCache(_HASH)
        self.empty_tree = TreeId(object_id(_HASH, b"tree", b"").hex())

    def tree(self, oid: str) -> Mapping[bytes, Slot]:
        """Return a directory, name -> slot; not to be changed.  Raises :class:`Missing`."""
        with self._lock:
            kept = self._cache.get(oid)
            if kept is not None:
                return kept
            if oid == self.empty_tree:
                return {}
            content = self._objects.read(Kind.TREE, raw_id(oid))
            if content is None:
                raise Missing(f"tree {oid} is not here", hint="It is asked for again from the other devices.")
            parsed = parse_tree(content, _HASH)
            self._cache.put(oid, content, parsed)
            return parsed

    def put_tree(self, tree: Mapping[bytes, Slot]) -> str:
        """Keep a directory; return its hex id.  Raises :class:`Unsafe` for a name that could not be read again."""
        if not _UNREADABLE.isdisjoint(tree) or b"\0" in b"/".join(tree):
            raise Unsafe(
                "a file or directory has a name that cannot be stored: an empty one, . or .., .git, or one with NUL",
                hint="Such a name must not be synced.",
            )
        content = format_tree(tree)
        oid = self._objects.put(Kind.TREE, content).hex()
        with self._lock:
            self._cache.put(oid, content, tree)
        return oid

    def warm(self, oids: Iterable[str]) -> None:
        """Read these directories at once."""
        with self._lock:
            wanted = [raw_id(oid) for oid in oids if oid not in self._cache]
            for oid, content in self._objects.read_many(Kind.TREE, wanted):
                self._cache.put(oid.hex(), content)

    def rest(self) -> None:
        """A change is done: let go of what the next small one will not need."""
        with self._lock:
            self._cache.rest()
