"""Turns paths of the working copy into entries, as `hg commit` would store them."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from autosync.backends.git.files import (
    State,
    Torn,
    in_writing,
    look,
    opened_as,
    read_file,
    read_link,
    scan_big,
    state_of,
)
from autosync.backends.hg.content import PART, Content
from autosync.backends.hg.footing import Footing
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.store import Store
from autosync.backends.hgext.contents import SMALL
from autosync.causes import STARVED
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.ports import Hold, hold_nothing

_LOG = logging.getLogger(__name__)

LARGEST = 512 << 20
"""Bytes; hg holds a file several times in memory."""
_AT_ONCE = 8 << 20
"""Bytes that hg is asked to convert by one question."""
_REMEMBERED = 20_000
"""Files whose id is remembered, about 400 bytes each."""
_REPLACED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What opening a file meets that was gone, or became a link, since it was looked at."""
CLOCK_TICK = 20_000_000
"""ns; twice the coarsest step of file times (one jiffy at HZ=100).  A file written again
within a step may keep size and times, so a younger one is never recognised by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the file system has, and whether hg ``converts`` contents when it stores them."""

    has_links: bool
    has_executables: bool
    converts: bool


@dataclass(slots=True)
class Look:
    """What a look at some paths found.

    ``entries`` has ``None`` where nothing versioned stands, also for the plain
    ``directories``; ``torn`` were being written, ``unreadable`` we may not or cannot read; what
    is in neither stays as it was.
    """

    entries: dict[RelPath, Entry | None] = field(default_factory=dict)
    torn: set[RelPath] = field(default_factory=set)
    unreadable: set[RelPath] = field(default_factory=set)
    directories: set[RelPath] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _File:
    path: RelPath
    state: State


class Files:
    """Reads what stands at paths, keeping new content in the store until it is recorded."""

    def __init__(self, repo: Repository, store: Store) -> None:
        self._repo = repo
        self._store = store
        self._remembered: OrderedDict[RelPath, tuple[State, ObjectId]] = OrderedDict()

    def forget(self) -> None:
        """The rules for storing changed: the same bytes may be stored as others."""
        self._remembered.clear()

    def look(self, paths: Collection[RelPath], footing: Footing, facts: Facts, hold: Hold = hold_nothing) -> Look:
        """Return what stands at ``paths``; their parents must be known to be directories."""
        return _Looking(self._repo, self._store, self._remembered, footing, facts).look(paths, hold)


