"""Moves one ref of the user's in two steps, the second of which takes next to no time."""

from __future__ import annotations

import contextlib
import os
import subprocess
from types import TracebackType

from autosync.backends.git.cli import Git, GitFailed


class RefMove:
    """A ref that is locked and moves on :meth:`commit`; a context manager that else leaves it alone.

    git-update-ref(1) with ``--stdin``: ``prepare`` locks the ref and writes its new value to disk, ``commit``
    is one rename.  So the lock of the index need not be held while a process starts.
    """

    def __init__(self, git: Git, *options: str, order: str) -> None:
        """Lock the ref; raises :class:`GitFailed` if it is not where ``order`` says, or is locked."""
        self._git = git.start("update-ref", *options, "--stdin", stderr=subprocess.PIPE)
        try:
            self._say(f"start\n{order}\nprepare\n", expected=(b"start: ok\n", b"prepare: ok\n"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RefMove:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def commit(self) -> None:
        """Move the ref; raises :class:`GitFailed`."""
        self._say("commit\n", expected=(b"commit: ok\n",))

    def _say(self, words: str, *, expected: tuple[bytes, ...]) -> None:
        assert self._git.stdin is not None  # noqa: S101  (they are pipes)
        assert self._git.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            self._git.stdin.write(os.fsencode(words))
            self._git.stdin.flush()
        for answer in expected:
            if self._git.stdout.readline() != answer:
                _, errors = self._git.communicate()
                raise GitFailed(["update-ref"], self._git.returncode, errors)

    def close(self) -> None:
        """End git; what it was not told to commit it undoes."""
        if self._git.returncode is None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self._git.communicate()
