"""Moves HEAD, branch and index of the user's repository, or leaves them as they are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence

from autosync.backends.git.bringing import bring, brought, let_go_of_all
from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.head import Head
from autosync.backends.git.lock import IndexLock
from autosync.backends.git.nextindex import SETTINGS, NextIndex
from autosync.backends.git.objects import slot_of
from autosync.backends.git.processes import running_command
from autosync.backends.git.reflocks import FOLLOWING_LOCKS, LANDING_LOCKS, PUSHING_LOCKS, RefLocks
from autosync.backends.git.refmove import RefMove
from autosync.backends.git.rewording import message_of, reworded
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.backends.git.worktrees import Worktrees
from autosync.core.model import Base, CommitId, RelPath, TreeId
from autosync.errors import AutosyncError, Busy, Diverged, Missing, Unsafe
from autosync.lockorder import Lock, holding

_PREFIX = "autosync: "


class Landing:
    """The only part that writes to what is the user's: HEAD, his branches and his index.

    The index is prepared without a lock.  Under index.lock, held for milliseconds, all
    preconditions are looked at again, the refs move by compare-and-swap and the index
    takes its place, in this order; a journal says how to go on after a kill in between.
    """

    def __init__(self, store: Store, trees: Trees[Store]) -> None:
        repo = store.repo
        self._store = store
        self._repo = repo
        self._trees = trees
        settings = (*SETTINGS, "user.useConfigOnly=true", "i18n.commitEncoding=UTF-8")
        self._git = Git(repo.root, config=settings, env=repo.git.env)
        self._head = Head(repo)
        self._worktrees = Worktrees(repo)
        self._lock = IndexLock(repo)
        self._index = NextIndex(repo)
        self._ref_locks = RefLocks(repo, LANDING_LOCKS)
        self._recovered = False
        self._moving = False

    # -- looking -------------------------------------------------------------------------
    def base(self) -> Base:
        """Return what is checked out now."""
        return self._head.base()

    def busy(self) -> str | None:
        """Return the user's operation in progress or the lock held, in words."""
        if self._moving:  # what was in the way of letting go of our locks may have passed
            self.recover()
        if (words := self._head.operation()) is not None:
            return words
        if self._lock.is_held_by_user():
            return "git is at work here: it holds index.lock"
        if self._ref_locks.left:
            self._ref_locks.clear(wait=False)
        for path in self._head.locks():
            words = f"git is at work here: it holds {os.fsdecode(os.path.basename(path))}"
            return f"{words} (if none runs, remove {os.fsdecode(path)})" if path in self._ref_locks.left else words
        return None

    def metadata_directories(self) -> Sequence[bytes]:
        """Return the directories in which base, branch and locks show."""
        return self._head.directories()

    def check_landing(self, old: Base, new: Base) -> None:
        """Raise what :meth:`land` would raise, changing nothing."""
        if old != new:
            self._check(old, new)
            self._index.switch(self._store.tree_of(old.commit), self._store.tree_of(new.commit))
            self._index.drop()

    def bring(self, commit: CommitId) -> None:
        """Copy ``commit`` and its history to where the user's own commands find it by id."""
        bring(self._repo, [commit])

    # -- moving --------------------------------------------------------------------------
    def land(self, old: Base, new: Base, *, message: str) -> None:
        """Move HEAD, branch and index from ``old`` to ``new``; no file is touched.

        Raises :class:`Busy` or :class:`Diverged`; then nothing has changed.
        """
        if old == new:
            return
        self._check(old, new)
        trees = self._store.tree_of(old.commit), self._store.tree_of(new.commit)
        with brought(self._repo, [] if new.commit is None else [new.commit]):
            try:
                self._index.switch(*trees)
                self._index.refresh()
                self._move(old, new, message)
            finally:
                self._index.drop()

    def commit(
        self, paths: Collection[RelPath] | None, *, message: str, tree: TreeId, extra_parent: CommitId | None = None
    ) -> Base:
        """Make a commit of ``tree`` and return the new base; the current one if it would be empty.

        In the index ``paths`` (``None``: all that differ) become as in ``tree``; what the
        user has staged elsewhere stays staged.  Raises :class:`Busy`, and
        :class:`AutosyncError` if git does not know the user's name.
        """
        old = self.base()
        before = self._store.tree_of(old.commit)
        if tree == before and extra_parent is None:
            return old
        self._raise_if_busy()
        self._raise_if_held(old.branch)
        self._store.flush()
        bring(self._repo, [tree, *([extra_parent] if extra_parent else [])])
        made = self._make_commit(old, tree, message, extra_parent)
        new = Base(commit=made, branch=old.branch)
        wanted = None if paths is None else frozenset(paths)
        slots = {
            change.path: None if change.new is None else slot_of(change.new)
            for change in self._trees.changes(before, tree)
            if wanted is None or change.path in wanted
        }
        with brought(self._repo, [made]):
            try:
                self._index.edit(slots)
                self._index.refresh()
                self._move(old, new, message.partition("\n")[0])
            finally:
                self._index.drop()
        return new

    def message(self, commit: CommitId) -> str:
        """Return a commit's message."""
        return message_of(self._git.run("cat-file", "commit", commit))

    def is_published(self, commit: CommitId) -> bool:
        """Return whether a remote-tracking branch of the user's contains ``commit``."""
        return bool(self._git.run("for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes"))

    def reword(self, old: Base, message: str) -> Base:
        """Replace the checked out commit by the same one with another message; the index and the files stay.

        Raises :class:`Busy`; then nothing has changed.  The reflog has what it replaces.
        """
        assert old.commit is not None  # noqa: S101  (who describes it has read its message)
        self._raise_if_busy()
        self._raise_if_held(old.branch)
        commit = self._git.run("cat-file", "commit", old.commit)
        described = reworded(commit, message, committer=self._committer())
        made = self._git.run("hash-object", "-t", "commit", "-w", "--stdin", input=described)
        new = Base(commit=CommitId(made.decode().strip()), branch=old.branch)
        if new == old:
            return old
        with brought(self._repo, [str(new.commit)]):
            try:
                self._index.edit({})
                self._index.refresh()
                self._move(old, new, "described")
            finally:
                self._index.drop()
        return new

    def recover(self) -> None:
        """Finish or undo what a killed agent left half done; a lock that is not ours is left alone."""
        self._ref_locks.clear()
        if not self._recovered:  # later on a push of this agent may be under way, in another thread
            RefLocks(self._repo, PUSHING_LOCKS).clear()
            following = RefLocks(self._repo, FOLLOWING_LOCKS)
            with following.alone() as alone:
                if alone:  # else a command of the user is at it now, and will see to what it leaves
                    following.clear()
            self._recovered = True
        unfinished = self._lock.unfinished()
        if unfinished is not None and self._lock.is_ours() and self.base() == unfinished[1] and self._index.exists():
            self._index.put_in_place()
        self._lock.remove_unwritten()
        self._lock.release()
        self._index.drop()
        let_go_of_all(self._repo)
        self._moving = False

    def _move(self, old: Base, new: Base, message: str) -> None:
        """Move the refs and put the prepared index in place, under the lock.

        What takes time comes before it: a git command of the user's that starts meanwhile fails.
        """
        if not message.startswith(_PREFIX):
            message = _PREFIX + message
        self._check(old, new)
        self._moving = True
        with (
            self._ref_locks.expected(self._head.locks_of(old, new)),
            holding(Lock.USER_REFS),
            self._ref_move(old, new, message) as move,
            self._lock.held(old, new),
        ):
            self._check_again(old)
            self._index.raise_if_outdated()
            try:
                if move is not None:
                    move.commit()
                if new.branch is not None and new.branch != old.branch:  # a kill before it: the branch is only ahead
                    self._git.run("symbolic-ref", "-m", message, "HEAD", new.branch)
            except GitFailed as failure:
                if self.base() != new:  # else git was killed when it was done, and the index has to follow
                    raise _unmoved(new, failure) from failure
            try:
                self._index.put_in_place()
            except OSError:
                # On the new base the old index would look like a staged way back.
                with contextlib.suppress(GitFailed, OSError):
                    self._move_back(old, new)
                raise
        self._moving = False

    def _move_back(self, old: Base, new: Base) -> None:
        message = _PREFIX + "back, for the index could not be written"
        if old.branch is None:
            self._git.run("update-ref", "--no-deref", "-m", message, "HEAD", str(old.commit))
        elif new.branch != old.branch:
            self._git.run("symbolic-ref", "-m", message, "HEAD", old.branch)
        elif old.commit is None:
            self._git.run("update-ref", "-d", old.branch, str(new.commit))
        else:
            self._git.run("update-ref", "-m", message, old.branch, old.commit, str(new.commit))

    def _ref_move(self, old: Base, new: Base, message: str) -> contextlib.AbstractContextManager[RefMove | None]:
        """Return the locked ref on its way to ``new``; nothing if none has to move."""
        before = old.commit if new.branch in (None, old.branch) else self._head.tip(new.branch)
        if new.branch is not None and before == new.commit:
            return contextlib.nullcontext()
        options = ("-m", message) if new.branch is not None else ("--no-deref", "-m", message)
        was = before or "0" * self._repo.hex_digits
        order = (
            f"delete {new.branch} {was}" if new.commit is None else f"update {new.branch or 'HEAD'} {new.commit} {was}"
        )
        try:
            move = RefMove(self._git, *options, order=order)
        except GitFailed as failure:
            raise _unmoved(new, failure) from failure
        try:
            if self.base() == old:  # else HEAD named something else when git took the locks, perhaps
                self._ref_locks.note(self._head.locks_held(old, new))
        except BaseException:
            move.close()
            raise
        return move

    # -- preconditions ---------------------------------------------------------------------
    def _check(self, old: Base, new: Base) -> None:
        """Raise unless the refs may move from ``old`` to ``new``."""
        self._raise_if_busy()
        if (command := running_command(self._repo.root)) is not None:
            raise Busy(f"`{command}` is at work here", hint="It is tried again when that has ended.")
        if new.commit is not None and not self._repo.is_id(new.commit):
            raise Unsafe(f"{new.commit[:100]!r} is no commit id", hint="Nothing of it was used.")
        self._check_again(old)
        if new.branch is None:
            if new.commit is None:
                raise Diverged("a detached HEAD without a commit cannot be had", hint="Check out a branch there.")
            return
        if new.branch == old.branch:
            self._raise_if_held(new.branch)
            return
        self._raise_if_unsafe(new.branch)
        self._raise_if_held(new.branch)
        tip = self._head.tip(new.branch)
        if tip is not None and tip != new.commit and not (new.commit and self._is_ancestor(tip, new.commit)):
            raise Diverged(
                f"the branch {_short(new.branch)} has commits here that the other device lacks",
                hint=(
                    f"Nothing was moved. To join them: git switch {_short(new.branch)}"
                    + (f" && git merge {new.commit}" if new.commit else "")
                    + ". It then arrives on the others."
                ),
            )

    def _check_again(self, old: Base) -> None:
        """Raise if somebody has been quicker; without a process, for the lock is held."""
        if (words := self._head.operation()) is not None:
            raise Busy(words, hint="It is tried again when that has ended.")
        if self.base() != old:
            raise Busy("the checked out commit has just changed", hint="It is looked at again by itself.")

    def _raise_if_unsafe(self, branch: str) -> None:
        code, _ = self._git.call("check-ref-format", branch, accept=(0, 1))
        if code or not branch.startswith("refs/heads/"):
            raise Unsafe(f"{branch[:100]!r} is no name of a branch", hint="Nothing of it was used.")

    def _raise_if_held(self, branch: str | None) -> None:
        """Raise if another worktree has ``branch``, whose HEAD would go along while its files stay."""
        held = None if branch is None else self._worktrees.holder(branch)
        if held is not None:
            raise Busy(
                f"the branch {_short(str(branch))} is {held.words} in another worktree, {held.root}: {held.way_out}",
                hint="It is tried again by itself.",
            )

    def _raise_if_busy(self) -> None:
        if (words := self.busy()) is not None:
            raise Busy(words, hint="It is tried again when that has ended.")

    def _is_ancestor(self, ancestor: CommitId, descendant: CommitId) -> bool:
        command = ("merge-base", "--is-ancestor", ancestor, descendant)
        code, _ = self._repo.store.call(*command, accept=(0, 1, 128))
        if code == 128:
            raise Missing(f"the history of {descendant[:10]} is not here yet", hint="It is asked for by itself.")
        return code == 0

    def _make_commit(self, old: Base, tree: TreeId, message: str, extra_parent: CommitId | None) -> CommitId:
        self._committer()
        parents = [parent for parent in (old.commit, extra_parent) if parent is not None]
        arguments = [part for parent in dict.fromkeys(parents) for part in ("-p", parent)]
        made = self._git.run(
            "commit-tree", tree, *arguments, "-F", "-", input=message.encode("utf-8", "surrogateescape")
        )
        return CommitId(made.decode().strip())

    def _committer(self) -> bytes:
        """Return who commits, and when, as it stands in a commit."""
        try:
            return self._git.run("var", "GIT_COMMITTER_IDENT")
        except GitFailed as failure:
            raise AutosyncError(
                f"git does not know who commits in {os.fsdecode(self._repo.root)}",
                hint="Run: git config --global user.name 'Your Name'; git config --global user.email you@example.org",
            ) from failure


def _unmoved(new: Base, failure: GitFailed) -> Busy:
    return Busy(f"git could not move {new.branch or 'HEAD'}: {failure.stderr}", hint="It is tried again by itself.")


def _short(branch: str) -> str:
    return branch.removeprefix("refs/heads/")
