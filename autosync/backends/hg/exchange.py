"""Moves snapshots between this store and those of the peers: inline, or with the history they stand on."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from autosync.backends.git import delta
from autosync.backends.hg.admitting import Admitting
from autosync.backends.hg.changegroups import FEW, MANY
from autosync.backends.hg.content import Content
from autosync.backends.hg.headers import Edit, format_header
from autosync.backends.hg.histories import Histories
from autosync.backends.hg.marks import encode_marks, source_of
from autosync.backends.hg.recording import Differences
from autosync.backends.hg.thinning import WORTH, thin
from autosync.backends.hg.wire import (
    CONTENT,
    DELTA,
    HEADER,
    HISTORY,
    INLINE,
    LARGEST_DELTA,
    STREAM,
    THIN,
    TooLarge,
    Writer,
)
from autosync.causes import PASSING
from autosync.core.model import Change, CommitId, ObjectId, RelPath, Snapshot, SnapshotId
from autosync.errors import AutosyncError, Missing, Unreachable, Unsafe

HAVES = 256
"""Ids offered to a peer."""
SOURCE_LIMIT = 8 << 20
"""Bytes that may be read to make one inline pack: a line appended to a bigger file goes to the peer directly."""

_SERVED_HAVES = 1024
_SNAPSHOTS = 8
"""Of a peer's snapshots that are looked at for contents it need not be sent."""
_ID = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 16
_NOBODYS = "1" * 40
"""An id that nothing has; as the first that is offered it says that no content may be left out of the history."""


