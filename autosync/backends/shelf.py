"""Keeps everybody's snapshots where no files are: the working copy of ``mode: store``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from autosync.core.model import Base, CommitId, Entry, RelPath, Snapshot, TreeId, Version
from autosync.core.operations import Operation
from autosync.errors import AutosyncError
from autosync.ports import CURRENT, Applied, Backend, Hold, Reading, Standing, hold_nothing


class Shelf:
    """Implements :class:`autosync.ports.Backend` over another one, without its working copy.

    ``inner`` is the backend of a repository that is this device's alone and has nothing
    checked out.  Of a working copy only the recorded state exists: that is what is
    read, and so no look can ever find an edit or a deletion.  Snapshots, trees, history
    and exchange are the inner backend's own.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.vcs = inner.vcs
        self.hub_holds_snapshots = inner.hub_holds_snapshots
        self.tells_by_seconds = inner.tells_by_seconds
        self.root = inner.root
        self.metadata = inner.metadata
        self.store_directory = inner.store_directory
        self.snapshots_directory = inner.snapshots_directory
        self.rest, self.close, self.examine, self.recover = inner.rest, inner.close, inner.examine, inner.recover
        self.record, self.load, self.load_many = inner.record, inner.load, inner.load_many
        self.pin, self.pins, self.unpin, self.repin = inner.pin, inner.pins, inner.unpin, inner.repin
        self.size, self.shared, self.tidy, self.secure = inner.size, inner.shared, inner.tidy, inner.secure
        self.changes, self.splice, self.merge_text = inner.changes, inner.splice, inner.merge_text
        self.salvage = inner.salvage
        self.content, self.marks, self.join_marks = inner.content, inner.marks, inner.join_marks
        self.tree_of, self.has_commit = inner.tree_of, inner.has_commit
        self.is_ancestor, self.merge_base = inner.is_ancestor, inner.merge_base
        self.stage, self.bring = inner.stage, inner.bring
        self.pack, self.absorb, self.serve, self.receive = inner.pack, inner.absorb, inner.serve, inner.receive
        self.push, self.list_hub, self.probe_hub = inner.push, inner.list_hub, inner.probe_hub
        self.haves, self.following = inner.haves, inner.following
        self.fetch, self.fetch_branch, self.push_branch = inner.fetch, inner.fetch_branch, inner.push_branch

    def begin(self) -> None:
        """See to it that there is a state to start from.

        The first one is empty and has an empty version.  Every state of every device contains it,
        so it is followed by whichever comes first, merged with none, and nobody takes it from here.
        If the last state is damaged, the most advanced one that is kept takes its place.
        """
        pins = self.pins()
        if CURRENT in pins and self.load_many([pins[CURRENT]]):
            return
        kept = self.load_many(frozenset(pins.values()))
        latest = max(kept, key=lambda s: (sum(n for _, n in s.version.counters), s.id), default=None)
        if latest is None:
            latest = self.record(
                tree=self.tree_of(None),
                base=self._inner.base(),
                version=Version(),
                parents=(),
                device="autosync",
                time=0,
            )
        self.pin(CURRENT, latest.id)

    # -- looking at what is not there --------------------------------------------------
    def base(self) -> Base:
        """Return the base of the recorded state."""
        return self._current().base

    def busy(self) -> None:
        """Return ``None``: there is no user at work."""

    def metadata_directories(self) -> Sequence[bytes]:
        """Return nothing: nobody moves a base here but us."""
        return ()

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return all of ``paths``: no file that stands here is anybody's."""
        return frozenset(paths)

    def ignore_by(self, patterns: Sequence[str]) -> None:
        """Do nothing, as there are no files."""

    def read(
        self,
        paths: Collection[RelPath] | None,  # noqa: ARG002  # wherever one looks, it is as it was
        previous: tuple[Base, TreeId] | None,
        hold: Hold = hold_nothing,  # noqa: ARG002  # nothing is new
    ) -> Reading:
        """Return what was there before; without that nothing is known.  Raises :class:`AutosyncError`."""
        if previous is None:
            raise self._lost()
        base, tree = previous
        return Reading(base=base, tree=tree, torn=frozenset())

    def standing(self, path: RelPath) -> Standing:
        """Return what the recorded state has at ``path``."""
        tree = self._current().tree
        found = {c.path: c.new for c in self.changes(self.splice(tree, {path: None}), tree)}
        return Standing(entry=found.get(path), signature=None)

    def standings(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        """Return what the recorded state has at many paths."""
        return {path: self.standing(path) for path in paths}

    def written(self, files: Mapping[RelPath, tuple[Entry, os.stat_result]]) -> None:
        """Do nothing: there are no files here."""

    # -- changing what is not there ----------------------------------------------------
    def check_landing(self, old: Base, new: Base) -> None:
        """Do nothing: no branch of a user's is in the way."""

    def land(
        self,
        old: Base,
        new: Base,
        *,
        tree: TreeId,  # noqa: ARG002  # as the Protocol has it
        message: str,  # noqa: ARG002
        ours: TreeId | None = None,  # noqa: ARG002
    ) -> None:
        """Make the new base one that can be served."""
        if new.commit is not None and new.commit != old.commit:
            self._inner.bring(new.commit)

    def commit(
        self,
        paths: Collection[RelPath] | None,  # noqa: ARG002  # as the Protocol has it
        *,
        message: str,  # noqa: ARG002
        tree: TreeId,  # noqa: ARG002
        extra_parent: CommitId | None = None,  # noqa: ARG002
    ) -> Base:
        """Refuse: commits are made where people work."""
        raise AutosyncError("A store makes no commits", hint="Set `commits: auto` on the devices with the files.")

    def message(self, commit: CommitId) -> str:
        """Return a commit's message."""
        return self._inner.message(commit)

    def is_published(self, commit: CommitId) -> bool:  # noqa: ARG002  # as the Protocol has it
        """Return that the message of a commit is nothing to be changed here."""
        return True

    def reword(self, old: Base, message: str) -> Base:  # noqa: ARG002  # as the Protocol has it
        """Refuse: commits are described where people work."""
        raise AutosyncError("A store makes no commits", hint="Run `autosync describe` on a device with the files.")

    def _current(self) -> Snapshot:
        pinned = self.pins().get(CURRENT)
        current = self.load(pinned) if pinned is not None else None
        if current is None:
            raise self._lost()
        return current

    def _lost(self) -> AutosyncError:
        return AutosyncError(
            f"The store in {os.fsdecode(self.root)} has lost the state that it was at",
            hint="Restart the agent: it begins with the latest state that is kept there, and asks the other devices.",
        )


class NoFiles:
    """Implements :class:`autosync.ports.Tree` where no file is to be written: everything is done at once."""

    def apply(self, operations: Sequence[Operation]) -> Applied:
        """Return that every operation is done."""
        done: dict[RelPath, Entry | None] = {}
        for operation in operations:
            if operation.source is not None:
                done.setdefault(operation.source, None)
            done[operation.path] = operation.new
        return Applied(done=done, refused={})

    def sweep(self) -> frozenset[RelPath]:
        """Return nothing: no file was replaced."""
        return frozenset()

    def keeps(self) -> bool:
        """Return ``False``: no replaced file is kept."""
        return False

    def close(self) -> None:
        """Do nothing: nothing is open."""
