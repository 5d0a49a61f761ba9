"""Performs operations on the files of a working copy: one run over many paths."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

from autosync.apply.content import Preparer, Slot, Stage, defaults, inherit, join_directory, permissions, permit
from autosync.apply.editors import demand_closed
from autosync.apply.limbo import Limbo
from autosync.apply.looks import Looks
from autosync.apply.obstacle import APPEARED, CHANGED, Obstacle, obstacle_of
from autosync.apply.parents import Parents, remove_empty
from autosync.apply.signature import READ, Signature, open_as, signature_of
from autosync.apply.swap import Swapper, kept_file
from autosync.core.copies import parse_conflict_name
from autosync.core.model import Entry, Kind, RelPath, parent_directories
from autosync.errors import AutosyncError
from autosync.ports import Applied, Operation, Standing

CHUNK = 2048
"""Files whose new content is prepared, and waited for to be on the disk, at a time."""

_RULES = frozenset({b".gitattributes", b".hgeol"})
"""Files that decide what a checkout writes for others; so they have to be there first."""

_TOGETHER = "it comes with the file whose other version it is"
_REGULAR = frozenset({Kind.FILE, Kind.EXECUTABLE})

_UNVERSIONED = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
"""What may stand at a path and is not for any version control."""


class Application:
    """One application of operations to the directories that ``parents`` opens."""

    def __init__(
        self,
        limbo: Limbo,
        swapper: Swapper,
        looks: Looks,
        stage: Stage,
        parents: Parents,
        *,
        new_times: bool,
    ) -> None:
        self._limbo = limbo
        self._swapper = swapper
        self._looks = looks
        self._preparer = Preparer(stage)
        self._parents = parents
        self._new_times = new_times
        self._done: dict[RelPath, Entry | None] = {}
        self._refused: dict[RelPath, str] = {}
        self._uncopied: set[RelPath] = set()
        self._emptied: set[RelPath] = set()
        self._stopped: Obstacle | None = None
        self.written: dict[RelPath, tuple[Entry, os.stat_result]] = {}
        """Regular files that were put there, as they stood there then."""

    def run(self, operations: Sequence[Operation]) -> Applied:
        """Perform the operations: deletions, then renames, then new content."""
        nests = [o for o in operations if _is_nested(o.expected) or _is_nested(o.new)]
        operations = [o for o in operations if not (_is_nested(o.expected) or _is_nested(o.new))]
        removals = [o for o in operations if o.new is None]
        moves = [o for o in operations if o.new is not None and o.source is not None]
        modes = [o for o in operations if o.source is None and _is_mode_only(o) and not self._is_shared(o.path)]
        done_otherwise = {o.path for o in (*removals, *moves, *modes)}
        writes = [o for o in operations if o.path not in done_otherwise]
        needed = frozenset(d for o in (*moves, *writes) for d in parent_directories(o.path))
        for chunk in _chunks(removals):
            self._in_batch(chunk, self._remove_all)
        self._parents.remove_empty(self._emptied, keep=needed)
        for operation in moves:
            self._attempt(operation, self._move)
        self._parents.remove_empty(self._emptied, keep=needed)
        for operation in nests:
            self._attempt(operation, self._nest)
        for operation in modes:
            self._attempt(operation, self._change_mode)
        copies, *others = _in_turn(writes)
        self._foresee(copies, {o.path: o for o in writes})
        for part in (copies, *others):
            for chunk in _chunks(self._due(part)):
                self._in_batch(chunk, self._write_all)
        self._withdraw([o for o in copies if o.path in self._done and _original(o) in self._refused])
        self._parents.remove_made()
        self._parents.remove_empty(self._emptied)
        stopped = self._stopped.error if self._stopped is not None else None
        return Applied(done=self._done, refused=self._refused, stopped=stopped)

    def _due(self, writes: Sequence[Operation]) -> list[Operation]:
        """Return the writes without the conflict copies of files that are left alone, and the other way round.

        Both come together: a copy beside the very version that it keeps would be a change
        made here, and merged as one; a version that is replaced before its copy stands would
        be gone for the user if that never came to stand.
        """
        due: list[Operation] = []
        for operation in writes:
            if operation.path in self._refused:  # foreseen, with a reason of its own
                continue
            if _original(operation) in self._refused:
                self._refuse(operation, Obstacle(_TOGETHER))
            elif operation.path in self._uncopied:
                self._refuse(operation, Obstacle("its other version cannot be put beside it"))
            else:
                due.append(operation)
        return due

    def _foresee(self, copies: Sequence[Operation], writes: Mapping[RelPath, Operation]) -> None:
        """Refuse at once those files that would be refused once their conflict copies stood."""
        for original in {writes[path] for o in copies if (path := _original(o)) is not None and path in writes}:
            try:
                with self._parents.opened(original.path) as (parent, name):
                    standing = self._looks.settled(original.path, parent, name)
                    if standing.entry != original.new:
                        self._demand(original.expected, standing)
                        demand_closed(parent, name)
            except FileNotFoundError as error:  # the directory too: as it has to be for a file that is new
                if original.expected is not None:
                    self._refuse(original, obstacle_of(error))
            except Obstacle as obstacle:
                self._refuse(original, obstacle)
            except (OSError, AutosyncError) as error:
                self._refuse(original, obstacle_of(error))

    def _withdraw(self, copies: Sequence[Operation]) -> None:
        """Take away the conflict copies of files that were changed, or opened, while the copies were made."""
        for chunk in _chunks([Operation(path=o.path, expected=o.new, new=None) for o in copies]):
            self._in_batch(chunk, self._remove_all)
        for copy in copies:
            if self._done[copy.path] is None:
                del self._done[copy.path]
                self._refused[copy.path] = _TOGETHER
            else:
                self._refused.pop(copy.path, None)  # it stands, and is told as such

    # -- many paths -----------------------------------------------------------------------
    def _in_batch(self, chunk: Sequence[Operation], perform: Callable[[Sequence[Operation], bytes], None]) -> None:
        try:
            if self._stopped is None:
                try:
                    with self._limbo.batch() as batch:
                        perform(chunk, batch)
                finally:
                    self._looks.forget()
                return
        except OSError as error:
            self._stopped = obstacle_of(error)
        except Obstacle as obstacle:
            self._stopped = obstacle
        for operation in chunk:
            if operation.path not in self._done and operation.path not in self._refused:
                self._refuse(operation, self._stopped)

    def _remove_all(self, chunk: Sequence[Operation], batch: bytes) -> None:
        self._looks.ahead([operation.path for operation in chunk])
        self._limbo.intend(batch, chunk, self._looks.seen)
        for index, operation in enumerate(chunk):
            self._attempt(operation, partial(self._remove, slot=b"%s/%d" % (batch, index)))

    def _write_all(self, chunk: Sequence[Operation], batch: bytes) -> None:
        directory = os.path.join(self._limbo.directory, batch)
        mode, group = defaults(directory)
        entries = [(o.path, o.new) for o in chunk if o.new is not None]
        failed = self._preparer.prepare(entries, directory)
        self._looks.ahead([operation.path for operation in chunk])
        held = self._limbo.intend(batch, chunk, self._looks.seen)
        for index, operation in enumerate(chunk):
            if index in failed:
                self._refuse(operation, failed[index])
                continue
            slot = Slot(b"%s/%d" % (batch, index), mode, group, held[index])
            self._attempt(operation, partial(self._write, slot=slot))

    def _attempt(self, operation: Operation, perform: Callable[[Operation], None]) -> None:
        """Perform one operation and file it under done or refused."""
        try:
            if self._stopped is not None:
                raise self._stopped
            perform(operation)
        except Obstacle as obstacle:
            self._refuse(operation, obstacle)
        except (OSError, AutosyncError) as error:
            self._refuse(operation, obstacle_of(error))
        else:
            self._done[operation.path] = operation.new
            if operation.source is not None:
                self._done[operation.source] = None

    def _refuse(self, operation: Operation, obstacle: Obstacle) -> None:
        if obstacle.fatal:
            self._stopped = obstacle
        self._refused[operation.path] = obstacle.reason
        if (original := _original(operation)) is not None:
            self._uncopied.add(original)
        if operation.source is not None:
            self._refused[operation.source] = obstacle.reason

    # -- one path --------------------------------------------------------------------------
    def _remove(self, operation: Operation, slot: bytes) -> None:
        try:
            with self._parents.opened(operation.path) as (parent, name):
                standing = self._looks.settled(operation.path, parent, name)
                if standing.entry is None or standing.signature is None:
                    return
                self._demand(operation.expected, standing)
                demand_closed(parent, name)
                self._swapper.remove(
                    kept_file(slot, operation.path, operation.expected, standing.signature), parent, name
                )
        except FileNotFoundError:  # with its whole directory: so it is as wanted
            return
        self._emptied.update(_directory(operation.path))

    def _move(self, operation: Operation) -> None:
        source = cast(RelPath, operation.source)
        with self._parents.opened(source) as (old_parent, old_name):
            standing = self._looks.settled(source, old_parent, old_name)
            self._demand(operation.new, standing)
            demand_closed(old_parent, old_name)
            with self._parents.opened(operation.path, create=True) as (parent, name):
                self._into_free_name(
                    lambda: self._swapper.rename(
                        (old_parent, old_name), (parent, name), cast(Signature, standing.signature)
                    ),
                    parent,
                    name,
                )
                if self._new_times:
                    with contextlib.suppress(OSError):  # another's file: seen all the same, if not by its time
                        os.utime(name, dir_fd=parent, follow_symlinks=False)
        self._emptied.update(_directory(source))

    def _nest(self, operation: Operation) -> None:
        """Make or remove the directory of a submodule, as a checkout does (gitsubmodules(7)); what is in it stays."""
        if operation.new is None:
            self._leave_nested(operation.path)
            return
        if not _is_nested(operation.new) or not (operation.expected is None or _is_nested(operation.expected)):
            raise Obstacle("a nested repository is left to you")
        with self._parents.opened(operation.path, create=True) as (parent, name):
            try:
                os.mkdir(name, 0o777, dir_fd=parent)
            except FileExistsError:
                if not _can_nest(name, parent):
                    raise Obstacle(CHANGED) from None

    def _leave_nested(self, path: RelPath) -> None:
        try:
            with self._parents.opened(path) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            return
        self._emptied.update(_directory(path))

    def _change_mode(self, operation: Operation) -> None:
        new = cast(Entry, operation.new)
        with self._parents.opened(operation.path) as (parent, name):
            standing = self._looks.settled(operation.path, parent, name)
            if standing.entry == new:
                return
            self._demand(operation.expected, standing)
            file = os.open(name, READ, dir_fd=parent)
            try:
                found = os.fstat(file)
                if signature_of(found) != standing.signature or found.st_nlink > 1:
                    raise Obstacle(CHANGED)
                os.fchmod(file, permissions(new.kind, found.st_mode, 0))
            finally:
                os.close(file)

    def _is_shared(self, path: RelPath) -> bool:
        """Return whether a file has other names, which keep their permissions: so it is written anew, as git does."""
        try:
            with self._parents.opened(path) as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False).st_nlink > 1
        except (OSError, Obstacle):
            return False

    def _write(self, operation: Operation, slot: Slot) -> None:
        new = cast(Entry, operation.new)
        with self._parents.opened(operation.path, create=True) as (parent, name):
            standing = self._looks.settled(operation.path, parent, name)
            if standing.entry == new:
                return
            self._demand(operation.expected, standing)
            staged = self._limbo.directory + b"/" + slot.name
            if standing.entry is None or standing.signature is None:
                join_directory(staged, slot.group, parent)
                placed = permit(staged, new.kind, None, slot)
                self._into_free_name(lambda: self._swapper.create(slot.name, parent, name), parent, name)
                self._note_written(operation.path, new, placed, parent, name)
                return
            demand_closed(parent, name)
            file = open_as(name, parent, standing.signature)
            try:
                inherit(staged, slot.group, b"/proc/self/fd/%d/%s" % (parent, name) if file is None else file)
                placed = permit(staged, new.kind, standing.signature[3], slot)
                kept = kept_file(slot.name, operation.path, standing.entry, standing.signature, placed)
                self._swapper.replace(kept, new, parent, name, file)
            finally:
                if file is not None:
                    os.close(file)
            self._note_written(operation.path, new, kept.placed, parent, name)

    def _note_written(self, path: RelPath, new: Entry, placed: Signature | None, parent: int, name: bytes) -> None:
        """Remember how a file stands that was put there, if it still is the one that was ``placed``."""
        if placed is not None and new.kind in _REGULAR:
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if signature_of(found) == placed:
                    self.written[path] = (new, found)

    @staticmethod
    def _into_free_name(perform: Callable[[], None], parent: int, name: bytes) -> None:
        """Perform a rename to a new name, a directory of that name that holds no file removed first."""
        try:
            perform()
        except FileExistsError:
            try:
                remove_empty(name, parent)
            except NotADirectoryError:
                raise Obstacle(_in_the_way(name, parent)) from None
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:
                    raise Obstacle("a directory with files that are not part of this change stands here") from None
                raise
            perform()

    @staticmethod
    def _demand(expected: Entry | None, standing: Standing) -> None:
        if standing.entry != expected:
            raise Obstacle(CHANGED)


def _is_nested(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.NESTED


def _can_nest(name: bytes, parent: int) -> bool:
    """Return whether a directory stands there that is empty or a repository."""
    try:
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        return False
    try:
        names = os.listdir(directory)
    finally:
        os.close(directory)
    return not names or ".git" in names or ".hg" in names


def _in_the_way(name: bytes, parent: int) -> str:
    """Return what to say of something at a name that was free: what is not versioned can never agree with us."""
    kind = _UNVERSIONED.get(stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode))
    return APPEARED if kind is None else f"a {kind} stands here"


def _is_mode_only(operation: Operation) -> bool:
    old, new = operation.expected, operation.new
    return old is not None and new is not None and old.oid == new.oid and {old.kind, new.kind} <= _REGULAR


def _directory(path: RelPath) -> Iterator[RelPath]:
    """Yield the directory that holds ``path`` unless it is the root."""
    directory = path.rpartition(b"/")[0]
    if directory:
        yield RelPath(directory)


def _in_turn(writes: Sequence[Operation]) -> tuple[list[Operation], ...]:
    """Return the writes in the groups in which they have to be made: conflict copies, rules, all others."""
    groups: tuple[list[Operation], ...] = ([], [], [])
    for operation in writes:
        is_rule = operation.path.rpartition(b"/")[2] in _RULES
        groups[0 if _original(operation) is not None else 1 if is_rule else 2].append(operation)
    return groups


def _original(operation: Operation) -> RelPath | None:
    """Return the path whose other version a new file keeps, ``None`` if it is no conflict copy."""
    if operation.expected is not None or operation.new is None or (name := parse_conflict_name(operation.path)) is None:
        return None
    return name.original


def _chunks(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    return (operations[i : i + CHUNK] for i in range(0, len(operations), CHUNK))
