"""Merges three versions of a text line by line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Hunk:
    """Base lines ``start`` up to ``end`` (exclusive) are replaced by ``lines``."""

    start: int
    end: int
    lines: tuple[bytes, ...]


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Return the text that holds the edits of both sides, ``None`` if they meet or if it is no text.

    Edits meet when they touch the same or neighbouring lines and are not
    identical, as in git and ``diff3 -m`` (Khanna, Kunal, Pierce 2007, "A formal
    investigation of diff3").  Symmetric in ``ours`` and ``theirs``.  Lines end
    with ``\\n``; nothing else is known of the encoding, but that no text has a NUL in it.
    """
    if ours in (theirs, base):
        return theirs
    if theirs == base:
        return ours
    if any(b"\0" in content for content in (base, ours, theirs)):
        return None
    lines = _lines(base)
    left, right = _hunks(lines, _lines(ours)), _hunks(lines, _lines(theirs))
    merged: list[bytes] = []
    position = 0
    for start, end, mine, yours in _regions(left, right):
        merged += lines[position:start]
        old = tuple(lines[start:end])
        one, two = _replaced(lines, start, end, mine), _replaced(lines, start, end, yours)
        if one not in (two, old) and two != old:
            return None
        merged += two if one == old else one
        position = end
    return b"".join([*merged, *lines[position:]])


def _lines(text: bytes) -> list[bytes]:
    parts = text.split(b"\n")
    last = parts.pop()
    return [part + b"\n" for part in parts] + ([last] if last else [])


def _hunks(base: Sequence[bytes], side: Sequence[bytes]) -> list[_Hunk]:
    matcher = difflib.SequenceMatcher(None, base, side, autojunk=False)
    return [
        _Hunk(start, end, tuple(side[low:high]))
        for tag, start, end, low, high in matcher.get_opcodes()
        if tag != "equal"
    ]


def _regions(left: list[_Hunk], right: list[_Hunk]) -> list[tuple[int, int, list[_Hunk], list[_Hunk]]]:
    """Return the stretches of the base that hunks cover, those that touch joined, with each side's hunks."""
    regions: list[tuple[int, int, list[_Hunk], list[_Hunk]]] = []
    tagged = [(hunk, False) for hunk in left] + [(hunk, True) for hunk in right]
    for hunk, is_right in sorted(tagged, key=lambda item: (item[0].start, item[0].end)):
        if regions and hunk.start <= regions[-1][1]:
            start, end, mine, yours = regions.pop()
        else:
            start, end, mine, yours = hunk.start, hunk.end, [], []
        (yours if is_right else mine).append(hunk)
        regions.append((start, max(end, hunk.end), mine, yours))
    return regions


def _replaced(base: Sequence[bytes], start: int, end: int, hunks: Sequence[_Hunk]) -> tuple[bytes, ...]:
    """Return one side's version of the base lines ``start`` up to ``end``."""
    lines: list[bytes] = []
    for hunk in hunks:
        lines += base[start : hunk.start]
        lines += hunk.lines
        start = hunk.end
    return (*lines, *base[start:end])
