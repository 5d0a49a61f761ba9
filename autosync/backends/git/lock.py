"""Takes the lock of the user's index, in a way that tells after a crash that it was ours."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import cast

from autosync.backends.git.leftlocks import remove_if_left
from autosync.backends.git.processes import possible_holder
from autosync.backends.git.repository import Repository
from autosync.core.model import Base, CommitId
from autosync.errors import Busy
from autosync.lockorder import Lock, holding

_NEW = b".new"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class IndexLock:
    """index.lock of one worktree, and a journal of what is being done under it.

    The lock holds a random token that the journal knows.  It appears with its content, by
    a hard link, and never before the journal is there: so a lock that is ours can always
    be told from one of the user's.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._path = os.path.join(repo.git_dir, b"index.lock")
        self._journal = os.path.join(repo.metadata, b"landing")
        self._draft = os.path.join(repo.metadata, b"landing.draft")

    @contextlib.contextmanager
    def held(self, old: Base, new: Base) -> Iterator[None]:
        """Hold the lock while going from ``old`` to ``new``; raises :class:`Busy` at once if somebody has it."""
        token = f"autosync {secrets.token_hex(16)}\n".encode()
        self._write(
            self._journal, json.dumps({"token": token.decode(), "old": _plain(old), "new": _plain(new)}).encode()
        )
        try:
            with holding(Lock.INDEX):
                self._take(token)
                yield
        finally:
            self.release()

    def is_held_by_user(self) -> bool:
        """Return whether the lock exists and is not ours."""
        return os.path.lexists(self._path) and not self.is_ours()

    def is_ours(self) -> bool:
        """Return whether the lock exists and was made by us.

        Raises :class:`OSError` if that cannot be told: taken for the user's it would stay for ever.
        """
        try:
            with open(self._path, "rb") as file:
                content = file.read(1024)
        except (FileNotFoundError, IsADirectoryError):
            return False
        return content != b"" and content == _token(self._read())

    def unfinished(self) -> tuple[Base, Base] | None:
        """Return from where to where a killed agent was going under the lock."""
        journal = self._read()
        try:
            return _base(journal["old"]), _base(journal["new"])
        except (KeyError, TypeError):
            return None

    def release(self) -> None:
        """Remove the lock if it is ours, and the journal."""
        if self.is_ours():
            os.unlink(self._path)
        for path in (self._journal, self._draft):
            for name in (path, path + _NEW):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)

    def remove_unwritten(self) -> None:
        """Remove a lock that stayed empty: where there are no hard links, an agent may be killed before it wrote it."""
        with contextlib.suppress(OSError):
            if self._read() and os.stat(self._path).st_size == 0 and possible_holder(self._repo) is None:
                remove_if_left(self._path)

    def _take(self, token: bytes) -> None:
        try:
            self._write(self._draft, token)
            try:
                os.link(self._draft, self._path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._write_new(token)
        except FileExistsError:
            raise Busy(
                "git is at work here: it holds index.lock",
                hint="This passes when that command ends. If none runs, remove .git/index.lock.",
            ) from None

    def _write_new(self, token: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, token)
        finally:
            os.close(file)

    @staticmethod
    def _write(path: bytes, content: bytes) -> None:
        temporary = path + _NEW
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def _read(self) -> Mapping[str, object]:
        try:
            with open(self._journal, "rb") as file:
                return cast(Mapping[str, object], json.loads(file.read()))
        except (FileNotFoundError, ValueError):
            return {}


def _token(journal: Mapping[str, object]) -> bytes:
    return str(journal.get("token", "")).encode()


def _plain(base: Base) -> dict[str, str | None]:
    return {"commit": base.commit, "branch": base.branch}


def _base(value: object) -> Base:
    fields = cast(Mapping[str, str | None], value)
    commit = fields["commit"]
    return Base(commit=None if commit is None else CommitId(commit), branch=fields["branch"])
