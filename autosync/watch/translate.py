"""Turns the kernel's events into hints."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath
from autosync.watch import kernel
from autosync.watch.arming import Arming, is_complete
from autosync.watch.directories import Directory

FRESH = 1.0
"""Seconds during which a file counts as made moments before."""
_REMEMBERED = 1024
IGNORE_FILES = frozenset({b".gitignore", b".hgignore"})
_INCOMPLETE = kernel.CREATE | kernel.MODIFY | kernel.ATTRIB

_TOUCHES = (
    (kernel.MODIFY, Touch.WRITTEN),
    (kernel.CLOSE_WRITE, Touch.CLOSED),
    (kernel.ATTRIB, Touch.ATTRIBUTES),
)


@dataclass(slots=True)
class Batch:
    """What one reading of the queue comes to.

    ``appeared`` are the directories that must be armed before the hints are told, by parent and
    name, for within one batch another may have come to stand there; ``rules`` are those whose
    ignore file changed.
    """

    hints: list[PathHint] = field(default_factory=list)
    appeared: list[tuple[Directory, bytes]] = field(default_factory=list)
    rules: list[Directory] = field(default_factory=list)
    overflow: bool = False
    metadata: bool = False
    root_suspect: bool = False


@dataclass(frozen=True, slots=True)
class _MovedFile:
    path: RelPath
    created: float | None


class _Departed:
    """What was moved away, by cookie: kept for this batch and the next.

    The kernel queues the two halves of a move one after the other (fsnotify_move), so the
    second half is at most one reading away, if there is one.
    """

    def __init__(self) -> None:
        self._before: dict[int, _MovedFile | Directory] = {}
        self._now: dict[int, _MovedFile | Directory] = {}

    def __bool__(self) -> bool:
        return any(isinstance(left, Directory) for left in (*self._now.values(), *self._before.values()))

    def add(self, cookie: int, left: _MovedFile | Directory) -> None:
        self._now[cookie] = left

    def claim(self, cookie: int) -> _MovedFile | Directory | None:
        return self._now.pop(cookie, None) or self._before.pop(cookie, None)

    def turn(self) -> list[Directory]:
        """Begin a batch and return the directories that nobody claimed in two."""
        lost = [left for left in self._before.values() if isinstance(left, Directory)]
        self._before, self._now = self._now, {}
        return lost


class _Recent:
    """The files created within the last :data:`FRESH` seconds, by watch and name; bounded."""

    def __init__(self) -> None:
        self._created: dict[tuple[int, bytes], float] = {}

    def add(self, key: tuple[int, bytes], now: float) -> None:
        self._created.pop(key, None)
        self._created[key] = now
        oldest = next(iter(self._created))
        while len(self._created) > _REMEMBERED or self._created[oldest] < now - FRESH:
            del self._created[oldest]
            oldest = next(iter(self._created))

    def pop(self, key: tuple[int, bytes], now: float) -> float | None:
        created = self._created.pop(key, None)
        return created if created is not None and now - created <= FRESH else None


class Translator:
    """Follows the kernel's events through one tree of directories.

    ``metadata`` and ``ancestors`` are the watches that are not of the tree itself, with the
    directory, and with the name in it that leads to the root.  Not thread-safe.
    """

    def __init__(self, arming: Arming, *, excluded: frozenset[bytes]) -> None:
        self.metadata: dict[int, bytes] = {}
        self.ancestors: dict[int, bytes] = {}
        self._arming = arming
        self._directories = arming.directories
        self._excluded = excluded
        self._closed: set[Directory] = set()
        self._departed = _Departed()
        self._recent = _Recent()

    def awaits_second_half(self) -> bool:
        """Return whether a directory was moved away and may yet turn up elsewhere in the tree."""
        return bool(self._departed)

    def translate(self, events: Iterable[kernel.RawEvent], now: float) -> Batch:
        """Return what ``events``, read at ``now``, come to; moves and deletions are followed at once."""
        for lost in self._departed.turn():
            self._arming.drop(lost)
        batch = Batch()
        for event in events:
            if event.mask & kernel.OVERFLOW:
                batch.overflow = True
                continue
            if event.wd in self.metadata:
                batch.metadata = True
                if event.mask & kernel.IGNORED:
                    del self.metadata[event.wd]
            if event.wd in self.ancestors and event.name in {b"", self.ancestors[event.wd]}:
                batch.root_suspect = True
            node = self._directories.watched_by(event.wd)
            if node is not None:
                self._directory_event(batch, node, event, now)
        return batch

    def _directory_event(self, batch: Batch, node: Directory, event: kernel.RawEvent, now: float) -> None:
        if not event.name:
            self._own_event(batch, node, event.mask)
        elif not self._directories.is_attached(node):
            pass  # moved away: what it is now is looked at when it turns up again
        elif event.name in self._excluded:
            self._excluded_event(batch, node, event.mask)
        elif event.mask & kernel.IS_DIRECTORY:
            self._subdirectory_event(batch, node, event)
        else:
            self._file_event(batch, node, event, now)

    def _own_event(self, batch: Batch, node: Directory, mask: int) -> None:
        """The watched directory itself was changed; of most of this its parent speaks too."""
        if node.parent is None:
            batch.root_suspect = batch.root_suspect or not mask & kernel.ATTRIB
        elif mask & kernel.UNMOUNT:
            batch.hints.append(PathHint(path=node.path(), touch=Touch.SUBTREE))
            batch.appeared.append((node.parent, node.name))
        if mask & kernel.IGNORED:
            self._arming.lost_watch(node)

    @staticmethod
    def _excluded_event(batch: Batch, node: Directory, mask: int) -> None:
        """A directory became, or ceased to be, a repository of its own."""
        if not mask & (kernel.CREATE | kernel.DELETE | kernel.MOVED_FROM | kernel.MOVED_TO):
            return
        if node.parent is None:
            batch.metadata = True
        else:
            batch.hints.append(PathHint(path=node.path(), touch=Touch.SUBTREE))

    def _subdirectory_event(self, batch: Batch, parent: Directory, event: kernel.RawEvent) -> None:
        path = parent.below(event.name)
        known = parent.child(event.name)
        if event.mask & (kernel.MOVED_FROM | kernel.DELETE):
            batch.hints.append(PathHint(path=path, touch=Touch.GONE))
            if known is not None and event.mask & kernel.MOVED_FROM:
                self._directories.detach(known)
                self._departed.add(event.cookie, known)
            elif known is not None:
                self._arming.drop(known)
            return
        if event.mask & kernel.ATTRIB and known is not None and known.wd is not None:
            self._mode_changed(batch, known)
            return
        source = None
        if event.mask & kernel.MOVED_TO:
            moved = self._departed.claim(event.cookie)
            if isinstance(moved, Directory):
                source = moved.path()
                if known is None:
                    self._directories.attach(moved, parent, event.name)
                else:  # found here before its event was read
                    self._arming.drop(moved)
        self._directories.enter(parent, event.name)
        batch.appeared.append((parent, event.name))
        batch.hints.append(PathHint(path=path, touch=Touch.SUBTREE, source=source))

    def _mode_changed(self, batch: Batch, directory: Directory) -> None:
        """A directory's mode is not versioned; but what is in one that was closed to us can be read again."""
        path = directory.path()
        if not os.access(self._arming.absolute(path), os.R_OK | os.X_OK):
            self._closed.add(directory)
        elif directory in self._closed:
            self._closed.discard(directory)
            batch.hints.append(PathHint(path=path, touch=Touch.SUBTREE))

    def _file_event(self, batch: Batch, node: Directory, event: kernel.RawEvent, now: float) -> None:
        path = node.below(event.name)
        key = (event.wd, event.name)
        mask = event.mask
        if event.name in IGNORE_FILES and not mask & _INCOMPLETE:
            batch.rules.append(node)
        if mask & kernel.CREATE:
            self._recent.add(key, now)
            self._add(batch, path, Touch.CREATED)
            if is_complete(self._arming.absolute(path)):
                self._add(batch, path, Touch.CLOSED)
        elif mask & kernel.MOVED_TO:
            self._moved_in(batch, path, key, event.cookie, now)
        elif mask & (kernel.MOVED_FROM | kernel.DELETE):
            created = self._recent.pop(key, now)
            if mask & kernel.MOVED_FROM:
                self._departed.add(event.cookie, _MovedFile(path, created))
            self._add(batch, path, Touch.GONE)
        else:
            for bit, touch in _TOUCHES:
                if mask & bit:
                    self._add(batch, path, touch)

    def _moved_in(self, batch: Batch, path: RelPath, key: tuple[int, bytes], cookie: int, now: float) -> None:
        moved = self._departed.claim(cookie)
        if isinstance(moved, _MovedFile):
            fresh, source = moved.created is not None, moved.path
        else:  # from outside: whoever put it there had finished it
            fresh, source = True, None
        if fresh:
            self._recent.add(key, now)
        batch.hints.append(PathHint(path=path, touch=Touch.MOVED_IN, fresh_source=fresh, source=source))

    @staticmethod
    def _add(batch: Batch, path: RelPath, touch: Touch) -> None:
        hint = PathHint(path=path, touch=touch)
        if not batch.hints or batch.hints[-1] != hint:
            batch.hints.append(hint)
