"""Tells what a bundle from memory holds, without storing it."""

from __future__ import annotations

from typing import Any

from mercurial import error

from .bundling import opened
from .frames import Value
from .refusal import MISSING, UNSAFE, Declined


def open_bundle(repo: Any, bundle: bytes, node: bytes, *, whole: bool) -> dict[bytes, Value]:
    """Return what changeset ``node`` of ``bundle`` says and changes.

    ``files`` maps each path in which its manifest differs from its first parent's to
    ``[flags, content, path it is a copy of, file node]``, or to nothing if it is gone; without
    ``whole``, contents are left out.  Nothing relies on the list of files that the changeset
    itself gives.  Every text is checked against its node by hg.

    Raises :class:`Declined`: ``MISSING`` if what it builds on is not here, ``UNSAFE`` if it is
    damaged, or ``node`` is neither in it nor here (the user may have committed the very same).
    """
    try:
        with opened(repo, bundle) as overlay:
            return _describe(overlay, node, whole=whole)
    except error.LookupError as lost:
        raise Declined(MISSING, f"the bundle builds on what is not here: {words(lost)}") from None
    except Exception as broken:
        # hg's own readers of a damaged bundle fail in ways of which there is no list (struct.error,
        # mpatch.mpatchError, zlib.error, ...); what they mean is the same.
        raise Declined(UNSAFE, f"the bundle cannot be read: {words(broken)}") from None


def _describe(overlay: Any, node: bytes, *, whole: bool) -> dict[bytes, Value]:
    log = overlay.changelog
    if not log.hasnode(node):
        raise Declined(UNSAFE, f"changeset {node.hex()} is not in the bundle")
    for rev in range(log.repotiprev + 1, len(log)):
        log.revision(rev)
    context = overlay[node]
    before, after = context.p1().manifest(), context.manifest()
    files: dict[bytes, Value] = {}
    for path in before.diff(after):
        if path not in after:
            files[path] = None
            continue
        file = context[path]
        content = file.data() if whole else b""
        files[path] = [after.flags(path), content, file.copysource() or b"", after[path]]
    time, offset = context.date()
    return {
        b"node": context.node(),
        b"p1": context.p1().node(),
        b"p2": context.p2().node(),
        b"branch": context.branch(),
        b"user": context.user(),
        b"time": int(time),
        b"offset": offset,
        b"message": context.description(),
        b"extra": {key: value for key, value in context.extra().items() if key != b"branch"},
        b"chain": [log.node(rev) for rev in range(log.repotiprev + 1, len(log))],
        b"files": files,
    }


def words(problem: BaseException) -> str:
    """Return the kind of a problem and what it says, in a line."""
    return f"{type(problem).__name__}: {problem}"[:300]
