"""Makes a linked worktree of a git repository, and takes it away again (git-worktree(1))."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.sharing import worktrees
from autosync.backends.linking import Spot, clear, holds_nothing
from autosync.config import Vcs
from autosync.errors import AutosyncError

_HEADS = "refs/heads/"


def branch_for(dest: str) -> str:
    """Return the branch that a working copy at ``dest`` is on if nobody says another: as its last name, if git allows.

    Where that has what no branch has (git-check-ref-format(1)), a hyphen stands in its place.
    """
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^\w.-]+", "-", os.path.basename(dest))).strip("-.")
    while name.endswith(".lock"):
        name = name.removesuffix(".lock")
    return name or "work"


class GitLink:
    """A linked worktree that is to be made.

    ``branch`` is what it is to be on: one that is there, one that a remote has, or a new one from where the
    source is.  ``None`` makes one without commit and files, as `git init` does: another device tells what comes there.
    """

    vcs = Vcs.GIT

    def __init__(self, spot: Spot, branch: str | None, *, made: str = "", start: str = "") -> None:
        self.spot = spot
        self._git = Git(os.fsencode(spot.source))
        self._branch = branch
        self._made = made
        """The branch that is made along with it, empty for none."""
        self._start = start
        self._upstream = ""
        self._was_there = os.path.isdir(spot.dest)

    def check(self) -> None:
        code, head = self._git.call("rev-parse", "--quiet", "--verify", "HEAD^{commit}", accept=(0, 1, 128))
        if code:
            raise AutosyncError(
                f"{self.spot.source} has no commit yet, and git makes no second worktree before there is one",
                hint=f"Commit first: git -C {shlex.quote(self.spot.source)} commit",
            )
        self._start = head.decode().strip()
        if any(os.path.realpath(os.fsdecode(other.root)) == self.spot.dest for other in worktrees(self._git)):
            raise AutosyncError(
                f"{self.spot.dest} is a worktree already, whose folder is away",
                hint="Is it on a disk, mount that. If it was deleted, let git forget it: "
                f"git -C {shlex.quote(self.spot.source)} worktree prune",
            )
        if self._branch is not None:
            self._check_branch(self._branch)

    def _check_branch(self, branch: str) -> None:
        if not self._is_name(branch):
            raise AutosyncError(
                f'"{branch}" cannot be the name of a branch',
                hint="Give another one: --branch NAME (`git help branch`).",
            )
        taken = self.holder(branch)
        if taken is not None:
            raise AutosyncError(
                f"the branch {branch} is checked out in {taken}, and git has it in one worktree only",
                hint="Choose another one: --branch NAME; one that is not there yet starts from where you are.",
            )
        if self._tip(_HEADS + branch):
            return
        self._made = branch
        listed = self._git.run("for-each-ref", "--format=%(refname)", f"refs/remotes/*/{branch}").decode()
        if len(remote := listed.split()) == 1:  # as git itself guesses
            self._upstream = remote[0]
            self._start = self._tip(remote[0])

    def holder(self, branch: str) -> str | None:
        return next((os.fsdecode(other.root) for other in worktrees(self._git) if other.at == branch), None)

    def make(self) -> None:
        dest = os.fsencode(self.spot.dest)
        try:
            if self._branch is None:
                self._make_empty(dest)
            elif self._upstream:
                self._git.run("worktree", "add", "--quiet", "--track", "-b", self._made, "--", dest, self._upstream)
            elif self._made:
                self._git.run("worktree", "add", "--quiet", "-b", self._made, "--", dest, self._start)
            else:
                self._git.run("worktree", "add", "--quiet", "--", dest, self._branch)
        except GitFailed as failure:
            # A hook that fails need not say a word.
            said = (failure.stderr.splitlines() or ["it gives no reason, perhaps a hook"])[-1].removeprefix("fatal: ")
            raise AutosyncError(
                f"git has made no worktree in {self.spot.dest}: {said}", hint="Nothing was changed."
            ) from failure

    def _make_empty(self, dest: bytes) -> None:
        self._git.run("worktree", "add", "--quiet", "--detach", "--no-checkout", "--", dest, self._start)
        name = branch_for(self.spot.dest)
        # The name is given up for the one that arrives; it must not be one that has commits.
        free = next(n for n in (f"{name}-{count}" if count else name for count in range(1000)) if self._is_free(n))
        Git(dest).run("symbolic-ref", "HEAD", _HEADS + free)

    def unmake(self) -> None:
        dest = os.fsencode(self.spot.dest)
        # Twice: a lock of its own protects what is being made (git-worktree(1), "remove").
        self._git.call("worktree", "remove", "--force", "--force", "--", dest, accept=range(256))
        clear(self.spot.dest, was_there=self._was_there)
        self._forget()
        if self._made and self._tip(_HEADS + self._made) == self._start:
            self._git.call("branch", "--delete", "--force", "--quiet", "--", self._made, accept=range(256))

    def _forget(self) -> None:
        """Remove what git knows of this worktree; `git worktree prune` would forget others whose disk is away."""
        code, common = self._git.call("rev-parse", "--path-format=absolute", "--git-common-dir", accept=range(256))
        for link in Path(os.fsdecode(common.rstrip(b"\n"))).glob("worktrees/*/gitdir") if not code else ():
            at = os.path.join(link.parent, os.fsdecode(link.read_bytes()).rstrip("\n"))  # relative if git was told so
            if os.path.normpath(at) == os.path.join(self.spot.dest, ".git"):
                shutil.rmtree(link.parent)

    def is_untouched(self) -> bool:
        if holds_nothing(self.spot.dest, ".git"):
            return True
        git = Git(os.fsencode(self.spot.dest))
        with tempfile.TemporaryDirectory() as scratch:  # what was being made may have no index, or hold its lock
            env = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
            try:
                git.run("read-tree", "HEAD", env=env)
                said = git.run("status", "--porcelain", "-z", "-uall", "--no-renames", "--ignored", env=env)
            except GitFailed:
                return False
        return all(line.startswith(b" D") for line in said.split(b"\0")[:-1])

    def by_hand(self) -> Sequence[str]:
        git = f"git -C {shlex.quote(self.spot.source)}"
        lines = [f"{git} worktree remove --force --force {shlex.quote(self.spot.dest)}"]
        return [*lines, f"{git} branch -D {shlex.quote(self._made)}"] if self._made else lines

    def words(self) -> str:
        there = f"a linked worktree of {self.spot.source}"
        if self._branch is None:
            return there
        if self._upstream:
            return f"{there}, on the branch {self._made} of {self._upstream.split('/')[2]}"
        return f"{there}, on the {'new ' if self._made else ''}branch {self._branch}"

    def facts(self) -> Mapping[str, str]:
        return {"branch": self._branch or "", "made": self._made, "start": self._start}

    def remotes(self) -> tuple[str, ...] | None:
        return None

    def how_to_add(self, remote: str) -> str:
        return f"Add it: git -C {shlex.quote(self.spot.source)} remote add {remote} URL"

    def _is_free(self, branch: str) -> bool:
        taken = self._git.run("for-each-ref", "--count=1", _HEADS + branch, f"{_HEADS}{branch}/")
        above = [_HEADS + branch.rpartition("/")[0]] if "/" in branch else []
        return self._is_name(branch) and not taken and not any(map(self._tip, above)) and self.holder(branch) is None

    def _is_name(self, branch: str) -> bool:
        """Return whether a branch can be called so; what git takes for another one (``@{-1}``, ``@``) is no name."""
        code, meant = self._git.call("check-ref-format", "--branch", branch, accept=(0, 1, 128))
        return not code and os.fsdecode(meant).strip() == branch and branch != "@" and not branch.startswith("refs/")

    def _tip(self, ref: str) -> str:
        """Return the commit of a ref, empty if there is none such."""
        code, found = self._git.call("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", accept=(0, 1, 128))
        return "" if code else found.decode().strip()
