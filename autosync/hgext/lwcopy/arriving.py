"""Hands the files of a changegroup to the store in an order in which each copy finds its source there.

A changegroup sends the files by name, so a copy that sorts before its source comes first, and would have to be stored
in full.  From the first revision on whose source is still to come, the rest of a file is put aside and added as soon as
the source is there.  Nothing that is in the store is ever written anew: a second pass would have to, under the eyes
of readers and hooks, and could make copies depend on each other in a ring, which "written before" cannot.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import deque
from collections.abc import Iterator
from typing import Any

from mercurial import changegroup, error, extensions, pycompat
from mercurial.i18n import _

from .peeking import Origin, Peeker, unwrap
from .requirement import is_light
from .versions import open_log

IN_MEMORY = 8 << 20
"""Bytes put aside before they go to a file."""
_NEEDED = 3
"""Which of the arguments after the unpacker ``needfiles`` is (mercurial/changegroup.py, ``_addchangegroupfiles``)."""


class Shelf:
    """Keeps revisions that were put aside, in a file without a name once they are many."""

    def __init__(self, directory: bytes) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=pycompat.fsdecode(directory))  # noqa: SIM115  # see close

    def put(self, revision: Any) -> int:
        """Keep a revision; return where."""
        self._file.seek(0, 2)
        place = self._file.tell()
        pickle.dump(revision, self._file, pickle.HIGHEST_PROTOCOL)
        return place

    def take(self, place: int) -> Any:
        """Return what was kept there."""
        self._file.seek(place)
        return pickle.load(self._file)  # noqa: S301  # written by this process, to a file that nobody else can name

    def clear(self) -> None:
        """Forget everything, and give its room back."""
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        self._file.close()


class File:
    """The revisions of one file that are still to be added, in their order: from the wire, or from the shelf."""

    def __init__(self, opener: Any, path: bytes, revisions: Iterator[Any]) -> None:
        self.path = path
        self.begun = False
        """Whether a part of it has been added."""
        self.origin: Origin | None = None
        """What the next revision is a copy of."""
        self.cleared = False
        """Whether the next revision is known to wait for nothing."""
        self._looked = False
        self._next: Any = None
        self._revisions = revisions
        self._peeker = Peeker(opener, path)
        self._shelf: Shelf | None = None
        self._places: deque[int] = deque()

    def look(self) -> Any:
        """Return the next revision, and know its origin; None at the end."""
        if self._next is None:
            self._next = (
                self._shelf.take(self._places[0]) if self._shelf and self._places else next(self._revisions, None)
            )
        if not self._looked and self._next is not None:
            self._looked = True
            self.origin = self._peeker.origin(self._next)
        return self._next

    def advance(self) -> None:
        """Leave the next revision behind."""
        if self._places:
            self._places.popleft()
        self._next = self.origin = None
        self._looked = self.cleared = False
        self.begun = True

    def put_aside(self, shelf: Shelf) -> None:
        """Hold nothing of what is still to come in memory, and nothing in the wire."""
        if self._shelf is None:
            self._shelf = shelf
            self._places.append(shelf.put(self._next))
            self.follow(self._revisions)
        self._next = None

    def follow(self, revisions: Iterator[Any]) -> bool:
        """Put more revisions behind those that were put aside; return whether there are any."""
        assert self._shelf is not None  # noqa: S101  # put_aside was called
        count = len(self._places)
        self._places.extend(map(self._shelf.put, revisions))
        return len(self._places) > count


class Arrivals:
    """The files of a changegroup, in place of the unpacker as far as adding them needs one.

    ``needed`` is what the store compares what comes with: paths to nodes, and fewer the more is added.
    """

    def __init__(self, repo: Any, source: Any, needed: Any) -> None:
        self.resumed = 0
        """How often a file was handed out of which a part was there already."""
        self._opener = repo.svfs
        self._source = source
        self._needed = needed
        self._checked = frozenset(needed)
        self._shelf = Shelf(repo.store.path)
        self._current: File | None = None
        self._ended = False
        self._late: dict[bytes, File] = {}
        self._waiting: dict[bytes, list[File]] = {}
        """The late files by the path that they wait for."""
        self._ready: deque[File] = deque()

    def filelogheader(self) -> dict[bytes, bytes]:
        """Return the name of the file whose revisions :meth:`deltaiter` gives next, or nothing at the end."""
        self._wake()
        while not self._ready and not self._ended:
            if self._receive():
                break
        else:
            if not self._ready and not self._give_in():
                return {}
            self._current = self._ready.popleft()
            self.resumed += self._current.begun
        assert self._current is not None  # noqa: S101  # set by each way to here
        return {b"filename": self._current.path}

    def deltaiter(self) -> Iterator[Any]:
        """Give the revisions of a file up to the first one that has to wait."""
        file = self._current
        assert file is not None  # noqa: S101  # as the protocol of unpackers wants it
        while (revision := file.look()) is not None:
            if self._must_wait(file):
                self._put_off(file)
                return
            self._check(file, revision)
            yield revision
            file.advance()
        if self._late.pop(file.path, None) and not self._late:
            self._shelf.clear()

    def close(self) -> None:
        self._shelf.close()

    def _receive(self) -> bool:
        """Take a file from the wire; return whether it can be added now."""
        header = self._source.filelogheader()
        self._ended = not header
        if not header:
            return False
        path = header[b"filename"]
        if path in self._late:
            if not self._late[path].follow(self._source.deltaiter()):
                raise error.Abort(_(b"received file revlog group is empty"))
            return False
        file = File(self._opener, path, self._source.deltaiter())
        if file.look() is not None and self._must_wait(file):
            self._put_off(file)
            return False
        self._current = file
        return True

    def _must_wait(self, file: File) -> bool:
        """Return whether the next revision is a copy whose source can still come."""
        if not file.cleared:
            file.cleared = file.origin is None or not self._to_come(file.path, *file.origin)
        return not file.cleared

    def _to_come(self, path: bytes, source: bytes, node: bytes) -> bool:
        """Return whether the revision is not there yet, but may be once other files than ``path`` have been added."""
        return path != source and not (self._ended and source not in self._late) and not self._is_here(source, node)

    def _is_here(self, path: bytes, node: bytes) -> bool:
        try:
            return bool(open_log(self._opener, path, pending=True).hasnode(node))
        except error.StorageError:  # a file that cannot be read is none to wait for
            return True

    def _put_off(self, file: File) -> None:
        """Put aside what is still to come of a file until what it waits for has been added."""
        assert file.origin is not None  # noqa: S101  # it waits for that
        file.put_aside(self._shelf)
        self._late[file.path] = file
        self._waiting.setdefault(file.origin[0], []).append(file)

    def _wake(self) -> None:
        """Make those ready that waited for the file that has just been added."""
        if self._current is None:
            return
        source = self._current.path
        for file in self._waiting.pop(source, ()):
            if self._must_wait(file):
                self._waiting.setdefault(source, []).append(file)
            else:
                self._ready.append(file)

    def _give_in(self) -> bool:
        """Make one file ready whose source does not come, or comes only after it; return whether there is one."""
        awaited = next((path for path in self._waiting if path not in self._late), next(iter(self._waiting), None))
        if awaited is None:
            return False
        files = self._waiting[awaited]
        file = files.pop()
        if not files:
            del self._waiting[awaited]
        file.cleared = True
        self._ready.append(file)
        return True

    def _check(self, file: File, revision: Any) -> None:
        """Refuse what the store refuses of a file that comes in one part: a revision that nothing needs."""
        complete = file.begun and file.path in self._checked and file.path not in self._needed
        if complete and not self._is_here(file.path, unwrap(revision).node):
            raise error.Abort(_(b"received spurious file revlog entry"))


def wrap() -> None:
    """Let changegroups be added in order where copies are stored light."""
    extensions.wrapfunction(changegroup, "_addchangegroupfiles", adding)


def adding(orig: Any, repo: Any, source: Any, *more: Any, **named: Any) -> Any:
    """Add the files of a changegroup; return how many revisions of how many files came."""
    if not is_light(repo.requirements):
        return orig(repo, source, *more, **named)
    arrivals = Arrivals(repo, source, needed=more[_NEEDED])
    try:
        revisions, files = orig(repo, arrivals, *more, **named)
    finally:
        arrivals.close()
    return revisions, files - arrivals.resumed
