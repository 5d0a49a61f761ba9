"""Adds changesets to the user's repository: those that another device sent, in the phases they have there."""

from __future__ import annotations

from typing import Any

from mercurial import bundle2, changegroup, error, pathutil, phases, scmutil

from .bundling import VERSION
from .history import changegroup_version, standing_on, verify
from .locking import locked
from .refusal import UNSAFE, Declined

_CHANGEGROUP = b"changegroup"
_PHASES = b"phase-heads"
_SNAPSHOT = b"autosync-version"
"""Says in a changeset's extra that it is a snapshot."""
_UNLIMITED = 1 << 62


def take_in(repo: Any, place: bytes, tip: bytes) -> None:
    """Add all changesets of the bundle in the file ``place``, as ``history.write_history`` wrote it for ``tip``.

    It is verified before any lock is taken: hg itself compares nothing with its hash when it adds deltas,
    and finds the damage when the user needs the file.  Raises :class:`Declined`: ``MISSING`` if what it
    builds on is not here, ``UNSAFE`` if it is damaged, holds a snapshot or anything but changesets and
    their phases.
    """
    _check_parts(repo, place)
    with standing_on(repo, place) as overlay:
        verify(overlay, tip, files=_UNLIMITED, work=_UNLIMITED)
        added = _check_changesets(overlay)
    try:
        _apply(repo, place, added)
    except (error.LookupError, error.StorageError) as broken:
        raise Declined(UNSAFE, f"the history that was kept cannot be stored: {broken!r}"[:300]) from None


def _apply(repo: Any, place: bytes, added: set[bytes]) -> None:
    # hg without the lock of the working copy would, if the transaction fails, bring back a dirstate that
    # the user has changed meanwhile (6.3).
    with locked(repo, store=True), repo.transaction(b"autosync-bring") as transaction, open(place, "rb") as file:
        for part in bundle2.getunbundler(repo.ui, file).iterparts():
            if part.type.lower() == _CHANGEGROUP:
                add(repo, transaction, part, part.params[b"version"], phases.secret)
            else:
                heads = phases.binarydecode(part)
                for phase in (phases.public, phases.draft):
                    nodes = [node for node in heads[phase] if node in added]
                    phases.advanceboundary(repo, transaction, phase, nodes)


def add(repo: Any, transaction: Any, stream: Any, version: bytes, phase: int) -> None:
    """Add a changegroup's changesets in a phase (or that of a parent, if that is more private)."""
    unpacker = changegroup.getunbundler(version, stream, None)
    unpacker.apply(repo, transaction, b"unbundle", b"bundle:autosync", targetphase=phase)


def _check_parts(repo: Any, place: bytes) -> None:
    """Raise :class:`Declined` unless there is one changegroup and its phases.

    Other parts could change anything, from bookmarks to the files of the store; and without phases it
    is none of history: it could only be a snapshot.
    """
    try:
        with open(place, "rb") as file:
            found = []
            for part in bundle2.getunbundler(repo.ui, file).iterparts():
                found.append((part.type.lower(), part.params.get(b"version", b"")))
                part.consume()
    except OSError:
        raise
    except Exception as broken:
        # hg's own readers of a damaged bundle fail in ways of which there is no list.
        raise Declined(UNSAFE, f"the history that was kept cannot be read: {broken!r}"[:300]) from None
    if found not in ([(_CHANGEGROUP, version), (_PHASES, b"")] for version in (VERSION, changegroup_version(repo))):
        raise Declined(UNSAFE, "what was kept is no history with its phases")


def _check_changesets(overlay: Any) -> set[bytes]:
    """Return the changesets that the bundle adds, none of which is a snapshot or has a file that must not be."""
    log = overlay.changelog
    audit = pathutil.pathauditor(overlay.root, realfs=False)
    added = set()
    for rev in range(log.repotiprev + 1, len(log)):
        context = overlay[rev]
        if _SNAPSHOT in context.extra():
            raise Declined(UNSAFE, f"changeset {context.hex().decode()} is a snapshot, not one of the user's")
        for path in context.p1().manifest().diff(context.manifest()):
            _check_path(audit, path)
        added.add(context.node())
    return added


def _check_path(audit: Any, path: bytes) -> None:
    try:
        scmutil.checkfilename(path)
        audit(path)
    except error.Abort as refused:
        raise Declined(UNSAFE, f"{path.decode('utf-8', 'replace')[:200]} must not be written: {refused}") from None
