"""Writes a changeset from memory as a changegroup of version 02, which every hg reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mercurial import changegroup

from .memory import Changeset
from .revisions import Revision

_HEADER = struct.Struct("20s20s20s20s20s")
"""Node, p1, p2, delta base, linked changeset (hg help internals.changegroups, version 2)."""
VERSION = b"02"


def changegroup_of(changeset: Changeset) -> Iterator[bytes]:
    """Yield a changegroup of version 02 with this changeset."""
    link = changeset.changelog.node
    yield from _group([changeset.changelog], link)
    yield from _group([] if changeset.manifest is None else [changeset.manifest], link)
    for path in sorted(changeset.files):
        yield changegroup.chunkheader(len(path)) + path
        yield from _group([changeset.files[path]], link)
    yield changegroup.closechunk()


def _group(revisions: list[Revision], link: bytes) -> Iterator[bytes]:
    for one in revisions:
        header = _HEADER.pack(one.node, one.p1, one.p2, one.base, link)
        yield changegroup.chunkheader(len(header) + len(one.delta)) + header
        yield one.delta
    yield changegroup.closechunk()
