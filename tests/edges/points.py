"""Decides which of the points at which a job can be disturbed are tried, and tries them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.edges.forks import alone, side_by_side, spread, with_offspring

T = TypeVar("T")


@contextmanager
def fast_directory(otherwise: Path) -> Iterator[Path]:
    """Give a directory in memory, where there is one: thousands of working copies are made and thrown away."""
    if not os.access("/dev/shm", os.W_OK):  # made safely below
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="autosync-points-") as directory:  # as above
        yield Path(directory)


def undisturbed(do: Callable[[], T]) -> T:
    """Return what ``do`` returns in a child.  Raises :class:`AssertionError` with what it raised."""
    ended = alone(lambda: with_offspring(do))
    assert not ended.error, ended.error
    inner = ended.result
    assert not inner.error, inner.error  # type: ignore[attr-defined]  # what with_offspring returns
    return inner.result  # type: ignore[attr-defined,no-any-return]  # as above


def survive(points: Sequence[T], most: int, attempt: Callable[[int, T], str | None]) -> int:
    """Try ``most`` of the points, or the share of them that ``AUTOSYNC_POINTS`` says (``all``: every one).

    Returns how many were tried.  Raises :class:`AssertionError` that says what went wrong at which.
    """
    wish = os.environ.get("AUTOSYNC_POINTS", "")
    chosen = spread(
        points, len(points) if wish == "all" else max(1, int(min(most, len(points)) * float(wish or 1))), seed=most
    )
    wrong = side_by_side(chosen, attempt)
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong[:10])
    return len(chosen)
