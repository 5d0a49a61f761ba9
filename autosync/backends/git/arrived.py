"""Checks an inline pack that arrived before anything of it is stored."""

from __future__ import annotations

from collections.abc import Mapping

from autosync.backends.git.admission import parse_arriving, refuse_extent, refuse_history
from autosync.backends.git.history import arrived_history
from autosync.backends.git.incoming import checked_out
from autosync.backends.git.objects import NESTED, Slot, is_tree, parse_tree
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Loose
from autosync.core.model import Snapshot, SnapshotId, TreeId
from autosync.core.safety import folded
from autosync.errors import Missing, Unsafe

_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."
_MODULES = (".gitmodules", "gitmod~", "gi7eba~")


class Arrived:
    """The ``objects`` of a pack by raw id, which together with ``store`` should hold a snapshot whole."""

    def __init__(self, store: Store, objects: Mapping[bytes, Loose]) -> None:
        self._store = store
        self._objects = objects
        self._trees: dict[str, Mapping[bytes, Slot]] = {}

    def holds_modules(self) -> bool:
        """Return whether a directory that arrived has a ``.gitmodules``, under any name that some file system
        takes for it (git's fsck looks into these; CVE-2018-11235, CVE-2018-17456)."""
        trees = [self._tree(oid.hex()) for oid, loose in self._objects.items() if loose.kind == b"tree"]
        return any(folded(name).startswith(_MODULES) for tree in trees for name in tree)

    def check(self, wanted: SnapshotId) -> Snapshot:
        """Return the snapshot ``wanted`` if it is whole.

        Raises :class:`Missing` if something it names is neither among the objects nor in the store,
        :class:`Unsafe` if an object is malformed, not part of it, or holds a name that must not be written.
        """
        commit = self._objects.get(bytes.fromhex(wanted))
        if commit is None or commit.kind != b"commit":
            raise Unsafe(f"The pack that arrived for snapshot {wanted} does not hold it", hint=_HINT)
        snapshot = parse_arriving(wanted, commit.content)
        store = self._store
        history = arrived_history(store, snapshot.base.commit, self._objects)
        known = history[0].parent if history else snapshot.base.commit
        tree = store.tree_of(known)
        if known is not None and known not in store.vetted:
            refuse_history(store.tree, tree, checked_out(store.repo) or store.empty_tree, store.empty_tree)
            store.vetted.add(known)
        reached = {bytes.fromhex(wanted)}
        for arrived in history:
            reached |= {bytes.fromhex(arrived.id)} | self._walk(arrived.tree, tree)
            tree = arrived.tree
        reached |= self._walk(snapshot.tree, tree)
        if strangers := self._objects.keys() - reached:
            raise Unsafe(
                f"The pack that arrived for snapshot {wanted} holds {len(strangers)} objects that do not belong to it",
                hint=_HINT,
            )
        return snapshot

    def _walk(self, root: TreeId, base: TreeId) -> set[bytes]:
        """Return the raw ids of the objects that ``root`` is made of, beyond ``base``."""
        reached: set[bytes] = set()
        waiting: list[tuple[bytes, str]] = [(bytes.fromhex(root), base)]
        needed = {(waiting[0][0], b"tree")}
        while waiting:
            oid, like = waiting.pop()
            if oid in reached or oid not in self._objects:
                continue
            _demand(self._objects[oid].kind, oid, b"tree")
            reached.add(oid)
            known = self._tree(like)
            for name, slot in self._tree(oid.hex()).items():
                before = known.get(name)
                # What is as in the base comes too, if it was not so in the state that the pack goes on from.
                if slot.mode == NESTED or (before == slot and slot.oid not in self._objects):
                    continue
                directory = is_tree(slot)
                needed.add((slot.oid, b"tree" if directory else b"blob"))
                if directory:
                    waiting.append(
                        (slot.oid, before.oid.hex() if before and is_tree(before) else self._store.empty_tree)
                    )
                elif slot.oid in self._objects:
                    reached.add(slot.oid)
        self._expect(needed)
        refuse_extent(self._tree, root, base, self._store.empty_tree)
        return reached

    def _tree(self, oid: str) -> Mapping[bytes, Slot]:
        arrived = self._objects.get(bytes.fromhex(oid))
        if arrived is None or arrived.kind != b"tree":
            return self._store.tree(oid)
        if oid not in self._trees:
            self._trees[oid] = parse_tree(arrived.content, self._store.repo.hash_name)
        return self._trees[oid]

    def _expect(self, needed: set[tuple[bytes, bytes]]) -> None:
        """Raise unless each of these raw ids is an object of its kind, in the pack or in the store."""
        elsewhere = self._store.headers([oid.hex() for oid, _ in needed if oid not in self._objects])
        for oid, kind in needed:
            if oid in self._objects:
                _demand(self._objects[oid].kind, oid, kind)
            elif oid.hex() in elsewhere:
                _demand(elsewhere[oid.hex()][0], oid, kind)
            else:
                raise Missing(
                    f"The snapshot needs object {oid.hex()}, which is not here",
                    hint="It will be fetched whole, from the peer or the hub.",
                )


def _demand(found: bytes, oid: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise Unsafe(
            f"A snapshot that arrived takes the {found.decode()} {oid.hex()} for a {wanted.decode()}", hint=_HINT
        )
