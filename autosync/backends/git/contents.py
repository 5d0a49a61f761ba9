"""Turns paths of the working copy into entries, as `git add` would store them."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from autosync.backends.git.attributes import PLAIN, Attributes, Conversion
from autosync.backends.git.cleaning import Cleaner
from autosync.backends.git.files import State, Torn, look, opened_as, read_file, read_link, scan_big, state_of, still_is
from autosync.backends.git.footing import Footing
from autosync.backends.git.nested import checked_out, is_repository
from autosync.backends.git.objects import entry_of, object_id
from autosync.backends.git.settings import SettingsWatch
from autosync.backends.git.store import Store
from autosync.causes import STARVED
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.ports import Hold, hold_nothing

_LOG = logging.getLogger(__name__)

_BIG = 8 << 20
"""Bytes above which a file is read in pieces and never held in memory."""
_REMEMBERED = 20_000
"""Files whose id is remembered, about 400 bytes each."""
_WORTH_REMEMBERING = 64
"""Files that were put there together: of fewer the attributes are asked for as quickly as they are read."""
_REPLACED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What opening a file meets that was gone, or became a link, since it was looked at."""
_REGULAR = frozenset({Kind.FILE, Kind.EXECUTABLE})
_CLOCK_TICK = 20_000_000
"""ns; twice the coarsest step of file times (one jiffy at HZ=100).  A file written again
within a step may keep size and times, so a younger one is never recognised by them
(git's racy-git document tells the same story)."""


@dataclass(slots=True)
class Look:
    """What a look at some paths found.

    ``entries`` has ``None`` where nothing versioned stands, also for the plain
    ``directories``; ``torn`` were being written, ``unreadable`` we may not read; what is
    in neither stays as it was.
    """

    entries: dict[RelPath, Entry | None] = field(default_factory=dict)
    torn: set[RelPath] = field(default_factory=set)
    unreadable: set[RelPath] = field(default_factory=set)
    directories: set[RelPath] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _File:
    path: RelPath
    found: os.stat_result

    @property
    def state(self) -> State:
        return state_of(self.found)


