"""The last state of every device, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from autosync.reflector.limits import Limits

ENTRY = 400
"""Bytes that an entry takes beside its line: two keys, two places in dictionaries."""


@dataclass(slots=True)
class _Entry:
    line: bytes
    at: float


class Keeper:
    """One line for each (tag, slot).  Times are seconds of the caller's clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: OrderedDict[tuple[bytes, bytes], _Entry] = OrderedDict()
        self._slots: dict[bytes, dict[bytes, None]] = {}
        self.size = 0
        """Bytes taken."""

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, tag: bytes, slot: bytes, line: bytes, now: float) -> None:
        """Keep ``line`` in place of what the slot held.

        For lack of room, in the tag or in all, what was not renewed for longest goes.
        """
        self.drop(tag, slot)
        self._entries[tag, slot] = _Entry(line, now)
        slots = self._slots.setdefault(tag, {})
        slots[slot] = None  # at the end: a dict remembers the order
        self.size += len(line) + ENTRY
        if len(slots) > self._limits.slots:
            self.drop(tag, next(iter(slots)))
        while self.size > self._limits.kept:
            self.drop(*next(iter(self._entries)))

    def drop(self, tag: bytes, slot: bytes) -> None:
        """Keep nothing in that slot."""
        entry = self._entries.pop((tag, slot), None)
        if entry is None:
            return
        self.size -= len(entry.line) + ENTRY
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