class Exchange:
    """The exchange of one working copy with its peers, for any number of threads."""

    def __init__(self, histories: Histories, differences: Differences, admitting: Admitting) -> None:
        self._histories = histories
        self._differences = differences
        self._admitting = admitting
        self._store = differences.store
        self._received: deque[SnapshotId] = deque(maxlen=4)
        self._doubted = False
        """Whether the last stream could not be used: a content that was left out may be lost here, or damaged."""

    # -- inline ----------------------------------------------------------------------------
    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return what ``snapshot`` has beyond its base, ``None`` if it would be larger than ``limit`` bytes.

        A few changesets between one of ``known`` and the base are in it as well, if there is room:
        who is told of a large commit may well have it already.  If it does not fit at all, the contents
        of the first of ``reached`` with which it does are left out.  Raises :class:`Missing`.
        """
        loaded = self._loaded(snapshot)
        with contextlib.suppress(TooLarge):
            if known and loaded.base.commit not in known:
                with self._histories.outgoing(loaded.base.commit, known, most=FEW.changesets) as history:
                    if history is not None:
                        return self._packed(loaded, limit, history)
        with contextlib.suppress(TooLarge):
            return self._packed(loaded, limit, None)
        for state in self._store.load_many(reached):
            if state.base.commit == loaded.base.commit:
                with contextlib.suppress(TooLarge):
                    return self._packed(loaded, limit, None, state)
        return None

    def _packed(
        self, snapshot: Snapshot, limit: int, history: tuple[BinaryIO, int] | None, state: Snapshot | None = None
    ) -> bytes:
        out = io.BytesIO()
        if history is not None and history[1] > INLINE.history:
            raise TooLarge
        self._write(snapshot, Writer(out, limit=min(limit, INLINE.packed)), history, state=state, left=SOURCE_LIMIT)
        return out.getvalue()

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Store an inline pack and return the snapshot.

        Raises :class:`Missing` if its base is not here, :class:`Unsafe` if the content is not what
        the id says or holds a name that must not be written; then nothing was stored.
        """
        return self._known(snapshot) or self._admitting.admit(snapshot, io.BytesIO(pack), INLINE, FEW)

    # -- peer --------------------------------------------------------------------------------
    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write a stream to ``out`` that brings one who has the changesets and snapshots ``have`` to ``want``.

        It holds the history that the other lacks, secret and draft changesets as what they are.
        Raises :class:`Missing` if ``want`` is not a snapshot of this store.
        """
        loaded = self._loaded(want)
        ids = [oid for oid in have[:_SERVED_HAVES] if _ID.fullmatch(oid)]
        commits = [CommitId(oid) for oid in ids]
        with self._histories.outgoing(loaded.base.commit, commits, most=MANY.changesets) as history:
            known = self._contents_of([SnapshotId(oid) for oid in ids])
            with self._histories.scratch() as file:
                thinned = None
                if history is not None and thin(history[0], self._common(loaded, commits, known, history[1]), file):
                    thinned = file, file.seek(0, os.SEEK_END)
                    file.seek(0)
                self._write(loaded, Writer(out), thinned or history, known=known, thinned=thinned is not None)

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote and return the snapshot.

        Until it has proven whole and harmless nothing of it is in the store.  Raises as
        :meth:`absorb`, and :class:`Unreachable` if it breaks off.
        """
        known = self._known(want)
        if known is not None:
            return known
        with self._histories.scratch() as file:
            self._spool(want, pack, file)
            self._doubted = True
            snapshot = self._admitting.admit(want, file, STREAM, MANY)
            self._doubted = False
        self._received.append(want)
        return snapshot

    def haves(self) -> Sequence[str]:
        """Return the ids of changesets and snapshots to offer to :meth:`serve` of a peer, best first.

        These are what is checked out, what has come last, the pinned snapshots and the heads of the
        history, the latest first; :data:`HAVES` at most.  After a stream that could not be used only
        changesets are offered, and in a way that no content is left out of what follows.
        """
        heads = self._histories.heads(HAVES)
        if self._doubted:
            return [_NOBODYS, *heads[: HAVES - 1]]
        if heads:
            # The other may name contents of it by their ids (thinning), which are known from here on.
            self._differences.tree_of(heads[0])
        # Not pinned yet: what follows may be wanted before it is integrated.
        received = [snapshot for snapshot in reversed(self._received) if self._store.load(snapshot) is not None]
        pins = list(dict.fromkeys(self._store.pins().values()))[: HAVES // 2]
        return list(dict.fromkeys([*heads[:1], *received, *pins, *heads[1:]]))[:HAVES]

    # -- writing -----------------------------------------------------------------------------
    def _write(
        self,
        snapshot: Snapshot,
        writer: Writer,
        history: tuple[BinaryIO, int] | None,
        *,
        known: Collection[ObjectId] = (),
        state: Snapshot | None = None,
        left: int | None = None,
        thinned: bool = False,
    ) -> None:
        """Write a snapshot without the contents ``known``, or those of a ``state`` that the reader has.

        Raises :class:`TooLarge` if more than ``left`` bytes have to be read for it.
        """
        outgoing = _Outgoing(self._differences, snapshot)
        if state is not None:
            outgoing.spare(state)
        marks = encode_marks(self._store.marks(snapshot.tree))
        writer.write(HEADER, format_header(snapshot, marks, outgoing.edits))
        if history is not None:
            file, size = history
            writer.copy(THIN if thinned else HISTORY, iter(lambda: file.read(_CHUNK), b""), size)
        for oid, like in outgoing.wanted.items():
            if oid in known:
                continue
            content = self._differences.open(oid)
            if left is not None and content.size > left:
                raise TooLarge
            old = None if like is None or content.size > LARGEST_DELTA else self._differences.open(like)
            if left is not None:
                left -= content.size + (0 if old is None else old.size)
                if left < 0:
                    raise TooLarge
            _write_content(writer, oid, content, like, old)
        writer.end()

    def _common(
        self, snapshot: Snapshot, commits: Sequence[CommitId], known: Collection[ObjectId], size: int
    ) -> Iterator[tuple[ObjectId, Content]]:
        """Yield contents of a snapshot's base that one who has ``commits`` and ``known`` has as well.

        Of the commits only the first counts: the other has it checked out, and knows its contents by their ids.
        Not many more are opened than large ones can be in a history of ``size`` bytes.
        """
        nearest = next((commit for commit in commits[:1] if self._histories.here(commit)), None)
        with contextlib.suppress(AutosyncError):  # then the rest is sent
            base = self._differences.tree_of(nearest)
            changes = self._store.changes(base, self._differences.tree_of(snapshot.base.commit))
            there = {entry.oid for _, entry in self._store.entries(base)}.union(known)
            wanted = dict.fromkeys(change.new.oid for change in changes if change.new and change.new.oid in there)
            for oid in islice(wanted, 2 * size // WORTH):
                yield oid, self._differences.open(oid)

    def _contents_of(self, snapshots: Sequence[SnapshotId]) -> set[ObjectId]:
        """Return the contents that the first of these snapshots that are here have beyond their bases."""
        found: set[ObjectId] = set()
        for snapshot in self._store.load_many(snapshots)[:_SNAPSHOTS]:
            try:
                base = self._differences.tree_of(snapshot.base.commit)
            except AutosyncError:
                continue
            found.update(change.new.oid for change in self._store.changes(base, snapshot.tree) if change.new)
        return found

    # -- reading -----------------------------------------------------------------------------
    def _spool(self, want: SnapshotId, pack: BinaryIO, file: BinaryIO) -> None:
        """Copy what arrives to ``file``, no more than is accepted."""
        left = STREAM.packed
        while left >= 0 and (part := self._arriving(want, pack)):
            left -= len(part)
            file.write(part)
        file.seek(0)

    def _arriving(self, want: SnapshotId, pack: BinaryIO) -> bytes:
        try:
            return pack.read(_CHUNK)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise Unreachable(
                f"The transfer of snapshot {want} broke off: {error}", hint="It will be tried again."
            ) from error

    # -- checks ------------------------------------------------------------------------------
    def _known(self, snapshot: SnapshotId) -> Snapshot | None:
        if not _ID.fullmatch(snapshot):
            raise Unsafe(f"{snapshot[:100]!r} is no id of 40 hex digits", hint="Nothing was fetched.")
        return self._store.load(snapshot)

    def _loaded(self, snapshot: SnapshotId) -> Snapshot:
        loaded = self._store.load(snapshot) if _ID.fullmatch(snapshot) else None
        if loaded is None:
            raise Missing(
                f"{snapshot[:100]} is not a snapshot of this workspace",
                hint="Ask for the latest one that was announced.",
            )
        return loaded


class _Outgoing:
    """What is sent of a snapshot: its edits, and contents each with one that it is like, if the reader has any."""

    def __init__(self, differences: Differences, snapshot: Snapshot) -> None:
        store = self._store = differences.store
        self._tree = snapshot.tree
        base = differences.tree_of(snapshot.base.commit)
        changes = store.changes(base, snapshot.tree)
        self._there = {change.old.oid: change.path for change in changes if change.old is not None}
        self._likes: dict[RelPath, ObjectId] = {}
        for path, mark in store.marks(snapshot.tree).items():
            source = source_of(mark)
            entry = None if source is None else store.entry(base, source)
            if source is not None and entry is not None:
                self._there[entry.oid] = source
                self._likes[path] = entry.oid
        self.wanted: dict[ObjectId, ObjectId | None] = {}
        self.edits = [self._edit(change) for change in changes]

    def spare(self, state: Snapshot) -> None:
        """Leave out what ``state``, on the same base, has as well; the rest is rather like that than like the base."""
        changes = self._store.changes(state.tree, self._tree)
        new = {change.new.oid: change.old for change in changes if change.new is not None}
        likes = {oid: old.oid if old is not None else self.wanted.get(oid) for oid, old in new.items()}
        self.wanted = {oid: likes[oid] for oid in self.wanted if oid in likes}

    def _edit(self, change: Change) -> Edit:
        new, old = change.new, change.old
        if new is None:
            return Edit(path=change.path, kind=None)
        if old is not None and old.oid == new.oid:
            return Edit(path=change.path, kind=new.kind, source=change.path)
        if new.oid in self._there:
            return Edit(path=change.path, kind=new.kind, source=self._there[new.oid])
        self.wanted.setdefault(new.oid, self._likes.get(change.path, old.oid if old is not None else None))
        return Edit(path=change.path, kind=new.kind, oid=new.oid)


def _write_content(writer: Writer, oid: ObjectId, content: Content, like: ObjectId | None, old: Content | None) -> None:
    raw = bytes.fromhex(oid)
    if like is not None and old is not None and max(old.size, content.size) <= LARGEST_DELTA:
        change = delta.encode(old.whole(), content.whole())
        if len(change) < content.size:
            writer.write(DELTA, change, oid=raw, base=bytes.fromhex(like))
            return
    writer.copy(CONTENT, content.parts(), content.size, oid=raw)
