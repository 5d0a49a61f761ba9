"""Keeps the private store whole whatever the user prunes, and small."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Sequence

from autosync.backends.git.cli import GitFailed
from autosync.backends.git.expiry import Expiry
from autosync.backends.git.incoming import PREFIX
from autosync.backends.git.packs import Packs
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.core.model import CommitId, SnapshotId
from autosync.errors import AutosyncError

PACKS = 200
"""Packs in the store before they are rolled up."""
_LOCK = b"autosync-tidy.lock"
_STALE = 24 * 3600.0
"""Seconds after which a temporary file belongs to a process that is gone."""


class Maintenance:
    """The upkeep of one repository's private store; ``clock`` is in seconds since the epoch."""

    def __init__(self, repo: Repository, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._repo = repo
        self._store = store
        self._clock = clock
        self._packs = Packs(repo)

    def secure(self, commit: CommitId) -> None:
        """Copy into the store what ``commit`` is made of and the user's HEAD and branches do not hold.

        After an amend, a rebase or a deleted branch his next ``git gc --prune=now``
        takes it from his repository.  Does nothing if it is gone already.
        """
        if self._store.has_commit(commit):
            self._copy(commit, self._tips(), besides=frozenset())

    def tidy(self) -> None:
        """Roll up small packs, secure the base of every pinned snapshot, drop what has expired and stale files.

        Blocks nobody: others may record, read and receive meanwhile.  Does nothing if
        another worktree's agent is at it.
        """
        with open(os.path.join(self._repo.store_dir, _LOCK), "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._tidy()

    def _tidy(self) -> None:
        self._drop_stale_files()
        self._packs.roll_up(most=PACKS)
        tips, ours = self._tips(), self._packs.objects(self._packs.list())
        for base in self._bases():
            with contextlib.suppress(GitFailed):  # it was not whole when we came
                self._copy(base, tips, besides=ours)
        Expiry(self._repo, self._store, self._packs, now=self._clock()).run()
        # A reader goes on seeing what it has open, deleted or not; a new one does not.
        self._store.close()

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
        bases: set[CommitId] = set()
        listed = self._repo.store.run("for-each-ref", "--format=%(objectname)", "refs/autosync/pins/")
        for pinned in listed.decode("ascii").split():
            with contextlib.suppress(AutosyncError):  # what is damaged cannot be secured
                snapshot = self._store.load(SnapshotId(pinned))
                if snapshot is not None and snapshot.base.commit is not None:
                    bases.add(snapshot.base.commit)
        return [base for base in bases if self._store.has_commit(base)]

    def _drop_stale_files(self) -> None:
        objects = os.path.join(self._repo.store_dir, b"objects")
        for directory, prefix in ((objects, PREFIX), (os.path.join(objects, b"pack"), b"tmp_")):
            for entry in list(os.scandir(directory)):
                if not entry.name.startswith(prefix):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    state = entry.stat(follow_symlinks=False)
                    if self._clock() - state.st_mtime < _STALE:
                        continue
                    if stat.S_ISDIR(state.st_mode):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
