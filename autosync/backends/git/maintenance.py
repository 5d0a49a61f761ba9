"""Keeps the private store whole whatever the user prunes, and small."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Sequence

from autosync.backends.git.expiry import Expiry
from autosync.backends.git.incoming import PREFIX
from autosync.backends.git.packs import Packs
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.core.model import CommitId, SnapshotId
from autosync.errors import AutosyncError

PACKS = 200
"""Packs in the store before they are rolled up."""
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
            self._copy([commit])

    def tidy(self) -> None:
        """Secure the base of every pinned snapshot, roll up small packs, drop what has expired and stale files.

        Blocks nobody: others may record, read and receive meanwhile.
        """
        self._drop_stale_files()
        self._copy(self._bases())
        self._packs.roll_up(most=PACKS)
        Expiry(self._repo, self._store, self._packs, now=self._clock()).run()

    def _copy(self, commits: Iterable[CommitId]) -> None:
        held = self._tips()
        wanted = [commit for commit in commits if commit not in held]
        if not wanted:
            return
        request = "".join([*(f"{commit}\n" for commit in wanted), *(f"^{tip}\n" for tip in held)]).encode()
        if self._repo.store.run("rev-list", "--max-count=1", "--stdin", input=request):
            self._packs.write("--revs", request=request)

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
