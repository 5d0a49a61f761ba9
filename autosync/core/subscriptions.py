"""Says which names of a hub a list of names and patterns means."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_PATTERNS = 200
"""Names and patterns that one working copy can follow."""
_LONGEST = 255
# What neither a branch of git (git-check-ref-format(1)) nor a bookmark of hg may hold, or only one of them.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?\[\]{}\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|^[-/]")


def problem_of(pattern: str) -> str | None:
    """Return in words why ``pattern`` is neither a name nor the beginning of names and ``*``, ``None`` if it is."""
    beginning = pattern.removesuffix("*")
    if not pattern:
        return "it is empty"
    if not beginning:
        return "it means all there are"
    if len(pattern.encode("utf-8", "surrogateescape")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    if "*" in beginning:
        return "a * may only stand at its end"
    if (found := _FORBIDDEN.search(beginning)) is not None:
        return f"no name can hold {found[0]!r} there"
    if not is_pattern(pattern) and beginning[-1] in "/.":
        return f"no name can end with {beginning[-1]!r}"
    return None


def is_pattern(text: str) -> bool:
    """Return whether ``text`` means every name with that beginning."""
    return text.endswith("*")


def matches(patterns: Iterable[str], name: str) -> bool:
    """Return whether ``name`` is meant by one of ``patterns``."""
    return any(name.startswith(each[:-1]) if is_pattern(each) else name == each for each in patterns)
