"""Tells of snapshots in values for JSON, step by step, so that others have their turn in between."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autosync.core.linediff import Hunk, is_text
from autosync.core.model import Kind, RelPath, Snapshot
from autosync.errors import Missing
from autosync.past.differences import LARGEST, FileChange, How, below, difference, file_changes
from autosync.past.placing import place
from autosync.past.restoring import Plan, demand_there
from autosync.past.steps import Steps
from autosync.past.trail import At, Row, State, Trail
from autosync.ports import Applied, Backend

ROWS, MOST_ROWS = 50, 500
"""Rows of a page: unless said otherwise, and at most."""
FILES, MOST_FILES = 50, 200
"""Files of a page of differences."""
PATHS, ALL_PATHS = 10, 1000
"""Paths of a row: in a list, and by itself."""
_SCANNED = 2000
"""Snapshots that are looked at for one page."""
_TEXT = 2 << 20
"""Bytes of differences after which a page ends."""
_STEP = 10
"""Snapshots that are looked at in one step."""

CHANGES = 100
"""Files of what was restored."""


# -- what is asked -------------------------------------------------------------------------------
def tell_history(
    trail: Trail, path: RelPath, *, before: str | None, limit: int, paths: int = PATHS
) -> Steps[dict[str, Any]]:
    """Return a page of ``history``; ``before`` is what the last one returned.  Raises :class:`ValueError`."""
    moment, _, name = before.partition("/") if before else ("", "", "")
    path = RelPath(os.fsencode(name)) if name else path
    current = trail.current().snapshot
    rows: list[dict[str, Any]] = []
    more: str | None = None
    for scanned, row in enumerate(trail.rows(before=int(moment) if moment else None, path=path), 1):
        if not path or row.changes:
            rows.append(row_of(row, current, paths=paths))
        more = f"{row.moment}/{os.fsdecode(row.name)}" if row.name else str(row.moment)
        if len(rows) >= limit or scanned >= _SCANNED:
            break
        if scanned % _STEP == 0:
            yield
    else:
        more = None
    return {"rows": rows, "before": more}


def tell_difference(
    trail: Trail, path: RelPath, *, old: At, new: At, after: str | None, limit: int
) -> Steps[dict[str, Any]]:
    """Return a page of ``diff``.  Raises :class:`AutosyncError`."""
    there = trail.find(new)
    here: State | None
    if old == "parent":
        against = trail.row(there).against
        here = None if against is None else trail.state(against)
    else:
        here = trail.find(old)
    yield
    before = trail.committed(there.snapshot) if here is None else here.snapshot.tree
    changes = file_changes(trail.backend, before, there.snapshot.tree, path)
    start = os.fsencode(after) if after else b""
    files: list[dict[str, Any]] = []
    size = 0
    more = None
    for change in changes:
        if change.path <= start:
            continue
        if len(files) >= limit or size > _TEXT:
            more = files[-1]["path"]
            break
        files.append(_file(trail.backend, change))
        size += sum(len(line) for hunk in files[-1]["hunks"] for line in hunk["lines"])
        yield
    return {"from": None if here is None else head(here), "to": head(there), "files": files, "after": more}


def tell_state(trail: Trail, path: RelPath, at: At) -> dict[str, Any]:
    """Return what ``show`` tells.  Raises :class:`AutosyncError`."""
    state = trail.find(at)
    told: dict[str, Any] = {"row": row_of(trail.row(state), trail.current().snapshot, paths=ALL_PATHS)}
    if path:
        told["entry"] = _entry(trail.backend, state.snapshot, path)
    return told


# -- how it is told ------------------------------------------------------------------------------
def head(state: State) -> dict[str, Any]:
    """Return the snapshot, its device, and when it came and was made."""
    snapshot = state.snapshot
    return {
        "snapshot": snapshot.id,
        "device": snapshot.device,
        "at_ms": state.at_ms,
        "made_ms": snapshot.time * 1000,
    }


def row_of(row: Row, current: Snapshot, *, paths: int = PATHS) -> dict[str, Any]:
    """Return a row of the history."""
    snapshot = row.state.snapshot
    return {
        **head(row.state),
        "parents": list(snapshot.parents),
        "base": {"commit": snapshot.base.commit, "branch": snapshot.base.branch},
        "tree": snapshot.tree,
        "base_moved": row.against is not None and row.against.base != snapshot.base,
        "against": None if row.against is None else row.against.id,
        "readable": row.readable,
        "summary": summary(row.changes),
        "paths": [change_of(change) for change in row.changes[:paths]],
        "current": snapshot.id == current.id,
        "brought_back": None if row.deed is None else {"undo": row.deed.undo, "snapshot": row.deed.state},
    }


def summary(changes: Sequence[FileChange]) -> Mapping[str, int]:
    """Return how many files were added, changed, deleted and renamed."""
    return {how.value: sum(change.how is how for change in changes) for how in How}


def change_of(change: FileChange) -> dict[str, Any]:
    """Return what became of one file."""
    return {
        "path": os.fsdecode(change.path),
        "old_path": None if change.old_path is None else os.fsdecode(change.old_path),
        "change": change.how.value,
    }


def _file(backend: Backend, change: FileChange) -> dict[str, Any]:
    found = difference(backend, change.old, change.new)
    return {
        **change_of(change),
        "old_kind": None if change.old is None else change.old.kind.value,
        "kind": None if change.new is None else change.new.kind.value,
        "omitted": found.omitted,
        "hunks": [_hunk(hunk) for hunk in found.hunks],
    }


def _hunk(hunk: Hunk) -> dict[str, Any]:
    return {
        "old_start": hunk.old_start,
        "old_lines": hunk.old_lines,
        "new_start": hunk.new_start,
        "new_lines": hunk.new_lines,
        "lines": [line.decode("utf-8", "surrogateescape") for line in hunk.lines],
    }


def _entry(backend: Backend, snapshot: Snapshot, path: RelPath) -> dict[str, Any]:
    demand_there(backend, snapshot, path)
    there = below(backend, snapshot.tree, path)
    if path not in there:
        names: dict[bytes, str] = {}
        for each, entry in there.items():
            name, _, rest = each[len(path) + 1 :].partition(b"/")
            names[name] = "folder" if rest else entry.kind.value
        return {"kind": "folder", "entries": [{"name": os.fsdecode(n), "kind": k} for n, k in sorted(names.items())]}
    entry = there[path]
    told: dict[str, Any] = {"kind": entry.kind.value, "size": None, "text": None, "base64": None}
    if entry.kind is Kind.NESTED:
        return told
    try:
        content = backend.content(entry.oid, limit=LARGEST)
    except Missing as missing:
        raise Missing(f"What {os.fsdecode(path)!r} held is not here", hint=missing.hint) from None
    if content is not None:
        told["size"] = len(content)
        text = _text(content)
        told["text" if text is not None else "base64"] = (
            text if text is not None else base64.b64encode(content).decode()
        )
    return told


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8") if is_text(content) else None
    except UnicodeDecodeError:
        return None


# -- what was brought back -----------------------------------------------------------------------
def tell_restoring(plan: Plan, applied: Applied, *, dry_run: bool, snapshot: str | None) -> dict[str, Any]:
    """Return what ``restore`` and ``undo`` tell; ``snapshot`` is the state now, if it is recorded."""
    return {
        "at": head(plan.state),
        "dry_run": dry_run,
        "to": None,
        "count": len(plan.told),
        "changes": [change_of(change) for change in plan.told[:CHANGES]],
        "refused": {os.fsdecode(path): why for path, why in applied.refused.items()},
        "skipped": [os.fsdecode(path) for path in plan.skipped],
        "taken_back": dict(plan.taken_back),
        "recorded": plan.current.id,
        "snapshot": snapshot,
    }


def tell_copy(look: Callable[[], Trail], path: RelPath, at: At, to: bytes, *, dry_run: bool) -> Steps[dict[str, Any]]:
    """Put a copy of what ``path`` was at ``to``, and return what ``restore`` tells.  Raises :class:`AutosyncError`."""
    trail = look()
    state, current = trail.find(at), trail.current().snapshot
    files = yield from place(trail.backend, state.snapshot, path, to, dry_run=dry_run)
    return {
        "at": head(state),
        "dry_run": dry_run,
        "to": os.fsdecode(to),
        "count": len(files),
        "changes": [
            {"path": os.fsdecode(each), "old_path": None, "change": How.ADDED.value} for each in sorted(files)[:CHANGES]
        ],
        "refused": {},
        "skipped": [],
        "taken_back": {},
        "recorded": current.id,
        "snapshot": None,
    }
