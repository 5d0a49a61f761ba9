"""The ways in which a question can be declined; our process turns each into an error of its own."""

from __future__ import annotations

MOVED = b"moved"
"""The working copy's parent is another than it was, or than was asked about."""
MISSING = b"missing"
"""A changeset that was named is not here."""
UNSAFE = b"unsafe"
"""A bundle is not what its id says."""
UNSUPPORTED = b"unsupported"
"""The repository uses what is not handled yet."""
BUSY = b"busy"
"""The user's own hg is at work."""
DIVERGED = b"diverged"
"""A bookmark here has changesets that the other device lacks."""
NAMELESS = b"nameless"
"""hg does not know who commits."""
REFUSED = b"refused"
"""hg itself refuses, for a cause that somebody can remove: a pattern that is none, a filter that fails."""
DAMAGED = b"damaged"
"""hg cannot read what it has stored."""


class Declined(Exception):
    """A question that has no answer, for one of the reasons above."""

    def __init__(self, reason: bytes, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


def words(problem: BaseException) -> str:
    """Return the kind of a problem and what it says, in a line."""
    return f"{type(problem).__name__}: {problem}"[:300]
