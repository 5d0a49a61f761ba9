"""Tells what is checked out and what the user's hg is doing, without starting a process."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autosync.backends.hgext.interrupted import is_elsewhere
from autosync.backends.hgext.operations import (
    BROKEN,
    BROKEN_ELSEWHERE,
    INTERRUPTED,
    MERGING,
    OPERATIONS,
    UNRESOLVED,
    UPDATE,
)
from autosync.backends.smallfile import read_small
from autosync.core.model import Base, CommitId

_NULL = bytes(20)
_DOCKET = b"dirstate-v2\n"
_DOCKET_PARENTS = len(_DOCKET), len(_DOCKET) + 32
"""Where p1 and p2 begin in a docket; each takes 32 bytes (mercurial/dirstateutils/docket.py)."""
_LOCKER = re.compile(rb"(.*):([0-9]+)\Z", re.DOTALL)
_CONFLICTS = {b"F", b"C", b"P", b"D"}
"""Records of merge/state2 that begin with path and state (mercurial/mergestate.py)."""
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A lock somebody holds; ``identity`` is another one each time it is taken."""

    process: bytes
    identity: tuple[int, int, int]


class Head:
    """The files below ``.hg`` of one working copy that say what is checked out (hg help internals.requirements)."""

    def __init__(self, root: bytes) -> None:
        self._metadata = os.path.join(root, b".hg")
        self._changing: tuple[int, int, int] | None = None

    def base(self) -> Base:
        """Return what is checked out now; ``branch`` is ``named`` or ``named:active bookmark``."""
        found = self._base()
        for _ in range(_TRIES):  # they are files of their own, written one after the other
            again = self._base()
            if again == found:
                break
            found = again
        return found

    def busy(self) -> str | None:
        """Return the user's operation in progress or the lock held, in words, else ``None``.

        Snapshots need no lock, so that somebody holds one is no reason to wait: `hg commit` holds
        both while its editor is open, `hg pull` for the whole transfer, and neither changes a file
        of the working copy.  What has to be waited for is a checkout half done: `hg update` changes
        the files first, then branch and bookmark, and tells p1 last, when it lets go of the wlock.
        So it counts as busy

        - while ``updatestate`` is there, and from then on until the same holder has let go of the
          wlock (update hooks run in between, on old parents with new files);
        - while the wlock alone is held: that is what update, revert, merge, graft and import do
          while they change files.  Those that hold the store's lock as well record changesets.  When
          they change files too (rebase, histedit, unshelve), one of the files above says so.

        The lock of a process of this machine that has died is none: hg breaks it by itself
        (lock.lock._testlock).
        """
        return self._operation() or self._at_work()

    def metadata_directories(self) -> Sequence[bytes]:
        """Return the directories in which base, branch and locks show."""
        found = {self._metadata, self._bookmarks_directory()}
        return sorted(directory for directory in found if os.path.isdir(directory))

    # -- what is checked out -------------------------------------------------------------------
    def parents(self) -> tuple[bytes, bytes]:
        """Return the nodes p1 and p2, 20 bytes each."""
        try:
            with open(os.path.join(self._metadata, b"dirstate"), "rb") as file:
                content = file.read(len(_DOCKET) + 64)
        except FileNotFoundError:
            content = b""
        first, second = _DOCKET_PARENTS if content.startswith(_DOCKET) else (0, 20)
        p1, p2 = content[first : first + 20], content[second : second + 20]
        return (p1, p2) if len(p2) == 20 else (_NULL, _NULL)

    def _base(self) -> Base:
        p1, _ = self.parents()
        named = read_small(os.path.join(self._metadata, b"branch")).strip() or b"default"
        bookmark = self._active_bookmark()
        branch = named + b":" + bookmark if bookmark else named
        return Base(
            commit=None if p1 == _NULL else CommitId(p1.hex()),
            branch=branch.decode("utf-8", "surrogateescape"),
        )

    def _active_bookmark(self) -> bytes:
        """Return the active bookmark, empty if there is none; it outlives its deletion by another share."""
        active = read_small(os.path.join(self._metadata, b"bookmarks.current")).partition(b"\n")[0]
        if not active:
            return b""
        lines = read_small(os.path.join(self._bookmarks_directory(), b"bookmarks")).split(b"\n")
        return active if any(line.partition(b" ")[2] == active for line in lines) else b""

    # -- what the user is doing ----------------------------------------------------------------
    def _operation(self) -> str | None:
        for name, words in OPERATIONS:
            if self._has(name):
                return words.decode()
        if self.parents()[1] != _NULL:
            return MERGING.decode()
        if self._unresolved():
            return UNRESOLVED.decode()
        store = os.path.join(self.source, b"store")
        if os.path.lexists(os.path.join(store, b"journal")) and self._store_lock() is None:
            return (BROKEN_ELSEWHERE if is_elsewhere(self._metadata, store) else BROKEN).decode()
        return None

    def _at_work(self) -> str | None:
        wlock = _held(os.path.join(self._metadata, b"wlock"))
        updating = self._has(UPDATE)
        if wlock is None:
            self._changing = None
            return INTERRUPTED.decode() if updating else None
        if updating or self._store_lock() is None:
            self._changing = wlock.identity
        if self._changing == wlock.identity:
            return f"hg is at work here: {os.fsdecode(wlock.process)} holds the lock of the working copy"
        return None

    def _store_lock(self) -> _Held | None:
        return _held(os.path.join(self.source, b"store", b"lock"))

    def _unresolved(self) -> bool:
        return any(state in {b"u", b"pu"} for state in self._conflict_states())

    def _conflict_states(self) -> Iterator[bytes]:
        content = read_small(os.path.join(self._metadata, b"merge", b"state2"))
        at = 0
        while at + 5 <= len(content):
            kind, size = content[at : at + 1], int.from_bytes(content[at + 1 : at + 5], "big")
            record = content[at + 5 : at + 5 + size]
            at += 5 + size
            if kind == b"t":  # hides a record from an old hg, which must understand all others
                kind, record = record[:1], record[1:]
            if kind in _CONFLICTS:
                yield from record.split(b"\0", 2)[1:2]
        if not content:
            for line in read_small(os.path.join(self._metadata, b"merge", b"state")).split(b"\n")[1:]:
                yield from line.split(b"\0", 2)[1:2]

    def _has(self, name: bytes) -> bool:
        return os.path.lexists(os.path.join(self._metadata, name))

    # -- shares --------------------------------------------------------------------------------
    @property
    def source(self) -> bytes:
        """The ``.hg`` that holds the store: another one in a working copy made by `hg share`, until `hg unshare`."""
        pointer = read_small(os.path.join(self._metadata, b"sharedpath")).rstrip(b"\n")
        return os.path.normpath(os.path.join(self._metadata, pointer)) if pointer else self._metadata

    def _bookmarks_directory(self) -> bytes:
        """Return where the bookmarks are: with the store, with the source (`hg share -B`), or here."""
        store = os.path.join(self.source, b"store")
        needed = {
            line
            for directory in (self._metadata, self.source, store)
            for line in read_small(os.path.join(directory, b"requires")).split(b"\n")
        }
        if b"bookmarksinstore" in needed:
            return store
        shared = read_small(os.path.join(self._metadata, b"shared")).split(b"\n")
        return self.source if b"bookmarks" in shared else self._metadata


def _held(path: bytes) -> _Held | None:
    """Return who holds a lock, ``None`` if nobody does."""
    try:
        identity = os.lstat(path)
        owner = os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:  # a plain file, where there are no symbolic links
        owner = read_small(path)
        if not owner:
            return None
    match = _LOCKER.match(owner)
    if match and match[1] == _this_machine() and not _lives(int(match[2])):
        return None
    process = b"process %s on %s" % (match[2], match[1].split(b"/")[0]) if match else b"somebody"
    return _Held(process=process, identity=(identity.st_ino, identity.st_mtime_ns, identity.st_ctime_ns))


def _this_machine() -> bytes:
    """Return what hg writes before the process (lock._getlockprefix): on Linux, a process is of a namespace."""
    name = os.fsencode(socket.gethostname())
    try:
        return name + b"/%x" % os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return name


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
