"""Finds the file that a shown path stands for: names need not be text, and what is shown of them is."""

from __future__ import annotations

import os


def place_of(root: str, shown: str) -> str:
    """Return the path below ``root`` that is shown as ``shown`` (bytes that are no UTF-8 as ``\\xff``).

    Where two would be shown so, it is the one that is literally so; where there is none, ``shown`` itself.
    """
    found = os.fsencode(root)
    for part in shown.split("/"):
        literal = part.encode("utf-8", "surrogateescape")
        if "\\x" in part and not os.path.lexists(os.path.join(found, literal)):
            literal = next((name for name in _names(found) if _shown(name) == part), literal)
        found = os.path.join(found, literal)
    return os.fsdecode(found)


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
