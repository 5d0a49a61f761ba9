"""Merges two texts that grew from one, the same on every device and with every Mercurial."""

from __future__ import annotations

from collections.abc import Callable

from autosync.backends.hg.content import Content
from autosync.core import diff3
from autosync.core.model import ObjectId
from autosync.errors import Missing

_LARGEST = 4 << 20


def merge_text(
    open: Callable[[ObjectId], Content],
    put: Callable[[bytes], ObjectId],
    base: ObjectId,
    ours: ObjectId,
    theirs: ObjectId,
) -> ObjectId | None:
    """Return the clean three-way merge, ``None`` if there is none.

    ``open`` returns a content, ``put`` keeps one.  None is tried for more than 4 MB, as for git, or with
    a NUL byte anywhere, or if what both grew from was stripped and is nowhere any more: then both are kept.
    Not by hg: its versions merge differently (simplemerge), and all devices have to find the same.
    """
    if ours in (theirs, base):
        return theirs
    if theirs == base:
        return ours
    try:
        origin = open(base)
    except Missing:
        return None
    contents = [origin, *(open(each) for each in sorted((ours, theirs)))]
    if any(content.size > _LARGEST for content in contents):
        return None
    merged = diff3.merge(*(content.whole() for content in contents))
    return None if merged is None else put(merged)
