"""Compares two texts line by line, in a time that is bounded whatever they hold."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CONTEXT = 3
"""Equal lines that are shown around a change."""
STEPS = 1_000_000
"""Steps after which what is left of a stretch is taken to be replaced as a whole."""

_Edit = tuple[int, int, int, int]
"""Old lines from, to (exclusive) are replaced by new lines from, to; the first has number 0."""
_Pair = tuple[int, int]
"""An old line and the new one that is equal to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """A stretch that differs, as in a unified diff (POSIX ``diff -u``): lines count from 1, an empty range
    names the line before it.

    Each of ``lines`` begins with a space (in both), ``-`` or ``+``, and ends as it does in its text.
    """

    old_start: int
    old_lines: int
    new_start: int
    new_lines: int
    lines: tuple[bytes, ...]


def is_text(content: bytes) -> bool:
    """Return whether ``content`` can be shown as lines: it has no NUL in it."""
    return b"\0" not in content


def hunks(old: bytes, new: bytes, *, context: int = CONTEXT, steps: int = STEPS) -> tuple[Hunk, ...]:
    """Return in what two texts differ, with ``context`` equal lines around each difference."""
    before, after = _lines(old), _lines(new)
    edits = _edits(_matched(before, after, _Budget(steps)), len(before), len(after))
    return tuple(_hunk(before, after, group, context) for group in _grouped(edits, context))


def _lines(text: bytes) -> list[bytes]:
    parts = text.split(b"\n")
    last = parts.pop()
    return [part + b"\n" for part in parts] + ([last] if last else [])


def _edits(matched: Sequence[_Pair], old: int, new: int) -> list[_Edit]:
    edits = []
    low = left = 0
    for one, other in (*matched, (old, new)):
        if (one, other) != (low, left):
            edits.append((low, one, left, other))
        low, left = one + 1, other + 1
    return edits


# -- which lines are equal -----------------------------------------------------------------------
@dataclass(slots=True)
class _Budget:
    """Steps that are left for all stretches of two texts together."""

    steps: int


def _matched(before: Sequence[bytes], after: Sequence[bytes], budget: _Budget) -> list[_Pair]:
    """Return which lines stay, in order.

    Lines that both texts have once split them up (Cohen's patience diff); between those the least edit
    is looked for.
    """
    head = _equal_head(before, after)
    tail = _equal_head(before[head:][::-1], after[head:][::-1])
    high, right = len(before) - tail, len(after) - tail
    pairs = [(i, i) for i in range(head)]
    low = left = head
    for one, other in (*_anchors(before, after, head, high, right), (high, right)):
        found = _least_edit(before[low:one], after[left:other], budget)
        pairs += [(low + i, left + j) for i, j in found]
        if one < high:
            pairs.append((one, other))
        low, left = one + 1, other + 1
    return pairs + [(high + i, right + i) for i in range(tail)]


def _equal_head(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _anchors(before: Sequence[bytes], after: Sequence[bytes], low: int, high: int, right: int) -> list[_Pair]:
    """Return the longest row of lines from ``low`` on that both have once and in the same order."""
    ours, theirs = Counter(before[low:high]), Counter(after[low:right])
    where = {after[i]: i for i in range(low, right) if theirs[after[i]] == 1}
    return _rising([(i, where[before[i]]) for i in range(low, high) if ours[before[i]] == 1 and before[i] in where])


def _rising(pairs: Sequence[_Pair]) -> list[_Pair]:
    """Return the longest subsequence in which the second number rises as the first does (patience sorting)."""
    ends: list[int] = []  # the smallest number in which a row of each length ends
    last: list[int] = []  # the pair that it belongs to
    before: list[int] = []  # the pair that goes before each pair in its row, -1 for none
    for index, (_, number) in enumerate(pairs):
        length = bisect_left(ends, number)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1], last[length : length + 1] = [number], [index]
    row: list[_Pair] = []
    at = last[-1] if last else -1
    while at >= 0:
        row.append(pairs[at])
        at = before[at]
    return row[::-1]


def _least_edit(one: Sequence[bytes], other: Sequence[bytes], budget: _Budget) -> list[_Pair]:
    """Return which lines stay in the shortest edit, none if finding it takes more than the ``budget``.

    Myers 1986, "An O(ND) difference algorithm and its variations".
    """
    reach = {1: 0}
    trail: list[array[int]] = []  # a million numbers: as objects they would take a hundred bytes each
    for distance in range(len(one) + len(other) + 1 if one and other else 0):
        if budget.steps < 0:
            break
        trail.append(array("q", (reach.get(k, 0) for k in _beside(distance))))
        for diagonal in range(-distance, distance + 1, 2):
            x = _furthest(reach, diagonal, distance)
            start = x
            while x < len(one) and x - diagonal < len(other) and one[x] == other[x - diagonal]:
                x += 1
            reach[diagonal] = x
            budget.steps -= 1 + x - start
            if x >= len(one) and x - diagonal >= len(other):
                return _traced(trail, len(one), len(other))
        budget.steps -= distance  # for what is kept of it
    return []


def _beside(distance: int) -> range:
    """Return the diagonals from which the ``distance``th edit can start, and one more at each end."""
    return range(-distance - 1, distance + 2, 2)


def _furthest(reach: dict[int, int], diagonal: int, distance: int) -> int:
    """Return how many old lines are behind us when a diagonal is entered by the ``distance``th edit."""
    if _is_added(reach, diagonal, distance):
        return reach[diagonal + 1]
    return reach[diagonal - 1] + 1


def _is_added(reach: dict[int, int], diagonal: int, distance: int) -> bool:
    """Return whether that edit adds a new line; else it takes an old one away."""
    return diagonal == -distance or (diagonal != distance and reach[diagonal - 1] < reach[diagonal + 1])


def _traced(trail: Sequence[array[int]], x: int, y: int) -> list[_Pair]:
    """Return the equal lines on the way that leads to ``x`` and ``y``."""
    pairs: list[_Pair] = []
    for distance in reversed(range(len(trail))):
        diagonal = x - y
        reach = dict(zip(_beside(distance), trail[distance], strict=True))
        start = _furthest(reach, diagonal, distance)
        while x > start:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        added = _is_added(reach, diagonal, distance)
        x, y = (start, start - diagonal - 1) if added else (start - 1, start - diagonal)
    return pairs[::-1]


# -- how it is shown -----------------------------------------------------------------------------
def _grouped(edits: Sequence[_Edit], context: int) -> Iterator[list[_Edit]]:
    """Yield together what is shown together: the equal lines in between are not more than those around."""
    group: list[_Edit] = []
    for edit in edits:
        if group and edit[0] - group[-1][1] > 2 * context:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _hunk(before: Sequence[bytes], after: Sequence[bytes], group: Sequence[_Edit], context: int) -> Hunk:
    lead = min(context, group[0][0])
    low, left = group[0][0] - lead, group[0][2] - lead
    trail = min(context, len(before) - group[-1][1])
    high, right = group[-1][1] + trail, group[-1][3] + trail
    lines: list[bytes] = []
    at = low
    for start, end, new_start, new_end in group:
        lines += [b" " + line for line in before[at:start]]
        lines += [b"-" + line for line in before[start:end]]
        lines += [b"+" + line for line in after[new_start:new_end]]
        at = end
    lines += [b" " + line for line in before[at:high]]
    return Hunk(
        old_start=low + (high > low),
        old_lines=high - low,
        new_start=left + (right > left),
        new_lines=right - left,
        lines=tuple(lines),
    )
