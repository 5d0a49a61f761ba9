"""Tells which other devices have a file as it is here, as far as they have said so themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autosync.answers.report import iso
from autosync.confirmations import Confirmations
from autosync.core.model import Entry, RelPath, Snapshot, TreeId
from autosync.core.sources import Peer
from autosync.errors import AutosyncError
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
) -> list[dict[str, Any]]:
    """Return ``{device, id, has, since}`` for each peer.

    ``has`` is ``same`` (it said that it has this), ``different`` (it said that it has another or none) or
    ``unknown`` (what it has is not here).  ``since`` is when it said so, of a ``different`` one since when it is apart.
    """
    here = entry_at(backend, current.tree, path)
    rows = []
    for peer in peers:
        confirmed = confirmations.of(peer.device)
        has = _has(backend, peer.tree, current.tree, path, here)
        since = confirmed.apart_since if has == "different" else confirmed.at if has == "same" else None
        rows.append({"device": peer.name, "id": peer.device, "has": has, "since": iso(since)})
    return rows


def _has(backend: Backend, theirs: TreeId | None, ours: TreeId, path: RelPath, here: Entry | None) -> str:
    if theirs is None:
        return "unknown"
    if theirs == ours:
        return "same"
    try:
        return "same" if path and entry_at(backend, theirs, path) == here else "different"
    except (AutosyncError, KeyError, OSError):
        return "unknown"
