"""Which names and patterns of bookmarks are asked for, and which names a pattern stands for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

LONGEST = 1000
"""Bytes of the longest name or pattern; a server may have longer names, which then have to be pulled with all."""
MANY_STARS = 8
"""The most ``*`` of one pattern: what a server is asked to match is to stay cheap."""
_SPECIAL = re.compile(rb"[*?\[]")
_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f:]")
"""What hg itself refuses in a name (``scmutil.checknewlabel``), and all other control characters."""
_NOT_A_BOOKMARK = frozenset({b".", b"..", b"tip", b"null"})
_WHOLE_NODE = re.compile(rb"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
_NUMBER = re.compile(rb"-?[0-9]+")


def is_pattern(text: bytes) -> bool:
    """Return whether a text has one of ``*``, ``?`` and ``[``, which stand for other characters."""
    return _SPECIAL.search(text) is not None


def flaw(name: bytes) -> str | None:
    """Return why this cannot be the name of a bookmark or a pattern for one, or ``None`` if it can be.

    A number, a whole hash, ``tip``, ``null`` and ``.`` would name a changeset to any hg.
    """
    if not name or name != name.strip():
        return "it is empty, or begins or ends with a space"
    if len(name) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    if _FORBIDDEN.search(name):
        return "it has a control character or a colon"
    if name in _NOT_A_BOOKMARK or _NUMBER.fullmatch(name) or _WHOLE_NODE.fullmatch(name):
        return "hg takes it for a changeset"
    if name.count(b"*") > MANY_STARS:
        return f"it has more than {MANY_STARS} stars"
    return None


def is_divergent(name: bytes) -> bool:
    """Return whether hg would not show this name to others: ``name@path``, made for a bookmark that diverged."""
    return b"@" in name and not name.endswith(b"@")


def matcher(pattern: bytes) -> Callable[[bytes], bool]:
    """Return what tells whether a name (UTF-8) matches a pattern as the shell's do, where ``*`` also spans a ``/``.

    What precedes the first special character is compared first, so that one pattern costs little for
    each name that does not begin like it. `fnmatch.translate` makes no expression that backtracks
    over more than one star (since Python 3.9).
    """
    special = _SPECIAL.search(pattern)
    if special is None:
        return lambda name: name == pattern
    prefix = pattern[: special.start()]
    if pattern[special.start() :] == b"*":
        return lambda name: name.startswith(prefix)
    match = re.compile(fnmatch.translate(pattern.decode("utf-8", "surrogateescape"))).match

    def matches(name: bytes) -> bool:
        return name.startswith(prefix) and match(name.decode("utf-8", "surrogateescape")) is not None

    return matches


def any_matcher(patterns: Iterable[bytes]) -> Callable[[bytes], bool]:
    """Return what tells whether a name matches one of several patterns."""
    matchers = [matcher(pattern) for pattern in patterns]
    return lambda name: any(matches(name) for matches in matchers)
