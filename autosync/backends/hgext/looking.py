"""Answers what differs from the parent, and what stood where at any changeset."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

from mercurial import match as matchmod
from mercurial import scmutil

from .changesets import find
from .frames import Value


def status(repo: Any, paths: Sequence[bytes] | None, *, ignored: bool) -> dict[bytes, Value]:
    """Return what `hg status` says of ``paths`` and all below them (``None``: of everything), and the copies."""
    found = repo.status(match=_matcher(repo, paths), ignored=ignored, unknown=True)
    copies = repo.dirstate.copies()
    return {
        b"p1": repo.dirstate.p1(),
        b"modified": found.modified,
        b"added": found.added,
        b"removed": found.removed,
        b"missing": found.deleted,
        b"unknown": found.unknown,
        b"ignored": found.ignored,
        b"copies": dict(copies),
    }


def contents(repo: Any, node: bytes, paths: Sequence[bytes]) -> dict[bytes, Value]:
    """Return ``[flags, content, file node]`` of those of ``paths`` that are files at ``node``."""
    context = find(repo, node)
    manifest = context.manifest()
    found: dict[bytes, Value] = {}
    for path in paths:
        if path in manifest:
            found[path] = [manifest.flags(path), context[path].data(), manifest[path]]
    return {b"files": found}


def manifest(repo: Any, node: bytes) -> dict[bytes, Value]:
    """Return the manifest of ``node`` as it is stored: lines of path, NUL, hex file node, flags."""
    wanted = find(repo, node).manifestnode()
    text = b"" if wanted == repo.nullid else bytes(repo.manifestlog.getstorage(b"").revision(wanted))
    return {b"manifest": text, b"node": wanted}


def difference(repo: Any, old: bytes, new: bytes) -> dict[bytes, Value]:
    """Return ``[old, new]`` for each path that differs; each is ``[file node, flags]`` or nothing."""
    found = find(repo, old).manifest().diff(find(repo, new).manifest())
    return {b"files": {path: [_side(before), _side(after)] for path, (before, after) in found.items()}}


def _side(pair: tuple[bytes | None, bytes]) -> Value:
    node, flags = pair
    return None if node is None else [node, flags]


def _matcher(repo: Any, paths: Sequence[bytes] | None) -> Any:
    """Return what matches these paths and all below them.

    A list of files is looked up name by name; only what is or was a directory is walked.
    """
    if paths is None or b"" in paths:
        return matchmod.always()
    files = [path for path in paths if not _has_been_directory(repo, path)]
    matchers = [scmutil.matchfiles(repo, files)] if files else []
    directories = [b"path:" + path for path in paths if _has_been_directory(repo, path)]
    if directories:
        matchers.append(matchmod.match(repo.root, b"", directories))
    if not matchers:
        return matchmod.never()
    return matchers[0] if len(matchers) == 1 else matchmod.unionmatcher(matchers)


def _has_been_directory(repo: Any, path: bytes) -> bool:
    if repo.dirstate.hasdir(path):
        return True
    try:
        if stat.S_ISDIR(os.lstat(repo.wjoin(path)).st_mode):
            return True
    except OSError:
        pass
    # A tracked file was none; to look for others among the directories of the parent takes longer.
    return path not in repo.dirstate and bool(repo[b"."].manifest().hasdir(path))
