"""Takes in a snapshot that arrived, once it has proven whole, harmless, and what its id says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from autosync.backends.git import delta
from autosync.backends.hg.changegroups import Limits
from autosync.backends.hg.content import Content, gathered
from autosync.backends.hg.headers import Edit, Header, parse_header
from autosync.backends.hg.histories import Histories
from autosync.backends.hg.marks import parse_marks
from autosync.backends.hg.nodes import Changed, Namer
from autosync.backends.hg.recording import Differences
from autosync.backends.hg.thinning import Open, thicken
from autosync.backends.hg.wire import DELTA, HEADER, HISTORY, LARGEST_DELTA, THIN, Bounds, Reader, Record, bad
from autosync.core.model import Change, CommitId, Entry, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.errors import Unsafe

_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."


@dataclass(slots=True)
class _Arrived:
    """What a stream holds, besides the contents themselves."""

    header: Header
    contents: set[bytes] = field(default_factory=set)
    has_history: bool = False


class Admitting:
    """Checks what arrives, for any number of threads.

    The same is done as when a snapshot is made: its tree is put together, its changeset named by the
    hg of this device.  So nothing that a peer wrote is ever read as a changegroup, but for history.
    """

    def __init__(self, namer: Namer, histories: Histories, differences: Differences) -> None:
        self._namer = namer
        self._histories = histories
        self._differences = differences
        self._store = differences.store

    def admit(self, wanted: SnapshotId, source: BinaryIO, bounds: Bounds, limits: Limits) -> Snapshot:
        """Write the snapshot ``wanted`` to the store and return it.

        ``source`` is read again and again.  Raises :class:`Missing` if its base, or a content that it
        builds on, is not here; :class:`Unsafe`.
        """
        with contextlib.ExitStack() as stack:
            history = stack.enter_context(self._histories.scratch())
            arrived = _look_through(wanted, source, bounds, history, self._differences.open)
            header = arrived.header
            base = header.snapshot.base.commit
            if arrived.has_history and base is not None and not self._has(base):
                self._histories.admit(base, history, limits)
            over = stack.enter_context(self._histories.ground(base))
            base_tree = self._differences.tree_of(base)
            self._put_together(header, base_tree)
            changed = self._changed(header, base_tree, source, bounds)
            named = self._namer.name(header.snapshot, changed, over=over)
        if named.id != wanted:
            raise Unsafe(f"What arrived for snapshot {wanted} is snapshot {named.id}", hint=_HINT)
        for _, content in self._contents(source, bounds):
            self._store.pack(content.size, content.parts())
        self._store.write(named)
        return named

    def _has(self, commit: CommitId) -> bool:
        return self._histories.here(commit) or self._store.has_bundle(commit)

    def _put_together(self, header: Header, base: TreeId) -> None:
        """Raise unless base, edits and marks make the tree that the snapshot names."""
        entries = {edit.path: self._entry(edit, base) for edit in header.edits}
        marks = parse_marks(header.marks)
        try:
            tree = self._store.with_marks(self._store.splice(base, entries), marks)
        except ValueError as error:
            raise Unsafe(f"A snapshot that arrived cannot be: {error}", hint=_HINT) from None
        if tree != header.snapshot.tree:
            raise Unsafe(f"What arrived for tree {header.snapshot.tree} is tree {tree}", hint=_HINT)

    def _entry(self, edit: Edit, base: TreeId) -> Entry | None:
        if edit.kind is None:
            return None
        if edit.oid is not None:
            return Entry(kind=edit.kind, oid=edit.oid)
        found = None if edit.source is None else self._store.entry(base, edit.source)
        if found is None:
            raise Unsafe(f"A snapshot that arrived moves {edit.source!r}, which its base has not", hint=_HINT)
        return Entry(kind=edit.kind, oid=found.oid)

    def _changed(self, header: Header, base: TreeId, source: BinaryIO, bounds: Bounds) -> Iterator[Changed]:
        """Yield what differs from the base: first what has arrived, then what is here."""
        tree = header.snapshot.tree
        waiting: dict[ObjectId, list[tuple[RelPath, Entry]]] = {}
        gone: list[Change] = []
        for change in self._differences.changes(base, tree):
            if change.new is None:
                gone.append(change)
            else:
                waiting.setdefault(change.new.oid, []).append((change.path, change.new))
        for oid, content in self._contents(source, bounds):
            for path, entry in waiting.pop(oid, ()):
                yield path, self._differences.file(tree, path, entry, content)
        for oid, places in waiting.items():
            content = self._differences.open(oid)
            for path, entry in places:
                yield path, self._differences.file(tree, path, entry, content)
        for change in gone:
            yield change.path, None

    def _contents(self, source: BinaryIO, bounds: Bounds) -> Iterator[tuple[ObjectId, Content]]:
        """Yield every content with its id, which it has proven to have."""
        source.seek(0)
        reader = Reader(source, bounds)
        for record in reader.records():
            if record.kind in {HEADER, HISTORY, THIN}:
                continue
            if record.kind == DELTA:
                content = Content(self._undone(record, reader))
            else:
                content = gathered(reader.parts(), record.size, self._store.metadata)
            if content.oid() != record.oid:
                raise bad(f"holds another content than {record.oid.hex()}")
            yield ObjectId(record.oid.hex()), content

    def _undone(self, record: Record, reader: Reader) -> bytes:
        """Return what a delta makes."""
        change = reader.content()
        try:
            size, made = delta.sizes(change)
            reader.charge(made)
            old = self._differences.open(ObjectId(record.base.hex()))
            if size != old.size:
                raise bad("holds a delta for another content")
            if size > LARGEST_DELTA:
                raise bad(f"holds a delta for a content of {size} bytes, which are sent whole")
            return delta.apply(old.whole(), change)
        except delta.BadDelta as error:
            raise bad(f"holds what is no delta ({error})") from None


def _look_through(wanted: SnapshotId, source: BinaryIO, bounds: Bounds, history: BinaryIO, open: Open) -> _Arrived:
    """Return what the stream holds, once it has come to its end; its history is copied to ``history``."""
    arrived: _Arrived | None = None
    expected: set[bytes] = set()
    source.seek(0)
    reader = Reader(source, bounds)
    for record in reader.records():
        if arrived is None:
            arrived = _Arrived(parse_header(wanted, reader.content()))
            expected = {bytes.fromhex(edit.oid) for edit in arrived.header.edits if edit.oid is not None}
        elif record.kind == HISTORY:
            reader.copy(history)
            arrived.has_history = True
        elif record.kind == THIN:
            thicken(reader.parts(), open, history, most=bounds.history)
            arrived.has_history = True
        elif record.oid in arrived.contents or record.oid not in expected:
            raise bad(f"holds the content {record.oid.hex()}, which does not belong to it")
        else:
            arrived.contents.add(record.oid)
    if arrived is None:
        raise bad("holds no snapshot")
    return arrived
