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


_OPEN = {_Stage.WRITING, _Stage.UNFINISHED}


@dataclass(slots=True)
class _Pending:
    """One path from its first touch until it leaves; all times in seconds."""

    first: float
    last: float
    new: bool  # did not exist when its window began
    patience: float  # leaves at the latest so long after its first touch
    stage: _Stage = _Stage.SETTLING
    written: bool = False
    appeared: bool = False  # a directory whose files were not watched from the beginning
    cooled: float = 0.0  # not before, since it left often
    refused: float = 0.0  # not before, since the last look failed
    source: RelPath | None = None  # the name it had before
    target: RelPath | None = None  # the name that what stood here got
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
    - when it is closed, if it is new and still open; at the latest ``unfinished_wait`` after
      its first touch.  Nobody misses a file that is not there yet.  One that nothing was
      written to waits for ``burst_wait`` only: it may be meant to be empty, or have got its
      name with its content (``O_TMPFILE``);
    - not sooner than its own gap after it last left.  The gap grows from nothing over
      ``settle`` to ``max_wait`` while it keeps coming back soon, and ends with a quiet time.

    More than :data:`BURST` settling paths leave together, ``settle`` after the last touch of
    any, at the latest ``burst_wait`` after the first, and so do those that follow.  A directory counts as touched when
    anything below it is, and waits for the unfinished files below it.  A backup waits for the file
    that it is a backup of, for most editors delete it as soon as they have written that.

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
        self._burst_left = -math.inf
        self._heap: list[tuple[float, RelPath]] = []
        self._unfinished_below: Counter[RelPath] = Counter()
        self._heat: dict[RelPath, _Heat] = {}

    # -- what comes in ----------------------------------------------------------------
    def note(self, hint: PathHint, now: float) -> None:
        """Take note that ``hint.path`` was touched."""
        entry = self._entry(hint.path, now, new=self._is_new(hint))
        entry.last = now
        entry.appeared = entry.appeared or hint.touch is Touch.SUBTREE
        entry.written = entry.written or hint.touch is Touch.WRITTEN
        self._enter(hint.path, entry, _stage_after(entry, hint))
        if entry.stage is _Stage.COMPLETE:
            entry.refused = 0.0  # whoever was at it when the look failed is done
        if hint.touch is Touch.MOVED_IN:
            entry.new = False
        if hint.source is not None:
            entry.source = hint.source
            if (old := self._old_name(entry)) is not None:
                old[1].target = hint.path
                old[1].last = now  # a rename is to be seen whole
                self._schedule(*old)
        self._schedule(hint.path, entry)
        self._reschedule_waiting(hint.path, entry, touched=now)

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
                self._reschedule_waiting(path, leaving[path])
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

    def _is_new(self, hint: PathHint) -> bool:
        """Return whether the path probably did not exist before this hint."""
        if hint.touch is Touch.CREATED:
            return True
        if hint.touch not in {Touch.WRITTEN, Touch.CLOSED, Touch.ATTRIBUTES}:
            return False
        # Below a directory that has just appeared the creation went unseen.
        above = (self._entries.get(directory) for directory in _above(hint.path))
        return any(entry is not None and entry.appeared for entry in above)

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

    def _reschedule_waiting(self, path: RelPath, entry: _Pending, touched: float = -math.inf) -> None:
        """Let the directories above ``path`` and its backup know that it was touched, or that it left."""
        for other in (*_above(path), *_backups(path, entry)):
            waiting = self._entries.get(other)
            if waiting is not None and waiting is not entry:
                waiting.last = max(waiting.last, touched)
                self._schedule(other, waiting)

    def _waits(self, path: RelPath, entry: _Pending) -> bool:
        """Return whether ``path`` must wait for a file that is open: one below it, or the one it backs up."""
        if path in self._unfinished_below:
            return True
        if entry.stage is not _Stage.SETTLING:
            return False
        for name in (entry.source, RelPath(path[:-1])):
            backed_up = None if name is None else self._entries.get(name)
            if name is not None and backed_up is not None and backed_up.stage in _OPEN:
                return path in _backups(name, backed_up)
        return False

    # -- when ---------------------------------------------------------------------------------
    def _schedule(self, path: RelPath, entry: _Pending) -> None:
        settled = entry.last + self._settle
        hold = max(entry.cooled, entry.refused)
        waits = self._waits(path, entry)
        if entry.stage is _Stage.SETTLING and not waits and hold <= entry.last:
            self._burst.setdefault(path, entry.last)
            self._burst_touched = max(self._burst_touched, entry.last)
            entry.when = min(settled, entry.first + entry.patience)
            return
        self._burst.pop(path, None)
        if entry.stage is _Stage.UNFINISHED or waits:
            entry.patience = self._unfinished_wait
            empty = not entry.written and not waits
            entry.when = max(entry.first + (self._burst_wait if empty else entry.patience), entry.refused)
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

    def _is_burst(self) -> bool:
        """Return whether the settling paths leave together: there are many, or they follow many."""
        began = next(iter(self._burst.values()))
        return len(self._burst) > BURST or began <= self._burst_left + self._settle

    def _burst_time(self) -> float:
        if self._is_burst():
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
            if self._is_burst():
                self._burst_left = now
                ready += self._burst
            else:
                ready += [path for path in self._burst if self._entries[path].when <= now]
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
                if not entry.refused:  # a look that is made again is not one more
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


def _backups(path: RelPath, entry: _Pending) -> tuple[RelPath, ...]:
    """Return the names under which an editor may keep the old content until the new one is written.

    Either it renames the file, or it copies it; the copy is found by the usual name only.
    """
    copy = RelPath(path + b"~")
    return (copy,) if entry.target is None else (copy, entry.target)


def _above(path: RelPath) -> Iterable[RelPath]:
    """Yield the directories above ``path``, the root included."""
    if path:
        yield from parent_directories(path)
        yield ROOT
