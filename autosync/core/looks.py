"""Decides when a working copy is looked at, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable

from autosync.core.commands import TakeSnapshot
from autosync.core.debounce import Debouncer
from autosync.core.events import PathHint
from autosync.core.model import RelPath, Snapshot

METADATA_SETTLE, METADATA_MOST = 0.03, 1.0
"""Seconds of quiet below .git or .hg before the working copy is read, and the longest wait for
it: git moves HEAD a moment after it gave its index lock back, and half a checkout must not be
mistaken for edits; but a shell prompt that asks git all the time must not hold saves back."""
LATE_WRITERS, LATE_WRITERS_MOST = 3.0, 60.0
"""Seconds after an apply when its replaced files are looked at for late writers; and as long as one
has such a file open, again and again, more and more rarely."""


class Looks:
    """What has to be looked at: everything, single paths, the base, files that were replaced.

    ``settle`` and ``max_wait`` are those of :class:`Debouncer`, ``rescan`` is the time between
    two looks at everything; all times are in seconds.
    """

    def __init__(self, *, settle: float, max_wait: float, rescan: float) -> None:
        self._rescan = rescan
        self._debounce = Debouncer(settle=settle, max_wait=max_wait)
        self._at_all = True
        self._at_base = False
        self.rescan_at = 0.0
        """When everything is looked at again, whatever was heard."""
        self.not_before = 0.0
        """When the user's git is thought to have done what it is doing."""
        self._not_after = 0.0
        self._metadata_at = 0.0
        self._sweep_at: float | None = None
        self._sweep_wait = LATE_WRITERS
        self._suspended = 0
        self._together: frozenset[RelPath] = frozenset()
        self._together_begun = False

    # -- what happened ------------------------------------------------------------------
    def started(self, now: float) -> None:
        """Look at everything now, and then at regular times."""
        self._at_all = True
        self.rescan_at = now + self._rescan

    def time_passed(self, now: float) -> None:
        """Look at everything if it is time to."""
        if now >= self.rescan_at:
            self.started(now)

    def at_all(self) -> None:
        """Look at everything."""
        self._at_all = True

    def paths_changed(self, hints: Iterable[PathHint], now: float) -> None:
        """Look at paths as soon as they have settled."""
        for hint in hints:
            self._debounce.note(hint, now)

    def again(self, paths: Iterable[RelPath], now: float) -> None:
        """Look once more at paths that could not be read, or brought, as they were."""
        self._debounce.retry(paths, now)

    def metadata_changed(self, now: float) -> None:
        """Look at the base as soon as the user's git is quiet."""
        self._at_base = True
        if now > self._metadata_at + METADATA_SETTLE:
            self._not_after = now + METADATA_MOST
        self._metadata_at = now
        self.not_before = min(now + METADATA_SETTLE, self._not_after)

    def suspend(self) -> None:
        """Look at nothing until :meth:`resume`: files are being changed that belong together."""
        self._suspended += 1

    def resume(self, paths: Iterable[RelPath]) -> None:
        """Look again, at ``paths`` at once and in one look."""
        self._suspended = max(0, self._suspended - 1)  # whoever suspended it may have known another session
        self._together |= frozenset(paths)

    def begun(self, now: float) -> None:
        """Take note that something is done to the working copy, whatever it is."""
        self._not_after = now + METADATA_MOST

    def ended(self) -> None:
        """Take note that what was begun has ended."""
        self._together_begun = False

    def files_replaced(self, now: float) -> None:
        """Look at the replaced files in a while."""
        self._sweep_at, self._sweep_wait = now + LATE_WRITERS, LATE_WRITERS

    def taken(self, now: float, *, torn: Iterable[RelPath], keeps: bool) -> None:
        """Take note of a look: ``torn`` paths changed meanwhile, replaced files are still kept or not."""
        self.again(torn, now)
        if not keeps:
            self._sweep_at = None
        elif self._sweep_at is None:
            self._sweep_at = now + self._sweep_wait
            self._sweep_wait = min(2 * self._sweep_wait, LATE_WRITERS_MOST)

    def put_back(self, look: TakeSnapshot, now: float) -> None:
        """Take note that a look saw nothing, so that it is still to be done."""
        if self._together_begun:
            self._together |= frozenset([RelPath(b"")]) if look.paths is None else look.paths
        self._together_begun = False
        if look.paths is None:
            self._at_all = True
        else:
            self._at_base = True
            self.again(look.paths, now)

    # -- what is next ---------------------------------------------------------------------
    @property
    def suspended(self) -> bool:
        """Whether nothing may be looked at, nor anything be brought in, now."""
        return self._suspended > 0

    @property
    def awaited(self) -> bool:
        """Whether what is to be looked at at once has not been yet."""
        return bool(self._together) or self._together_begun

    @property
    def settling(self) -> bool:
        """Whether paths, or everything, wait to be looked at."""
        return self._at_all or self.edits_pending

    @property
    def edits_pending(self) -> bool:
        """Whether single paths wait to be looked at."""
        return bool(self._debounce.pending() or self._together)

    @property
    def pending(self) -> int:
        """How many things wait to be looked at; everything counts as one."""
        return self._debounce.pending() + len(self._together) + (1 if self._at_all or self._at_base else 0)

    def times(self) -> list[float]:
        """Return when something is due; :attr:`rescan_at` is not among them, nor does :attr:`not_before` count."""
        times = [t for t in (self._debounce.deadline(), self._sweep_at) if t is not None]
        return [*times, 0.0] if self._at_all or self._at_base or self._together else times

    def command(self, current: Snapshot | None, *, above: int, now: float) -> TakeSnapshot | None:
        """Return the look that is due, ``None`` if there is none."""
        self._together_begun = self._together_begun or bool(self._together)
        if self._at_all or current is None:
            self._at_all = self._at_base = False
            self._together = frozenset()
            self._debounce.flush()
            return TakeSnapshot(paths=None, current=current, above=above)
        paths = self._debounce.due(now) | self._together
        self._together = frozenset()
        sweep = self._sweep_at is not None and now >= self._sweep_at
        if not (paths or self._at_base or sweep):
            return None
        self._at_base = False
        self._sweep_at = None if sweep else self._sweep_at
        return TakeSnapshot(paths=paths, current=current, above=above)
