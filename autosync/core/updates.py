"""Says when `on-update` is run, and for which paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autosync.core.model import DeviceId, RelPath, Version

MOST_WAITED = 10
"""Times ``debounce`` after which the first of many batches has waited long enough."""
ECHOES = 8
"""Runs in a row, each caused by what the one before has written, after which no further one is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnUpdate:
    """What is run after changes of others were brought in: a program and its arguments; times in seconds."""

    run: tuple[str, ...]
    debounce: float = 1.0
    time_limit: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one run is for: the paths that differ since the last one that succeeded, in order, and whose they are."""

    paths: tuple[RelPath, ...]
    causes: tuple[DeviceId, ...]
    echoes: int


def newcomers(before: Version, after: Version, *, own: DeviceId) -> tuple[DeviceId, ...]:
    """Return the devices other than ``own`` of which ``after`` contains more than ``before``."""
    return tuple(device for device, n in after.counters if device != own and n > before.count(device))


class Updates:
    """The batches of one working copy: many become one run, and there is one run at a time.

    Times are seconds of the caller's clock.
    """

    def __init__(self, debounce: float) -> None:
        self._debounce = debounce
        self._paths: set[RelPath] = set()
        self._causes: set[DeviceId] = set()
        self._failed: frozenset[RelPath] = frozenset()
        self._echoes: int | None = None
        """Of what waits, ``None`` if nothing does."""
        self._first = self._last = 0.0
        self.running: Batch | None = None

    @property
    def waits(self) -> bool:
        """Whether there is something for which nothing was run yet."""
        return self._echoes is not None

    @property
    def halted(self) -> bool:
        """Whether what waits only ever answers what runs have written, so that nothing is run for it."""
        return self._echoes is not None and self._echoes >= ECHOES

    def applied(self, paths: Iterable[RelPath], causes: Iterable[DeviceId], *, echoes: int, now: float) -> None:
        """Take note of what was brought in; with one change that was made by hand it is no echo."""
        if self._echoes is None:
            self._first = now
        self._last = now
        self._echoes = echoes if self._echoes is None else min(self._echoes, echoes)
        self._paths.update(paths)
        self._causes.update(causes)

    def carry(self, paths: Iterable[RelPath]) -> None:
        """Take note of paths of a run that failed: the next run is for them too."""
        self._failed |= frozenset(paths)

    def due(self) -> float | None:
        """Return when the next run is to begin, ``None`` if none is."""
        if self._echoes is None or self.halted or self.running is not None:
            return None
        return min(self._last + self._debounce, self._first + MOST_WAITED * self._debounce)

    def begin(self) -> Batch:
        """Return what the run is for that begins now; see :meth:`due`."""
        batch = self.running = self.waiting()
        self._paths, self._causes, self._echoes = set(), set(), None
        return batch

    def waiting(self) -> Batch:
        """Return what the next run would be for."""
        return Batch(
            paths=tuple(sorted(self._paths | self._failed)),
            causes=tuple(sorted(self._causes)),
            echoes=self._echoes or 0,
        )

    def ended(self, *, succeeded: bool) -> None:
        """Take note that the run is over."""
        if self.running is not None:
            self._failed = frozenset() if succeeded else frozenset(self.running.paths)
        self.running = None
