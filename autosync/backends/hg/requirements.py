"""Refuses, before hg is started, what a repository says it needs and autosync does not handle."""

from __future__ import annotations

import os
from collections.abc import Collection

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
    if not os.path.isdir(os.path.join(root, b".hg")):
        raise NotAWorkingCopy(f"{shown} is not an hg working copy", hint=f"Run: hg init {shown}")
    needed = requirements_of(root)
    store = _shared(root, needed)
    if store is not None and not os.path.isdir(store):
        raise NotAWorkingCopy(
            f"{shown} shares the repository {os.fsdecode(store)}, which is not there",
            hint="Mount or restore it, or clone the repository again.",
        )
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
    return needed


def requirements_of(root: bytes) -> frozenset[bytes]:
    """Return what the repository at ``root`` and the one it shares name; nothing of what is not there."""
    metadata = os.path.join(root, b".hg")
    needed = _lines(os.path.join(metadata, b"requires"))
    store = _shared(root, needed)
    if store is not None and b"share-safe" not in needed:
        needed |= _lines(os.path.join(store, b"requires"))
    return frozenset(needed | _lines(os.path.join(store or metadata, b"store", b"requires")))


def _shared(root: bytes, needed: Collection[bytes]) -> bytes | None:
    """Return the .hg of the repository that is shared, None if it is the own one."""
    if b"shared" not in needed and b"relshared" not in needed:
        return None
    metadata = os.path.join(root, b".hg")
    return os.path.normpath(os.path.join(metadata, b"".join(_lines(os.path.join(metadata, b"sharedpath")))))


def _lines(path: bytes) -> set[bytes]:
    """Return the lines of a file, none if it is not there."""
    try:
        with open(path, "rb") as file:
            return set(file.read().splitlines())
    except FileNotFoundError:
        return set()
