"""Lays out text for a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def plain(value: object) -> str:
    """Return ``value`` as text that a terminal only shows: names come from other devices, and
    an escape sequence in one must not be obeyed."""
    text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def terminal_width() -> int | None:
    """Return how many characters a line of the terminal holds, ``None`` if what is printed goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, width: int | None = None) -> list[str]:
    """Return the lines of a table with aligned columns, each cut at its end if it is longer than ``width``."""
    cells = [list(heads), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    return lines if width is None else [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def age(seconds: float) -> str:
    """Return a span of time in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
