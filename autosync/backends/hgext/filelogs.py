"""Reads revisions of files by their file nodes, many at once, and their ids as contents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from mercurial import error

from .contents import given
from .frames import Value
from .refusal import UNSUPPORTED, Declined

_AT_ONCE = 8 << 20
"""Bytes of an answer after which the rest is left for another question."""


def hashes(repo: Any, paths: Sequence[bytes], nodes: Sequence[bytes]) -> dict[bytes, Value]:
    """Return the ids of these revisions as one text, 32 bytes each: SHA-256 of the form that git gives a blob.

    For one that is not here they are zeros.
    """
    parts = []
    for index, path in enumerate(paths):
        content = _content(repo, path, nodes[index])
        if content is None:
            parts.append(bytes(32))
        else:
            digest = hashlib.sha256(b"blob %d\0" % len(content))
            digest.update(content)
            parts.append(digest.digest())
    return {b"hashes": b"".join(parts)}


def revisions(repo: Any, paths: Sequence[bytes], nodes: Sequence[bytes], into: bytes | None) -> dict[bytes, Value]:
    """Return the contents of the first of these revisions, at least of one, nothing for one that is not here.

    The last of them may be in the file ``into`` (:func:`contents.given`).
    """
    contents: list[Value] = []
    size = 0
    for index, path in enumerate(paths):
        content = _content(repo, path, nodes[index])
        contents.append(None if content is None else given(content, into))
        size += len(content or b"")
        if size > _AT_ONCE or isinstance(contents[-1], int):
            break
    return {b"contents": contents}


def _content(repo: Any, path: bytes, node: bytes) -> bytes | None:
    try:
        return bytes(repo.file(path).read(node))
    except error.CensoredNodeError:
        raise Declined(UNSUPPORTED, f"{path.decode('utf-8', 'replace')} has a censored revision") from None
    except error.LookupError:
        return None
