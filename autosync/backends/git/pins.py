"""Keeps the pins of one working copy: refs of the private store, read and written without starting git."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from autosync.backends.git.leftlocks import PAUSE, sole_writer
from autosync.backends.git.repository import Repository
from autosync.core.model import SnapshotId
from autosync.core.retention import is_keeping, kept_by
from autosync.durable import make_directories, sync_directory
from autosync.errors import Busy

_PIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_HEADER = b"# pack-refs with: peeled fully-peeled sorted \n"


@dataclass(frozen=True, slots=True)
class _Packed:
    """The file ``packed-refs`` (git-pack-refs(1)): each ref's line, with that of what its tag stands for."""

    lines: dict[bytes, bytes]

    def id_of(self, ref: bytes) -> str:
        return self.lines[ref].partition(b" ")[0].decode("ascii")


class Pins:
    """Pins below :attr:`Repository.pin_prefix`, for any thread; of each working copy one process is the owner.

    A new pin is a file of its own, written as git's files backend does (lock beside it, then
    rename; gitrepository-layout(5)), because starting git for it would take longer than all the
    rest of a snapshot.  Thousands of such files would cost an inode each, so :meth:`repin`
    moves those of the history into ``packed-refs``, which is replaced as a whole.
    """

    def __init__(self, repo: Repository, *, pause: float = PAUSE) -> None:
        self._repo = repo
        self._pause = pause
        self._prefix = os.fsencode(repo.pin_prefix)
        self._directory = os.path.join(repo.store_dir, self._prefix)
        self._packed = os.path.join(repo.store_dir, b"packed-refs")
        # What was fetched is pinned beside the thread that touches the working copy.
        self._moving = threading.Lock()

    def clear_locks(self) -> None:
        """Take away the locks of an agent that was killed; these pins have one owner, and only he may call it."""
        for path in self._files():
            if path.endswith(b".lock"):
                os.unlink(path)
        with contextlib.suppress(Busy), sole_writer(self._repo, [self._packed + b".lock"], pause=self._pause):
            pass

    def read(self) -> Mapping[str, SnapshotId]:
        """Return all pins of this working copy."""
        # Files first: what is moved from there meanwhile is in the packed ones by then.
        loose = dict(self._loose())
        pins: dict[str, SnapshotId] = {}
        packed = self._read_packed()
        for ref in packed.lines:
            if ref.startswith(self._prefix):
                pins[os.fsdecode(ref.removeprefix(self._prefix))] = SnapshotId(packed.id_of(ref))
        pins.update(loose)
        return pins

    def best(self, count: int) -> list[SnapshotId]:
        """Return the pinned snapshots that others most likely have, the latest first, ``count`` at most."""
        pins = self.read()
        dated = kept_by(pins)
        moments = {kept.pin for kept in dated}
        others = [snapshot for pin, snapshot in pins.items() if pin not in moments]
        return list(dict.fromkeys([*others[:count], *(kept.snapshot for kept in reversed(dated))]))[:count]

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Let ``name`` stand for ``snapshot``.  Raises :class:`Busy`."""
        path = self._path(name)
        with self._moving:
            try:
                lock = self._lock(path)
            except FileNotFoundError:
                make_directories(os.path.dirname(path), below=self._repo.store_dir, mode=0o777)
                lock = self._lock(path)
            try:
                with os.fdopen(lock, "wb") as file:
                    file.write(snapshot.encode("ascii") + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(path + b".lock", path)
                if not is_keeping(name):  # what is announced next must not be numbered once more after a power cut
                    sync_directory(os.path.dirname(path))
            except BaseException:  # a full disk: the lock would bar every later attempt
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + b".lock")
                raise

    def unpin(self, name: str) -> None:
        """Let go of a pin; no error if there is none."""
        path = self._path(name)
        if self._prefix + os.fsencode(name) in self._read_packed().lines:
            self.repin(add={}, drop=(name,))
            return
        with self._moving:
            if not os.path.exists(path):
                return
            lock = self._lock(path)
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            finally:
                os.close(lock)
                os.unlink(path + b".lock")

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins at once, and move the history's into one file.

        ``add`` holds pins of the history only.  Others may pin meanwhile.  A kill at any moment
        leaves all as it was, or all that was added and perhaps some of what was to go.
        Raises :class:`Busy`.
        """
        paths = {name: self._path(name) for name in (*add, *drop)}
        with self._packed_lock() as lock:
            loose = {name: oid for name, oid in self._loose() if is_keeping(name)}
            before = self._read_packed()
            lines = dict(before.lines)
            for name in drop:
                lines.pop(self._prefix + os.fsencode(name), None)
            for name, oid in {**{n: o for n, o in loose.items() if n not in paths}, **add}.items():
                ref = self._prefix + os.fsencode(name)
                lines[ref] = oid.encode("ascii") + b" " + ref + b"\n"
            if lines != before.lines:
                self._write_packed(lock, b"".join([_HEADER, *(lines[ref] for ref in sorted(lines))]))
        # The pins of the history never move, so a file and its packed line say the same.
        for name in {*loose, *paths}:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(paths.get(name) or self._path(name))

    # -- files ---------------------------------------------------------------------------------
    def _loose(self) -> Iterator[tuple[str, SnapshotId]]:
        for path in self._files():
            if path.endswith(b".lock"):
                continue
            try:
                with open(path, "rb") as file:
                    oid = file.read(100).strip().decode("ascii", "replace")
            except FileNotFoundError:
                continue
            if self._repo.is_id(oid):  # else it is damaged, and holds nothing
                yield os.fsdecode(path[len(self._directory) :]), SnapshotId(oid)

    def _files(self) -> Iterator[bytes]:
        """Yield the paths of the loose pins and of their locks.

        Raises :class:`OSError`: pins that cannot be listed are not gone.
        """

        def complain(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        for directory, _, names in os.walk(self._directory, onerror=complain):
            yield from (os.path.join(directory, name) for name in names)

    def _read_packed(self) -> _Packed:
        try:
            with open(self._packed, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return _Packed({})
        lines: dict[bytes, bytes] = {}
        last = b""
        width = self._repo.hex_digits
        for line in content.splitlines(keepends=True):
            if line.startswith(b"^") and last:
                lines[last] += line
            elif len(line) > width + 1 and line[width : width + 1] == b" " and line.endswith(b"\n"):
                last = line[width + 1 : -1]
                lines[last] = line
        return _Packed(lines)

    def _write_packed(self, lock: int, content: bytes) -> None:
        with os.fdopen(os.dup(lock), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(self._packed + b".lock", self._packed)
        # The files are deleted next: their names must not be gone before the new one is there.
        sync_directory(self._repo.store_dir)

    @contextlib.contextmanager
    def _packed_lock(self) -> Iterator[int]:
        """Hold git's own lock of the packed refs, which other worktrees' agents and git respect."""
        path = self._packed + b".lock"
        with sole_writer(self._repo, [path], pause=self._pause):
            lock = self._lock(self._packed)
            inode = os.fstat(lock).st_ino
            try:
                yield lock
            finally:
                os.close(lock)
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_ino == inode:
                        os.unlink(path)

    def _path(self, name: str) -> bytes:
        if not _PIN.fullmatch(name) or ".." in name or any(p.endswith((".lock", ".")) for p in name.split("/")):
            raise ValueError(f"{name!r} is no name for a pin")
        return os.path.join(self._directory, os.fsencode(name))

    def _lock(self, path: bytes) -> int:
        try:
            return os.open(path + b".lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise Busy(
                f"{os.fsdecode(path)}.lock exists: another process moves this pin",
                hint="If no autosync and no git runs there, delete that file.",
            ) from None
