"""Keeps the private store whole whatever the user prunes, and small."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence

from autosync.backends.git.cli import GitFailed, GitKilled
from autosync.backends.git.expiry import Expiry
from autosync.backends.git.incoming import PREFIX
from autosync.backends.git.orphans import drop_orphans
from autosync.backends.git.packs import Packs
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import TIDY_LOCK, Store
from autosync.core.model import CommitId, SnapshotId
from autosync.errors import Busy
from autosync.lockorder import Lock, holding
from autosync.ports import Alone, undisturbed

PACKS = 200
"""Packs in the store before they are rolled up."""
_PINS = "refs/autosync/pins/"
_STALE = 600.0
"""Seconds without a write after which a temporary file belongs to a process that is gone."""


class Maintenance:
    """The upkeep of one repository's private store; ``clock`` is in seconds since the epoch.

    With ``sole`` there is nothing outside the store that would have to be secured.
    """

    def __init__(
        self, repo: Repository, store: Store, *, sole: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._repo = repo
        self._sole = sole
        self._store = store
        self._clock = clock
        self._packs = Packs(repo)

    def secure(self, commit: CommitId) -> None:
        """Copy into the store what ``commit`` is made of and the user's HEAD and branches do not hold.

        After an amend, a rebase or a deleted branch his next ``git gc --prune=now``
        takes it from his repository.  Does nothing if it is gone already.
        """
        if not self._sole and not self._store.is_gone(commit):
            self._copy(commit, self._tips(), besides=frozenset())

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Roll up small packs, secure the base of every pinned snapshot, drop what has expired and stale files.

        Blocks nobody: others may record, read and receive meanwhile, except for the moment in
        which ``alone`` holds.  Does nothing if another worktree's agent is at it; ``thorough``
        waits for that one, and drops everything that no pin holds and is older than an hour.
        """
        with holding(Lock.UPKEEP), open(os.path.join(self._repo.store_dir, TIDY_LOCK), "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if thorough else fcntl.LOCK_NB))
            except BlockingIOError:
                return
            try:
                self._tidy(thorough=thorough, alone=alone)
            finally:
                os.utime(lock.fileno())

    def size(self) -> int:
        """Return the bytes that the store takes on the disk."""
        total = 0
        for directory, _, names in os.walk(self._repo.store_dir):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(directory, name)).st_blocks * 512
        return total

    def shared(self) -> int:
        """Return about how many bytes of the store the user's own repository has as well.

        They are kept twice so that his garbage collection cannot take anything away from here.
        """
        ids = "".join(f"{oid}\n" for oid in self._packs.objects(self._packs.list())).encode()
        asked = self._repo.git.run("cat-file", "--batch-check=%(objectname)", "--buffer", input=ids)
        both = b"".join(line for line in asked.splitlines(keepends=True) if b" " not in line)
        sizes = self._repo.store.run("cat-file", "--batch-check=%(objectsize:disk)", "--buffer", input=both)
        return sum(int(size) for size in sizes.split() if size.isdigit())

    def _tidy(self, *, thorough: bool, alone: Alone) -> None:
        with alone() as nobody_writes:
            # A clock that was set ahead makes a file that is being written look as old as one left behind.
            if nobody_writes:
                self.drop_stale_files()
        self._packs.roll_up(most=1 if thorough else PACKS, now=self._clock())
        with contextlib.suppress(Busy):  # the next time, then
            drop_orphans(self._repo, now=self._clock())
        if not self._sole:
            self._secure_bases()
        expiry = Expiry(self._repo, self._store, self._packs, now=self._clock(), alone=alone)
        if thorough:
            expiry.run_now()
        else:
            expiry.run()
        # A reader goes on seeing what it has open, deleted or not; a new one does not.
        self._store.close()

    def _secure_bases(self) -> None:
        tips, ours = self._tips(), self._packs.objects(self._packs.list())
        for base in self._bases():
            try:
                self._copy(base, tips, besides=ours)
            except GitKilled:
                raise
            except GitFailed:  # it was not whole when we came
                continue

    def _copy(self, commit: CommitId, tips: Collection[str], *, besides: Collection[str]) -> None:
        """Write to the store what ``commit`` has and neither ``tips`` nor ``besides`` hold."""
        if commit in tips:
            return
        request = "".join([f"{commit}\n", *(f"^{tip}\n" for tip in tips)]).encode()
        listed = self._repo.store.run("rev-list", "--objects", "--stdin", input=request).splitlines(keepends=True)
        wanted = b"".join(line for line in listed if line.split()[0].decode("ascii") not in besides)
        if wanted:
            self._packs.write(request=wanted)

    def _tips(self) -> frozenset[str]:
        """Return the user's branches and this worktree's HEAD, as far as they are whole."""
        listed = self._repo.git.run("for-each-ref", "--format=%(objectname)", "refs/heads").decode("ascii")
        _, head = self._repo.git.call("rev-parse", "--quiet", "--verify", "HEAD^{commit}", accept=(0, 1, 128))
        return frozenset([*listed.split(), *head.decode("ascii").split()])

    def _bases(self) -> Sequence[CommitId]:
        """Return the bases that are here of all pinned snapshots, those of other worktrees included."""
        try:  # a snapshot's only parent is its base; thousands would take seconds to read here
            listed = self._repo.store.run("for-each-ref", "--format=%(parent)", _PINS)
            bases = {CommitId(oid) for oid in listed.decode("ascii").split()}
        except GitKilled:
            raise
        except GitFailed:  # one of them is damaged; the others' bases still are to be secured
            listed = self._repo.store.run("for-each-ref", "--format=%(objectname)", _PINS)
            pinned = {SnapshotId(oid) for oid in listed.decode("ascii").split()}
            bases = {s.base.commit for s in self._store.load_many(pinned) if s.base.commit is not None}
        return [base for base in bases if self._store.has_commit(base)]

    def drop_stale_files(self) -> None:
        """Delete what killed processes have left of packs and transfers that never became whole.

        Nobody has written to it for :data:`_STALE`; a transfer that is under way is never
        silent for that long.
        """
        objects = os.path.join(self._repo.store_dir, b"objects")
        for directory, prefix in ((objects, PREFIX), (os.path.join(objects, b"pack"), b"tmp_")):
            for entry in list(os.scandir(directory)):
                if not entry.name.startswith(prefix):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if self._clock() - _last_written(entry.path) < _STALE:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)


def _last_written(path: bytes) -> float:
    """Return when a file, or anything in a directory, was written to last; in seconds since the epoch."""
    inside = [os.path.join(directory, name) for directory, _, names in os.walk(path) for name in names]
    return max(os.lstat(name).st_mtime for name in (path, *inside))
