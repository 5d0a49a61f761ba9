"""Sees to it that no lock of the user's refs outlives the git command of ours that took it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from autosync.backends.git.leftlocks import PAUSE, Identity, identity, remove_if_left
from autosync.backends.git.processes import running_command
from autosync.backends.git.repository import Repository

LANDING = b"landing-locks"
PUSHING = b"pushing-locks"


class RefLocks:
    """The locks that git takes for us in the user's repository, in the journal ``name``, one for each purpose.

    A git command that is killed leaves its locks behind, and the user's own commands would
    fail for ever.  The journal names the locks before git starts, and tells which files they are as
    soon as that is known.
    """

    def __init__(self, repo: Repository, name: bytes, *, pause: float = PAUSE) -> None:
        self._root = repo.root
        self._journal = os.path.join(repo.metadata, name)
        self._pause = pause
        self.left = False
        """Whether a lock may be ours that could not be taken away yet, for another git is at work here."""

    @contextlib.contextmanager
    def expected(self, locks: Sequence[bytes]) -> Iterator[None]:
        """Let git take ``locks``, absolute paths, within the block."""
        self.clear()
        self._write({path: None for path in locks if identity(path) is None}, durable=True)
        try:
            yield
        finally:
            self.clear()

    def note(self) -> None:
        """Remember the files that the locks are now: git has them, for us."""
        self._write({path: identity(path) for path in self._read()}, durable=False)

    def clear(self) -> None:
        """Take away what a git command of ours left when it was killed, alone or together with its agent.

        What a journal names may also be held by a git that was quicker than ours: it is left
        alone while one is at work here, and while it changes.
        """
        self.left = False
        for path, known in self._read().items():
            found = identity(path)
            if found is not None and found == known:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            elif found is not None and (
                running_command(self._root) is not None or not remove_if_left(path, pause=self._pause)
            ):
                self.left = True
        if not self.left:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._journal)

    def _write(self, locks: Mapping[bytes, Identity | None], *, durable: bool) -> None:
        """Write the journal; only what is ``durable`` survives a power cut."""
        new = self._journal + b".new"
        with open(new, "w", encoding="ascii") as file:
            json.dump({os.fsdecode(path): known for path, known in locks.items()}, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(new, self._journal)

    def _read(self) -> Mapping[bytes, Identity | None]:
        try:
            with open(self._journal, "rb") as file:
                found = cast(Mapping[str, Sequence[int] | None], json.loads(file.read()))
        except (FileNotFoundError, ValueError):
            return {}
        locks: dict[bytes, Identity | None] = {}
        for path, known in found.items():
            locks[os.fsencode(path)] = None if known is None else (known[0], known[1], known[2], known[3])
        return locks
