"""Keeps nested repositories at what is committed: what is checked out in them is each device's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autosync.core.model import Change, Entry, Kind, RelPath


def at_commit(changes: Sequence[Change]) -> Mapping[RelPath, Entry | None]:
    """Return the edits that take nested repositories back to the base's tree.

    ``changes`` lead from that tree to the working copy's.  Nobody writes into a nested
    repository, so a commit checked out or staged on one device could never be had on
    another; it travels as soon as it is committed, and then with the base.
    """
    edits: dict[RelPath, Entry | None] = {}
    for change in changes:
        if change.new is not None and change.new.kind is Kind.NESTED:
            edits[change.path] = change.old if _is_nested(change.old) else None
        elif change.new is None and _is_nested(change.old):
            inside = change.path + b"/"
            if not any(other.path.startswith(inside) and other.new is not None for other in changes):
                edits[change.path] = change.old
    return edits


def _is_nested(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.NESTED
