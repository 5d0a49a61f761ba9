"""Judges by the ledger what a run left: nothing may be lost that autosync had promised to keep."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.figures import record
from tests.system.fleet import Device, entries
from tests.system.torture.ledger import Ledger, Saved
from tests.system.torture.trouble import Away

MAX_WAIT = 2.0
"""Seconds, the default of `max-wait`: so long a save may wait before a look at it is due."""
DELIVERY = 0.5
"""Seconds that a busy machine may take to bring an event from the kernel to the session."""
_LINE = re.compile(r"^(\S+ \S+) DEBUG autosync\.runner: notes: (\w+): (\S+) -> (\S+)$", re.MULTILINE)
_ENDINGS = {
    "SnapshotTaken",
    "Integrated",
    "UserBusy",
    "CommandFailed",
    "BranchesDiverged",
    "AncestorMissing",
    "BranchSettled",
}


@dataclass(frozen=True)
class Look:
    """One look at the working copy that succeeded, from when to when (seconds since the epoch)."""

    began: float
    ended: float


def looks(log: str) -> list[Look]:
    """Return the looks that an agent's log tells of, in order."""
    found: list[Look] = []
    began: float | None = None
    for match in _LINE.finditer(log):
        at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        if match[2] == "Started":
            began = None
        if match[2] in _ENDINGS:
            if match[2] == "SnapshotTaken" and began is not None:
                found.append(Look(began, at))
            began = None
        if match[4] != "snapshotting":
            began = None
        elif began is None:
            began = at
    return found


class Promise:
    """Tells by when an agent had looked at a save, by what its log says that it did."""

    def __init__(self, device: Device, away: Sequence[Away]) -> None:
        self._looks = looks(device.log)
        self._begins = [look.began for look in self._looks]
        self._away = sorted((a for a in away if a.device == device.name), key=lambda a: a.began)

    def due(self, saved: Saved) -> float:
        """Return from when on ``saved`` may not wait any longer; time that the agent was away does not count."""
        due = saved.at + MAX_WAIT + DELIVERY
        for away in self._away:
            if away.ended > saved.at and away.began < due:
                due = away.ended + MAX_WAIT + DELIVERY
        return due

    def seen(self, saved: Saved) -> float | None:
        """Return when the first look that began after ``saved`` was due had ended, ``None`` for never.

        An agent that is merging, or that waits for the user's git, looks as soon as that is over.
        """
        index = bisect_left(self._begins, self.due(saved))
        return self._looks[index].ended if index < len(self._looks) else None


@dataclass
class Verdict:
    """What became of the ledger."""

    lost: list[tuple[str, Saved]]
    replaced: int
    """Contents that their user replaced after they were due, and that had to be kept."""
    early: int
    """Contents that their user replaced before that."""
    held_back: float
    """Seconds from when a save was due until the look at it had ended, at worst."""
    conflicts: int
    """Conflict copies."""


def judge(
    ledger: Ledger, devices: Sequence[Device], away: Sequence[Away], kept: Callable[[Device], set[str]]
) -> Verdict:
    """Compare the ledger with what the devices have; ``kept`` tells what is not in a working copy."""
    found = {ledger.id_of(content) for d in devices for _, content in entries(d.root).values()}
    for device in devices:
        found.update(kept(device))
    promises = {device.name: Promise(device, away) for device in devices}
    lost, replaced, early, worst = [], 0, 0, 0.0
    for name, saved in ledger.saved.items():
        seen = promises[saved.device].seen(saved)
        if saved.gone is not None and (seen is None or seen > saved.gone):
            early += 1
            continue  # its user replaced it before anybody had to have looked
        if saved.gone is not None and seen is not None:
            worst = max(worst, seen - promises[saved.device].due(saved))
        replaced += saved.gone is not None
        if name not in found:
            lost.append((name, saved))
    copies = sum(b"(conflict, " in path for path in entries(devices[0].root))
    return Verdict(lost, replaced, early, worst, copies)


def count_needless_copies(device: Device) -> None:
    """Note the conflict copies of files that one user has; not promised to be none (docs/guarantees.md)."""
    record("needless conflict copies", sum(b"(conflict, " in path for path in entries(device.root)))


def summary(verdict: Verdict) -> Iterator[str]:
    """Yield what a person wants to know of a run."""
    yield f"{verdict.replaced} saves replaced after they were due (all kept), {verdict.early} before"
    yield f"held back {verdict.held_back:.1f} s at worst"
    yield f"{verdict.conflicts} conflict copies"
    for name, saved in verdict.lost:
        yield f"LOST {name} {saved}"
