"""Lets go of snapshots that nothing has referred to for two weeks."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from autosync.backends.git.cli import GitFailed
from autosync.backends.git.packs import WEEK, Pack, Packs
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.core.model import SnapshotId
from autosync.errors import AutosyncError, Unsafe

AGE = 2 * WEEK
"""Seconds for which everything is kept, referred to or not."""
_STAMP = b"autosync-expired"
_ROUNDS = 5


class Expiry:
    """One look through the old packs of a store; ``now`` is in seconds since the epoch.

    Kept is what the pins, our other refs and every younger snapshot are made of.  A pack
    is replaced only after what is kept of it stands in another, and snapshots that
    came meanwhile have been looked at.
    """

    def __init__(self, repo: Repository, store: Store, packs: Packs, *, now: float) -> None:
        self._repo = repo
        self._store = store
        self._packs = packs
        self._now = now

    def run(self) -> None:
        """Rewrite the old packs without what has expired, once a week at most."""
        stamp = os.path.join(self._repo.store_dir, _STAMP)
        if os.path.exists(stamp) and self._now - os.stat(stamp).st_mtime < WEEK:
            return
        old = [pack for pack in self._packs.list() if self._now - pack.time > AGE]
        if not old:
            return
        self._rewrite(old)
        with open(stamp, "wb"):
            os.utime(stamp, (self._now, self._now))

    def _rewrite(self, old: Sequence[Pack]) -> None:
        held = self._packs.objects(old)
        time = max(pack.time for pack in old)
        written: set[bytes] = set()
        seen: frozenset[str] = frozenset()
        for _ in range(_ROUNDS):
            roots = self._roots(old)
            if seen and roots <= seen:
                self._packs.delete(pack.name for pack in old if pack.name not in written)
                return
            kept = self._reachable(roots - seen) & held
            if len(kept) == len(held) and len(old) == 1:
                return
            name = self._packs.write(request="".join(f"{oid}\n" for oid in sorted(kept)).encode(), time=time)
            if name is not None:
                written.add(name)
            seen = roots | {""}  # "" so that no roots at all count as seen

    def _roots(self, old: Sequence[Pack]) -> frozenset[str]:
        """Return the commits that our refs name or that lie in packs other than ``old``."""
        names = {pack.name for pack in old}
        young = self._packs.objects(pack for pack in self._packs.list() if pack.name not in names)
        return frozenset([*self._lines("for-each-ref", "--format=%(objectname)"), *self._commits(young)])

    def _commits(self, oids: Collection[str]) -> Iterable[str]:
        asked = "".join(f"{oid}\n" for oid in oids).encode()
        for line in self._lines("cat-file", "--batch-check=%(objectname) %(objecttype)", request=asked):
            oid, _, kind = line.partition(" ")
            if kind == "commit":
                yield oid

    def _reachable(self, roots: Collection[str]) -> frozenset[str]:
        """Return what snapshots among ``roots`` are made of, and of public history what the user does not hold."""
        trees: set[str] = set()
        history: set[str] = set()
        for root in roots:
            try:
                snapshot = self._store.load(SnapshotId(root))
            except Unsafe:  # a changeset
                history.add(root)
                continue
            except AutosyncError:
                continue
            if snapshot is not None:
                trees.add(snapshot.tree)
                if snapshot.base.commit is not None and self._store.has_commit(snapshot.base.commit):
                    history.add(snapshot.base.commit)
        tips = self._repo.git.run("for-each-ref", "--format=^%(objectname)", "refs/heads").decode("ascii").split()
        found = {*roots, *(self._listed(trees) or ())}
        together = self._listed([*history, *tips]) if history else set()
        if together is None:  # a changeset that is not whole any more is of use to nobody
            together = set().union(*(self._listed([wanted, *tips]) or () for wanted in history))
        return frozenset(found | together)

    def _listed(self, wanted: Collection[str]) -> set[str] | None:
        """Return all objects that ``wanted`` and not its ``^excluded`` are made of, ``None`` if history is missing."""
        request = "".join(f"{oid}\n" for oid in wanted).encode()
        options = ("--objects", "--no-object-names", "--missing=allow-any", "--ignore-missing", "--stdin")
        try:
            return set(self._lines("rev-list", *options, request=request))
        except GitFailed:
            return None

    def _lines(self, *args: str, request: bytes | None = None) -> Sequence[str]:
        return self._repo.store.run(*args, input=request).decode("ascii").splitlines()
