"""Runs many seeds, on every processor, and makes each failure small."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

from autosync.simulation.deeds import Script, draw
from autosync.simulation.run import Outcome, run
from autosync.simulation.shrink import shrink

CHUNK = 25
"""Seeds that a process runs before it reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The seeds ``first`` up to ``first + count`` (exclusive); see :func:`draw` for the rest."""

    first: int
    count: int
    devices: int | None
    ops: int

    def chunks(self) -> Iterator[Campaign]:
        """Yield campaigns that together are this one."""
        for first in range(self.first, self.first + self.count, CHUNK):
            yield replace(self, first=first, count=min(CHUNK, self.first + self.count - first))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How some seeds ended: the number that were run and the failures."""

    seeds: int
    failures: tuple[Outcome, ...]


def run_here(campaign: Campaign) -> Report:
    """Run a campaign in this process."""
    seeds = range(campaign.first, campaign.first + campaign.count)
    ended = (run(draw(seed, devices=campaign.devices, ops=campaign.ops)) for seed in seeds)
    return Report(seeds=campaign.count, failures=tuple(outcome for outcome in ended if outcome.broken))


def run_everywhere(campaign: Campaign, *, processes: int | None = None) -> Iterator[Report]:
    """Run a campaign on so many processes, as many as there are processors by default; yield reports in order."""
    chunks = list(campaign.chunks())
    workers = min(processes or len(os.sched_getaffinity(0)), len(chunks))
    if workers <= 1:
        yield from map(run_here, chunks)
        return
    # Spawned, for what forks may inherit locks that are held.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts) as pool:
        try:
            yield from pool.map(run_here, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def make_small(failure: Outcome) -> Outcome:
    """Return the outcome of the smallest script found that breaks the same invariant."""

    def fails(script: Script) -> bool:
        return run(script).broken == failure.broken

    return run(shrink(failure.script, fails))


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that waits for this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
