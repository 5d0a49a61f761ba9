"""Commits, merges and pushes the user's branch for ``commits: auto``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autosync.brought import Brought
from autosync.core.events import BranchesDiverged, BranchSettled
from autosync.core.message import commit_message
from autosync.core.model import Base, CommitId, DeviceId, Snapshot, TreeId
from autosync.core.plan import Labels, Side, merge_trees, operations
from autosync.errors import Busy
from autosync.integrate import is_occupied
from autosync.ports import Backend, Tree
from autosync.vocabulary import vocabulary


@dataclass(slots=True, kw_only=True)
class BranchKeeper:
    """Keeps the user's branch equal to the working copy, and the hub's equal to it."""

    backend: Backend
    tree: Tree
    device: DeviceId
    name: str
    recorded: Callable[[Snapshot], None]
    brought: Brought
    clock: Callable[[], float]

    def commit(self, current: Snapshot, *, above: int) -> BranchSettled:
        """Make one commit of ``current``; nothing happens if there is nothing to commit.

        Raises :class:`Busy`.
        """
        self._raise_if_elsewhere(current)
        changes = self.backend.changes(self.backend.tree_of(current.base.commit), current.tree)
        if not changes:
            return BranchSettled(current=current)
        message = commit_message(changes, device=self.name, time=int(self.clock()))
        base = self.backend.commit([c.path for c in changes], message=message, tree=current.tree)
        return BranchSettled(current=self._record(current, base, current.tree, above))

    def sync(self, current: Snapshot, *, above: int) -> BranchSettled:
        """Take in what is new on the hub's branch, then push ours.

        Raises :class:`Busy`, :class:`Unreachable`, :class:`Refused`.
        """
        self._raise_if_elsewhere(current)
        branch = current.base.branch
        if branch is None or current.base.commit is None:
            return BranchSettled(current=current)
        tip = self.backend.fetch_branch(branch)
        if tip is not None and not self.backend.is_ancestor(tip, current.base.commit):
            current = self._join(current, tip, "the hub", above)
        if tip == current.base.commit:
            return BranchSettled(current=current)
        return BranchSettled(current=current, behind=not self.backend.push_branch(branch))

    def merge(self, current: Snapshot, theirs: Snapshot, *, above: int) -> BranchSettled | BranchesDiverged:
        """Join a peer's branch into ours.  Raises :class:`Busy`."""
        self._raise_if_elsewhere(current)
        if theirs.base.commit is None or theirs.base.branch != current.base.branch:
            words = vocabulary(self.backend.vcs)
            mine, other = words.branch(current.base), words.branch(theirs.base)
            return BranchesDiverged(
                theirs=theirs.id,
                reason=f"This device is on {mine}, {theirs.device} is on {other}",
                hint=f"Check out the same branch on both: {words.switch}.",
            )
        current = self.commit(current, above=above).current
        return BranchSettled(current=self._join(current, theirs.base.commit, theirs.device, above))

    def _join(self, current: Snapshot, tip: CommitId, whose: str, above: int) -> Snapshot:
        """Merge the commit ``tip`` into the working copy and the branch."""
        ours = current.base.commit
        fork = self.backend.merge_base(ours, tip) if ours else None
        origin = self.backend.tree_of(fork)
        merged = merge_trees(
            self.backend.changes(origin, current.tree),
            self.backend.changes(origin, self.backend.tree_of(tip)),
            merge_text=self.backend.merge_text,
            labels=Labels(
                ours=Side(device=self.name, time=current.time, id=ours or ""),
                theirs=Side(device=whose, time=current.time, id=tip),
            ),
            occupied=lambda path: is_occupied(self.backend, origin, path),
        )
        target = self.backend.splice(origin, merged.edits)
        standing = self.brought.standing(current.tree)
        applied = self.tree.apply(operations(self.backend.changes(standing, target)))
        self.brought.note(current.tree, {**self.brought.entries, **applied.done})
        if applied.refused:
            raise Busy("files are being edited during a merge", hint="This passes by itself.")
        if fork == ours:
            base = Base(commit=tip, branch=current.base.branch)
            marked, message = self._marked(current, base, target), f"autosync: fast-forward to {whose}"
            self.backend.land(current.base, base, tree=marked, message=message, ours=current.tree)
        else:
            changes = self.backend.changes(self.backend.tree_of(ours), target)
            branch = vocabulary(self.backend.vcs).branch(current.base)
            message = f"Merge {branch} of {whose}\n\n" + commit_message(
                changes, device=self.name, time=int(self.clock())
            )
            base = self.backend.commit([c.path for c in changes], message=message, tree=target, extra_parent=tip)
        self.brought.clear()
        return self._record(current, base, target, above)

    def _record(self, current: Snapshot, base: Base, tree: TreeId, above: int) -> Snapshot:
        snapshot = self.backend.record(
            tree=self._marked(current, base, tree),
            base=base,
            version=current.version.bump(self.device, above=above),
            parents=(current.id,),
            device=self.name,
            time=int(self.clock()),
        )
        self.recorded(snapshot)
        return snapshot

    def _marked(self, current: Snapshot, base: Base, tree: TreeId) -> TreeId:
        """Return ``tree`` with those marks of ``current`` that still say anything on ``base``."""
        marks = current.tree
        return self.backend.join_marks(tree, base=base, origin=marks, ours=marks, theirs=marks)

    def _raise_if_elsewhere(self, current: Snapshot) -> None:
        if self.backend.base() != current.base:
            raise Busy("another commit is checked out now", hint="This passes by itself.")