class _Looking:
    """One look."""

    def __init__(
        self,
        repo: Repository,
        store: Store,
        remembered: OrderedDict[RelPath, tuple[State, ObjectId]],
        footing: Footing,
        facts: Facts,
    ) -> None:
        self._repo = repo
        self._store = store
        self._remembered = remembered
        self._footing = footing
        self._facts = facts
        self._started = time.time_ns()
        self._found = Look()

    def look(self, paths: Collection[RelPath], hold: Hold) -> Look:
        for_hg: list[_File] = []
        new: list[_File] = []
        for path in sorted(paths):  # neighbours share the directories that are kept parsed
            found = look(self._full(path))
            if found is not None and stat.S_ISREG(found.st_mode):
                file = _File(path, state_of(found))
                if self._footing.has_file(path):
                    self._regular(file, for_hg)
                else:
                    new.append(file)
            elif found is not None and stat.S_ISLNK(found.st_mode):
                self._link(path)
            else:  # a directory, or a fifo, socket or device: no content
                self._found.entries[path] = None
                if found is not None and stat.S_ISDIR(found.st_mode):
                    self._found.directories.add(path)
        for file in new:
            # What has moved was synced under its old name, however big it is.
            if not hold(file.path, 0 if self._has_moved(file) else file.state[1]):
                self._regular(file, for_hg)
        for some in _batches(for_hg):
            self._convert(some)
        return self._found

    def _regular(self, file: _File, for_hg: list[_File]) -> None:
        if self._recall(file) or self._refuse(file):
            return
        if self._facts.converts and not self._is_link_in_disguise(file.path):
            for_hg.append(file)
        else:
            self._read(file)

    def _has_moved(self, file: _File) -> bool:
        """Return whether a new and big file has the content of one that is gone."""
        if not SMALL < file.state[1] <= LARGEST:
            return False
        gone = {
            entry.oid
            for path, found in self._found.entries.items()
            if found is None
            for entry in self._footing.entries(path)
        }
        if not gone:
            return False
        try:
            return scan_big(self._full(file.path), "sha256").oid in gone
        except (Torn, OSError):  # which is found again, and told, when it is read
            return False

    def _full(self, path: RelPath) -> bytes:
        return self._repo.root + b"/" + path

    def _recall(self, file: _File) -> bool:
        remembered = self._remembered.get(file.path)
        if remembered is None or remembered[0] != file.state:
            return False
        self._remembered.move_to_end(file.path)
        self._found.entries[file.path] = self._entry(file.path, file.state, remembered[1])
        return True

    def _refuse(self, file: _File) -> bool:
        if file.state[1] <= LARGEST:
            return False
        _LOG.warning("%r has more than %d MB, which hg cannot handle, and stays as it was", file.path, LARGEST >> 20)
        self._found.unreadable.add(file.path)
        return True

    def _link(self, path: RelPath) -> None:
        try:
            _, target = read_link(self._full(path))
        except Torn:
            self._found.torn.add(path)
            return
        self._found.entries[path] = Entry(kind=Kind.SYMLINK, oid=self._keep(path, Content(target)))

    def _read(self, file: _File) -> None:
        try:
            state, oid = self._read_big(file) if file.state[1] > SMALL else self._read_whole(file.path)
        except Torn:
            self._found.torn.add(file.path)
        except OSError as error:
            self._failed(file.path, error.errno or 0)
        else:
            self._is(file.path, state, oid)

    def _read_whole(self, path: RelPath) -> tuple[State, ObjectId]:
        state, content = read_file(self._full(path))
        return state, self._keep(path, Content(content))

    def _read_big(self, file: _File) -> tuple[State, ObjectId]:
        state = file.state
        if known := self._known(file.path):
            big = scan_big(self._full(file.path), "sha256")
            if big.oid in known:
                return big.state, ObjectId(big.oid)
            state = big.state
        with opened_as(self._full(file.path), state) as source:
            if in_writing(source.fileno(), state):
                raise Torn(file.path)
            try:
                oid = self._store.pack(state[1], iter(lambda: source.read(PART), b""))
            except EOFError:
                raise Torn(file.path) from None
        return state, oid

    def _convert(self, files: list[_File]) -> None:
        stored = self._repo.stored([file.path for file in files])
        for file in files:
            content = stored.get(file.path)
            now = look(self._full(file.path))
            if now is None or state_of(now) != file.state or content == 0:
                self._found.torn.add(file.path)
            elif isinstance(content, Content):
                self._is(file.path, file.state, self._keep(file.path, content))
            else:  # hg does not look into what has become a repository of its own
                self._failed(file.path, content or errno.EXDEV)

    def _failed(self, path: RelPath, number: int) -> None:
        if number in _REPLACED:
            self._found.torn.add(path)
            return
        if number in STARVED:
            raise OSError(number, os.strerror(number), self._full(path))
        _LOG.warning("%r cannot be read and stays as it was: %s", path, os.strerror(number))
        self._found.unreadable.add(path)

    def _is(self, path: RelPath, state: State, oid: ObjectId) -> None:
        self._found.entries[path] = self._entry(path, state, oid)
        if state[2] + CLOCK_TICK < self._started and state[3] + CLOCK_TICK < self._started:
            self._remembered[path] = (state, oid)
            self._remembered.move_to_end(path)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)

    def _keep(self, path: RelPath, content: Content) -> ObjectId:
        oid = content.oid().hex()
        return ObjectId(oid) if oid in self._known(path) else self._store.pack(content.size, content.parts())

    def _known(self, path: RelPath) -> set[str]:
        """Return the contents of that path which are stored already."""
        return {entry.oid for entry in self._footing.entries(path)}

    def _is_link_in_disguise(self, path: RelPath) -> bool:
        """Return whether hg wrote a symbolic link as a file, where there are none."""
        return not self._facts.has_links and self._footing.declared(path) is Kind.SYMLINK

    def _entry(self, path: RelPath, state: State, oid: ObjectId) -> Entry:
        kind = Kind.EXECUTABLE if state[4] & stat.S_IXUSR else Kind.FILE
        if self._is_link_in_disguise(path):
            kind = Kind.SYMLINK
        elif not self._facts.has_executables:
            kind = Kind.EXECUTABLE if self._footing.declared(path) is Kind.EXECUTABLE else Kind.FILE
        return Entry(kind=kind, oid=oid)


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    some: list[_File] = []
    size = 0
    for file in files:
        if file.state[1] > SMALL:  # which is never held if it is asked for alone
            yield [file]
            continue
        some.append(file)
        size += file.state[1]
        if size > _AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some
