"""Lets go of snapshots that nothing has referred to for two weeks, or at once when asked to."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from autosync.backends.git.cli import GitFailed, GitKilled
from autosync.backends.git.packs import HOUR, WEEK, Pack, Packs
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.core.model import SnapshotId
from autosync.ports import Alone

AGE = 2 * WEEK
"""Seconds for which everything is kept, referred to or not."""
_STAMP = b"autosync-expired"
_ROUNDS = 3
"""Looks for what came meanwhile before the others are asked to wait for the last one."""


class Expiry:
    """One look through the old packs of a store; ``now`` is in seconds since the epoch.

    Kept is what the pins, our other refs and every younger snapshot are made of.  A pack
    is replaced only after what is kept of it stands in another, and snapshots that
    came meanwhile have been looked at; ``alone`` sees to it that none comes then.
    """

    def __init__(self, repo: Repository, store: Store, packs: Packs, *, now: float, alone: Alone) -> None:
        self._repo = repo
        self._store = store
        self._packs = packs
        self._now = now
        self._alone = alone
        self._young: set[str] = set()
        self._looked_at: set[bytes] = set()

    def run(self) -> None:
        """Rewrite the packs of before :data:`AGE` without what has expired, once a week at most."""
        stamp = os.path.join(self._repo.store_dir, _STAMP)
        if os.path.exists(stamp) and abs(self._now - os.stat(stamp).st_mtime) < WEEK:  # else a clock was set ahead
            return
        if self._run(AGE):
            with open(stamp, "wb"):
                os.utime(stamp, (self._now, self._now))

    def run_now(self) -> None:
        """Rewrite every pack but those of the last hour, which others may be about to refer to."""
        self._run(HOUR)

    def _run(self, age: float) -> bool:
        old = [pack for pack in self._packs.list() if self._now - pack.time > age]
        if old:
            self._rewrite(old)
        return bool(old)

    def _rewrite(self, old: Sequence[Pack]) -> None:
        held = self._packs.objects(old)
        time = max(pack.time for pack in old)
        written: set[bytes] = set()
        seen: frozenset[str] = frozenset()
        for number in range(_ROUNDS):
            roots = self._roots(old, written)
            if number and roots <= seen:
                break
            kept = self._reachable(roots - seen, held)
            if len(kept) == len(held) and len(old) == 1:
                return
            self._write(kept, time, written)
            seen |= roots
        with self._alone() as undisturbed:
            if undisturbed:  # what came since is little: it is seen to while the others wait
                self._write(self._reachable(self._roots(old, written) - seen, held), time, written)
            names = {pack.name for pack in old}
            self._packs.delete(names - written if undisturbed else written - names)

    def _write(self, kept: Mapping[bytes, bytes], time: float, written: set[bytes]) -> None:
        if kept:
            name = self._packs.write(request=b"".join(b"%s %s\n" % item for item in sorted(kept.items())), time=time)
            if name is not None:
                written.add(name)

    def _roots(self, old: Sequence[Pack], written: Collection[bytes]) -> frozenset[str]:
        """Return the commits that our refs name or that lie in packs other than ``old`` and ``written``."""
        known = {*(pack.name for pack in old), *written, *self._looked_at}
        new = [pack for pack in self._packs.list() if pack.name not in known]
        self._looked_at.update(pack.name for pack in new)
        self._young.update(self._commits(self._packs.objects(new)))
        return frozenset([*self._lines("for-each-ref", "--format=%(objectname)"), *self._young])

    def _commits(self, oids: Collection[str]) -> Iterable[str]:
        asked = "".join(f"{oid}\n" for oid in oids).encode()
        for line in self._lines("cat-file", "--batch-check=%(objectname) %(objecttype)", request=asked):
            oid, _, kind = line.partition(" ")
            if kind == "commit":
                yield oid

    def _reachable(self, roots: Collection[str], held: Collection[str]) -> Mapping[bytes, bytes]:
        """Return which of ``held`` is part of ``roots``, each with a path at which it stands, for better deltas.

        It is what the snapshots among them are made of, and of public history what the user does not hold.
        """
        if not roots:
            return {}
        snapshots = {snapshot.id: snapshot for snapshot in self._store.load_many(map(SnapshotId, roots))}
        trees = {snapshot.tree for snapshot in snapshots.values()}
        bases = {s.base.commit for s in snapshots.values() if s.base.commit and self._store.has_commit(s.base.commit)}
        history = {*bases, *(root for root in roots if root not in snapshots)}
        found = {root.encode(): b"" for root in roots}
        found |= self._listed(trees)  # if that cannot be told, nothing may go
        tips = self._repo.git.run("for-each-ref", "--format=^%(objectname)", "refs/heads").decode("ascii").split()
        together = self._listed_if_whole([*history, *tips]) if history else {}
        if together is None:  # a changeset that is not whole any more is of use to nobody
            together = {}
            for wanted in history:
                together |= self._listed_if_whole([wanted, *tips]) or {}
        found |= together
        return {oid: name for oid, name in found.items() if oid.decode("ascii") in held}

    def _listed_if_whole(self, wanted: Collection[str]) -> dict[bytes, bytes] | None:
        """Return what :meth:`_listed` does, ``None`` if history is missing."""
        try:
            return self._listed(wanted)
        except GitKilled:
            raise
        except GitFailed:
            return None

    def _listed(self, wanted: Collection[str]) -> dict[bytes, bytes]:
        """Return all objects that ``wanted`` and not its ``^excluded`` are made of."""
        request = "".join(f"{oid}\n" for oid in wanted).encode()
        options = ("--objects", "--missing=allow-any", "--ignore-missing", "--stdin")
        listed = self._repo.store.run("rev-list", *options, input=request)
        return {oid: name for oid, _, name in (line.partition(b" ") for line in listed.splitlines())}

    def _lines(self, *args: str, request: bytes | None = None) -> Sequence[str]:
        return self._repo.store.run(*args, input=request).decode("ascii").splitlines()
