"""Tells what a git working copy shares with the other worktrees of its repository (gitrepository-layout(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.repository import locate
from autosync.backends.sharing import Category, Known, Other, Part, Sharing
from autosync.errors import NotAWorkingCopy


def sharing_of_git(root: bytes) -> Sharing:
    """Return what the worktree at ``root`` shares; nothing is written.  Raises :class:`NotAWorkingCopy`."""
    real = os.path.realpath(root)
    git = Git(real)
    try:
        git_dir, common = locate(git, real, os.fsdecode(root))
    except FileNotFoundError:
        raise NotAWorkingCopy("git is not installed, or not on PATH", hint="Install git 2.36 or newer.") from None
    others = tuple(other for other in worktrees(git) if os.path.realpath(other.root) != real)
    layout = _Layout(git, real, git_dir, common, tuple(other.root for other in others if not other.missing))
    return Sharing(
        root=real,
        kind="main worktree" if git_dir == common else "linked worktree",
        store=common,
        others=others,
        parts=(*layout.never(), *layout.optional(), *layout.always()),
    )


def worktrees(git: Git) -> Iterator[Other]:
    """Yield the working copies of a repository, the main one first (git-worktree(1), "Porcelain Format")."""
    for block in git.run("worktree", "list", "--porcelain", "-z").split(b"\0\0"):
        said = dict(line.partition(b" ")[::2] for line in block.strip(b"\0").split(b"\0"))
        if b"worktree" in said and b"bare" not in said:
            root = said[b"worktree"]
            yield Other(
                root=root,
                at=os.fsdecode(said.get(b"branch", b"").removeprefix(b"refs/heads/")),
                known=Known.STORE,
                missing=b"prunable" in said or not os.path.isdir(root),
            )


class _Layout:
    """Where the parts of one worktree lie."""

    def __init__(self, git: Git, root: bytes, git_dir: bytes, common: bytes, companions: tuple[bytes, ...]) -> None:
        self._git = git
        self._root = root
        self._own = git_dir
        self._common = common
        self._companions = companions

    def never(self) -> Iterable[Part]:
        index = os.path.join(self._own, b"index.lock")
        head = os.path.join(self._own, b"HEAD.lock")
        refs = os.path.join(self._own, b"refs")
        yield self._alone("working files", self._root, index)
        yield self._alone("index", os.path.join(self._own, b"index"), index)
        yield self._alone("HEAD: what is checked out", os.path.join(self._own, b"HEAD"), head)
        yield self._alone("reflog of HEAD", os.path.join(self._own, b"logs", b"HEAD"), head)
        yield self._alone(
            "operation under way", self._own, index, note="rebase, merge, cherry-pick, bisect: MERGE_HEAD and the like"
        )
        for name in (b"bisect", b"worktree", b"rewritten"):
            place = os.path.join(refs, name)
            yield self._alone(f"refs/{os.fsdecode(name)}", place, os.path.join(place, b"*.lock"))
        sparse = os.path.join(self._own, b"info", b"sparse-checkout")
        yield self._alone("sparse patterns", sparse, sparse + b".lock")
        yield self._alone("repositories of submodules", os.path.join(self._own, b"modules"))
        own = os.path.join(self._own, b"autosync")
        yield self._alone("autosync's notes", own, note="what it put where, and why; each workspace has its own key")

    def optional(self) -> Iterable[Part]:
        has_own = self._setting("extensions.worktreeConfig", "--type=bool") == b"true"
        place = os.path.join(*((self._own, b"config.worktree") if has_own else (self._common, b"config")))
        note = (
            "extensions.worktreeConfig is on: `git config --worktree` sets it here alone"
            if has_own
            else "off: what is set is set for all; `git config extensions.worktreeConfig true` makes room for own ones"
        )
        yield self._part(
            "settings of one worktree", Category.OPTIONAL, place, place + b".lock", shared=not has_own, note=note
        )
        if self._setting("core.hooksPath"):
            place = self._git_path("hooks")
            is_own = place.startswith(self._root + b"/") and not place.startswith(self._common + b"/")
            yield self._part("hooks", Category.OPTIONAL, place, shared=not is_own, note="core.hooksPath is set")

    def always(self) -> Iterable[Part]:
        packed = os.path.join(self._common, b"packed-refs.lock")
        yield self._common_part("commits, trees and contents", b"objects", note="written without a lock")
        for name, place, note in (
            ("branches", b"refs/heads", "each is checked out in one worktree at most"),
            ("tags", b"refs/tags", ""),
            ("remote branches", b"refs/remotes", ""),
            ("notes", b"refs/notes", ""),
        ):
            directory = os.path.join(self._common, place)
            yield self._common_part(name, place, os.path.join(directory, b"*.lock"), packed, note=note)
        stash = os.path.join(self._common, b"refs", b"stash.lock")
        yield self._common_part("stash", b"refs/stash", stash, note="what is put away in one can be taken out in all")
        yield self._common_part("packed refs", b"packed-refs", packed)
        yield self._common_part("reflogs of branches", b"logs/refs")
        config = os.path.join(self._common, b"config.lock")
        yield self._common_part("settings and remotes", b"config", config)
        yield self._common_part("ignore rules of the repository", b"info/exclude")
        yield self._common_part("attributes of the repository", b"info/attributes")
        yield self._common_part("resolutions of conflicts (rerere)", b"rr-cache")
        shallow = os.path.join(self._common, b"shallow.lock")
        yield self._common_part("where a shallow history ends", b"shallow", shallow)
        if not self._setting("core.hooksPath"):
            yield self._common_part("hooks", b"hooks")
        yield self._common_part("list of the worktrees", b"worktrees")
        snapshots = os.path.join(b"autosync", b"store.git")
        yield self._common_part(
            "autosync's snapshots", snapshots, note="their objects; which ones are kept is noted for each worktree"
        )

    def _alone(self, name: str, path: bytes, *locks: bytes, note: str = "") -> Part:
        return self._part(name, Category.NEVER, path, *locks, shared=False, note=note)

    def _common_part(self, name: str, place: bytes, *locks: bytes, note: str = "") -> Part:
        return self._part(name, Category.ALWAYS, os.path.join(self._common, place), *locks, shared=True, note=note)

    def _part(self, name: str, category: Category, path: bytes, *locks: bytes, shared: bool, note: str) -> Part:
        return Part(
            name=name,
            category=category,
            path=path,
            locks=locks,
            shared=shared,
            companions=self._companions if shared else (),
            note=note,
        )

    def _setting(self, name: str, *options: str) -> bytes:
        """Return a setting, empty if it is not set or makes no sense."""
        try:
            return self._git.call("config", *options, "--get", name, accept=(0, 1))[1].strip()
        except GitFailed:
            return b""

    def _git_path(self, name: str) -> bytes:
        found = self._git.run("rev-parse", "--path-format=absolute", "--git-path", name)
        return os.path.normpath(found.removesuffix(b"\n"))
