"""Shows the two versions of a conflict side by side, line by line."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN_BYTES = 256 * 1024
"""Longest file whose text is shown."""
SHOWN_LINES = 4000
_AROUND = 4
"""Equal lines that are shown before and after a difference."""

Row = tuple[str, int | None, str, int | None, str]
"""``equal``, ``changed`` or ``left out``; then number and text of the line on either side, no number for none."""


def side_by_side(root: str, left: str, right: str) -> dict[str, Any]:
    """Return ``{"left", "right", "rows"}`` for two paths below ``root``.

    A side tells ``bytes``, ``modified`` (seconds since the epoch) and ``kind`` (``text``, ``binary``, ``large``,
    ``link``, ``folder``, ``other`` or ``gone``).  ``rows`` is ``null`` unless both are text.
    """
    (one, first), (other, second) = (_read(root, path) for path in (left, right))
    rows = None if first is None or second is None else _rows(first, second)
    return {"left": one, "right": other, "rows": rows}


def _read(root: str, path: str) -> tuple[Mapping[str, Any], str | None]:
    """Return what there is to say of a file and its text; no link is followed on the way to it, nor it itself."""
    directory = -1
    try:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        *above, name = path.split("/")
        for part in above:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = inner
        return _read_at(directory, name)
    except OSError:
        return {"kind": "gone", "bytes": None, "modified": None}, None
    finally:
        if directory >= 0:
            os.close(directory)


def _read_at(directory: int, name: str) -> tuple[Mapping[str, Any], str | None]:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    told: dict[str, Any] = {"bytes": found.st_size, "modified": found.st_mtime}
    if stat.S_ISLNK(found.st_mode):
        return {**told, "kind": "link"}, os.readlink(name, dir_fd=directory)
    if not stat.S_ISREG(found.st_mode):
        return {**told, "kind": "folder" if stat.S_ISDIR(found.st_mode) else "other"}, None
    if found.st_size > SHOWN_BYTES:
        return {**told, "kind": "large"}, None
    # Not blocking: what was a file a moment ago may be a pipe.
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with open(file, "rb") as opened:
        content = opened.read(SHOWN_BYTES)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return {**told, "kind": "binary"}, None
    if "\0" in text or text.count("\n") > SHOWN_LINES:
        return {**told, "kind": "binary" if "\0" in text else "large"}, None
    return {**told, "kind": "text"}, text


def _rows(left: str, right: str) -> list[Row]:
    first, second = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (left, right))
    rows: list[Row] = []
    for group in difflib.SequenceMatcher(None, first, second).get_grouped_opcodes(_AROUND):
        if group[0][1] or group[0][3]:
            rows.append(("left out", None, "", None, ""))
        for tag, i, i_end, j, j_end in group:
            for n in range(max(i_end - i, j_end - j)):
                one = _line(first, i + n, i_end)
                other = _line(second, j + n, j_end)
                rows.append(("equal" if tag == "equal" else "changed", *one, *other))
        last = group[-1]
    if rows and (last[2], last[4]) != (len(first), len(second)):
        rows.append(("left out", None, "", None, ""))
    return rows


def _line(lines: Sequence[str], at: int, end: int) -> tuple[int | None, str]:
    return (at + 1, lines[at].rstrip("\n")) if at < end else (None, "")
