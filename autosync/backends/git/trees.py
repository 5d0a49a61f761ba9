"""Compares and edits trees, opening only the directories that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from autosync.backends.git.objects import TREE_MODE, Slot, entry_of, is_tree, slot_of
from autosync.core.model import Change, Entry, RelPath, TreeId

_ROOT = RelPath(b"")


@dataclass(slots=True)
class _Edits:
    """What is to become of one directory: names in it, and directories below it."""

    here: dict[bytes, Entry | None] = field(default_factory=dict)
    below: dict[bytes, _Edits] = field(default_factory=dict)


class Directories(Protocol):
    """Where the directories of trees are kept, each by its hex id."""

    empty_tree: TreeId

    def tree(self, oid: str) -> Mapping[bytes, Slot]:
        """Return a directory, name -> slot; not to be changed."""

    def put_tree(self, tree: Mapping[bytes, Slot]) -> str:
        """Keep a directory; return its hex id."""

    def warm(self, oids: Iterable[str]) -> None:
        """Read these directories at once, so that :meth:`tree` need not ask for each."""


S = TypeVar("S", bound=Directories)


class Trees(Generic[S]):
    """Trees of the store, by their hex id; ``None`` is the tree of nothing."""

    def __init__(self, store: S) -> None:
        self.store = store
        # Questions come in path order: the next one is mostly about the same directory.
        # One value, because more than one thread asks.
        self._visited: tuple[str, bytes, Mapping[bytes, Slot]] = ("", b"", {})
        # The same comparison is asked for when a change is brought, noted and told.
        self._compared: tuple[object, tuple[Change, ...]] = (None, ())

    def slot(self, tree: TreeId | None, path: RelPath) -> Slot | None:
        """Return what stands at ``path``, a directory included."""
        oid: str = tree or self.store.empty_tree
        if not path:
            return Slot(TREE_MODE, bytes.fromhex(oid))
        directory, _, name = path.rpartition(b"/")
        visited = self._visited
        if visited[0] != oid or visited[1] != directory:
            visited = self._visited = (oid, directory, self._directory(oid, directory))
        return visited[2].get(name)

    def _directory(self, tree: str, path: bytes) -> Mapping[bytes, Slot]:
        """Return what the directory ``path`` holds, nothing if there is none."""
        names = self.store.tree(tree)
        for name in path.split(b"/") if path else ():
            slot = names.get(name)
            if slot is None or not is_tree(slot):
                return {}
            names = self.store.tree(slot.oid.hex())
        return names

    def entry(self, tree: TreeId | None, path: RelPath) -> Entry | None:
        """Return the entry at ``path``, ``None`` for a directory or nothing."""
        return entry_of(self.slot(tree, path))

    def warm(self, tree: TreeId, paths: Iterable[RelPath]) -> None:
        """Read the directories above many ``paths`` in a few questions, one for each level."""
        level: dict[str, set[bytes]] = {tree: set(paths)}
        while level:
            self.store.warm(level)
            below: dict[str, set[bytes]] = {}
            for oid, rests in level.items():
                for name, _, deeper in (rest.partition(b"/") for rest in rests if b"/" in rest):
                    slot = self.store.tree(oid).get(name)
                    if slot is not None and is_tree(slot):
                        below.setdefault(slot.oid.hex(), set()).add(deeper)
            level = below

    def changes(self, old: TreeId | None, new: TreeId | None, *, under: RelPath = _ROOT) -> tuple[Change, ...]:
        """Return the differing paths at and below ``under``, in path order."""
        asked, compared = (old, new, under), self._compared
        if compared[0] != asked:
            found = self._compare(under, self.slot(old, under), self.slot(new, under))
            compared = self._compared = asked, tuple(sorted(found, key=lambda change: change.path))
        return compared[1]

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced, kept in memory until the store is flushed.

        ``None`` takes away whatever stands at the path, a whole directory included.
        Raises :class:`ValueError` for a path that is a file and a directory at once.
        """
        root: str = tree or self.store.empty_tree
        if not edits:
            return TreeId(root)
        slot = self._rewrite(Slot(TREE_MODE, bytes.fromhex(root)), _arrange(edits))
        return TreeId(slot.oid.hex()) if slot else TreeId(self.store.put_tree({}))

    def _compare(self, path: bytes, old: Slot | None, new: Slot | None) -> Iterator[Change]:
        if old == new:
            return
        before, after = entry_of(old), entry_of(new)
        if before != after:
            yield Change(path=RelPath(path), old=before, new=after)
        if not (is_tree(old) or is_tree(new)):
            return
        left, right = self._names(old), self._names(new)
        prefix = path + b"/" if path else b""
        for name in left.keys() | right.keys():
            ours, theirs = left.get(name), right.get(name)
            if ours != theirs:
                yield from self._compare(prefix + name, ours, theirs)

    def _names(self, slot: Slot | None) -> Mapping[bytes, Slot]:
        return self.store.tree(slot.oid.hex()) if slot is not None and is_tree(slot) else {}

    def _rewrite(self, slot: Slot | None, edits: _Edits) -> Slot | None:
        """Return the directory ``slot`` with the edits made, ``None`` if nothing is left of it."""
        old = self._names(slot)
        names = dict(old)
        for name, entry in edits.here.items():
            if entry is None:
                names.pop(name, None)
            else:
                names[name] = slot_of(entry)
        for name, below in edits.below.items():
            there = names.get(name)
            made = self._rewrite(there, below)
            if made is not None:
                names[name] = made
            elif is_tree(there):
                del names[name]
        if names == old and is_tree(slot):
            return slot
        return Slot(TREE_MODE, bytes.fromhex(self.store.put_tree(names))) if names else None


def _arrange(edits: Mapping[RelPath, Entry | None]) -> _Edits:
    root = _Edits()
    for path, entry in edits.items():
        *directories, name = path.split(b"/")
        node = root
        for directory in directories:
            node = node.below.setdefault(directory, _Edits())
        node.here[name] = entry
    _check(root, b"")
    return root


def _check(node: _Edits, path: bytes) -> bool:
    """Return whether anything is put below; raise if a file is put where that needs a directory."""
    filled = any(entry is not None for entry in node.here.values())
    for name, below in node.below.items():
        full = path + b"/" + name if path else name
        if _check(below, full):
            filled = True
            if node.here.get(name) is not None:
                raise ValueError(f"{full!r} cannot be a file and a directory")
    return filled
