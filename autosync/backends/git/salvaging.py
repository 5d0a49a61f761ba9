"""Saves what can still be read of a state whose base the user has pruned."""

from __future__ import annotations

from collections.abc import Iterator

from autosync.backends.git.objects import entry_of, is_tree
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import CommitId, Entry, Kind, RelPath, TreeId
from autosync.errors import Missing


def salvage(store: Store, trees: Trees[Store], tree: TreeId, commit: CommitId | None) -> TreeId:
    """Return the tree of ``commit`` with those files of ``tree`` that are still here and for which it has nothing.

    What was synced without being committed is in the store; only what was committed goes with its commit.
    """
    base = store.tree_of(commit)
    found = {path: entry for path, entry in _readable(store, tree) if trees.slot(base, path) is None}
    here = store.headers(entry.oid for entry in found.values() if entry.kind is not Kind.NESTED)
    return trees.splice(base, {p: e for p, e in found.items() if e.kind is Kind.NESTED or e.oid in here})


def _readable(store: Store, tree: str, above: bytes = b"") -> Iterator[tuple[RelPath, Entry]]:
    try:
        slots = store.tree(tree)
    except Missing:
        return
    for name, slot in slots.items():
        if is_tree(slot):
            yield from _readable(store, slot.oid.hex(), above + name + b"/")
        elif (entry := entry_of(slot)) is not None:
            yield RelPath(above + name), entry
