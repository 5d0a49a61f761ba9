"""Waits for what other processes do, of which no event tells."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which it is taken for not happening."""


def until(condition: Callable[[], object], seconds: float = PATIENCE, *, why: Callable[[], object] = str) -> None:
    """Return as soon as ``condition()`` is true; fail with ``why()`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why()}")
        time.sleep(0.01)
