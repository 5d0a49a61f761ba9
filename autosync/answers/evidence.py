"""Tells which other devices have a file as it is here, as far as they have said so themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autosync.answers.report import iso
from autosync.confirmations import Confirmations
from autosync.core.model import Entry, RelPath, Snapshot, TreeId
from autosync.core.sources import Peer
from autosync.errors import AutosyncError
from autosync.integrate import is_occupied
from autosync.past.differences import is_within
from autosync.ports import Backend


def entry_at(backend: Backend, tree: TreeId, path: RelPath) -> Entry | None:
    """Return the file that ``tree`` has at ``path``."""
    found = {c.path: c.new for c in backend.changes(backend.splice(tree, {path: None}), tree)} if path else {}
    return found.get(path)


def file_evidence(
    backend: Backend,
    current: Snapshot,
    path: RelPath,
    peers: Sequence[Peer],
    confirmations: Confirmations,
    *,
    recorded: bool = True,
) -> list[dict[str, Any]]:
    """Return ``{device, id, has, confirmed}`` for each peer, of the file or folder that ``path`` is.

    ``has`` is ``same`` (it said that it has this), ``different`` (it said that it has another), ``none`` (it said
    that it has none) or ``unknown`` (what it has is not here).  ``confirmed`` is when it last said what it has, which
    is not since when it has it.  ``recorded`` says that what stands here is what ``current`` has: nobody has the same
    of what is not.
    """
    rows = []
    for peer in peers:
        has = _has(backend, peer.tree, current.tree, path, recorded=recorded)
        said_at = None if has == "unknown" else confirmations.said_at(peer.device)
        rows.append({"device": peer.name, "id": peer.device, "has": has, "confirmed": iso(said_at)})
    return rows


def _has(backend: Backend, theirs: TreeId | None, ours: TreeId, path: RelPath, *, recorded: bool) -> str:
    if theirs is None:
        return "unknown"
    try:
        if recorded and (theirs == ours or not any(is_within(c.path, path) for c in backend.changes(theirs, ours))):
            return "same"
        return "different" if not path or is_occupied(backend, theirs, path) else "none"
    except (AutosyncError, KeyError, OSError):
        return "unknown"
