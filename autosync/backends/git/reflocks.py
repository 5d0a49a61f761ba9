"""Sees to it that no lock of the user's refs outlives the git command of ours that took it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

from autosync.backends.git.leftlocks import PACKING_PAUSE, PAUSE, Identity, identity
from autosync.backends.git.processes import possible_holder
from autosync.backends.git.repository import Repository

log = logging.getLogger(__name__)

LANDING_LOCKS = b"landing-locks"
PUSHING_LOCKS = b"pushing-locks"
FOLLOWING_LOCKS = b"following-locks"
_SLICE = 0.1
"""Seconds between two looks at what is waited for."""


class RefLocks:
    """The locks that git takes for us in the user's repository, in the journal ``name``, one for each purpose.

    A git command that is killed leaves its locks behind, and the user's own commands would
    fail for ever.  The journal names the locks before git starts; a second file tells which files
    they are, as soon as that is known.  A power cut may take that one, never the journal.
    """

    def __init__(self, repo: Repository, name: bytes) -> None:
        self._repo = repo
        self._journal = os.path.join(repo.metadata, name)
        self._known = self._journal + b".known"
        self._seen: dict[bytes, tuple[Identity, float]] = {}
        self.left: Collection[bytes] = ()
        """The locks that may be ours and could not be taken away yet, for another git may hold them."""

    @contextlib.contextmanager
    def expected(self, locks: Sequence[bytes]) -> Iterator[None]:
        """Let git take ``locks``, absolute paths, within the block."""
        self.clear()
        free = [path for path in locks if identity(path) is None]
        for path in free:
            self._seen.pop(path, None)
        self._write(self._journal, dict.fromkeys((*self.left, *free)), durable=True)
        try:
            yield
        finally:
            self.clear()

    @contextlib.contextmanager
    def alone(self, *, patience: float = 0.0) -> Iterator[bool]:
        """Keep other processes from the journal within the block; yields ``False`` if one has it all ``patience`` long.

        For a journal that an agent and the commands of its user write: neither may forget what the other has noted.
        """
        guard = os.open(self._journal + b".turn", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _taken(guard, time.monotonic() + patience)
        finally:
            os.close(guard)

    def note(self, held: Sequence[bytes]) -> None:
        """Remember which files ``held`` are now: a git of ours has them at this moment, and nobody else can."""
        self._write(self._known, {path: identity(path) for path in held}, durable=False)

    def clear(self, *, wait: bool = True) -> None:
        """Take away what a git command of ours left when it was killed, alone or together with its agent.

        What the journal names may also be held by a git that was quicker than ours: what is not
        known for ours goes only if no git is at work here and it stays the same file for a while
        (seconds), for which this waits, or which later calls bring to an end.
        """
        left = self._remove_known()
        if left:
            holder, now = self._holder(wait=wait), time.monotonic()
            since = {path: now if holder is not None else self._since(path, found, now) for path, found in left.items()}
            self._seen = {path: (found, since[path]) for path, found in left.items()}
            if wait and holder is None:
                _await_change(left, max(begun + _pause(path) for path, begun in since.items()))
            if holder is None:
                left = self._remove_unchanged(left)
            self._tell_of(left, holder or "another git")
        self.left = tuple(left)
        if left and set(left) != set(self._read(self._journal)):  # what comes to the other paths now is not ours
            self._write(self._journal, dict.fromkeys(left), durable=True)
        elif not left:
            self._seen = {}
            for path in (self._journal, self._known):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _remove_known(self) -> dict[bytes, Identity]:
        """Remove what is known for ours; return what else there is of what git was to take."""
        known, left = self._read(self._known), {}
        for path in self._read(self._journal):
            found = identity(path)
            if found is None or self._seen.get(path, (found,))[0] != found:
                continue  # one that has come later is no longer ours: our git has ended before
            if found == known.get(path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                left[path] = found
        return left

    def _holder(self, *, wait: bool) -> str | None:
        """Return who may hold locks here; with ``wait`` one that is about to end, for it was killed, may do so."""
        deadline = time.monotonic() + PAUSE
        while (holder := possible_holder(self._repo)) is not None and wait and time.monotonic() < deadline:
            time.sleep(_SLICE)
        return holder

    def _tell_of(self, left: Collection[bytes], holder: str) -> None:
        for path in left:
            if path not in self.left:
                log.warning(
                    "%s may be held by %s, or was left by a git that was killed: it stays for now. "
                    "If git complains that it exists and no git runs here, remove it by hand",
                    os.fsdecode(path),
                    holder,
                )

    def _since(self, path: bytes, found: Identity, now: float) -> float:
        before = self._seen.get(path)
        return before[1] if before is not None and before[0] == found else now

    def _remove_unchanged(self, locks: Mapping[bytes, Identity]) -> dict[bytes, Identity]:
        """Remove what nobody has let go of for long enough; return what may go later."""
        now, left = time.monotonic(), {}
        for path, found in locks.items():
            if identity(path) != found:
                continue
            if now - self._seen[path][1] < _pause(path):
                left[path] = found
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return left

    @staticmethod
    def _write(path: bytes, locks: Mapping[bytes, Identity | None], *, durable: bool) -> None:
        """Write a file; only what is ``durable`` survives a power cut."""
        new = path + b".new"
        with open(new, "w", encoding="ascii") as file:
            json.dump({os.fsdecode(lock): known for lock, known in locks.items()}, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(new, path)

    @staticmethod
    def _read(path: bytes) -> Mapping[bytes, Identity | None]:
        try:
            with open(path, "rb") as file:
                found = cast(Mapping[str, Sequence[int] | None], json.loads(file.read()))
        except (FileNotFoundError, ValueError):
            return {}
        locks: dict[bytes, Identity | None] = {}
        for lock, known in found.items():
            locks[os.fsencode(lock)] = None if known is None else (known[0], known[1], known[2], known[3])
        return locks


def _taken(guard: int, deadline: float) -> bool:
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_SLICE)


def _pause(path: bytes) -> float:
    return PACKING_PAUSE if os.path.basename(path) == b"packed-refs.lock" else PAUSE


def _await_change(locks: Mapping[bytes, Identity], deadline: float) -> None:
    """Wait until all ``locks`` have changed or gone, or until ``deadline`` (``time.monotonic``)."""
    while time.monotonic() < deadline and any(identity(path) == found for path, found in locks.items()):
        time.sleep(_SLICE)
