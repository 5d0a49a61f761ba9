"""Puts the text of a light-weight copy together from its chunk and its source."""

from __future__ import annotations

import threading
from typing import Any

from mercurial import error, mdiff

from . import versions
from .chunk import HIGHEST, Light, Malformed, unpack


class _Below(threading.local):
    """What is being read in this thread: only chunks below this level may be needed."""

    level = HIGHEST + 1


_below = _Below()


class Expander:
    """Expands the light chunks of one revlog; has the shape of hg's revlog compressors."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def decompress(self, stored: bytes) -> bytes:
        """Return the raw text; raise :class:`mercurial.error.StorageError` naming file and revision."""
        chunk = bytes(stored)
        try:
            light = unpack(chunk)
            if light.level >= _below.level:
                raise Malformed(f"level {light.level} inside of level {_below.level}")
        except Malformed as problem:
            raise self._unreadable(chunk, b"its chunk is damaged", str(problem).encode()) from None
        try:
            source = self._source(light)
        except error.StorageError as problem:
            raise self._unreadable(chunk, b"its source %s" % light.path, _words(problem)) from None
        try:
            return bytes(mdiff.patches(source, [light.delta]))
        except mdiff.mpatch.mpatchError as problem:
            raise self._unreadable(chunk, b"its delta to %s" % light.path, str(problem).encode()) from None

    def _source(self, light: Light) -> bytes:
        """Return the raw text of the source, which is checked together with the copy's hash."""
        pending = getattr(self._storage, "_lwcopy_pending", False)
        log = versions.open_log(self._storage.opener, light.path, pending)
        rev = log.rev(light.node)
        outside, _below.level = _below.level, light.level
        try:
            return versions.raw_text(log, rev)
        finally:
            _below.level = outside

    def _unreadable(self, chunk: bytes, what: bytes, words: bytes) -> Any:
        name = versions.path_of(self._storage)
        rev = _whose(self._storage, chunk)
        return error.StorageError(b"%s:%s: light-weight copy cannot be read: %s: %s" % (name, rev, what, words))


def _whose(storage: Any, chunk: bytes) -> bytes:
    """Return the number of the revision with this chunk, which nobody tells who expands it."""
    for rev in range(len(storage.index)):
        if storage.index[rev][1] == len(chunk) and versions.raw_chunk(storage, rev) == chunk:
            return b"%d" % rev
    return b"?"


def _words(problem: Exception) -> bytes:
    said = problem.args[-1] if problem.args else b""
    return said if isinstance(said, bytes) else str(problem).encode()
