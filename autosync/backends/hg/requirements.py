"""Refuses, before hg is started, what a repository says it needs and autosync does not handle."""

from __future__ import annotations

import os

from autosync.errors import NotAWorkingCopy, Unsupported

_REFUSED = {
    b"largefiles": "the largefiles extension",
    b"narrowhg-experimental": "a narrow clone",
    b"narrowhg": "a narrow clone",
    b"exp-sparse": "a sparse checkout",
    b"sparse": "a sparse checkout",
    b"treemanifest": "tree manifests",
    b"exp-remotefilelog-repo-req-1": "the remotefilelog extension",
    b"remotefilelog": "the remotefilelog extension",
    b"git": "a git repository as its store",
    b"exp-sqlite-001": "an SQLite store",
    b"exp-copies-sidedata-changeset": "copies recorded in changesets",
    b"exp-changelog-v2": "the changelog of version 2",
    b"exp-revlogv2.2": "revlogs of version 2",
}
_SUBREPOSITORIES = (b".hgsub", b".hgsubstate")


def check_requirements(root: bytes) -> frozenset[bytes]:
    """Return what the repository at ``root`` needs (hg help internals.requirements).

    Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    shown = os.fsdecode(root)
    metadata = os.path.join(root, b".hg")
    if not os.path.isdir(metadata):
        raise NotAWorkingCopy(f"{shown} is not an hg working copy", hint=f"Run: hg init {shown}")
    needed = _lines(os.path.join(metadata, b"requires"))
    store = metadata
    if b"shared" in needed or b"relshared" in needed:
        pointer = b"".join(_lines(os.path.join(metadata, b"sharedpath")))
        store = os.path.normpath(os.path.join(metadata, pointer))
        if not os.path.isdir(store):
            raise NotAWorkingCopy(
                f"{shown} shares the repository {os.fsdecode(store)}, which is not there",
                hint="Mount or restore it, or clone the repository again.",
            )
        if b"share-safe" not in needed:
            needed |= _lines(os.path.join(store, b"requires"))
    needed |= _lines(os.path.join(store, b"store", b"requires"))
    for name in sorted(needed):
        if name in _REFUSED:
            raise Unsupported(
                f"{shown} uses {_REFUSED[name]} ({name.decode()}), which autosync does not handle yet",
                hint="Sync another clone, one without it.",
            )
    if any(os.path.lexists(os.path.join(root, name)) for name in _SUBREPOSITORIES):
        raise Unsupported(
            f"{shown} cannot be synced: it has subrepositories (.hgsub), which autosync does not handle yet",
            hint="Sync another clone, one without it.",
        )
    return frozenset(needed)


def _lines(path: bytes) -> set[bytes]:
    """Return the lines of a file, none if it is not there."""
    try:
        with open(path, "rb") as file:
            return set(file.read().splitlines())
    except FileNotFoundError:
        return set()
