"""File revisions that are computed as hg would compute them, and kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mercurial import error, mdiff
from mercurial.utils import storageutil

_NULL = b"\0" * 20
_HAS_METADATA = 1 << 11
"""revlog.REVIDX_HASMETA, which 7.x sets: it says something of the text, and changes nothing in it."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a file, a manifest or the changelog; ``delta`` applies to the text of ``base``."""

    node: bytes
    p1: bytes
    p2: bytes
    base: bytes
    delta: bytes
    text: bytes


def revision(text: bytes, p1: bytes, p2: bytes, *, delta: bytes | None = None) -> Revision:
    """Return the revision of ``text``; ``delta`` applies to that of ``p1``, without it all is sent whole."""
    node: bytes = storageutil.hashrevisionsha1(text, p1, p2)
    if delta is None:
        return Revision(node, p1, p2, _NULL, mdiff.trivialdiffheader(len(text)) + text, text)
    return Revision(node, p1, p2, p1, delta, text)


class FileContext:
    """What ``commit._filecommit`` asks of a file that is to be committed."""

    def __init__(self, path: bytes, content: bytes, flags: bytes, source: bytes | None) -> None:
        self._path, self._content, self._flags, self._source = path, content, flags, source

    def path(self) -> bytes:
        """Return the path."""
        return self._path

    def data(self) -> bytes:
        """Return the content to store."""
        return self._content

    def flags(self) -> bytes:
        """Return ``""``, ``"x"`` or ``"l"``."""
        return self._flags

    def copysource(self) -> bytes | None:
        """Return which path it is a copy of."""
        return self._source


class Recorder:
    """What ``commit._filecommit`` takes for the repository: it reads the real one, and keeps what is added."""

    def __init__(self, repo: Any) -> None:
        self.repo = repo
        self.nullid: bytes = repo.nullid
        self.ui = repo.ui
        self.added: dict[bytes, Revision] = {}

    def file(self, path: bytes, writable: bool = False) -> FileLog:  # noqa: ARG002 - as hg calls it
        """Return the history of a file."""
        return FileLog(self, path)


class FileLog:
    """The history of one file, to which is added in memory only."""

    def __init__(self, recorder: Recorder, path: bytes) -> None:
        self._recorder = recorder
        self._path = path
        self._real = recorder.repo.file(path)

    def cmp(self, node: bytes, text: bytes) -> bool:
        """Return whether the content at ``node`` differs."""
        return bool(self._real.cmp(node, text))

    def commonancestorsheads(self, one: bytes, other: bytes) -> list[bytes]:
        """Return the nearest common ancestors of two revisions."""
        return list(self._real.commonancestorsheads(one, other))

    def add(
        self,
        text: bytes,
        meta: dict[bytes, bytes],
        _transaction: None,
        _link: int,
        p1: bytes,
        p2: bytes,
    ) -> bytes:
        """Keep a revision and return its node."""
        null = self._recorder.nullid
        raw: bytes = storageutil.packmeta(meta, text) if meta or text.startswith(b"\1\n") else text
        if meta and p2 == null:
            # 7.x passes the parents of a copy in the other order; changegroup 02 has them in this one.
            p1, p2 = null, p1
        old = None if p1 == null else self._plain(p1)
        delta = None if old is None else bytes(mdiff.textdiff(old, raw))
        if delta is not None and len(delta) >= len(raw):
            delta = None
        made = revision(raw, p1, p2, delta=delta)
        self._recorder.added[self._path] = made
        return made.node

    def _plain(self, node: bytes) -> bytes | None:
        """Return the stored text of a revision, ``None`` if others may store it differently (lfs, censored)."""
        try:
            log = self._real._revlog
            return None if log.flags(log.rev(node)) & ~_HAS_METADATA else bytes(self._real.rawdata(node))
        except (error.LookupError, error.StorageError):
            return None
