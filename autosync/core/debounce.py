"""Decides when a path that changed may be looked at."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from autosync.core.coalesce import ROOT, collapse, outermost
from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath, parent_directories

BURST = 32
"""More settling paths than this leave together."""


class _Stage(Enum):
    COMPLETE = "complete"  # replaced or closed after writing: leaves at once
    SETTLING = "settling"  # nothing is known to be open: leaves after `settle`
    WRITING = "writing"  # an old file that is open: leaves after `settle`, by itself
    UNFINISHED = "unfinished"  # a new file that is open: leaves when it is closed


@dataclass(slots=True)
class _Pending:
    """One path from its first touch until it leaves; all times in seconds."""

    first: float
    last: float
    new: bool  # did not exist when its window began
    patience: float  # leaves at the latest so long after its first touch
    stage: _Stage = _Stage.SETTLING
    cooled: float = 0.0  # not before, since it left often
    refused: float = 0.0  # not before, since the last look failed
    source: RelPath | None = None
    when: float = 0.0
    queued: float | None = None  # the time under which it is in the heap


@dataclass(slots=True)
class _Heat:
    """How often a path left of late; all times in seconds."""

    left: float
    gap: float = 0.0
    refusal: float = 0.0


class Debouncer:
    """Collects hints and lets each path go when it is probably complete.

    All times are seconds of one clock that the caller passes in and that never goes
    back.  A path leaves:

    - at once when its content is complete: an old file closed after writing, or anything
      that was replaced by a file made moments before;
    - ``settle`` after its last touch otherwise, at the latest ``max_wait`` after the first.
      A new file that was closed belongs here, for it may be a temporary one;
    - when it is closed, if it is new and still open; at the latest ``unfinished_wait``
      after its first touch.  Nobody misses a file that is not there yet;
    - not sooner than its own gap after it last left.  The gap grows from nothing over
      ``settle`` to ``max_wait`` while it keeps coming back soon, and ends with a quiet time.

    More than :data:`BURST` settling paths leave together, ``settle`` after the last touch of
    any, at the latest ``burst_wait`` after the first.  A directory counts as touched when
    anything below it is, and waits for the unfinished files below it.

    At most ``capacity`` paths are kept apart: beyond, they are named by their directories.
    """

    def __init__(
        self,
        *,
        settle: float = 0.05,
        max_wait: float = 2.0,
        burst_wait: float = 0.5,
        unfinished_wait: float = 5.0,
        capacity: int = 10_000,
    ) -> None:
        self._settle = settle
        self._max_wait = max(max_wait, settle)
        self._burst_wait = min(max(burst_wait, settle), self._max_wait)
        self._unfinished_wait = max(unfinished_wait, self._max_wait)
        self._capacity = capacity
        self._quiet = 10 * settle
        self._entries: dict[RelPath, _Pending] = {}
        # The settling paths and when each began to settle, the earliest first.
        self._burst: dict[RelPath, float] = {}
        self._burst_touched = -math.inf
        self._heap: list[tuple[float, RelPath]] = []
        self._unfinished_below: Counter[RelPath] = Counter()
        self._heat: dict[RelPath, _Heat] = {}

    # -- what comes in ----------------------------------------------------------------
    def note(self, hint: PathHint, now: float) -> None:
        """Take note that ``hint.path`` was touched."""
        entry = self._entry(hint.path, now, new=hint.touch is Touch.CREATED)
        entry.last = now
        self._enter(hint.path, entry, _stage_after(entry, hint))
        if entry.stage is _Stage.COMPLETE:
            entry.refused = 0.0  # whoever was at it when the look failed is done
        if hint.touch is Touch.MOVED_IN:
            entry.new = False
        if hint.source is not None:
            entry.source = hint.source
            if (old := self._old_name(entry)) is not None:
                old[1].last = now  # a rename is to be seen whole
                self._schedule(*old)
        self._schedule(hint.path, entry)
        self._reschedule_above(hint.path, touched=now)

    def retry(self, paths: Iterable[RelPath], now: float) -> None:
        """Look at ``paths`` again later: they were torn or refused."""
        for path in paths:
            entry = self._entries.get(path)
            if entry is not None and entry.stage is _Stage.COMPLETE:
                continue  # whoever was at it has finished since
            entry = self._entry(path, now, new=False)
            heat = self._heat.setdefault(path, _Heat(now))
            heat.refusal = min(max(self._settle, 2 * heat.refusal), self._max_wait)
            entry.refused = now + heat.refusal
            # The latest moment must not come before the pause is over.
            entry.first = max(entry.first, entry.refused - entry.patience)
            self._schedule(path, entry)

    # -- what goes out ------------------------------------------------------------------
    def due(self, now: float) -> frozenset[RelPath]:
        """Return the paths that may be looked at by now, and forget them.

        What lies below another one of them is left out: a directory stands for its subtree.
        """
        leaving: dict[RelPath, _Pending] = {}
        while ready := self._ready(now):
            for path in ready:
                self._take(path, leaving)
            for path in ready:
                if (old := self._old_name(leaving[path])) is not None:
                    self._take(old[0], leaving)
            for path in ready:
                self._reschedule_above(path)
        self._warm(leaving, now)
        return outermost(leaving)

    def deadline(self) -> float | None:
        """Return the earliest time at which :meth:`due` has something, ``None`` if nothing is pending."""
        times = []
        if self._heap_top() is not None:
            times.append(self._heap[0][0])
        if self._burst:
            times.append(self._burst_time())
        return min(times, default=None)

    def pending(self) -> int:
        """Return the number of paths that wait."""
        return len(self._entries)

    def flush(self) -> frozenset[RelPath]:
        """Return all paths that wait, settled or not, and forget them."""
        paths = outermost(self._entries)
        self._forget_all()
        return paths

    # -- one path's way -------------------------------------------------------------------
    def _entry(self, path: RelPath, now: float, *, new: bool) -> _Pending:
        """Return what is pending for ``path``; its window opens if nothing is."""
        if path not in self._entries:
            self._make_room()
        if path in self._entries:  # making room may have named this very directory
            return self._entries[path]
        entry = self._entries[path] = _Pending(first=now, last=now, new=new, patience=self._max_wait)
        heat = self._heat.get(path)
        if heat is not None:
            if now - heat.left > max(self._quiet, heat.gap, heat.refusal):
                del self._heat[path]
            else:
                entry.cooled = heat.left + heat.gap
        return entry

    def _enter(self, path: RelPath, entry: _Pending, stage: _Stage) -> None:
        """Change the stage and keep count of the unfinished files below each directory."""
        step = (stage is _Stage.UNFINISHED) - (entry.stage is _Stage.UNFINISHED)
        entry.stage = stage
        if not step:
            return
        for directory in _above(path):
            self._unfinished_below[directory] += step
            if not self._unfinished_below[directory]:
                del self._unfinished_below[directory]

    def _old_name(self, entry: _Pending) -> tuple[RelPath, _Pending] | None:
        """Return the pending old name of a renamed file, if nothing has taken its place."""
        if entry.source is None:
            return None
        source = self._entries.get(entry.source)
        return (entry.source, source) if source is not None and source.stage is _Stage.SETTLING else None

    def _reschedule_above(self, path: RelPath, touched: float = -math.inf) -> None:
        """Let the pending directories above ``path`` know that it was touched, or that it left."""
        for directory in _above(path):
            entry = self._entries.get(directory)
            if entry is not None:
                entry.last = max(entry.last, touched)
                self._schedule(directory, entry)

    # -- when ---------------------------------------------------------------------------------
    def _schedule(self, path: RelPath, entry: _Pending) -> None:
        settled = entry.last + self._settle
        hold = max(entry.cooled, entry.refused)
        waits_below = path in self._unfinished_below
        if entry.stage is _Stage.SETTLING and not waits_below and hold <= entry.last:
            self._burst.setdefault(path, entry.last)
            self._burst_touched = max(self._burst_touched, entry.last)
            entry.when = min(settled, entry.first + entry.patience)
            return
        self._burst.pop(path, None)
        if entry.stage is _Stage.UNFINISHED or waits_below:
            entry.patience = self._unfinished_wait
            entry.when = max(entry.first + entry.patience, entry.refused)
        elif entry.stage is _Stage.COMPLETE:
            entry.when = max(entry.last, hold)
        else:
            entry.when = min(max(settled, hold), entry.first + entry.patience)
        if entry.queued is None or entry.when < entry.queued:
            entry.queued = entry.when
            heapq.heappush(self._heap, (entry.when, path))

    def _heap_top(self) -> RelPath | None:
        """Return the heap's first path after its outdated items are gone or moved."""
        while self._heap:
            time, path = self._heap[0]
            entry = self._entries.get(path)
            if entry is None or entry.queued != time:
                heapq.heappop(self._heap)
            elif path in self._burst:
                heapq.heappop(self._heap)
                entry.queued = None
            elif entry.when > time:
                entry.queued = entry.when
                heapq.heapreplace(self._heap, (entry.when, path))
            else:
                return path
        return None

    def _burst_time(self) -> float:
        if len(self._burst) > BURST:
            began = next(iter(self._burst.values()))
            return min(self._burst_touched + self._settle, began + self._burst_wait)
        return min(self._entries[path].when for path in self._burst)

    def _ready(self, now: float) -> list[RelPath]:
        """Return the paths whose time has come."""
        ready = []
        while (path := self._heap_top()) is not None and self._heap[0][0] <= now:
            heapq.heappop(self._heap)
            self._entries[path].queued = None
            ready.append(path)
        if self._burst and self._burst_time() <= now:
            together = len(self._burst) > BURST
            ready += [path for path in self._burst if together or self._entries[path].when <= now]
        return ready

    # -- leaving ----------------------------------------------------------------------------------
    def _take(self, path: RelPath, leaving: dict[RelPath, _Pending]) -> None:
        entry = leaving[path] = self._entries.pop(path)
        self._enter(path, entry, _Stage.SETTLING)
        self._burst.pop(path, None)

    def _warm(self, leaving: dict[RelPath, _Pending], now: float) -> None:
        """Remember what left, so that a path that keeps coming back leaves less often."""
        if len(self._heat) + len(leaving) > self._capacity:
            self._heat = {
                path: heat
                for path, heat in self._heat.items()
                if now - heat.left <= max(self._quiet, heat.gap, heat.refusal)
            }
        for path, entry in leaving.items():
            heat = self._heat.get(path)
            if heat is not None:
                heat.gap = min(max(self._settle, 2 * heat.gap), self._max_wait)
                heat.left = now
            elif not entry.new and len(self._heat) < self._capacity:
                self._heat[path] = _Heat(now)

    # -- bounds -------------------------------------------------------------------------------------
    def _make_room(self) -> None:
        """Name paths by their directories when there are too many of them."""
        if len(self._entries) < self._capacity:
            return
        named = collapse(self._entries, total=max(1, self._capacity // 16))
        first: dict[RelPath, float] = {}
        last: dict[RelPath, float] = {}
        for path, entry in self._entries.items():
            above = next(p for p in (path, *_above(path)) if p in named)
            first[above] = min(first.get(above, entry.first), entry.first)
            last[above] = max(last.get(above, entry.last), entry.last)
        self._forget_all()
        for path in named:
            entry = self._entries[path] = _Pending(
                first=first[path], last=last[path], new=False, patience=self._max_wait
            )
            self._schedule(path, entry)

    def _forget_all(self) -> None:
        self._entries.clear()
        self._heap.clear()
        self._burst.clear()
        self._unfinished_below.clear()


def _stage_after(entry: _Pending, hint: PathHint) -> _Stage:
    match hint.touch:
        case Touch.CREATED:
            return _Stage.UNFINISHED
        case Touch.WRITTEN:
            return _Stage.UNFINISHED if entry.new or entry.stage is _Stage.UNFINISHED else _Stage.WRITING
        case Touch.CLOSED:
            return _Stage.SETTLING if entry.new else _Stage.COMPLETE
        case Touch.MOVED_IN:
            return _Stage.COMPLETE if hint.fresh_source else _Stage.SETTLING
        case Touch.GONE | Touch.SUBTREE:
            return _Stage.SETTLING
        case _:  # a change of mode or times says nothing of who has it open
            return entry.stage


def _above(path: RelPath) -> Iterable[RelPath]:
    """Yield the directories above ``path``, the root included."""
    if path:
        yield from parent_directories(path)
        yield ROOT
