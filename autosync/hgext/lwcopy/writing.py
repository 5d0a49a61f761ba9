"""Decides whether a revision is stored as a light-weight copy, and makes its chunk.

Why no text ever needs itself: a revision that is added needs only what is stored by then.  A stored
full text can become light later (:data:`LATER`), and for that the lower half of the levels is kept:
whoever is added while its source rests on a full text that is a copy's gets a level from the upper
half, above the one that this text may get.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from mercurial import error, mdiff
from mercurial.node import bin as unhexlify
from mercurial.revlogutils.constants import KIND_FILELOG
from mercurial.utils import storageutil

from . import versions
from .chunk import HIGHEST, Light, level_of, pack

OPTION = b"lwcopy"
"""Set among the options of a store's opener where copies are to be stored light."""

LATER = HIGHEST // 2
"""The highest level for a full text that becomes light after others may rest on it."""

_SMALLEST = 128
"""Bytes of a text below which a header is no smaller than it."""
NOTHING: Mapping[bytes, Mapping[int, bytes]] = {}
_HUNK = struct.Struct(">lll")
_NODE = 20


def finding(orig: Any, computer: Any, revinfo: Any, *more: Any, **named: Any) -> Any:
    """Return how a revision is to be stored: as a light-weight copy, if that is smaller."""
    log = computer.revlog
    link = getattr(log, "_lwcopy_link", None)
    if link is None or not writes_light(log) or not _is_candidate(log, revinfo):
        return orig(computer, revinfo, *more, **named)
    text = versions.built_text(computer, revinfo, more)
    chunk = light_chunk(log, text, link=link)
    if chunk is None:
        return orig(computer, revinfo, *more, **named)
    # What is so small needs no comparison with the compressed text, which takes long to make.
    if len(chunk) * 8 > len(text) and not is_worth(chunk, orig(computer, revinfo, *more, **named).deltalen):
        return orig(computer, revinfo, *more, **named)
    return versions.full_snapshot(versions.target_rev(log, more, named), chunk, text)


def adding(orig: Any, log: Any, node: Any, text: Any, transaction: Any, *more: Any, **named: Any) -> Any:
    """Add a revision, while it is known which changeset it belongs to."""
    log._lwcopy_link = more[0] if more else named["link"]
    try:
        return orig(log, node, text, transaction, *more, **named)
    finally:
        log._lwcopy_link = None


def is_worth(chunk: bytes, usual: int) -> bool:
    """Return whether a light chunk saves at least a quarter of the bytes that are stored usually."""
    return len(chunk) * 4 <= usual * 3


def writes_light(log: Any) -> bool:
    """Return whether a revlog is that of a file in a repository with light-weight copies."""
    options = getattr(log.opener, "options", None) or {}
    return OPTION in options and log.target[0] == KIND_FILELOG and versions.is_plain_format(log)


def source_of(text: bytes) -> tuple[bytes, bytes] | None:
    """Return path and node of the source that the metadata of a raw text name, None if it is no copy."""
    if not text.startswith(b"\1\n") or text.find(b"\1\n", 2) < 0:
        return None  # hg's own parser cannot do without the end
    try:
        known = storageutil.parsemeta(text)[0] or {}
        path, node = known.get(b"copy", b""), unhexlify(known.get(b"copyrev", b""))
    except ValueError:  # a line with no colon, no hexadecimal
        return None
    return (path, node) if _is_path(path) and len(node) == _NODE else None


def light_chunk(
    log: Any, text: bytes, *, link: int, ceiling: int = HIGHEST, planned: Mapping[bytes, Mapping[int, bytes]] = NOTHING
) -> bytes | None:
    """Return the light chunk for a raw text in ``log`` that belongs to changeset ``link``, if it can have one.

    None: the text is no copy, its source is not here or cannot be read, it belongs to a later changeset
    (which could be stripped alone), or the level would be above ``ceiling``: that is :data:`LATER` for
    a revision which is stored already, in full, and which light chunks may rest on.
    ``planned`` are the chunks that other revisions are about to get, by path and number.
    """
    source = source_of(text)
    if source is None or source[0] == log.target[1]:
        return None
    path, node = source
    versions.flush(log)
    try:
        found = versions.open_log(log.opener, path, versions.is_pending(log))
        rev = found.rev(node)
        if versions.changes_text(found.flags(rev)) or found.linkrev(rev) > link:
            return None
        root = found.chainbase(rev)
        level = _resting(found, root, planned.get(path, {}).get(root)) + 1
        if level > ceiling:
            return None
        base = bytes(found.rawdata(node))
    except error.StorageError:
        return None
    return pack(Light(level, path, node, _delta(base, text)))


def _resting(log: Any, root: int, planned: bytes | None) -> int:
    """Return the level that the text of ``root``, which has no base in its revlog, has or may get later."""
    level = level_of(planned or versions.raw_chunk(log, root))
    if level:
        return level
    return LATER if source_of(versions.chunk_text(log, root)) else 0


def _is_candidate(log: Any, revinfo: Any) -> bool:
    return (
        revinfo.textlen >= _SMALLEST and not versions.changes_text(revinfo.flags) and versions.may_be_copy(log, revinfo)
    )


def _is_path(path: bytes) -> bool:
    """Return whether a path stays below the store, whoever wrote it into a changeset."""
    return not {b"", b".", b".."}.intersection(path.split(b"/")) and b"\0" not in path


def _delta(base: bytes, text: bytes) -> bytes:
    """Return a delta; at once for what was only renamed, however large it is."""
    skipped, header = _metadata(base), _metadata(text)
    if memoryview(text)[header:] == memoryview(base)[skipped:]:
        return _HUNK.pack(0, skipped, header) + text[:header]
    return bytes(mdiff.textdiff(base, text))


def _metadata(text: bytes) -> int:
    """Return how many bytes of a raw text are metadata (mercurial/utils/storageutil.py, parsemeta)."""
    return text.find(b"\1\n", 2) + 2 if text.startswith(b"\1\n") and b"\1\n" in text[2:] else 0