class Contents:
    """Reads what stands at paths, keeping new content in the store until it is recorded."""

    def __init__(self, store: Store, settings: SettingsWatch) -> None:
        self._store = store
        self._root = store.repo.root
        self._settings = settings
        self._attributes = Attributes(store.repo, settings)
        self._cleaner = Cleaner(store.repo)
        self._started = 0
        self._remembered: OrderedDict[RelPath, tuple[State, str]] = OrderedDict()

    def close(self) -> None:
        """End every process."""
        self._attributes.close()

    def refresh(self) -> bool:
        """Notice changed attributes outside the tree; return whether all must be looked at anew."""
        changed = self._attributes.refresh()
        if changed:
            self._remembered.clear()
        return changed

    def forget(self) -> None:
        """Attributes in the tree, or the base, changed: the same bytes may be stored as others."""
        self._attributes.forget()
        self._remembered.clear()

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Remember files that were put there, where nothing may make the stored content differ from theirs."""
        if len(files) < _WORTH_REMEMBERING:
            return
        if any(path.rpartition(b"/")[2] == b".gitattributes" for path in files):
            self.forget()  # and with them what a running process knows of the rules
        self._started = time.time_ns()
        conversions = self._attributes.conversions(files)
        for path, (entry, found) in files.items():
            if conversions[path] == PLAIN:
                self._remember(path, state_of(found), entry.oid)

    def look(self, paths: Collection[RelPath], footing: Footing, hold: Hold = hold_nothing) -> Look:
        """Return what stands at ``paths``; their parents must be known to be directories."""
        self._started = time.time_ns()
        result = Look()
        files: list[_File] = []
        new: list[_File] = []
        for path in sorted(paths):  # neighbours share the directories that are kept parsed
            found = look(self._root + b"/" + path)
            if found is None:
                result.entries[path] = None
            elif stat.S_ISREG(found.st_mode):
                if self._is_new(path, footing):
                    new.append(_File(path, found))
                elif not self._recall(path, found, footing, result):
                    files.append(_File(path, found))
            elif stat.S_ISLNK(found.st_mode):
                self._link(path, footing, result)
            elif stat.S_ISDIR(found.st_mode):
                self._directory(path, footing, result)
            else:  # a fifo, socket or device is no content
                result.entries[path] = None
        gone = self._gone(result, footing) if any(file.found.st_size > _BIG for file in new) else frozenset()
        for file in new:
            # What has moved was synced under its old name, however big it is.
            size = 0 if self._has_moved(file, gone) else file.found.st_size
            if not hold(file.path, size) and not self._recall(file.path, file.found, footing, result):
                files.append(file)
        if files:
            self._files(sorted(files, key=lambda file: file.path), footing, result, gone)
        return result

    def _gone(self, result: Look, footing: Footing) -> frozenset[tuple[int, str]]:
        """Return size in bytes and id of the big contents whose paths are gone."""
        entries = (footing.entry(path) for path, found in result.entries.items() if found is None)
        headers = self._store.headers({entry.oid for entry in entries if entry and entry.kind in _REGULAR})
        return frozenset((size, oid) for oid, (_, size) in headers.items() if size > _BIG)

    def _has_moved(self, file: _File, gone: Collection[tuple[int, str]]) -> bool:
        """Return whether a new file has the content of one that is gone."""
        size = file.found.st_size
        if not any(size == other for other, _ in gone):
            return False
        try:
            return (size, scan_big(self._root + b"/" + file.path, self._store.repo.hash_name).oid) in gone
        except (Torn, OSError):  # which is found again, and told, when it is read
            return False

    @staticmethod
    def _is_new(path: RelPath, footing: Footing) -> bool:
        return footing.entry(path) is None and footing.indexed(path) is None

    def _recall(self, path: RelPath, found: os.stat_result, footing: Footing, result: Look) -> bool:
        remembered = self._remembered.get(path)
        if remembered is None or remembered[0] != state_of(found):
            return False
        self._remembered.move_to_end(path)
        result.entries[path] = self._entry(path, found.st_mode, remembered[1], footing)
        return True

    def _link(self, path: RelPath, footing: Footing, result: Look) -> None:
        try:
            _, target = read_link(os.path.join(self._root, path))
        except Torn:
            result.torn.add(path)
            return
        result.entries[path] = Entry(kind=Kind.SYMLINK, oid=self._keep(path, target, footing))

    def _directory(self, path: RelPath, footing: Footing, result: Look) -> None:
        """A submodule is its commit; one that is not checked out stands as the index says."""
        if not footing.is_gitlink(path):
            result.entries[path] = None
            result.directories.add(path)
            return
        directory = os.path.join(self._root, path)
        commit = checked_out(directory, self._store.repo.hex_digits) if is_repository(directory) else None
        if commit is not None:
            result.entries[path] = Entry(kind=Kind.NESTED, oid=ObjectId(commit))
        else:
            result.entries[path] = entry_of(footing.indexed(path)) or footing.entry(path)

    def _files(self, files: list[_File], footing: Footing, result: Look, gone: Collection[tuple[int, str]]) -> None:
        conversions = self._attributes.conversions([file.path for file in files])
        for_git: list[_File] = []
        for file in files:
            conversion = PLAIN if self._is_link_in_disguise(file.path, footing) else conversions[file.path]
            try:
                stored = None if conversion.foreign else self._store_file(file, conversion, footing, gone)
            except Torn:
                result.torn.add(file.path)
            except OSError as error:
                if error.errno in _REPLACED:
                    result.torn.add(file.path)
                    continue
                if error.errno in STARVED:
                    raise
                _LOG.warning("%r cannot be read and stays as it was: %s", file.path, error.strerror)
                result.unreadable.add(file.path)
            else:
                if stored is None:
                    for_git.append(file)
                else:
                    self._found(file, *stored, footing, result)
        if for_git:
            self._clean(for_git, footing, result)

    def _store_file(
        self, file: _File, conversion: Conversion, footing: Footing, gone: Collection[tuple[int, str]]
    ) -> tuple[State, str] | None:
        """Return state and id of the file stored as it is, ``None`` if git must convert it."""
        full = self._root + b"/" + file.path
        if file.found.st_size > _BIG:
            big = scan_big(full, self._store.repo.hash_name)
            if conversion.changes(has_crlf=big.has_crlf, looks_binary=big.looks_binary, has_ident=big.has_ident):
                return None
            known = {entry.oid for entry in footing.entries(file.path) if entry} | {oid for _, oid in gone}
            if big.oid not in known:
                with opened_as(full, big.state) as source:
                    if not self._store.put_stream(big.oid, source, big.state[1]):
                        raise Torn(full)
            return big.state, big.oid
        state, content = read_file(full)
        if conversion.changes_content(content):
            return None
        return state, self._keep(file.path, content, footing)

    def _clean(self, files: list[_File], footing: Footing, result: Look) -> None:
        cleaned = self._cleaner.clean({file.path: footing.indexed(file.path) for file in files})
        for file in files:
            if not still_is(os.path.join(self._root, file.path), file.state):
                result.torn.add(file.path)
            elif file.path in cleaned:
                self._found(file, file.state, cleaned[file.path].oid.hex(), footing, result)
            else:
                result.unreadable.add(file.path)

    def _found(self, file: _File, state: State, oid: str, footing: Footing, result: Look) -> None:
        result.entries[file.path] = self._entry(file.path, state[4], oid, footing)
        self._remember(file.path, state, oid)

    def _remember(self, path: RelPath, state: State, oid: str) -> None:
        if state[2] + _CLOCK_TICK < self._started:
            self._remembered[path] = (state, oid)
            self._remembered.move_to_end(path)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)

    def _keep(self, path: RelPath, content: bytes, footing: Footing) -> ObjectId:
        oid = object_id(self._store.repo.hash_name, b"blob", content).hex()
        last = footing.entry(path)
        if last is None or last.oid != oid:  # else it is stored already
            self._store.keep(oid, b"blob", content)
        return ObjectId(oid)

    def _is_link_in_disguise(self, path: RelPath, footing: Footing) -> bool:
        """Return whether git wrote a symbolic link as a file, where there are none (core.symlinks)."""
        return not self._settings.values.symlinks and footing.declared(path) is Kind.SYMLINK

    def _entry(self, path: RelPath, mode: int, oid: str, footing: Footing) -> Entry:
        kind = Kind.EXECUTABLE if mode & stat.S_IXUSR else Kind.FILE
        if self._is_link_in_disguise(path, footing):
            kind = Kind.SYMLINK
        elif not self._settings.values.file_mode:
            declared = footing.declared(path)
            kind = declared if declared in {Kind.FILE, Kind.EXECUTABLE} else Kind.FILE
        return Entry(kind=kind, oid=ObjectId(oid))
