"""Tells what a file revision says it was copied from while it is still under way."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from mercurial import error, util
from mercurial.node import sha1nodeconstants

from .versions import open_log
from .writing import source_of

_HUNK = struct.Struct(">lll")
"""Start and end of what is replaced in the base, and the length of what replaces it (mercurial/mdiff.py)."""
_LONGEST = 1 << 16
"""Bytes of a text in which its metadata is looked for: two paths' worth and more."""
_HAS_METADATA = 1 << 11
"""The flag of revlogs and changegroups that know which revisions carry metadata (7.2: REVIDX_HASMETA)."""

_UNCOMPRESSED = b"\0"
"""How a revision says that it is not compressed (7.2: REVLOG_COMP_NONE)."""

Origin = tuple[bytes, bytes]
"""Path and node of the source of a copy."""


class Parcel(NamedTuple):
    """What is needed here of a revision in a changegroup, the same in all versions of Mercurial."""

    node: bytes
    may_be_copy: bool
    base: bytes
    delta: bytes | None
    text: bytes | None


def unwrap(revision: Any) -> Parcel:
    """Return what a revision carries: a tuple up to Mercurial 6, an ``InboundRevision`` from 7 on."""
    if isinstance(revision, tuple):
        node, first_parent, _, _, base, delta = revision[:6]
        return Parcel(node, first_parent == sha1nodeconstants.nullid, base, delta, None)
    if revision.has_filelog_hasmeta_flag:
        may_be_copy = bool(revision.flags & _HAS_METADATA)
    else:
        may_be_copy = revision.p1 == sha1nodeconstants.nullid
    if not may_be_copy:
        return Parcel(revision.node, may_be_copy, revision.delta_base, None, None)
    return Parcel(revision.node, may_be_copy, revision.delta_base, *_uncompressed(revision))


def _uncompressed(revision: Any) -> tuple[bytes | None, bytes | None]:
    """Return delta and text, one of which is None."""
    if revision.compression in (None, _UNCOMPRESSED):
        return revision.delta, revision.raw_text
    engine = util.compengines.forrevlogheader(revision.compression).revlogcompressor()
    return (
        None if revision.delta is None else engine.decompress(revision.delta),
        None if revision.raw_text is None else engine.decompress(revision.raw_text),
    )


def beginning(delta: bytes, base: bytes) -> bytes:
    """Return how a text begins, as far as that follows from how its base begins."""
    parts: list[bytes] = []
    at = known = size = 0
    while at + _HUNK.size <= len(delta) and size < _LONGEST:
        start, end, length = _HUNK.unpack_from(delta, at)
        at += _HUNK.size
        parts += (base[known:start], delta[at : at + min(length, _LONGEST)])
        if start > len(base):
            del parts[-1]
            return b"".join(parts)[:_LONGEST]
        size += start - known + length
        known = end
        at += length
    parts.append(base[known:])
    return b"".join(parts)[:_LONGEST]


class Peeker:
    """Reads the metadata of the revisions of one file, which may be deltas to each other."""

    def __init__(self, opener: Any, path: bytes) -> None:
        self._opener = opener
        self._path = path
        self._beginnings: dict[bytes, bytes] = {}

    def origin(self, revision: Any) -> Origin | None:
        """Return what the revision was copied from, or None if it says nothing of that."""
        parcel = unwrap(revision)
        if not parcel.may_be_copy:
            return None
        if parcel.text is not None:
            text = parcel.text[:_LONGEST]
        else:
            assert parcel.delta is not None  # noqa: S101  # one of both is there
            text = beginning(parcel.delta, self._base(parcel.base, parcel.delta))
        origin = source_of(text)
        if origin is not None:
            self._beginnings[parcel.node] = text[: text.index(b"\1\n", 2) + 2]
        return origin

    def _base(self, node: bytes, delta: bytes) -> bytes:
        if node == sha1nodeconstants.nullid or delta[:4] == b"\0\0\0\0":
            return b""  # nothing of the base is kept at the beginning
        if node in self._beginnings:
            return self._beginnings[node]
        try:
            return bytes(open_log(self._opener, self._path, pending=True).rawdata(node)[:_LONGEST])
        except error.StorageError:
            return b""  # it came just before, and has no metadata
