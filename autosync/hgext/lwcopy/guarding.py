"""Sees that no copy loses its source, where hg takes revisions out of a revlog or writes it anew."""

from __future__ import annotations

from typing import Any

from . import versions
from .converting import store_full
from .requirement import REQUIREMENT
from .surveying import light_copies

REPOSITORY = b"lwcopy-repository"
"""Where a store's opener has a weak reference to its repository."""


def stripping(orig: Any, ui: Any, repo: Any, nodes: Any, *more: Any, **named: Any) -> Any:
    """Strip changesets, once no copy that stays needs what is taken out.

    hg cuts each revlog at the first revision of a stripped changeset, and adds again what stays but stood
    after it.  A copy never belongs to an earlier changeset than its source, so with the source it is cut
    itself, and added again; all but where an older changeset's revision stands after the cut.
    """
    unfiltered = repo.unfiltered()
    if REQUIREMENT in repo.requirements:
        taken = _taken_out(unfiltered, nodes)
        if taken:
            with unfiltered.transaction(b"lwcopy") as transaction:
                keep_copies(unfiltered, transaction, taken)
    return orig(ui, repo, nodes, *more, **named)


def censoring(orig: Any, log: Any, transaction: Any, *more: Any, **named: Any) -> Any:
    """Censor a revision, once no copy needs the file, all of whose revisions are written anew."""
    found = (getattr(log.opener, "options", None) or {}).get(REPOSITORY)
    repo = found() if found is not None else None
    if repo is not None:
        path = log.target[1]
        copies = (copy for copy in light_copies(repo) if copy.source[0] == path)
        changed = store_full(repo, transaction, list(copies), _unseen)
        if changed and not versions.ROLLS_BACK_CENSORING:
            transaction.addpostclose(b"lwcopy-undo", lambda _transaction: versions.forget_undo(repo))
    return orig(log, transaction, *more, **named)


def keep_copies(repo: Any, transaction: Any, sources: dict[bytes, set[bytes]]) -> int:
    """Store the light-weight copies of these sources (nodes by path) in full, and return how many they were."""
    copies = [copy for copy in light_copies(repo) if copy.source[1] in sources.get(copy.source[0], ())]
    return store_full(repo, transaction, copies, _unseen)


def _unseen() -> None:
    """Show no progress."""


def _taken_out(repo: Any, nodes: Any) -> dict[bytes, set[bytes]]:
    """Return by path which revisions of older changesets are cut off, to be added again."""
    if isinstance(nodes, bytes):
        nodes = [nodes]
    first = min((repo.changelog.rev(node) for node in nodes), default=len(repo))
    found: dict[bytes, set[bytes]] = {}
    paths = {path for rev in range(first, len(repo)) for path in repo[rev].files()}
    for path in sorted(paths):
        log = versions.open_log(repo.svfs, path, False)
        cut, older = log.getstrippoint(first)
        if older:
            found[path] = {log.node(rev) for rev in range(cut, len(log)) if log.linkrev(rev) < first}
    return found
