"""Which node of a series holds which slot, and when the series needs one node more."""

from __future__ import annotations

from collections.abc import Iterable

CAPACITIES = (256, 128, 64, 32, 16, 8)
"""Items of one node that a server is asked for, one after the other until it allows them.  Prosody as it is
shipped allows no more than the most, and ejabberd before 21.12 ten."""

CAPACITY = CAPACITIES[0]
"""Items that a node keeps if nothing else is known.  A server drops the oldest of more without a word."""


def full(capacity: int) -> int:
    """Return the number of items from which on a node takes no new slot.

    What is left is for those who have not heard yet that it is full, and for slots that several devices add at once.
    """
    return capacity * 3 // 4


def ahead(capacity: int) -> int:
    """Return the number of items from which on everyone looks at the next node.

    So all listen there before it is used, and who may make it has time to come online.
    """
    return capacity // 2


MAX_NODES = 32
"""Nodes of one series: 6,144 pairs of device and workspace where nothing is limited.  Each costs every device a
few requests when it connects."""


class Places:
    """The slots in each node that was looked at so far, the first node first.

    A slot stays where it is.  A new one goes into the first node that is not full.
    """

    def __init__(self) -> None:
        self.capacity = CAPACITY
        """Items that each node keeps, as far as that is known."""
        self._nodes: list[set[str]] = []

    @property
    def looked_at(self) -> int:
        """How many nodes were looked at."""
        return len(self._nodes)

    @property
    def wants_next(self) -> bool:
        """Whether it is time to look at one node more."""
        return not self._nodes or self._has_next(self.capacity)

    @property
    def may_have_next(self) -> bool:
        """Whether there may be one node more, for who cannot know how much each of them holds."""
        return bool(self._nodes) and self._has_next(CAPACITIES[-1])

    @property
    def extent(self) -> tuple[int, int]:
        """How many nodes were looked at, and how many slots the last of them holds."""
        return len(self._nodes), len(self._nodes[-1]) if self._nodes else 0

    @property
    def exhausted(self) -> bool:
        """Whether new slots displace others."""
        return len(self._nodes) == MAX_NODES and all(len(slots) >= self.capacity for slots in self._nodes)

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
        overflows = slot not in slots and len(slots) >= self.capacity
        slots.add(slot)
        return overflows

    def find(self, slot: str) -> int | None:
        """Return the node that holds ``slot``, ``None`` if it is new."""
        return next((node for node, slots in enumerate(self._nodes) if slot in slots), None)

    def choose(self) -> int:
        """Return the node for a new slot: the first with room, else the last that was looked at."""
        room = full(self.capacity)
        return next((node for node, slots in enumerate(self._nodes) if len(slots) < room), len(self._nodes) - 1)

    @property
    def has_room(self) -> bool:
        """Whether a new slot displaces none."""
        return any(len(slots) < self.capacity for slots in self._nodes)

    def _has_next(self, capacity: int) -> bool:
        return len(self._nodes[-1]) >= ahead(capacity) and len(self._nodes) < MAX_NODES
