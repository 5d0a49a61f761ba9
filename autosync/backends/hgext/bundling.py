"""Writes changesets as an uncompressed bundle with a changegroup of version 02, which every hg reads."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from mercurial import bundle2, bundlerepo, changegroup, discovery

from .changesets import find
from .memory import Changeset
from .refusal import UNSAFE, Declined
from .revisions import Revision

_HEADER = struct.Struct("20s20s20s20s20s")
"""Node, p1, p2, delta base, linked changeset (hg help internals.changegroups, version 2)."""
VERSION = b"02"
_SECRET = 2
_START = b"HG20\0\0\0\0"
"""A bundle without parameters of its stream, so an uncompressed one (hg help internals.bundle2)."""


def bundle_of(repo: Any, changeset: Changeset, common: Sequence[bytes] | None) -> bytes:
    """Return ``changeset`` as a bundle.

    If ``common`` names what the reader has, its ancestors beyond that are in it too.
    """
    alone = _bundle(repo.ui, b"".join(changegroup_of(changeset)), 1)
    if common is None or changeset.changelog.p1 == repo.nullid:
        return alone
    known = [find(repo, node).node() for node in common]
    ancestors = repo.unfiltered().revs(b"only(%d, %ln)", find(repo, changeset.changelog.p1).rev(), known)
    if not ancestors:
        return alone
    with opened(repo, alone) as overlay:
        missing = discovery.outgoing(overlay, commonheads=known, ancestorsof=[changeset.changelog.node])
        stream = b"".join(changegroup.makestream(overlay, missing, VERSION, b"bundle"))
    return _bundle(repo.ui, stream, len(ancestors) + 1)


class opened:  # noqa: N801 - reads as a function
    """A context: the repository with a bundle on top of it, nothing of which is stored.

    Raises :class:`Declined` if the bundle is compressed (hg would unpack it to a file).
    """

    def __init__(self, repo: Any, bundle: bytes) -> None:
        if not bundle.startswith(_START):
            raise Declined(UNSAFE, "it is not an uncompressed bundle of version 2")
        self._repo = repo
        self._bundle = bundle
        self._overlay: Any = None

    def __enter__(self) -> Any:
        with open(os.memfd_create("autosync-bundle"), "wb") as file:
            file.write(self._bundle)
            file.flush()
            place = b"/proc/self/fd/%d" % file.fileno()
            # It keeps a descriptor of its own.
            self._overlay = bundlerepo.makebundlerepository(self._repo.baseui, self._repo.root, place)
        return self._overlay.unfiltered()

    def __exit__(self, *_: object) -> None:
        self._overlay.close()


def _bundle(ui: Any, stream: bytes, count: int) -> bytes:
    bundle = bundle2.bundle20(ui, {})
    # An iterator is written in small pieces.  As one large piece, it would be read again for each
    # file that is looked at in it.
    part = bundle.newpart(b"changegroup", data=iter((stream,)))
    part.addparam(b"version", VERSION)
    part.addparam(b"nbchanges", b"%d" % count, mandatory=False)
    # Should anybody ever unbundle it, it stays his own.
    part.addparam(b"targetphase", b"%d" % _SECRET, mandatory=False)
    return b"".join(bundle.getchunks())


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
