"""Runs examinations side by side, each for a limited time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from autosync.causes import shortage_of
from autosync.cli.finding import Finding, Level
from autosync.errors import AutosyncError
from autosync.failures import title_of

PATIENCE = 20.0
"""Seconds that an examination of this machine may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One examination: ``what`` names it, ``find`` yields what it finds, within ``patience`` seconds."""

    what: str
    find: Callable[[], Iterable[Finding]]
    patience: float = PATIENCE


@dataclass(slots=True)
class _Run:
    """What a probe has found so far, and whether that is all."""

    found: list[Finding] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def run_probes(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Yield what the probes find, in their order; they begin at once.

    One that takes too long is told as such and left behind: it is in a thread that no end of the program waits for.
    """
    began = time.monotonic()
    runs = [_begin(probe) for probe in probes]
    for probe, run in zip(probes, runs, strict=True):
        is_over = run.ended.wait(max(0.0, began + probe.patience - time.monotonic()))
        yield from tuple(run.found)
        if not is_over:
            detail = f"no answer within {probe.patience:g} seconds"
            yield Finding(Level.FAIL, probe.what, detail, "See whether the disk and the network that it is on answer.")


def _begin(probe: Probe) -> _Run:
    run = _Run()
    threading.Thread(target=_run, args=(probe, run), name=f"probe {probe.what}", daemon=True).start()
    return run


def _run(probe: Probe, run: _Run) -> None:
    try:
        for finding in probe.find():
            run.found.append(finding)
    except AutosyncError as error:
        run.found.append(Finding(Level.FAIL, probe.what, error.title, error.hint))
    except OSError as error:
        shortage = shortage_of(error, os.fsencode(os.getcwd()))
        title, hint = (shortage.title, shortage.hint) if shortage else (title_of(error), "")
        run.found.append(Finding(Level.FAIL, probe.what, title, hint))
    except Exception as error:  # the other examinations are of use all the same
        hint = "Please report this: `autosync bug-report` gathers what is needed."
        run.found.append(Finding(Level.FAIL, probe.what, f"cannot be examined: {title_of(error)}", hint))
    finally:
        run.ended.set()
