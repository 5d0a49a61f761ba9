"""Makes the copies that a store has light, or stores them in full again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mercurial import error

from . import versions
from .chunk import HIGHEST
from .rewriting import rewrite
from .surveying import Copy, full_copies, light_copies
from .writing import LATER, is_worth, light_chunk

Chunks = dict[bytes, dict[int, bytes]]
Place = tuple[bytes, int]


def lighten(repo: Any, transaction: Any, progress: Callable[[], Any]) -> int:
    """Store every copy light that can be, and return how many became so.

    Sources come before their copies, so that no level has to change later.
    """
    copies = {(copy.path, copy.rev): copy for copy in full_copies(repo)}
    roots = {place: _root(repo, copy.source) for place, copy in copies.items()}
    resting = {_root(repo, copy.source) for copy in light_copies(repo)}
    chunks: Chunks = {}
    for place in _sources_first(roots):
        progress()
        chunk = _light(repo, copies[place], LATER if place in resting else HIGHEST, chunks)
        if chunk is not None:
            chunks.setdefault(place[0], {})[place[1]] = chunk
            resting.add(roots[place])
    _rewrite(repo, transaction, chunks)
    return sum(map(len, chunks.values()))


def store_full(repo: Any, transaction: Any, copies: Iterable[Copy], progress: Callable[[], Any]) -> int:
    """Store these light-weight copies in full, and return how many they were."""
    places: dict[bytes, list[int]] = {}
    for copy in copies:
        places.setdefault(copy.path, []).append(copy.rev)
    for path, revs in places.items():
        log = versions.open_log(repo.svfs, path, False)
        # One after the other would be many times the whole file; all texts at once are the revlog's new content.
        rewrite(repo.svfs, transaction, path, {rev: _full(log, rev, progress) for rev in revs})
    return sum(map(len, places.values()))


def _full(log: Any, rev: int, progress: Callable[[], Any]) -> bytes:
    progress()
    text = bytes(log.rawdata(log.node(rev)))
    return versions.compressed(log, text)


def _light(repo: Any, copy: Copy, ceiling: int, planned: Chunks) -> bytes | None:
    log = versions.open_log(repo.svfs, copy.path, False)
    try:
        text = bytes(log.rawdata(log.node(copy.rev)))
    except error.StorageError:
        return None
    chunk = light_chunk(log, text, link=log.linkrev(copy.rev), ceiling=ceiling, planned=planned)
    return chunk if chunk is not None and is_worth(chunk, copy.stored) else None


def _root(repo: Any, source: tuple[bytes, bytes]) -> Place | None:
    """Return where the chunk stands that a source's text rests on, None if it is not here."""
    log = versions.open_log(repo.svfs, source[0], False)
    try:
        return source[0], int(log.chainbase(log.rev(source[1])))
    except error.LookupError:
        return None


def _sources_first(roots: dict[Place, Place | None]) -> Iterable[Place]:
    """Yield all places, each after the one that it rests on; a circle begins anywhere."""
    done: set[Place] = set()
    for start in roots:
        line: list[Place] = []
        place: Place | None = start
        while place in roots and place not in done:
            done.add(place)
            line.append(place)
            place = roots[place]
        yield from reversed(line)


def _rewrite(repo: Any, transaction: Any, chunks: Chunks) -> None:
    for path in sorted(chunks):
        rewrite(repo.svfs, transaction, path, chunks[path])
