"""Remembers how the ways to other devices have been, from one run of the agent to the next."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterable
from dataclasses import replace

import msgspec

from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId
from autosync.durable import replacing
from autosync.link.transfers import Transfer
from autosync.link.workspace import Way

log = logging.getLogger(__name__)

FILE_NAME = "ways.json"
MAX_DEVICES = 256
MAX_WAYS = 16
"""Ways to one device that are remembered."""
MAX_FILE = 4 << 20
"""Bytes of a file that can be one of ours."""
WORTH_MEASURING = 256 * 1024
"""Bytes of a transfer whose rate says something of the way."""
_YEAR_3000 = 32_503_680_000
"""In seconds since the epoch."""
_PROBLEM = 200
"""Characters kept of why an attempt failed."""
_USUAL = {
    CandidateKind.LAN: 50e6,
    CandidateKind.PUBLIC: 5e6,
    CandidateKind.SSH: 5e6,
    CandidateKind.REFLECTOR: 2e6,
    CandidateKind.XMPP: 20e3,
}
"""Bytes per second that a way is taken for as long as nothing came over it."""
_TYPICAL = 1e6
"""Bytes of the fetch for which ways are compared."""


class Ways:
    """The ways to all devices; ``path`` is the file that keeps them, if any.

    What that holds is a hint: a damaged file is as good as none.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._changed = False
        self._ways: dict[str, dict[Candidate, Way]] = {}
        if path is not None:
            self._load(path)

    def sorted(self, device: DeviceId | None, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return ``candidates`` in the order in which they are to be tried: by kind, then what worked last."""
        known = self._ways.get(device or "", {})
        used = {candidate: way.used_at or 0.0 for candidate, way in known.items()}
        return sorted(candidates, key=lambda c: (c.kind.rank, -used.get(c, 0.0)))

    def distance(self, device: DeviceId, candidate: Candidate) -> int:
        """Return how far a device is on a linked way: about the binary logarithm of what a fetch takes, in ms."""
        way = self._ways.get(device, {}).get(candidate)
        rate = (way.throughput if way else None) or _USUAL[candidate.kind]
        rtt = (way.rtt_ms if way else None) or 1.0
        return round(math.log2(max(1.0, rtt + 1000 * _TYPICAL / rate)))

    def used(self, device: DeviceId, candidate: Candidate) -> None:
        """Take note that an attempt has led to a link."""
        self._note(device, replace(self._way(device, candidate), used_at=time.time(), failed_at=None, problem=""))

    def failed(self, device: DeviceId | None, candidate: Candidate, problem: str) -> None:
        """Take note of why an attempt has led to none."""
        if device is not None:
            way = self._way(device, candidate)
            self._note(device, replace(way, failed_at=time.time(), problem=problem[:_PROBLEM]))

    def measured(self, device: DeviceId, candidate: Candidate, rtt_ms: float | None) -> None:
        """Take note of a round trip: a shorter one counts at once, a longer one may have had to wait here."""
        if rtt_ms is not None:
            way = self._way(device, candidate)
            smooth = rtt_ms if way.rtt_ms is None else min(rtt_ms, (3 * way.rtt_ms + rtt_ms) / 4)
            self._note(device, replace(way, rtt_ms=smooth))

    def moved(self, device: DeviceId, candidate: Candidate, transfer: Transfer) -> None:
        """Take note of a transfer that has ended; small ones say nothing of the way."""
        if transfer.moved >= WORTH_MEASURING and transfer.took:
            self._note(device, replace(self._way(device, candidate), throughput=transfer.moved / transfer.took))

    def status(self, device: DeviceId | None, candidates: Iterable[Candidate]) -> tuple[Way, ...]:
        """Return what is known of ``candidates``, in the order in which they are tried."""
        return tuple(self._way(device, candidate) for candidate in self.sorted(device, candidates))

    def save(self) -> None:
        """Write what has changed; that it cannot be written is told in the log alone, for nothing hangs on it."""
        if self._path is None or not self._changed:
            return
        kept = {device: list(ways.values()) for device, ways in self._ways.items()}
        try:
            with replacing(self._path, sole_writer=True, durable=False) as file:
                file.write(msgspec.json.encode(kept))
            self._changed = False
        except OSError as error:
            log.info("the ways to other devices were not written down: %s", error.strerror)

    def _way(self, device: DeviceId | None, candidate: Candidate) -> Way:
        known = self._ways.get(device or "", {}).get(candidate)
        return known or Way(kind=candidate.kind.value, address=candidate.address)

    def _note(self, device: DeviceId, way: Way) -> None:
        self._changed = True
        candidate = _candidate(way)
        ways = self._ways.pop(device, {})
        self._ways[device] = ways  # at the end: a dict remembers the order
        ways.pop(candidate, None)
        ways[candidate] = way
        if len(ways) > MAX_WAYS:
            del ways[next(iter(ways))]
        if len(self._ways) > MAX_DEVICES:
            del self._ways[next(iter(self._ways))]

    def _load(self, path: str) -> None:
        with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
            if os.path.getsize(path) > MAX_FILE:
                return
            with open(path, "rb") as file:
                kept = msgspec.json.decode(file.read(MAX_FILE), type=dict[str, list[Way]])
            for device, ways in kept.items():
                for way in ways[:MAX_WAYS]:
                    _check(way)
                    self._ways.setdefault(device, {})[_candidate(way)] = way


def _candidate(way: Way) -> Candidate:
    return Candidate(kind=CandidateKind(way.kind), address=way.address)


def _check(way: Way) -> None:
    """Raise :class:`ValueError` for numbers that were never measured: to reckon or show them might fail."""
    for number, least, most in ((way.rtt_ms, 0.0, 1e9), (way.throughput, 1e-3, 1e15)):
        if number is not None and not least <= number <= most:
            raise ValueError(number)
    for moment in (way.used_at, way.failed_at):
        if moment is not None and not 0 <= moment < _YEAR_3000:
            raise ValueError(moment)
