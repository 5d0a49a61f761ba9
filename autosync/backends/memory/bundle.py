"""Carries a snapshot and the history it needs from one store to another as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import msgspec

from autosync.backends.memory.objects import Changeset, ObjectStore
from autosync.core.model import CommitId, Entry, Kind, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.core.safety import unsafe_component
from autosync.errors import Missing, Unsafe

Edits = tuple[tuple[RelPath, Entry | None], ...]


class Bundle(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What :func:`pack` wrote: trees as edits of the tree before, and every text the edits name.

    ``history`` is oldest first; a changeset's tree is edited from its first
    parent's, the snapshot's from its base's.
    """

    snapshot: Snapshot
    edits: Edits
    history: tuple[tuple[CommitId, Changeset, Edits], ...]
    texts: tuple[bytes, ...]


def pack(store: ObjectStore, want: SnapshotId, have: Collection[str] | None, *, state: Snapshot | None = None) -> bytes:
    """Return the bytes that bring ``want`` to one who has the changesets ``have`` and all they contain.

    ``None`` stands for one who has all that ``want`` needs of the history.  The texts of ``state`` are left out.
    Raises :class:`Missing` if ``want`` is not in ``store``.
    """
    snapshot = store.snapshots.get(want)
    if snapshot is None:
        raise Missing(f"The snapshot {want} is not in this store.", hint="Ask the device that announced it.")
    base = snapshot.base.commit
    history: list[tuple[CommitId, Changeset, Edits]] = []
    if base is not None and have is not None:
        known = set(store.history(CommitId(commit) for commit in have))
        for commit in _parents_first(store, base, known):
            changeset = store.changesets[commit]
            first = changeset.parents[0] if changeset.parents else None
            history.append((commit, changeset, _edits(store, store.tree_of(first), changeset.tree)))
    edits = _edits(store, store.tree_of(base), snapshot.tree)
    named = [edits, *(part for _, _, part in history)]
    entries = [e for part in named for _, e in part if e is not None and e.kind is not Kind.NESTED]
    spared = {e.oid for _, e in _edits(store, store.tree_of(base), state.tree) if e is not None} if state else set()
    texts = {e.oid: store.texts[e.oid] for e in entries if e.oid not in spared}
    body = msgspec.msgpack.encode(
        Bundle(snapshot=snapshot, edits=edits, history=tuple(history), texts=tuple(texts.values()))
    )
    return body + hashlib.sha256(body).digest()


def unpack(store: ObjectStore, want: SnapshotId, packed: bytes) -> Snapshot:
    """Put what :func:`pack` wrote into ``store``, all or nothing, and return the snapshot.

    Raises :class:`Missing` if history that was left out is not here, :class:`Unsafe`
    if anything is not what its id says or has a name that must not be written.
    """
    bundle = _decode(want, packed)
    layer = ObjectStore(store)
    named = {e.oid for part in (bundle.edits, *(edits for _, _, edits in bundle.history)) for _, e in part if e}
    if strangers := {layer.add_text(text) for text in bundle.texts} - named:
        raise _unsafe(want, f"{len(strangers)} of its contents belong to nothing")
    for commit, changeset, edits in bundle.history:
        for parent in changeset.parents:
            _require(layer, parent)
        first = changeset.parents[0] if changeset.parents else None
        _edit(layer, want, layer.tree_of(first), changeset.tree, edits)
        if layer.add_changeset(changeset) != commit:
            raise _unsafe(want, f"the changeset {commit} is not what its id says")
    sent = bundle.snapshot
    made = layer.add_snapshot(
        tree=sent.tree,
        base=sent.base,
        version=sent.version,
        parents=sent.parents,
        device=sent.device,
        time=sent.time,
    )
    if made.id != want or made != sent:
        raise _unsafe(want, "its content is not what the id says")
    if made.base.commit is not None:
        _require(layer, made.base.commit)
    _edit(layer, want, layer.tree_of(made.base.commit), made.tree, bundle.edits)
    layer.settle()
    return made


def _decode(want: SnapshotId, packed: bytes) -> Bundle:
    body, trailer = packed[:-32], packed[-32:]
    if hashlib.sha256(body).digest() != trailer:
        raise _unsafe(want, "it is cut off or damaged")
    try:
        return msgspec.msgpack.decode(body, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unsafe(want, f"it cannot be read: {error}") from error


def unsafe_path(path: RelPath) -> str | None:
    """Return why nothing must be written to ``path``, ``None`` if something may."""
    return next((reason for name in path.split(b"/") if (reason := unsafe_component(name))), None)


def _parents_first(store: ObjectStore, tip: CommitId, known: set[CommitId]) -> Iterator[CommitId]:
    """Yield ``tip`` and what it contains beyond ``known``, every changeset after its parents."""
    seen = set(known)
    stack = [(tip, False)]
    while stack:
        commit, parents_done = stack.pop()
        if parents_done:
            yield commit
        elif commit not in seen:
            seen.add(commit)
            stack.append((commit, True))
            stack.extend((parent, False) for parent in store.changesets[commit].parents)


def _edits(store: ObjectStore, old: TreeId, new: TreeId) -> Edits:
    return tuple((change.path, change.new) for change in store.changes(old, new))


def _edit(layer: ObjectStore, want: SnapshotId, old: TreeId, new: TreeId, edits: Edits) -> None:
    """Add the tree ``new``, made from ``old``, to ``layer`` or raise :class:`Missing` or :class:`Unsafe`."""
    for path, entry in edits:
        if reason := unsafe_path(path):
            raise _unsafe(want, f"{path!r} has {reason}")
        if entry is not None and entry.kind is not Kind.NESTED and ObjectId(entry.oid) not in layer.texts:
            raise Missing(
                f"The content of {path!r} in snapshot {want} is not here.", hint="Fetch from the device that has it."
            )
    if layer.splice(old, dict(edits)) != new:
        raise _unsafe(want, f"the tree {new} is not what its id says")


def _require(layer: ObjectStore, commit: CommitId) -> None:
    if commit not in layer.changesets:
        raise Missing(f"The changeset {commit} is not here.", hint="Fetch from the device or the hub that has it.")


def _unsafe(want: SnapshotId, reason: str) -> Unsafe:
    return Unsafe(
        f"What was received as snapshot {want} is refused: {reason}.",
        hint="The sending device or the network in between is broken or hostile; nothing was stored.",
    )
