"""Chooses what an inline pack of a snapshot holds, and checks one that arrived before anything of it is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from autosync.backends.git.admission import parse_arriving, refuse_extent, refuse_history
from autosync.backends.git.history import arrived_history, new_history
from autosync.backends.git.incoming import checked_out
from autosync.backends.git.objects import Slot, is_tree, parse_tree
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Loose, Outgoing
from autosync.core.model import CommitId, Snapshot, SnapshotId, TreeId
from autosync.core.safety import folded
from autosync.errors import Missing, Unsafe

SOURCE_LIMIT = 8 << 20
"""Bytes that may be read to make one inline pack: a line appended to a bigger file goes to the peer directly."""

_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."
_NESTED = b"160000"
_MODULES = (".gitmodules", "gitmod~", "gi7eba~")


class TooLarge(Exception):
    """The snapshot has more beyond its base than is worth packing in memory."""


def beyond_base(store: Store, snapshot: Snapshot, *, most: int, known: Collection[CommitId] = ()) -> Iterator[Outgoing]:
    """Yield the objects that ``snapshot`` has and its base has not, each with the base's at the same path.

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
    yield from _outgoing(store, wanted)


def beyond_state(store: Store, snapshot: Snapshot, state: Snapshot, *, most: int) -> Iterator[Outgoing]:
    """Yield the objects that ``snapshot`` has and ``state``, another one on the same base, has not.

    Raises :class:`TooLarge` as :func:`beyond_base`.
    """
    wanted: dict[str, str | None] = {snapshot.id: None}
    _choose(store, snapshot.tree, state.tree, most, wanted)
    yield from _outgoing(store, wanted)


def _outgoing(store: Store, wanted: Mapping[str, str | None]) -> Iterator[Outgoing]:
    """Yield objects, each with the one that it is like, if any."""
    left = SOURCE_LIMIT
    for oid, old in wanted.items():
        for part in (oid, old):
            header = store.header(part) if part else None
            left -= header[1] if header else 0
        if left < 0:
            raise TooLarge
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
                if slot == like or slot.mode == _NESTED:
                    continue
                oid, both = slot.oid.hex(), like is not None and is_tree(like) == is_tree(slot)
                if not is_tree(slot):
                    self._add(oid, like.oid.hex() if both and like and like.mode != _NESTED else None)
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
                elif slot.mode != _NESTED:
                    self._add(slot.oid.hex(), None)
        return [(oid, old) for oid, old in self._added.items() if oid not in moved or oid in self._opened]

    def _moved(self) -> set[str]:
        """Return everything that stood where something else stands now."""
        found: set[str] = set()
        waiting = list(self._replaced)
        while waiting and len(found) < 100 * self._most:
            slot = waiting.pop()
            oid = slot.oid.hex()
            if oid in found or slot.mode == _NESTED:
                continue
            found.add(oid)
            if is_tree(slot) and self._new_directories:
                waiting += self._store.tree(oid).values()
        return found

    def _add(self, oid: str, old: str | None) -> None:
        self._added.setdefault(oid, old)
        if len(self._added) > self._most:
            raise TooLarge


def holds_modules(objects: Iterable[Loose], hash_name: str) -> bool:
    """Return whether a directory among ``objects`` has a ``.gitmodules``, under any name that some file system
    takes for it (git's fsck looks into these; CVE-2018-11235, CVE-2018-17456)."""
    trees = (parse_tree(loose.content, hash_name) for loose in objects if loose.kind == b"tree")
    return any(folded(name).startswith(_MODULES) for tree in trees for name in tree)


def check(store: Store, wanted: SnapshotId, objects: Mapping[bytes, Loose]) -> Snapshot:
    """Return the snapshot ``wanted`` if ``objects`` and the store together hold it whole.

    Raises :class:`Missing` if something it names is in neither, :class:`Unsafe` if an
    object is malformed, not part of it, or holds a name that must not be written.
    """
    commit = objects.get(bytes.fromhex(wanted))
    if commit is None or commit.kind != b"commit":
        raise Unsafe(f"The pack that arrived for snapshot {wanted} does not hold it", hint=_HINT)
    snapshot = parse_arriving(wanted, commit.content)
    history = arrived_history(store, snapshot.base.commit, objects)
    known = history[0].parent if history else snapshot.base.commit
    tree = store.tree_of(known)
    if known is not None and known not in store.vetted:
        refuse_history(store.tree, tree, checked_out(store.repo) or store.empty_tree, store.empty_tree)
        store.vetted.add(known)
    reached = {bytes.fromhex(wanted)}
    for arrived in history:
        reached |= {bytes.fromhex(arrived.id)} | _walk(store, arrived.tree, tree, objects)
        tree = arrived.tree
    reached |= _walk(store, snapshot.tree, tree, objects)
    if strangers := objects.keys() - reached:
        raise Unsafe(
            f"The pack that arrived for snapshot {wanted} holds {len(strangers)} objects that do not belong to it",
            hint=_HINT,
        )
    return snapshot


def _walk(store: Store, root: TreeId, base: TreeId, objects: Mapping[bytes, Loose]) -> set[bytes]:
    """Return the ids of the ``objects`` that ``root`` is made of."""
    reached: set[bytes] = set()
    waiting: list[tuple[bytes, str]] = [(bytes.fromhex(root), base)]
    _expect(store, objects, bytes.fromhex(root), b"tree")
    while waiting:
        oid, like = waiting.pop()
        if oid in reached or oid not in objects:
            continue
        reached.add(oid)
        known = _tree(store, objects, like)
        for name, slot in parse_tree(objects[oid].content, store.repo.hash_name).items():
            before = known.get(name)
            if before == slot or slot.mode == _NESTED:
                continue
            directory = is_tree(slot)
            _expect(store, objects, slot.oid, b"tree" if directory else b"blob")
            if directory:
                waiting.append((slot.oid, before.oid.hex() if before and is_tree(before) else store.empty_tree))
            elif slot.oid in objects:
                reached.add(slot.oid)
    refuse_extent(lambda oid: _tree(store, objects, oid), root, base, store.empty_tree)
    return reached


def _tree(store: Store, objects: Mapping[bytes, Loose], oid: str) -> Mapping[bytes, Slot]:
    arrived = objects.get(bytes.fromhex(oid))
    if arrived is not None and arrived.kind == b"tree":
        return parse_tree(arrived.content, store.repo.hash_name)
    return store.tree(oid)


def _expect(store: Store, objects: Mapping[bytes, Loose], oid: bytes, kind: bytes) -> None:
    """Raise unless ``oid`` is an object of this kind, in the pack or in the store."""
    if oid in objects:
        found = objects[oid].kind
    else:
        header = store.header(oid.hex())
        if header is None:
            raise Missing(
                f"The snapshot needs object {oid.hex()}, which is not here",
                hint="It will be fetched whole, from the peer or the hub.",
            )
        found = header[0]
    if found != kind:
        raise Unsafe(
            f"A snapshot that arrived takes the {found.decode()} {oid.hex()} for a {kind.decode()}", hint=_HINT
        )
