"""Tells a listener where in a working copy to look."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.ports import WatchListener
from autosync.watch import kernel
from autosync.watch.arming import Arming, WatchStatus
from autosync.watch.directories import Directory
from autosync.watch.translate import Batch, Translator

logger = logging.getLogger(__name__)

_SECOND_HALF = 0.05  # seconds; the kernel queues both halves of a move within microseconds
_CALM = 0.01
"""Seconds without an event that end a burst."""
_BURST = 8
"""Turns in a row after which it is one: a save by any editor takes fewer."""
_GATHERING = 0.02
"""Seconds in which the events of a burst are gathered: a turn for each of 10,000 files would keep a processor busy."""


class TreeWatcher:
    """Watches the directories of one working copy.

    ``root`` is its absolute path.  What ``metadata_directories`` returns is watched, each by itself;
    anything in them is told as ``metadata_changed``, and has it asked again, in the watcher's thread.
    Directories named as in ``excluded`` are left alone at any depth, and so is what ``ignored``
    returns: it is asked, in that thread too, for files and directories, many at once.  ``rescan_interval`` (seconds) is
    how often directories are told as changed for which the kernel has no watch left.  ``passed_over`` is
    told, in the same thread, of ignored paths that changed in directories that are not.

    Between events the watcher's thread sleeps, for ever if nothing happens.
    """

    def __init__(
        self,
        root: bytes,
        *,
        metadata_directories: Callable[[], Sequence[bytes]],
        excluded: frozenset[bytes],
        ignored: Callable[[Sequence[RelPath]], frozenset[RelPath]],
        listener: WatchListener,
        rescan_interval: float,
        passed_over: Callable[[Sequence[RelPath]], None] = lambda _paths: None,
    ) -> None:
        self._root = os.path.abspath(root)
        self._metadata_directories = metadata_directories
        self._listener = listener
        self._rescan_interval = rescan_interval
        self._passed_over = passed_over
        self._inotify = kernel.Inotify()
        self._arming = Arming(self._root, self._inotify, excluded=excluded, ignored=ignored)
        self._translator = Translator(self._arming, excluded=excluded)
        self._identity: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._closed = False
        self._lock = threading.Lock()  # of the three that follow
        self._refresh: set[RelPath] = set()
        self._turns: list[Future[int]] = []
        self._rescan_at: float | None = None

    # -- from any thread --------------------------------------------------------------------
    def start(self) -> None:
        """Watch; returns once every directory that exists and is wanted is watched.

        Raises :class:`AutosyncError` if the root is not there or cannot be read.
        """
        try:
            self._identity = self._standing_root()
            if self._identity is None:
                raise AutosyncError(
                    f"The folder {os.fsdecode(self._root)} is not there",
                    hint="Mount or restore it, or take it out of the configuration, then start again.",
                )
            self._arming.arm([self._arming.directories.root])
        except OSError as error:
            self._close()
            raise AutosyncError(
                f"The folder {os.fsdecode(self._root)} cannot be watched: {error.strerror}",
                hint="It must be a directory that the user who runs autosync may read (ls -ld shows who may).",
            ) from error
        except AutosyncError:
            self._close()
            raise
        self._watch_ancestors()
        self._watch_metadata()
        self._plan_rescan(time.monotonic())
        self._thread = threading.Thread(target=self._run, name=f"watch {os.fsdecode(self._root)}", daemon=True)
        self._thread.start()

    def stop(self, *, within: float | None = None) -> bool:
        """End the watching; no callback is made after it returns, unless called from one.

        Returns ``False`` if it has not ended ``within`` so many seconds, as it asks for ignore rules
        and is not answered; then it ends after the answer.
        """
        self._stopping = True
        with self._lock:
            self._wake_up()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(within)
        if self._thread is None:
            self._close()
        return self._thread in {None, threading.current_thread()} or not self._thread.is_alive()

    def refresh(self, path: RelPath = RelPath(b"")) -> None:  # noqa: B008 - bytes, immutable
        """Ask the ignore rules again, below the directory ``path``; returns at once.

        Directories that are ignored now lose their watches, those that are not any more get
        them and are told as changed.  Changed ignore files in the tree are noticed without this.
        """
        with self._lock:
            self._refresh.add(path)
            self._wake_up()

    def next_turn(self) -> Future[int]:
        """Return what is done once the watcher's thread has had a turn; its result is that thread's native id.

        When nothing is watched, not yet or not any more, it is done at once.
        """
        turn: Future[int] = Future()
        with self._lock:
            if self._thread is None or self._closed:
                turn.set_result(0)
            else:
                self._turns.append(turn)
                self._wake_up()
        return turn

    def status(self) -> WatchStatus:
        """Return how many directories are watched, and what to do if not all are."""
        return self._arming.status()

    # -- the watcher's thread -------------------------------------------------------------------
    def _run(self) -> None:
        poller = select.poll()
        turns = 0  # in a row, between which hardly anything was waited for
        poller.register(self._inotify.fileno(), select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        try:
            while not self._stopping:
                began = time.monotonic()
                poller.poll(self._patience())
                turns = turns + 1 if time.monotonic() - began < _CALM else 0
                if turns > _BURST:
                    time.sleep(_GATHERING)
                if not self._stopping and not self._turn(time.monotonic()):
                    break
        except Exception:
            # The session cannot know that it is blind now: better to say that the root is lost.
            logger.exception("watching %s ended", os.fsdecode(self._root))
            self._listener.root_vanished()
        finally:
            self._close()

    def _patience(self) -> float | None:
        """Return how many milliseconds to sleep at most."""
        times = []
        if self._translator.awaits_second_half():
            times.append(_SECOND_HALF)
        if self._rescan_at is not None:
            times.append(max(0.0, self._rescan_at - time.monotonic()))
        return min(times) * 1000 + 1 if times else None

    def _turn(self, now: float) -> bool:
        """Handle what has happened and return whether the root still stands."""
        with self._lock:
            asked, self._refresh = self._refresh, set()
            turns, self._turns = self._turns, []
            if asked or turns:
                os.eventfd_read(self._wake)
        _take(turns)
        batch = self._translator.translate(self._inotify.read(), now)
        if batch.root_suspect and self._standing_root() != self._identity:
            self._listener.root_vanished()
            return False
        hints = self._follow(batch, asked)
        if self._rescan_at is not None and now >= self._rescan_at:
            hints += self._rescan()
            self._plan_rescan(now)
        if batch.metadata or batch.overflow:
            self._watch_metadata()
            self._listener.metadata_changed()
        if hints:
            self._listener.paths_changed(hints)
        return True

    def _follow(self, batch: Batch, asked: set[RelPath]) -> list[PathHint]:
        """Bring the watches up to date, then return the hints that are worth telling."""
        directories = self._arming.directories
        if batch.overflow:
            self._arming.arm([directories.root])
            return [_subtree(RelPath(b""))]
        appeared = self._wanted(batch)
        changed = [node for node in dict.fromkeys((*appeared, *batch.rules)) if directories.is_attached(node)]
        self._arming.arm(changed)
        hints = self._worth_telling(batch.hints)
        hints += [_subtree(node.path()) for node in dict.fromkeys(batch.rules)]
        refreshed = [node for path in asked if (node := directories.find(path)) is not None]
        found = set(self._arming.arm(refreshed))
        hints += [_subtree(node.path()) for node in found if node.parent not in found]
        if self._rescan_at is None:
            self._plan_rescan(time.monotonic())
        return hints

    def _wanted(self, batch: Batch) -> list[Directory]:
        """Return the directories that appeared, without the ignored ones, which are forgotten."""
        directories = self._arming.directories
        appeared = [
            directories.enter(parent, name)
            for parent, name in dict.fromkeys(batch.appeared)
            if directories.is_attached(parent)
        ]
        paths = [node.path() for node in appeared]
        skipped = self._arming.skipped(paths)
        for node, path in zip(appeared, paths, strict=True):
            if path in skipped:
                self._arming.drop(node)
        return appeared

    def _worth_telling(self, hints: Sequence[PathHint]) -> list[PathHint]:
        skipped = self._arming.skipped(list(dict.fromkeys(hint.path for hint in hints)))
        if skipped:
            self._passed_over(list(skipped))
        return [hint for hint in hints if hint.path not in skipped]

    def _rescan(self) -> list[PathHint]:
        tops = [node for node in self._arming.unwatched_tops() if self._arming.directories.is_attached(node)]
        self._arming.arm(tops)
        return [_subtree(node.path()) for node in tops]

    def _plan_rescan(self, now: float) -> None:
        self._rescan_at = now + self._rescan_interval if self._arming.unwatched_tops() else None

    # -- what is watched besides the tree --------------------------------------------------------
    def _watch_metadata(self) -> None:
        """Watch the metadata directories that exist and are not watched."""
        watched = set(self._translator.metadata.values())
        try:
            wanted = self._metadata_directories()
        except OSError as error:  # those of before are watched still
            logger.warning("cannot tell where the repository of %s is: %s", os.fsdecode(self._root), error)
            return
        for directory in wanted:
            if directory in watched:
                continue
            try:
                wd = self._inotify.watch(directory, kernel.CHANGES)
            except FileNotFoundError:
                continue  # made when it is needed, below one that is watched
            except (kernel.WatchLimitReached, OSError) as error:
                logger.warning("cannot watch %s: %s", os.fsdecode(directory), error or "no watches left")
                continue
            self._translator.metadata[wd] = directory
            self._arming.shared.add(wd)

    def _watch_ancestors(self) -> None:
        """Be told when the root is deleted or a directory above it is moved, and the root with it.

        The root's own IN_DELETE_SELF waits until nobody is in it any more: not the user's shell.
        """
        directory, name = os.path.split(os.path.realpath(self._root))
        mask = kernel.MOVE_SELF | kernel.DELETE
        while name:
            try:
                wd = self._inotify.watch(directory, mask)
            except (kernel.WatchLimitReached, OSError):
                pass  # not ours to read, most likely: the next event in the root shows it as well
            else:
                self._translator.ancestors[wd] = name
                self._arming.shared.add(wd)
            directory, name = os.path.split(directory)
            mask = kernel.MOVE_SELF

    def _standing_root(self) -> tuple[int, int] | None:
        """Return what identifies the directory that stands at the root's path."""
        try:
            found = os.stat(self._root)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    # -- ending ---------------------------------------------------------------------------------
    def _wake_up(self) -> None:
        """End the thread's sleep; the lock must be held."""
        if not self._closed:
            os.eventfd_write(self._wake, 1)

    def _close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inotify.close()
                os.close(self._wake)
                _take(self._turns)


def _take(turns: Sequence[Future[int]]) -> None:
    for turn in turns:
        turn.set_result(threading.get_native_id())


def _subtree(path: RelPath) -> PathHint:
    return PathHint(path=path, touch=Touch.SUBTREE)
