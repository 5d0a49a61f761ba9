"""Says which paths are named by patterns in the form of gitignore(5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autosync.core.model import RelPath


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[bytes]
    ignores: bool
    only_directories: bool


class Patterns:
    """Patterns, of which the last one that names a path decides; ``!`` takes one back.

    As in git nothing can be taken back below a directory that is ignored.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(
            pattern for text in patterns if (pattern := _compile(text.encode("utf-8", "surrogateescape")))
        )

    def name(self, path: RelPath, *, is_directory: bool) -> bool:
        """Return whether ``path`` is ignored, itself or with a directory above it."""
        parts = path.split(b"/")
        return any(
            self.name_alone(RelPath(b"/".join(parts[:n])), is_directory=is_directory or n < len(parts))
            for n in range(1, len(parts) + 1)
        )

    def name_alone(self, path: RelPath, *, is_directory: bool) -> bool:
        """Return whether ``path`` is ignored where no directory above it is."""
        for pattern in reversed(self._patterns):
            if (is_directory or not pattern.only_directories) and pattern.expression.fullmatch(path):
                return pattern.ignores
        return False


def _compile(text: bytes) -> _Pattern | None:
    """Return the pattern of one line, ``None`` for one that names nothing."""
    if text.startswith(b"#"):
        return None
    # Trailing spaces do not count unless the last one is quoted.
    while text.endswith(b" ") and not text.endswith(b"\\ "):
        text = text[:-1]
    ignores = not text.startswith(b"!")
    text = text.removeprefix(b"!")
    only_directories = text.endswith(b"/")
    text = text.rstrip(b"/")
    if not text:
        return None
    anchored = b"/" in text
    expression = (b"" if anchored else rb"(?:.*/)?") + _translate(text.lstrip(b"/"))
    try:
        return _Pattern(re.compile(expression, re.DOTALL), ignores, only_directories)
    except re.error:  # a range like [z-a]
        return None


def _translate(text: bytes) -> bytes:
    found = b""
    while text:
        match, expression = next((m, e) for glob, e in _GLOBS if (m := glob.match(text)))
        found += expression(match)
        text = text[match.end() :]
    return found


def _bracket(match: re.Match[bytes]) -> bytes:
    inside = re.sub(rb"\[:(\w+):\]", lambda m: _CLASSES.get(m[1], b""), match[2])
    escaped = re.sub(rb"([\[&~|])", rb"\\\1", inside)
    return b"(?!/)[" + (b"^" if match[1] else b"") + escaped + b"]"


_CLASSES = {
    b"alnum": b"a-zA-Z0-9",
    b"alpha": b"a-zA-Z",
    b"digit": b"0-9",
    b"lower": b"a-z",
    b"space": b" \\t\\n\\r\\f\\v",
    b"upper": b"A-Z",
    b"xdigit": b"0-9a-fA-F",
}
_GLOBS = (
    (re.compile(rb"\*\*/"), lambda _: rb"(?:.*/)?"),
    (re.compile(rb"/\*\*\Z"), lambda _: rb"/.+"),
    (re.compile(rb"\*+"), lambda _: rb"[^/]*"),
    (re.compile(rb"\?"), lambda _: rb"[^/]"),
    (re.compile(rb"\[([!^])?(\]?(?:\[:\w+:\]|\\.|[^\]])*)\]", re.DOTALL), _bracket),
    (re.compile(rb"\["), lambda _: rb"(?!)"),  # never closed: it names nothing
    (re.compile(rb"\\(.)", re.DOTALL), lambda match: re.escape(match[1])),
    (re.compile(rb".", re.DOTALL), lambda match: re.escape(match[0])),
)
