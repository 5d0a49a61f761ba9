"""Finds the snapshots of one working copy: by time, by id, and page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from autosync.core.model import Order, RelPath, Snapshot, SnapshotId, TreeId, relate
from autosync.core.retention import Kept, kept_by
from autosync.core.timeline import (
    SHORTEST,
    SHOWN,
    arrivals,
    is_abbreviation,
    named,
    position_at,
    shown_ms,
    stood,
)
from autosync.errors import AutosyncError, Missing
from autosync.past.bursts import before_last_change
from autosync.past.deeds import Deed, Deeds, deed_of
from autosync.past.differences import FileChange, file_changes, name_before
from autosync.ports import CURRENT, Backend

At = int | str | None
"""A state: when it was, in ms since the epoch; its snapshot's id or the beginning of it; ``None``: the present one."""

ROOT = RelPath(b"")
_BATCH = 50
"""Snapshots that are read at a time."""
_WINDOWS = (64, 512, 4096)
"""How many snapshots are looked at, at first and at last, for the one that the working copy was at."""
_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A snapshot and when it came here (ms since the epoch, by this device's clock)."""

    snapshot: Snapshot
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A snapshot with what it changed.

    ``against`` is the state it is compared with: what it continues or, if that has been let go, the last one
    before it that is left; ``None`` for the very first, which is compared with what was committed then.
    ``name`` is what the path that is followed was called in ``against``, ``moment`` where the next page begins.
    """

    state: State
    against: Snapshot | None
    changes: tuple[FileChange, ...]
    moment: int
    name: RelPath
    deed: Deed | None = None
    """What it brought back, if it did and was made here."""
    readable: bool = True
    """Whether it and what it is compared with are here: the user may have pruned the commits that they stood on."""


class Trail:
    """What is kept of one working copy, as it was when this was made.

    ``device`` is this device's name.  Nothing is locked, and snapshots are read as they are needed.
    For the thread in which the backend may be used.
    """

    def __init__(self, backend: Backend, device: str) -> None:
        pins = backend.pins()
        self.backend = backend
        self._device = device
        self._current = pins.get(CURRENT)
        self._pinned = frozenset(pins.values())
        self.kept = arrivals(kept_by(pins))
        self._deeds = Deeds(backend.metadata).read()

    # -- one state ------------------------------------------------------------------------------
    def find(self, at: At) -> State:
        """Return the state that is meant.  Raises :class:`AutosyncError` if there is none or more than one."""
        if at is None:
            return self.current()
        return self._by_name(at) if isinstance(at, str) else self._by_time(at)

    def current(self) -> State:
        """Return the state that was recorded last."""
        snapshot = self.backend.load(self._current) if self._current is not None else None
        if snapshot is None:
            raise AutosyncError("Nothing has been recorded here yet", hint="Start the agent: `autosync run`.")
        return self.state(snapshot)

    def before_last_change(self) -> State:
        """Return the last state with other files than the present one; what followed at once is one change."""
        current = self.current().snapshot
        for window in _WINDOWS:
            kept = self.kept[-window:]
            states = stood([*self._loaded(kept), current], self._device)
            moments = {each.snapshot: each.moment for each in kept}
            found = before_last_change(self.backend, states, moments, self._device)
            all_of_them = window >= len(self.kept)
            if found is not None and (all_of_them or found != states[0] or window == _WINDOWS[-1]):
                return self.state(found)
            if all_of_them:
                break
        raise AutosyncError("There is no change that could be undone", hint="`autosync log` lists what is kept.")

    def arrived_since(self, then: Snapshot) -> list[Snapshot]:
        """Return the latest snapshots that the present state has and ``then`` has not, oldest first."""
        current = self.current().snapshot
        return [
            snapshot
            for snapshot in self._loaded(self.kept[-_WINDOWS[-1] :])
            if relate(snapshot, then) in (Order.AFTER, Order.CONCURRENT)
            and relate(snapshot, current) in (Order.BEFORE, Order.EQUAL)
        ]

    def committed(self, snapshot: Snapshot) -> TreeId | None:
        """Return the tree of the changeset that was checked out, ``None`` if it is not here any more."""
        commit = snapshot.base.commit
        return self.backend.tree_of(commit) if commit is None or self.backend.has_commit(commit) else None

    def _by_time(self, at_ms: int) -> State:
        position = position_at(self.kept, at_ms)
        if position is None:
            oldest = ""
            if self.kept:
                name, of = self.kept[0].snapshot[:SHOWN], _clock(shown_ms(self.kept[0]))
                oldest = f"The oldest is {name} of {of}: write `{name}` in place of the time. "
            raise AutosyncError(
                f"No snapshot is as old as {_clock(at_ms)}", hint=f"{oldest}`autosync log` lists what is kept."
            )
        states: list[Snapshot] = []
        for window in _WINDOWS:
            start = max(0, position + 1 - window)
            found = self._loaded(self.kept[start : position + 1])
            states = stood(found, self._device)
            if start == 0 or any(snapshot.device == self._device for snapshot in found):
                break
        if not states:
            raise AutosyncError(
                f"What is kept of {_clock(at_ms)} is damaged", hint="`autosync log` lists what can be read."
            )
        return self.state(states[-1])

    def _by_name(self, beginning: str) -> State:
        if not is_abbreviation(beginning):
            raise AutosyncError(
                f"{beginning!r} is no snapshot",
                hint=f"A snapshot is named by {SHORTEST} or more characters of its id, which `autosync log` shows.",
            )
        found = self.backend.load_many(named(self._pinned, beginning))
        if not found:
            raise AutosyncError(
                f"No snapshot {beginning} is kept here",
                hint="`autosync log` lists those that are; as they age, fewer are kept (see `history:`).",
            )
        if len(found) > 1:
            states = sorted((self.state(snapshot) for snapshot in found), key=lambda s: s.at_ms, reverse=True)
            listed = "; ".join(
                f"{s.snapshot.id[: SHOWN + len(beginning)]} by {s.snapshot.device}, {_clock(s.at_ms)}"
                for s in states[:_CANDIDATES]
            )
            more = f"; and {len(states) - _CANDIDATES} more" if len(states) > _CANDIDATES else ""
            raise AutosyncError(
                f"{beginning} may be any of {len(states)} snapshots", hint=f"Give more of its id: {listed}{more}."
            )
        return self.state(found[0])

    def state(self, snapshot: Snapshot) -> State:
        """Return a snapshot with when it came here; of one that is not kept its own time."""
        kept = next((k for k in reversed(self.kept) if k.snapshot == snapshot.id), None)
        return State(snapshot=snapshot, at_ms=snapshot.time * 1000 if kept is None else shown_ms(kept))

    def _loaded(self, kept: Sequence[Kept]) -> list[Snapshot]:
        """Return the snapshots of ``kept`` that are whole, in that order."""
        found = {snapshot.id: snapshot for snapshot in self.backend.load_many([each.snapshot for each in kept])}
        return [found[each.snapshot] for each in kept if each.snapshot in found]

    # -- all of them, newest first ------------------------------------------------------------------
    def rows(self, *, before: int | None = None, path: RelPath = ROOT) -> Iterator[Row]:
        """Yield every snapshot from the newest on, or from the last one before the moment ``before``.

        With a ``path`` it tells of that alone, by the names that it had before it was renamed.
        """
        kept = [each for each in self.kept if before is None or each.moment < before]
        while kept:
            kept, batch = kept[:-_BATCH], kept[-_BATCH:]
            known = {s.id: s for s in self._loaded([*kept[-_BATCH:], *batch])}
            parents = {
                p for each in batch if each.snapshot in known for p in known[each.snapshot].parents
            } - known.keys()
            known.update((s.id, s) for s in self.backend.load_many(parents))
            older = [each.snapshot for each in (*kept[-_BATCH:], *batch)]
            for each in reversed(batch):
                older.pop()
                snapshot = known.get(each.snapshot)
                if snapshot is not None:
                    row = self._row(State(snapshot=snapshot, at_ms=shown_ms(each)), known, older, path, each.moment)
                    path = row.name
                    yield row

    def row(self, state: State) -> Row:
        """Return one snapshot with all that it changed."""
        position = next((i for i, k in enumerate(self.kept) if k.snapshot == state.snapshot.id), len(self.kept))
        before = self.kept[max(0, position - _BATCH) : position]
        known = {s.id: s for s in self._loaded(before)}
        known.update((s.id, s) for s in self.backend.load_many(state.snapshot.parents))
        older = [each.snapshot for each in before]
        moment = self.kept[position].moment if position < len(self.kept) else 0
        return self._row(state, known, older, ROOT, moment)

    def _row(
        self,
        state: State,
        known: dict[SnapshotId, Snapshot],
        older: Sequence[SnapshotId],
        path: RelPath,
        moment: int,
    ) -> Row:
        against = self._against(state.snapshot, known, older)
        deed = deed_of(state.snapshot, self._device, self._deeds)
        try:
            tree = self.committed(state.snapshot) if against is None else against.tree
            changes = file_changes(self.backend, tree, state.snapshot.tree, path)
            name = name_before(self.backend, tree, changes, path) if path else path
        except Missing:
            return Row(state=state, against=against, changes=(), moment=moment, name=path, deed=deed, readable=False)
        return Row(state=state, against=against, changes=changes, moment=moment, name=name, deed=deed)

    def _against(
        self, snapshot: Snapshot, known: dict[SnapshotId, Snapshot], older: Sequence[SnapshotId]
    ) -> Snapshot | None:
        """Return the state that ``snapshot`` continues: of two that it merges, the one that was made here."""
        parents = [known[parent] for parent in snapshot.parents if parent in known]
        if parents:
            return next((parent for parent in parents if parent.device == self._device), parents[0])
        before = (known[each] for each in reversed(older) if each in known)
        return next((each for each in before if relate(snapshot, each) is Order.AFTER), None)


def _clock(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms // 1000).astimezone().isoformat(" ")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
