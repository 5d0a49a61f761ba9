"""Merges two texts that grew from one, by way of `git merge-file`."""

from __future__ import annotations

import os
import tempfile

from autosync.backends.git.store import Store
from autosync.core.model import ObjectId

_LARGEST = 4 << 20


def merge_text(store: Store, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> ObjectId | None:
    """Return the clean three-way merge, kept for the next snapshot; ``None`` if there is none.

    None is tried for more than 4 MB, or with a NUL byte anywhere: git looks at the first 8000
    bytes only (xdiff-interface.c), but a document may begin as text.  The sides are taken in the
    order of their ids, so that every device finds the same.  Nor is any tried if the user has pruned
    what both grew from: then both are kept.
    """
    if ours in (theirs, base):
        return theirs
    if theirs == base:
        return ours
    sides = (*sorted((ours, theirs)), base)
    headers = store.headers(sides)
    if base not in headers or any(size > _LARGEST for _, size in headers.values()):
        return None
    first, second, origin = (store.blob(side) for side in sides)
    if any(b"\0" in content for content in (first, second, origin)):
        return None
    merged = _merge_file(store, first, origin, second)
    return None if merged is None else ObjectId(store.put(b"blob", merged))


def _merge_file(store: Store, first: bytes, origin: bytes, second: bytes) -> bytes | None:
    with tempfile.TemporaryDirectory(prefix=b"merge-", dir=store.repo.metadata) as directory:
        names = [os.path.join(directory, name) for name in (b"first", b"origin", b"second")]
        for name, content in zip(names, (first, origin, second), strict=True):
            with open(name, "wb") as file:
                file.write(content)
        # The exit code is the number of conflicts, 255 for what it does not merge.
        code, merged = store.repo.store.call("merge-file", "-p", "-q", *names, accept=range(256))
    return merged if code == 0 else None
