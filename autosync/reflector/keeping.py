"""The last state of every device, within bounds."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from autosync.reflector.limits import Limits

ENTRY = 500
"""Bytes that an entry takes beside its line: its keys, and its places in three dictionaries."""

_Key = tuple[bytes, bytes]


@dataclass(slots=True)
class _Entry:
    line: bytes
    at: float
    origin: str


class Keeper:
    """One line for each (tag, slot).  Times are seconds of the caller's clock.

    For lack of room goes what was not renewed for longest, of the origin that takes the most: a
    stranger who fills the room loses what is his.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._slots: dict[bytes, dict[bytes, None]] = {}
        self._origins: dict[str, dict[_Key, None]] = {}
        self._taken: Counter[str] = Counter()
        self.size = 0
        """Bytes taken."""

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, tag: bytes, slot: bytes, line: bytes, *, origin: str, now: float) -> None:
        """Keep ``line``, which came from ``origin``, in place of what the slot held."""
        self.drop(tag, slot)
        self._entries[tag, slot] = _Entry(line, now, origin)
        # At the end: a dict remembers the order.
        self._origins.setdefault(origin, {})[tag, slot] = None
        slots = self._slots.setdefault(tag, {})
        slots[slot] = None
        self.size += len(line) + ENTRY
        self._taken[origin] += len(line) + ENTRY
        if len(slots) > self._limits.slots:
            self.drop(tag, next(iter(slots)))
        while self.size > self._limits.kept:
            greediest = max(self._taken, key=self._taken.__getitem__)
            self.drop(*next(iter(self._origins[greediest])))

    def drop(self, tag: bytes, slot: bytes) -> None:
        """Keep nothing in that slot."""
        entry = self._entries.pop((tag, slot), None)
        if entry is None:
            return
        self.size -= len(entry.line) + ENTRY
        self._taken[entry.origin] -= len(entry.line) + ENTRY
        del self._origins[entry.origin][tag, slot]
        if not self._origins[entry.origin]:
            del self._origins[entry.origin], self._taken[entry.origin]
        del self._slots[tag][slot]
        if not self._slots[tag]:
            del self._slots[tag]

    def expire(self, now: float) -> None:
        """Let go of what was not renewed for too long."""
        while self._entries:
            oldest = next(iter(self._entries))
            if now - self._entries[oldest].at < self._limits.kept_for:
                return
            self.drop(*oldest)

    def slots(self, tag: bytes) -> Sequence[bytes]:
        """Return the slots of a tag."""
        return tuple(self._slots.get(tag, ()))

    def line(self, tag: bytes, slot: bytes) -> bytes | None:
        """Return what is kept in a slot."""
        entry = self._entries.get((tag, slot))
        return None if entry is None else entry.line
