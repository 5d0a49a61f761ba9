"""What lies between simulated devices: it loses, repeats, delays and reorders, and can be cut."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from autosync.simulation.clock import Clock

REPEATED = 0.15
"""Share of the messages that arrive twice."""
QUICK, SLOW, LATE = 0.02, 0.3, 90.0
"""Seconds that most messages take at most, that some take, and that one in fifty may take."""
SLOW_SHARE, LATE_SHARE = 0.3, 0.02


class Network:
    """Carries announcements between devices, which it knows by their numbers.

    ``loss`` is the share of messages that never arrive.  While ``calm`` nothing is lost,
    repeated or late; what was sent before still arrives when it does.
    """

    def __init__(self, clock: Clock, random: Random, *, loss: float) -> None:
        self.clock = clock
        self.loss = loss
        self.calm = False
        self._random = random
        self._cuts: dict[frozenset[int], int] = {}

    def cut(self, one: int, other: int) -> None:
        """Cut the way between two devices, once more if it is cut already."""
        pair = frozenset((one, other))
        self._cuts[pair] = self._cuts.get(pair, 0) + 1

    def mend(self, one: int, other: int) -> None:
        """Undo one :meth:`cut`, if there is one."""
        pair = frozenset((one, other))
        self._cuts[pair] = max(0, self._cuts.get(pair, 0) - 1)

    def mend_all(self) -> None:
        """Let everybody reach everybody."""
        self._cuts.clear()

    def reaches(self, one: int, other: int) -> bool:
        """Return whether two devices can talk."""
        return not self._cuts.get(frozenset((one, other)))

    def send(self, sender: int, receiver: int, deliver: Callable[[], None]) -> None:
        """Let ``deliver`` happen as often, and as late, as the network likes."""
        if not self.reaches(sender, receiver):
            return
        if self.calm:
            self.clock.after(self._random.uniform(0.001, QUICK), deliver)
            return
        for _ in range(2 if self._random.random() < REPEATED else 1):
            if self._random.random() >= self.loss:
                self.clock.after(self._delay(), deliver)

    def _delay(self) -> float:
        dice = self._random.random()
        most = LATE if dice < LATE_SHARE else SLOW if dice < SLOW_SHARE else QUICK
        return self._random.uniform(0.001, most)
