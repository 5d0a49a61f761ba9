"""Finds the copies of a store: those that are light, and those that are stored in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mercurial.node import nullrev

from . import versions
from .chunk import HEADER, Malformed
from .chunk import source_of as needed_by
from .writing import source_of


@dataclass(frozen=True)
class Copy:
    """A revision that has no base in its own revlog and names a source; ``stored`` is the length of its chunk."""

    path: bytes
    rev: int
    source: tuple[bytes, bytes]
    light: bool
    stored: int
    size: int


def light_copies(repo: Any) -> Iterator[Copy]:
    """Yield all light-weight copies, each file's in their order; damaged ones are left to ``hg verify``."""
    for path in versions.paths(repo):
        log = versions.open_log(repo.svfs, path, False)
        for rev in _based_on_nothing(log):
            chunk = versions.raw_chunk(log, rev)
            if not chunk.startswith(HEADER):
                continue
            try:
                yield Copy(path, rev, needed_by(chunk), True, len(chunk), log.rawsize(rev))
            except Malformed:
                continue


def full_copies(repo: Any) -> Iterator[Copy]:
    """Yield all copies that are stored in full."""
    for path in versions.paths(repo):
        log = versions.open_log(repo.svfs, path, False)
        if not versions.is_plain_format(log):
            continue
        for rev in _based_on_nothing(log):
            chunk = versions.raw_chunk(log, rev)
            if chunk.startswith(HEADER) or versions.changes_text(log.flags(rev)):
                continue
            source = source_of(versions.chunk_text(log, rev))
            if source is not None and source[0] != path:
                yield Copy(path, rev, source, False, len(chunk), log.rawsize(rev))


def _based_on_nothing(log: Any) -> Iterator[int]:
    for rev in range(len(log)):
        # A base of itself is how a revlog says that there is none; empty texts have nothing to say.
        if log.length(rev) and log.deltaparent(rev) == nullrev:
            yield rev
