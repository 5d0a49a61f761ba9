"""Which node of a series holds which slot, and when the series needs one node more."""

from __future__ import annotations

from collections.abc import Iterable

CAPACITY = 256
"""Items of one node; Prosody allows no more, and drops the oldest of more without a word."""

FULL = 192
"""Items from which on a node takes no new slot.  What is left is for those who have not heard yet
that it is full, and for slots that several devices add at once."""

AHEAD = 128
"""Items from which on everyone looks at the next node, so that all listen there before it is used,
and that who may make it has time to come online."""

MAX_NODES = 32
"""Nodes of one series: 6,144 pairs of device and workspace.  Each costs every device two requests
when it connects."""


class Places:
    """The slots in each node that was looked at so far, the first node first.

    A slot stays where it is.  A new one goes into the first node that is not full.
    """

    def __init__(self) -> None:
        self._nodes: list[set[str]] = []

    @property
    def looked_at(self) -> int:
        """How many nodes were looked at."""
        return len(self._nodes)

    @property
    def wants_next(self) -> bool:
        """Whether it is time to look at one node more."""
        return not self._nodes or (len(self._nodes[-1]) >= AHEAD and len(self._nodes) < MAX_NODES)

    @property
    def exhausted(self) -> bool:
        """Whether new slots displace others."""
        return len(self._nodes) == MAX_NODES and all(len(slots) >= CAPACITY for slots in self._nodes)

    def looked(self, node: int, slots: Iterable[str]) -> None:
        """Take note that ``node``, one of those looked at or the next one, holds exactly ``slots``."""
        if node == len(self._nodes):
            self._nodes.append(set())
        self._nodes[node] = set(slots)

    def note(self, node: int, slot: str) -> bool:
        """Take note that ``slot`` was published in ``node``; return whether another one was displaced."""
        if node >= len(self._nodes):
            return False  # is looked at later
        slots = self._nodes[node]
        overflows = slot not in slots and len(slots) >= CAPACITY
        slots.add(slot)
        return overflows

    def find(self, slot: str) -> int | None:
        """Return the node that holds ``slot``, ``None`` if it is new."""
        return next((node for node, slots in enumerate(self._nodes) if slot in slots), None)

    def choose(self) -> int:
        """Return the node for a new slot: the first with room, else the last that was looked at."""
        return next((node for node, slots in enumerate(self._nodes) if len(slots) < FULL), len(self._nodes) - 1)

    @property
    def has_room(self) -> bool:
        """Whether a new slot displaces none."""
        return any(len(slots) < CAPACITY for slots in self._nodes)
