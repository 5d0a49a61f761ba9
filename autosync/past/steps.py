"""Does long work in steps, so that others have their turn in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in steps; what it returns is the answer."""


def finish(steps: Steps[T]) -> T:
    """Return the answer, all steps at once."""
    while True:
        done, answer = advance(steps)
        if done:
            return answer[0]


def advance(steps: Steps[T]) -> tuple[bool, list[T]]:
    """Do one step and return whether that was the last, with the answer then."""
    try:
        next(steps)
    except StopIteration as stopped:
        return True, [stopped.value]
    return False, []
