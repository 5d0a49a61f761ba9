"""Chooses what an inline pack of a snapshot holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from autosync.backends.git.history import new_history
from autosync.backends.git.objects import NESTED, Slot, is_tree
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Loose, Outgoing
from autosync.core.model import CommitId, Snapshot

SOURCE_LIMIT = 8 << 20
"""Bytes that may be read to make one inline pack: a line appended to a bigger file goes to the peer directly."""


class TooLarge(Exception):
    """The snapshot has more beyond its base than is worth packing in memory."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """The objects of a pack to be made, and their bytes together as they are."""

    size: int
    objects: Iterator[Outgoing]


def beyond_base(store: Store, snapshot: Snapshot, *, most: int, known: Collection[CommitId] = ()) -> Beyond:
    """Return the objects that ``snapshot`` has and its base has not, each with the base's at the same path.

    Changesets between one of ``known`` and the base come before, if they are few and in one line.
    Raises :class:`TooLarge` if there are more than ``most`` or they take too long to read.
    """
    wanted: dict[str, str | None] = {}
    tree = store.tree_of(snapshot.base.commit)
    history = new_history(store, snapshot.base.commit, known)
    if history:
        tree = store.tree_of(history[0].parent)
    for commit in history:
        wanted.setdefault(commit.id, None)
        _choose(store, commit.tree, tree, most, wanted)
        tree = commit.tree
    wanted[snapshot.id] = None
    _choose(store, snapshot.tree, tree, most, wanted)
    return _beyond(store, wanted)


def beyond_state(store: Store, snapshot: Snapshot, state: Snapshot, *, most: int) -> Beyond:
    """Return the objects that ``snapshot`` has and ``state``, another one on the same base, has not.

    Raises :class:`TooLarge` as :func:`beyond_base`.
    """
    wanted: dict[str, str | None] = {snapshot.id: None}
    _choose(store, snapshot.tree, state.tree, most, wanted)
    return _beyond(store, wanted)


def _beyond(store: Store, wanted: Mapping[str, str | None]) -> Beyond:
    """Return objects, each with the one that it is like, if any."""
    sizes = {oid: size for oid, (_, size) in store.headers([p for pair in wanted.items() for p in pair if p]).items()}
    if sum(sizes.get(part, 0) for pair in wanted.items() for part in pair if part) > SOURCE_LIMIT:
        raise TooLarge
    return Beyond(sum(sizes.get(oid, 0) for oid in wanted), _read(store, wanted))


def _read(store: Store, wanted: Mapping[str, str | None]) -> Iterator[Outgoing]:
    for oid, old in wanted.items():
        kind, content = store.read(oid)
        yield Outgoing(
            object=Loose(kind=kind, content=content), base=(bytes.fromhex(old), store.read(old)[1]) if old else None
        )


def _choose(store: Store, new: str, old: str, most: int, wanted: dict[str, str | None]) -> None:
    """Add to ``wanted`` what ``new`` has beyond ``old``, each with what it is a delta of."""
    survey = _Survey(store, most)
    survey.compare(new, old)
    for oid, like in survey.chosen():
        # A delta against what is itself on its way would have to be resolved in order.
        wanted.setdefault(oid, None if like in wanted else like)
    if len(wanted) > most:
        raise TooLarge


class _Survey:
    """What differs between two trees."""

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most
        self._added: dict[str, str | None] = {}
        self._opened: set[str] = set()
        self._new_directories: list[str] = []
        self._replaced: list[Slot] = []

    def compare(self, new: str, old: str) -> None:
        """Note what differs; equal directories are never opened."""
        pairs = [(new, old)] if new != old else []
        while pairs:
            new, old = pairs.pop()
            self._add(new, old if old != self._store.empty_tree else None)
            self._opened.add(new)
            before, after = self._store.tree(old), self._store.tree(new)
            self._replaced += [slot for name, slot in before.items() if after.get(name) != slot]
            for name, slot in after.items():
                like = before.get(name)
                if slot == like or slot.mode == NESTED:
                    continue
                oid, both = slot.oid.hex(), like is not None and is_tree(like) == is_tree(slot)
                if not is_tree(slot):
                    self._add(oid, like.oid.hex() if both and like and like.mode != NESTED else None)
                elif both and like:
                    pairs.append((oid, like.oid.hex()))
                else:
                    self._new_directories.append(oid)

    def chosen(self) -> list[tuple[str, str | None]]:
        """Return what to send: not what has merely moved from another path.

        But directories that were opened: the reader looks for new files in those alone that arrive.
        """
        moved = self._moved()
        while self._new_directories:
            oid = self._new_directories.pop()
            if oid in moved or oid in self._added:
                continue
            self._add(oid, None)
            for slot in self._store.tree(oid).values():
                if is_tree(slot):
                    self._new_directories.append(slot.oid.hex())
                elif slot.mode != NESTED:
                    self._add(slot.oid.hex(), None)
        return [(oid, old) for oid, old in self._added.items() if oid not in moved or oid in self._opened]

    def _moved(self) -> set[str]:
        """Return everything that stood where something else stands now."""
        found: set[str] = set()
        waiting = list(self._replaced)
        while waiting and len(found) < 100 * self._most:
            slot = waiting.pop()
            oid = slot.oid.hex()
            if oid in found or slot.mode == NESTED:
                continue
            found.add(oid)
            if is_tree(slot) and self._new_directories:
                waiting += self._store.tree(oid).values()
        return found

    def _add(self, oid: str, old: str | None) -> None:
        self._added.setdefault(oid, old)
        if len(self._added) > self._most:
            raise TooLarge
