"""Describes the conflicts of a working copy to programs and people."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from autosync.conflicts.index import ConflictIndex, files_at, original_beside
from autosync.core.copies import ConflictName
from autosync.core.model import RelPath, Snapshot, TreeId
from autosync.ports import Backend


def conflict_row(workspace: str, root: bytes, name: ConflictName, original: RelPath) -> dict[str, Any]:
    """Return what there is to say of one copy, as JSON has it.

    ``workspace`` and ``root`` tell where; ``file`` and ``copy`` are paths below the root, their
    bytes that are not UTF-8 as surrogate escapes (PEP 383); ``device`` made the copy at
    ``time`` (ISO 8601, UTC).  ``stands`` tells what has the file's own name: its ``kind`` (``file``,
    ``link``, ``folder``, or ``null`` for nothing) and the ``device`` that made it, here not known (``null``).
    """
    return {
        "workspace": workspace,
        "root": os.fsdecode(root),
        "file": os.fsdecode(original),
        "copy": os.fsdecode(name.copy),
        "device": name.device,
        "time": datetime.fromtimestamp(name.time, tz=UTC).isoformat(),
        "stands": {"kind": _kind(os.path.join(root, original)), "device": None},
    }


def describe_conflicts(
    workspace: str,
    backend: Backend,
    index: ConflictIndex,
    *,
    known: Callable[[], Iterable[Snapshot]],
    current: Snapshot,
) -> list[dict[str, Any]]:
    """Return :func:`conflict_row` of each copy that stands in the working copy, with who made what stands there.

    For the working copy's thread.  ``known`` are the snapshots at hand.
    """
    index.follow(current)
    merges = [snapshot for snapshot in known() if len(snapshot.parents) > 1]
    merges.sort(key=lambda merge: sum(n for _, n in merge.version.counters))
    rows = []
    for name in index.copies.values():
        if not os.path.lexists(os.path.join(backend.root, name.copy)):
            continue  # deleted a moment ago
        original = original_beside(backend.root, name)
        row = conflict_row(workspace, backend.root, name, original)
        if row["stands"]["kind"] in ("file", "link"):
            row["stands"]["device"] = _maker_of_original(backend, merges, name, original, current.tree)
        rows.append(row)
    return rows


def _maker_of_original(
    backend: Backend, merges: Iterable[Snapshot], name: ConflictName, original: RelPath, tree: TreeId
) -> str | None:
    """Return the device that made what ``tree`` has at ``original``, ``None`` if nothing tells.

    The copy's name tells one side of the merge that made it, so the other made what got
    the original's name.  ``merges`` are those at hand, the first ones first.
    """
    loser = frozenset(name.device.split("+"))
    for merge in merges:
        makers = set(merge.device.split("+"))
        if merge.time >= name.time and loser < makers and files_at(backend, merge.tree, name.copy):
            unchanged = files_at(backend, merge.tree, original) == files_at(backend, tree, original)
            return "+".join(sorted(makers - loser)) if unchanged else None
    return None


def _kind(path: bytes) -> str | None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
