"""How long to wait before trying again."""

from __future__ import annotations


class Backoff:
    """Waits that grow from ``base`` to ``cap`` seconds, each ``factor`` times the one before.

    Every wait is drawn from the upper half of its step, so that devices that lost one
    server at one moment do not come back to it at one moment ("equal jitter", Brooker
    2015, "Exponential Backoff And Jitter").
    """

    __slots__ = ("_base", "_cap", "_factor", "_step")

    def __init__(self, base: float, cap: float, factor: float = 2.0) -> None:
        if not 0 < base <= cap or factor < 1:
            raise ValueError(f"0 < base <= cap and factor >= 1 are needed, not {base}, {cap}, {factor}")
        self._base = base
        self._cap = cap
        self._factor = factor
        self._step = base

    def next(self, random_unit: float) -> float:
        """Return the next wait in seconds; ``random_unit`` is a random number in 0..1."""
        if not 0 <= random_unit <= 1:
            raise ValueError(f"random_unit is {random_unit}, not in 0..1")
        wait = self._step * (1 + random_unit) / 2
        self._step = min(self._cap, self._step * self._factor)
        return wait

    def reset(self) -> None:
        """Begin again at ``base``: what was waited for has worked."""
        self._step = self._base
