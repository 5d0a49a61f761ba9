"""Opens, makes and removes the directories of a working copy without ever following a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from autosync.apply.obstacle import Obstacle
from autosync.core.model import RelPath
from autosync.core.safety import unsafe_component
from autosync.errors import TransientError

_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REPOSITORIES = (b".git", b".hg")
_USES = 32
"""Paths in a row for which one directory stays open: a few milliseconds."""


class Parents:
    """The directories below one root, which must be the one that was opened before (:func:`identity_of`).

    Another one, empty perhaps, stands there if a disk was taken out a moment ago.

    Every component is opened relative to the one above it, so that nobody can lead us
    elsewhere by putting a symbolic link in the way at the right moment.
    """

    def __init__(self, root: bytes, identity: tuple[int, int]) -> None:
        try:
            self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = identity_of(self._root)
            except BaseException:
                os.close(self._root)
                raise
        except OSError as error:
            raise TransientError(
                f"The folder {os.fsdecode(root)} cannot be opened: {error.strerror}",
                hint="It is looked for again; if you moved it, correct its path in the config.",
            ) from None
        if found != identity:
            os.close(self._root)
            raise TransientError(
                f"Another folder stands at {os.fsdecode(root)} than before",
                hint="Nothing was written to it. Put back the one that was there: it is looked for again.",
            )
        # What makes a directory of this working copy a repository of its own.
        self._marks = tuple(mark for mark in _REPOSITORIES if _exists(mark, self._root))
        self._plain: set[bytes] = set()
        self._made: list[RelPath] = []
        self._last: tuple[bytes, int] | None = None  # the directory of the last path, and its descriptor
        self._uses = 0
        self._lent = False

    def close(self) -> None:
        """Release the root."""
        self._let_go()
        os.close(self._root)

    @contextlib.contextmanager
    def opened(self, path: RelPath, *, create: bool = False) -> Iterator[tuple[int, bytes]]:
        """Give a descriptor of the directory that holds ``path``, and the name in it.

        ``create`` makes what is missing.  Paths in a row that share a directory share its
        descriptor: if it is moved meanwhile, that came after them.  Raises :class:`Obstacle`, and
        :class:`FileNotFoundError` for a missing directory without ``create``.
        """
        above, _, name = path.rpartition(b"/")
        if (reason := unsafe_component(name)) is not None:
            raise Obstacle(reason)
        if self._lent:  # one path within another
            directory = self._walk(above, create=create)
            try:
                yield directory, name
            finally:
                os.close(directory)
            return
        directory = self._shared(above, create=create)
        self._lent = True
        try:
            yield directory, name
        except OSError:  # it may be gone
            self._let_go()
            raise
        finally:
            self._lent = False

    def _shared(self, path: bytes, *, create: bool) -> int:
        if self._last is None or self._last[0] != path or self._uses >= _USES:
            self._let_go()
            self._last, self._uses = (path, self._walk(path, create=create)), 0
        self._uses += 1
        return self._last[1]

    def _let_go(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            os.close(last[1])

    def _walk(self, path: bytes, *, create: bool) -> int:
        """Return a descriptor of the directory ``path``."""
        components = path.split(b"/") if path else []
        for component in components:
            if (reason := unsafe_component(component)) is not None:
                raise Obstacle(reason)
        directory = os.dup(self._root)
        try:
            for depth, component in enumerate(components, start=1):
                above = RelPath(b"/".join(components[:depth]))
                inner = self._enter(directory, component, above, create=create)
                os.close(directory)
                directory = inner
        except BaseException:
            os.close(directory)
            raise
        return directory

    def remove_empty(self, directories: Iterable[RelPath], *, keep: frozenset[RelPath] = frozenset()) -> None:
        """Remove each directory that is empty, and then those above it, except those in ``keep``."""
        for directory in sorted(directories, reverse=True):
            current = directory
            while current and current not in keep and self._remove(current):
                current = RelPath(current.rpartition(b"/")[0])

    def remove_made(self) -> None:
        """Remove those directories that were made and are empty: what was to come into them did not."""
        for directory in reversed(self._made):
            self._remove(directory)

    def _remove(self, directory: RelPath) -> bool:
        try:
            with self.opened(directory) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except (OSError, Obstacle):
            return False
        self._plain.discard(directory)
        self._let_go()  # or one that is made anew would be taken for it
        return True

    def _enter(self, directory: int, name: bytes, path: RelPath, *, create: bool) -> int:
        try:
            inner = os.open(name, _OPEN, dir_fd=directory)
        except FileNotFoundError:
            if not create:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=directory)
                self._made.append(path)
            return self._enter(directory, name, path, create=False)
        except NotADirectoryError:
            kind = "a symbolic link" if _is_link(name, directory) else "a file"
            raise Obstacle(f"{_show(path)} is {kind} here") from None
        if path not in self._plain:
            if any(_exists(mark, inner) for mark in self._marks):
                os.close(inner)
                raise Obstacle(f"{_show(path)} is a repository of its own here")
            self._plain.add(path)
        return inner


def identity_of(root: bytes | int) -> tuple[int, int]:
    """Return what tells a folder, by its path or a descriptor, from every other one, whatever its name.

    Raises :class:`OSError`.
    """
    found = os.stat(root)
    return found.st_dev, found.st_ino


def remove_empty(name: bytes, directory: int) -> None:
    """Remove the directory ``name`` and all below it; raises ENOTEMPTY if there is anything but directories."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    else:
        return
    below, names = [], 1
    for top, directories, files, _ in os.fwalk(name, dir_fd=directory):
        below.append(top)
        names += len(directories) + len(files)
    if len(below) != names:  # a link to a directory counts as one, but is not entered
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
    for top in reversed(below):
        os.rmdir(top, dir_fd=directory)


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_link(name: bytes, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
