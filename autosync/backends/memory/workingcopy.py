"""A working copy in memory as the agent sees it: its version control and its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from autosync.backends.memory.bundle import unsafe_path
from autosync.backends.memory.exchange import Exchange
from autosync.backends.memory.following import Following
from autosync.backends.memory.hub import MemoryHub
from autosync.backends.memory.objects import ObjectStore
from autosync.backends.memory.user import UserSide
from autosync.core import diff3
from autosync.core.model import (
    Base,
    Change,
    CommitId,
    Entry,
    Kind,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
    WorkspaceId,
    parent_directories,
)
from autosync.core.operations import Operation
from autosync.errors import Busy, Diverged, Missing, TransientError
from autosync.ports import Alone, Applied, Hold, Reading, Standing, hold_nothing, undisturbed

_LOOKED_AT = 8000
"""Bytes at the start of a text that tell whether it is binary, as in git."""
_WORKSPACE = WorkspaceId("0" * 32)


def _go_on(_what: str) -> None:
    """Let every step happen."""


class MemoryWorkingCopy(Exchange):
    """Implements :class:`autosync.ports.Backend` and :class:`autosync.ports.Tree`.

    What was looked at but not recorded is lost by :meth:`crash`; the rest survives.
    ``step`` is called before each thing that is done here, with a word for it: whatever can
    happen between two system calls of a real backend happens there.  If it raises, the rest is not done.
    """

    vcs = "memory"
    hub_holds_snapshots = True
    tells_by_seconds = False

    def __init__(self, name: str, *, hub: MemoryHub | None = None, workspace: WorkspaceId = _WORKSPACE) -> None:
        super().__init__(UserSide(name, ObjectStore()), hub=hub, workspace=workspace)
        self.root = b"memory:" + name.encode()
        self.metadata = self.root + b"/.autosync"
        self.store_directory = self.root
        self.snapshots_directory = self.metadata
        self.following = Following(hub)
        self._kept = ObjectStore(self.store)
        self._pins: dict[str, SnapshotId] = {}
        self._last: TreeId | None = None
        self.step: Callable[[str], None] = _go_on

    @property
    def files(self) -> Mapping[RelPath, tuple[Kind, bytes]]:
        """What stands at each path; :attr:`user` changes it."""
        return self.user.files

    def clone(self, name: str) -> MemoryWorkingCopy:
        """Return a new working copy with this one's history and hub, on the same branch."""
        copy = MemoryWorkingCopy(name, hub=self.hub, workspace=self.workspace)
        for tip in self.user.branches.values():
            copy.store.copy_history(self.store, tip)
        copy.user.start(self.base())
        return copy

    def crash(self) -> None:
        """Forget what a killed agent had in memory only."""
        self._kept = ObjectStore(self.store)
        self._last = None

    def close(self) -> None:
        """Do nothing: there is no process and no open file."""

    def rest(self) -> None:
        """Do nothing: there is no process."""

    def examine(self) -> None:
        """Do nothing: it is what it is."""

    # -- looking at the working copy -------------------------------------------------
    def base(self) -> Base:
        """Return what is checked out now."""
        return self.user.head()

    def busy(self) -> str | None:
        """Return what the user is in the middle of."""
        return self.user.operation

    def metadata_directories(self) -> Sequence[bytes]:
        """Return nothing: there is no directory to watch."""
        return ()

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that a pattern names and that neither are tracked nor hold what is."""
        known = self._known(self._last)
        known |= {up for path in known for up in parent_directories(path)}
        return frozenset(path for path in paths if path not in known and self.user.is_ignored(path))

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Ignore every file or directory whose name matches one of ``patterns``, and nothing else."""
        self.user.ignore_patterns = [pattern.encode() for pattern in patterns]

    def read(
        self,
        paths: Collection[RelPath] | None,
        previous: tuple[Base, TreeId] | None,
        hold: Hold = hold_nothing,
    ) -> Reading:
        """Return the state now, looking only at ``paths`` if the base is still ``previous``'s."""
        self.step("read")
        base = self.base()
        known = self._known(None if previous is None else previous[1])
        start = self.tree_of(base.commit) if previous is None or previous[0] != base else previous[1]
        if previous is None or previous[0] != base or paths is None:
            paths = [RelPath(b"")]
        before = self._kept.listing(start)
        edits: dict[RelPath, Entry | None] = {}
        torn: set[RelPath] = set()
        for path in paths:
            prefix = path + b"/" if path else b""
            candidates = {path, *self.user.below(path), *(each for each in before if each.startswith(prefix))}
            candidates.discard(RelPath(b""))
            torn |= candidates & self.user.writing
            edits.update(dict.fromkeys(candidates - torn))
            for each in self.user.versioned(candidates - torn, known):
                if each in known or not self._is_held(each, hold):
                    edits[each] = self._keep(each)
        self._last = self._kept.splice(start, edits)
        return Reading(base=base, tree=self._last, torn=frozenset(torn))

    def standing(self, path: RelPath) -> Standing:
        """Return what stands at ``path``.  Raises :class:`TransientError` for a file in ``user.writing``."""
        if path in self.user.writing:
            raise TransientError(f"{path!r} changes while it is read.", hint="It is read again when it is quiet.")
        entry = self._keep(path)
        if entry is None:
            return Standing(entry=None, signature=None)
        inode = self.user.inodes[path]
        mode = {Kind.FILE: 0o100644, Kind.EXECUTABLE: 0o100755, Kind.SYMLINK: 0o120777, Kind.NESTED: 0o040755}
        return Standing(entry=entry, signature=(inode, len(self.files[path][1]), inode, mode[entry.kind]))

    def standings(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        """Return what stands at many paths, but those that are being written."""
        return {path: self.standing(path) for path in paths if path not in self.user.writing}

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Do nothing: looking costs nothing here."""

    def _known(self, tree: TreeId | None) -> set[RelPath]:
        """Return what is tracked or was synced in ``tree``: a later ignore rule does not delete it elsewhere."""
        return {*self.user.head_listing(), *self._kept.listing(tree)}

    def _is_held(self, path: RelPath, hold: Hold) -> bool:
        kind, content = self.files.get(path, (None, b""))
        return kind in {Kind.FILE, Kind.EXECUTABLE} and hold(path, len(content))

    def _keep(self, path: RelPath) -> Entry | None:
        """Return what stands at ``path``, its content kept."""
        if path not in self.files:
            return None
        kind, content = self.files[path]
        oid = ObjectId(content.decode()) if kind is Kind.NESTED else self._kept.add_text(content)
        return Entry(kind=kind, oid=oid)

    # -- snapshots in the private store ------------------------------------------------
    def record(
        self, *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
    ) -> Snapshot:
        """Store what was kept and the snapshot, and return it."""
        self.step("record")
        snapshot = self._kept.add_snapshot(
            tree=tree, base=base, version=version, parents=parents, device=device, time=time
        )
        self._kept.settle()
        return snapshot

    def load(self, snapshot: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store."""
        return self.store.snapshots.get(snapshot)

    def pin(self, name: str, snapshot: SnapshotId) -> None:
        """Keep ``snapshot`` under ``name``.  Raises :class:`Missing` if it is not here."""
        self.step("pin")
        if snapshot not in self.store.snapshots:
            raise Missing(f"The snapshot {snapshot} is not in this store.", hint="Fetch it first.")
        self._pins = {**self._pins, name: snapshot}

    def pins(self) -> Mapping[str, SnapshotId]:
        """Return all pins."""
        return dict(self._pins)

    def unpin(self, name: str) -> None:
        """Let go of a pin."""
        self._pins = {pin: snapshot for pin, snapshot in self._pins.items() if pin != name}

    def secure(self, commit: CommitId) -> None:
        """Do nothing: what is in memory is never collected."""

    def load_many(self, snapshots: Collection[SnapshotId]) -> Sequence[Snapshot]:
        """Return those of ``snapshots`` that are here."""
        return [self.store.snapshots[snapshot] for snapshot in snapshots if snapshot in self.store.snapshots]

    def repin(self, *, add: Mapping[str, SnapshotId], drop: Collection[str]) -> None:
        """Add and let go of many pins at once."""
        self._pins = {**{pin: snapshot for pin, snapshot in self._pins.items() if pin not in drop}, **add}

    def size(self) -> int:
        """Return the bytes of all texts."""
        return sum(map(len, self.store.texts.values()))

    def shared(self) -> int:
        """Return nothing: there is one store for the user's history and ours."""
        return 0

    def tidy(self, *, thorough: bool = False, alone: Alone = undisturbed) -> None:
        """Do nothing: there are no packs."""

    # -- trees ----------------------------------------------------------------------------
    def changes(self, old: TreeId | None, new: TreeId | None) -> tuple[Change, ...]:
        """Return the differing paths in path order."""
        return self._kept.changes(old, new)

    def salvage(self, tree: TreeId, commit: CommitId | None) -> TreeId:  # noqa: ARG002 - it is here as a whole
        """Return ``tree``: it does not go with the base that it was recorded on."""
        return tree

    def splice(self, tree: TreeId | None, edits: Mapping[RelPath, Entry | None]) -> TreeId:
        """Return ``tree`` with these paths replaced."""
        return self._kept.splice(tree, edits)

    def marks(self, tree: TreeId) -> str:  # noqa: ARG002 - there is no index here
        """Return nothing: there is nothing to be told of paths."""
        return ""

    def join_marks(
        self,
        tree: TreeId,
        *,
        base: Base,  # noqa: ARG002 - as above
        origin: TreeId,  # noqa: ARG002
        ours: TreeId,  # noqa: ARG002
        theirs: TreeId,  # noqa: ARG002
    ) -> TreeId:
        """Return ``tree``, which holds no marks."""
        return tree

    def merge_text(self, base: ObjectId, ours: ObjectId, theirs: ObjectId) -> ObjectId | None:
        """Return the clean merge of three texts, ``None`` if there is none, one is binary, or ``base`` is not here."""
        if base not in self._kept.texts:
            return None
        texts = [self._kept.texts[oid] for oid in (base, ours, theirs)]
        if ours != theirs and base not in (ours, theirs) and any(b"\0" in text[:_LOOKED_AT] for text in texts):
            return None
        merged = diff3.merge(*texts)
        return None if merged is None else self._kept.add_text(merged)

    def content(self, oid: ObjectId, *, limit: int) -> bytes | None:
        """Return a file's content, ``None`` if it has more than ``limit`` bytes."""
        text = self._kept.texts.get(oid)
        if text is None:
            raise Missing(f"content {oid} is not here", hint="It is asked for again from the other devices.")
        return None if len(text) > limit else text

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return a changeset's tree."""
        return self._kept.tree_of(commit)

    def is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        """Return whether ``descendant`` contains ``ancestor`` or is it.  Raises :class:`Missing` if it is not here."""
        self.store.tree_of(descendant)
        return ancestor in self.store.history([descendant])

    def merge_base(self, one: CommitId, other: CommitId) -> CommitId | None:
        """Return a common ancestor that no other one contains, ``None`` if there is none.

        Raises :class:`Missing`.
        """
        self.store.tree_of(one)
        self.store.tree_of(other)
        common = set(self.store.history([one])) & set(self.store.history([other]))
        surpassed = {parent for commit in common for parent in self.store.changesets[commit].parents}
        return min(common - surpassed, default=None)

    def has_commit(self, commit: CommitId) -> bool:
        """Return whether a changeset is here."""
        return commit in self.store.changesets

    # -- changing the working copy ----------------------------------------------------------
    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry to a real file of ``directory``, named by its index."""
        for index, (_, entry) in enumerate(entries):
            name = os.path.join(directory, b"%d" % index)
            content = self._kept.texts[entry.oid]
            if entry.kind is Kind.SYMLINK:
                os.symlink(content, name)
                continue
            mode = 0o777 if entry.kind is Kind.EXECUTABLE else 0o666
            with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise."""
        self._require_quiet(old)
        self.tree_of(new.commit)
        tip = self.user.branches.get(new.branch) if new.branch is not None else None
        if tip is not None and new.branch != old.branch and not (new.commit and self.is_ancestor(tip, new.commit)):
            raise Diverged(
                f"{new.branch} has commits here that {new.commit} lacks.",
                hint="Merge or rename one of the two branches.",
            )

    def bring(self, commit: CommitId) -> None:
        """Check that ``commit`` is here: the user's commands see the whole store.  Raises :class:`Missing`."""
        self.store.tree_of(commit)

    def land(
        self,
        old: Base,
        new: Base,
        *,
        tree: TreeId,  # noqa: ARG002 - no marks in it
        message: str,  # noqa: ARG002 - no reflog here
        ours: TreeId | None = None,  # noqa: ARG002
    ) -> None:
        """Move HEAD and branch from ``old`` to ``new``; no file is touched."""
        self.step("land")
        self.check_landing(old, new)
        self.user.move_head(new)

    def commit(
        self,
        paths: Collection[RelPath] | None,  # noqa: ARG002 - there is no index to leave other paths in
        *,
        message: str,
        tree: TreeId,
        extra_parent: CommitId | None = None,
    ) -> Base:
        """Make a commit of ``tree`` on the current branch, if there is anything new.  Raises :class:`Busy`."""
        self.step("commit")
        base = self.base()
        if tree == self.tree_of(base.commit) and extra_parent is None:
            return base
        self._require_quiet(base)
        parents = tuple(parent for parent in (base.commit, extra_parent) if parent is not None)
        self._kept.settle()
        return self.user.advance(message, parents, tree)

    def message(self, commit: CommitId) -> str:
        """Return a commit's message."""
        return self.user.store.changesets[commit].message

    def is_published(self, commit: CommitId) -> bool:  # noqa: ARG002 - as the Protocol has it
        """Return that only the hub knows."""
        return False

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out commit by the same one with another message.  Raises :class:`Busy`."""
        self.step("reword")
        self._require_quiet(old)
        assert old.commit is not None  # noqa: S101  (who describes it has read its message)
        was = self.user.store.changesets[old.commit]
        return self.user.advance(message, was.parents, was.tree)

    def recover(self) -> None:
        """Do nothing: every change here is whole."""

    def _require_quiet(self, expected: Base) -> None:
        if self.user.operation is not None:
            raise Busy(f"The user is at work: {self.user.operation}.", hint="It is tried again afterwards.")
        if self.base() != expected:
            raise Busy("HEAD moved in the meantime.", hint="The working copy is looked at again.")

    # -- the files -------------------------------------------------------------------------------
    def apply(self, operations: Sequence[Operation]) -> Applied:
        """Perform the operations, removals first, each only if its path still is what it expects."""
        done: dict[RelPath, Entry | None] = {}
        refused: dict[RelPath, str] = {}
        for operation in sorted(operations, key=lambda each: each.new is not None):
            self.step("replace")
            reason, source = self._obstacle(operation, done), operation.source
            if reason:
                refused.update(dict.fromkeys((operation.path, source or operation.path), reason))
                continue
            if source is not None and source not in done:
                self.user.remove(source)
                done[source] = None
            if operation.path in self.files:
                self.user.remove(operation.path)
            if operation.new is not None:
                self.user.put_entry(operation.path, operation.new, self._kept)
            done[operation.path] = operation.new
        return Applied(done=done, refused=refused)

    def sweep(self) -> frozenset[RelPath]:
        """Return nothing: no writer can hold a replaced file open here."""
        return frozenset()

    def keeps(self) -> bool:
        """Return ``False``: nothing that was replaced is kept."""
        return False

    def _obstacle(self, operation: Operation, done: Mapping[RelPath, Entry | None]) -> str:
        """Return why the operation must not be performed, "" if it may.

        What an earlier operation of the same call left at a path stands in for what
        this one expects there, so that renames may form chains and circles.
        """
        path, source = operation.path, operation.source
        if reason := unsafe_path(path):
            return f"it has {reason}"
        if self.user.entry_at(path) != done.get(path, operation.expected):
            return "it is not what it was when the change was planned"
        if path in self.user.writing or source in self.user.writing:
            return "it is being written"
        if source is not None and source not in done and self.user.entry_at(source) != operation.new:
            return f"{source!r}, which is to be renamed to it, is not what it was when the change was planned"
        if operation.new is None:
            return ""
        if operation.new.kind is not Kind.NESTED and operation.new.oid not in self._kept.texts:
            return "its content is not here"
        if path in self.files:
            return ""
        if self.user.below(path) not in ([], [source]):
            return "a directory stands there"
        if any(up in self.files and up != source for up in parent_directories(path)):
            return "something else stands where its directory has to be"
        return ""
