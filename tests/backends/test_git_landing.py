"""Moving HEAD, branch and index of real repositories, beside a user who works in them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from pathlib import Path

import pytest
from git_repos import base_of, commit_all, git, head, isolate, make_repository, put

from autosync.backends.git.bringing import brought
from autosync.backends.git.landing import Landing
from autosync.backends.git.leftlocks import PACKING_PAUSE, PAUSE
from autosync.backends.git.processes import possible_holder, running_command
from autosync.backends.git.reflocks import LANDING_LOCKS, PUSHING_LOCKS, RefLocks
from autosync.backends.git.repository import open_repository
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import Base, CommitId, Entry, Kind, ObjectId, RelPath, TreeId
from autosync.errors import AutosyncError, Busy, Diverged, Missing, TransientError, Unsafe
from tests.figures import record
from tests.system.torture.trouble import children
from tests.waiting import until

MAIN = "refs/heads/main"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


class Device:
    """One working copy and what moves it."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.repo = open_repository(root)
        self.store = Store(self.repo)
        self.trees = Trees(self.store)
        self.landing = Landing(self.store, self.trees)

    def close(self) -> None:
        self.store.close()

    def git(self, *args: str) -> str:
        return git(self.root, *args).decode().strip()

    def status(self) -> str:
        return git(self.root, "status", "--porcelain").decode()

    def receive(self, other: Device, *commits: str) -> None:
        """Bring commits into our private store only, as an exchange does."""
        git(self.repo.store_dir, "fetch", "-q", "--no-write-fetch-head", os.fsdecode(other.root), *commits)

    def take_files(self, commit: str) -> None:
        """Make the files those of ``commit``, as applying does; HEAD and index stay."""
        index = os.fsdecode(self.repo.metadata + b"/scratch")
        git(self.repo.store_dir, "read-tree", commit, GIT_INDEX_FILE=index)
        git(
            self.repo.store_dir,
            "--work-tree=.",
            "checkout-index",
            "-a",
            "-f",
            b"--prefix=" + self.root + b"/",
            GIT_INDEX_FILE=index,
        )
        os.unlink(index)

    def follow(self, other: Device) -> Base:
        """Land where ``other`` is."""
        old, new = self.landing.base(), other.landing.base()
        if new.commit is not None:
            self.receive(other, new.commit)
            self.take_files(new.commit)
        self.landing.check_landing(old, new)
        self.landing.land(old, new, message="as on laptop")
        return new

    def untouched(self) -> tuple[Base, str, list[bytes]]:
        refs = self.git("for-each-ref")
        return self.landing.base(), refs, sorted(os.listdir(self.repo.git_dir))


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Device]:
    it = Device(make_repository(tmp_path / "laptop", {"a.txt": b"one\n", "d/b.txt": b"b\n", "old": b"gone soon\n"}))
    yield it
    it.close()


@pytest.fixture
def desktop(laptop: Device, tmp_path: Path) -> Iterator[Device]:
    root = os.fsencode(tmp_path / "desktop")
    git(laptop.root, "clone", "-q", laptop.root, root)
    it = Device(root)
    yield it
    it.close()


# -- base and busy -------------------------------------------------------------------------------


def test_base_is_what_git_says(laptop: Device) -> None:
    root = laptop.root
    for command in (
        ("status",),
        ("switch", "-q", "-c", "feature/deep"),
        ("pack-refs", "--all"),
        ("switch", "-q", "--detach"),
        ("switch", "-q", "main"),
        ("symbolic-ref", "refs/heads/alias", MAIN),
        ("symbolic-ref", "HEAD", "refs/heads/alias"),
        ("symbolic-ref", "HEAD", "refs/heads/unborn"),
        ("switch", "-q", "-f", "feature/deep"),
        ("commit", "-q", "--allow-empty", "-m", "packed and newer"),
        ("pack-refs", "--all"),
        ("commit", "-q", "--allow-empty", "-m", "loose again"),
    ):
        git(root, *command)
        expected = base_of(root)
        if command[-1] == "refs/heads/alias":  # git's symbolic-ref shows the end of the chain only with --recurse
            expected = Base(commit=expected.commit, branch="refs/heads/alias")
        assert laptop.landing.base() == expected, command
    os.rename(root + b"/.git/HEAD", root + b"/.git/HEAD.txt")
    os.symlink(b"refs/heads/main", root + b"/.git/HEAD")
    assert laptop.landing.base() == base_of(root)


def test_base_of_a_linked_worktree_and_of_sha256(laptop: Device, tmp_path: Path) -> None:
    tree = os.fsencode(tmp_path / "tree")
    git(laptop.root, "worktree", "add", "-q", "-b", "side", tree)
    for root in (tree, make_repository(tmp_path / "wide", {"a": b"a"}, hash_name="sha256")):
        device = Device(root)
        assert device.landing.base() == base_of(root)
        assert device.repo.git_dir in device.landing.metadata_directories()
        assert device.repo.common_dir + b"/refs/heads" in device.landing.metadata_directories()
        device.close()


def test_base_starts_no_process(laptop: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    git(laptop.root, "pack-refs", "--all")
    expected = base_of(laptop.root)
    monkeypatch.setenv("PATH", "/nowhere")
    assert laptop.landing.base() == expected
    assert laptop.landing.busy() is None


def test_the_users_operations_are_named(laptop: Device) -> None:
    root = laptop.root
    put(root, "a.txt", b"main\n")
    commit_all(root)
    git(root, "switch", "-q", "-c", "side", "HEAD~")
    put(root, "a.txt", b"side\n")
    commit_all(root)
    put(root, "d/b.txt", b"second\n")
    commit_all(root)
    for command, end, words in (
        (("rebase", "main"), ("rebase", "--abort"), "a rebase is in progress"),
        (("rebase", "--apply", "main"), ("rebase", "--abort"), "a rebase or `git am` is in progress"),
        (("merge", "main"), ("merge", "--abort"), "a merge is in progress"),
        (("cherry-pick", "main"), ("cherry-pick", "--abort"), "a cherry-pick is in progress"),
        (("revert", "HEAD~", "HEAD~2"), ("revert", "--abort"), "a revert is in progress"),
        (("bisect", "start"), ("bisect", "reset"), "a bisect is in progress"),
    ):
        assert laptop.landing.busy() is None
        git(root, *command, check=False, GIT_EDITOR="true")
        assert laptop.landing.busy() == words
        old = laptop.landing.base()
        with pytest.raises(Busy, match=words):
            laptop.landing.land(old, Base(commit=old.commit, branch="refs/heads/other"), message="x")
        git(root, *end)


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_the_users_locks_are_respected_and_stay(laptop: Device, lock: str) -> None:
    put(laptop.root, f".git/{lock}", b"")
    before = laptop.untouched()
    words = f"git is at work here: it holds {os.path.basename(lock)}"
    assert laptop.landing.busy() == words
    with pytest.raises(Busy, match=words):
        laptop.landing.land(before[0], Base(commit=before[0].commit, branch=None), message="x")
    with pytest.raises(Busy, match=words):
        laptop.landing.commit(None, message="x", tree=laptop.store.empty_tree)
    laptop.landing.recover()
    assert laptop.untouched() == before


# -- landing ---------------------------------------------------------------------------------------


def test_a_commit_arrives_clean_with_reflog_and_without_hooks(laptop: Device, desktop: Device, tmp_path: Path) -> None:
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "post-commit", "pre-commit"):
        put(desktop.root, f".git/hooks/{hook}", f"#!/bin/sh\ntouch {tmp_path}/ran\n", executable=True)
    put(laptop.root, "a.txt", b"two\n")
    put(laptop.root, "new/file", b"new\n")
    os.unlink(laptop.root + b"/old")
    commit_all(laptop.root)
    os.unlink(desktop.root + b"/old")
    new = desktop.follow(laptop)
    assert base_of(desktop.root) == new
    assert not (tmp_path / "ran").exists()
    assert desktop.status() == ""
    # The index knows the files' times: git need not read them.
    assert desktop.git("diff-files", "--raw") == ""
    assert desktop.git("reflog", "-1", "--format=%gs") == "autosync: as on laptop"
    assert desktop.git("reflog", "-1", "--format=%gs", "main") == "autosync: as on laptop"
    desktop.git("fsck", "--strict", "--no-dangling")
    assert sorted(os.listdir(desktop.repo.metadata)) == [b"store.git"]


def test_a_long_history_comes_as_a_pack(laptop: Device, desktop: Device) -> None:
    for number in range(40):
        put(laptop.root, "a.txt", b"%d\n" % number)
        put(laptop.root, f"n/{number}", b"%d\n" % number)
        commit_all(laptop.root)
    new = desktop.follow(laptop)
    assert base_of(desktop.root) == new
    assert desktop.status() == ""
    desktop.git("gc", "-q", "--prune=now")
    desktop.git("fsck", "--strict", "--no-dangling")
    assert desktop.git("count-objects") == "0 objects, 0 kilobytes"


def test_what_is_staged_stays_staged(laptop: Device, desktop: Device) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    put(desktop.root, "d/b.txt", b"staged\n")
    put(desktop.root, "added", b"added\n")
    git(desktop.root, "add", "-A")
    old, new = desktop.landing.base(), laptop.landing.base()
    desktop.receive(laptop, str(new.commit))
    put(desktop.root, "a.txt", b"two\n")
    desktop.landing.land(old, new, message="as on laptop")
    assert desktop.status() == "A  added\nM  d/b.txt\n"


def test_a_staged_file_in_the_way_is_named_before_anything_moves(laptop: Device, desktop: Device) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    put(desktop.root, "a.txt", b"staged\n")
    git(desktop.root, "add", "-A")
    old, new = desktop.landing.base(), laptop.landing.base()
    desktop.receive(laptop, str(new.commit))
    before = desktop.untouched()
    for attempt in (desktop.landing.check_landing, lambda a, b: desktop.landing.land(a, b, message="x")):
        with pytest.raises(Busy, match=r"a\.txt is staged here with other content than it gets") as error:
            attempt(old, new)
        assert error.value.hint == "Commit it, or take it out of the index: git restore --staged 'a.txt'"
        assert desktop.untouched() == before


def test_an_amend_moves_the_branch_though_it_is_no_fast_forward(laptop: Device, desktop: Device) -> None:
    put(laptop.root, "a.txt", b"amended\n")
    git(laptop.root, "commit", "-q", "-a", "--amend", "-m", "amended")
    new = desktop.follow(laptop)
    assert (base_of(desktop.root), desktop.status()) == (new, "")


def test_an_edit_in_the_second_of_staging_stays_to_be_seen(laptop: Device) -> None:
    """git looks into files as young as its index (Documentation/technical/racy-git), which ours must not outdate."""
    name = os.path.join(laptop.root, b"a.txt")
    git(laptop.root, "config", "core.trustctime", "false")  # it cannot be set back
    second = time.time_ns() - 10**10
    for content in (b"staged\n", b"beside\n"):
        put(laptop.root, "a.txt", content)
        os.utime(name, ns=(second, second))
        if content == b"staged\n":
            git(laptop.root, "add", "a.txt")
    os.utime(os.path.join(laptop.root, b".git/index"), ns=(second, second))
    assert laptop.git("--no-optional-locks", "status", "--porcelain") == "MM a.txt"
    laptop.landing.reword(laptop.landing.base(), "Described\n")
    assert laptop.status() == "MM a.txt\n"


def test_a_base_that_moved_is_busy(laptop: Device, desktop: Device) -> None:
    stale = desktop.landing.base()
    put(desktop.root, "mine", b"x")
    commit_all(desktop.root)
    put(laptop.root, "a.txt", b"two\n")
    new = Base(commit=commit_all(laptop.root), branch=MAIN)
    desktop.receive(laptop, str(new.commit))
    before = desktop.untouched()
    for attempt in (desktop.landing.check_landing, lambda a, b: desktop.landing.land(a, b, message="x")):
        with pytest.raises(Busy, match="the checked out commit has just changed"):
            attempt(stale, new)
    assert desktop.untouched() == before


def test_a_branch_switch_creates_and_fast_forwards(laptop: Device, desktop: Device) -> None:
    git(laptop.root, "switch", "-q", "-c", "side")
    new = desktop.follow(laptop)
    assert base_of(desktop.root) == new == Base(commit=head(laptop.root), branch="refs/heads/side")
    git(desktop.root, "switch", "-q", "main")
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    new = desktop.follow(laptop)
    assert (base_of(desktop.root), desktop.status()) == (new, "")
    assert desktop.git("reflog", "-1", "--format=%gs") == "autosync: as on laptop"
    git(laptop.root, "switch", "-q", "main")
    new = desktop.follow(laptop)
    assert (base_of(desktop.root), desktop.status()) == (new, "")
    assert new.branch == MAIN


def test_a_branch_with_own_commits_is_left_alone(laptop: Device, desktop: Device) -> None:
    git(desktop.root, "switch", "-q", "-c", "side")
    put(desktop.root, "mine", b"x")
    mine = commit_all(desktop.root)
    git(desktop.root, "switch", "-q", "main")
    git(laptop.root, "switch", "-q", "-c", "side")
    put(laptop.root, "theirs", b"y")
    theirs = commit_all(laptop.root)
    desktop.receive(laptop, theirs)
    old, new = desktop.landing.base(), laptop.landing.base()
    before = desktop.untouched()
    for attempt in (desktop.landing.check_landing, lambda a, b: desktop.landing.land(a, b, message="x")):
        with pytest.raises(Diverged, match="the branch side has commits here that the other device lacks") as error:
            attempt(old, new)
        assert f"git switch side && git merge {theirs}" in error.value.hint
        assert desktop.untouched() == before
    desktop.landing.bring(theirs)
    git(desktop.root, "switch", "-q", "side")
    git(desktop.root, "merge", "-q", "-m", "joined", theirs)
    assert desktop.git("rev-list", "--parents", "-1", "HEAD").split()[1:] == [mine, theirs]


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the user collect garbage whenever we are about to move a ref."""
    real = shutil.which("git")
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *update-ref*) (unset GIT_INDEX_FILE; {real} gc -q --prune=now) ;; esac\n'
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("before", ["new", "here, but of no ref"])
def test_the_users_gc_takes_nothing_away_that_is_about_to_get_a_ref(
    laptop: Device, desktop: Device, before: str
) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit = commit_all(laptop.root)
    desktop.receive(laptop, commit)
    if before != "new":
        desktop.landing.bring(commit)
    desktop.follow(laptop)
    assert desktop.git("fsck", "--no-dangling", "--no-progress") == ""
    assert head(desktop.root) == commit
    assert [p for p in os.listdir(desktop.repo.common_dir + b"/objects/pack") if p.endswith(b".keep")] == []


@pytest.mark.usefixtures("collected")
def test_the_users_gc_takes_nothing_away_of_a_commit_of_ours(laptop: Device) -> None:
    laptop.store.flush()
    put(laptop.root, "a.txt", b"ours\n")
    blob = laptop.store.put(b"blob", b"ours\n")
    laptop.store.flush()
    tree = laptop.trees.splice(
        laptop.store.tree_of(laptop.landing.base().commit),
        {RelPath(b"a.txt"): Entry(kind=Kind.FILE, oid=ObjectId(blob))},
    )
    laptop.store.flush()
    laptop.landing.commit(None, message="by itself", tree=tree)
    assert laptop.git("fsck", "--no-dangling", "--no-progress") == ""
    assert laptop.status() == ""


def test_what_a_killed_agent_held_against_gc_is_let_go_at_the_next_start(laptop: Device, desktop: Device) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit = commit_all(laptop.root)
    desktop.receive(laptop, commit)
    packs = desktop.repo.common_dir + b"/objects/pack/"
    holding = brought(desktop.repo, [commit])
    holding.__enter__()  # and never ended
    Path(os.fsdecode(packs + b"pack-users.keep")).write_bytes(b"by hand\n")
    assert len([p for p in os.listdir(packs) if p.endswith(b".keep")]) == 2
    desktop.landing.recover()
    assert [p for p in os.listdir(packs) if p.endswith(b".keep")] == [b"pack-users.keep"]


def by_somebody_else(directory: bytes, command: str) -> None:
    """Start a command that is no child of this process."""
    subprocess.run(["setsid", "--fork", "sh", "-c", f"exec {command}"], cwd=directory, check=True)


def test_a_commit_whose_message_is_being_written_is_waited_for(laptop: Device, desktop: Device, tmp_path: Path) -> None:
    """Git holds no lock then, but fails if HEAD moves."""
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    message = tmp_path / "message"
    os.mkfifo(message)
    desktop.git("config", "core.editor", f'sh -c \'cat "{message}" >"$1"\' -')
    by_somebody_else(desktop.root, "git commit -q --allow-empty")
    with message.open("w") as typed:  # as soon as the editor reads it
        with pytest.raises(Busy, match="`git commit` is at work here"):
            desktop.follow(laptop)
        typed.write("theirs\n")
    until(lambda: desktop.git("log", "-1", "--format=%s") == "theirs")


def test_a_git_that_works_elsewhere_or_only_reads_is_not_waited_for(
    laptop: Device, desktop: Device, tmp_path: Path
) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    pipes = [tmp_path / name for name in ("patch", "questions")]
    for pipe in pipes:
        os.mkfifo(pipe)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    by_somebody_else(os.fsencode(elsewhere), f"git -c core.bare=false apply - <{pipes[0]}")
    by_somebody_else(desktop.root, f"git cat-file --batch <{pipes[1]} >/dev/null")
    with pipes[0].open("wb"), pipes[1].open("wb"):
        until(lambda: running_command(os.fsencode(elsewhere)) == "git apply")
        assert running_command(desktop.root) is None
        desktop.follow(laptop)
    until(lambda: running_command(os.fsencode(elsewhere)) is None)


def test_a_branch_of_another_worktree_is_left_alone(laptop: Device, desktop: Device, tmp_path: Path) -> None:
    git(desktop.root, "branch", "side")
    tree = tmp_path / "tree"
    git(desktop.root, "worktree", "add", "-q", str(tree), "side")
    git(laptop.root, "switch", "-q", "-c", "side")
    old, new = desktop.landing.base(), laptop.landing.base()
    with pytest.raises(Busy, match="the branch side is checked out in another worktree"):
        desktop.landing.check_landing(old, new)
    linked = Device(os.fsencode(tree))
    with pytest.raises(Busy, match="the branch main is checked out in another worktree"):
        linked.landing.check_landing(linked.landing.base(), old)
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    assert linked.follow(laptop) == base_of(os.fsencode(tree))
    linked.close()
    git(desktop.root, "worktree", "remove", "--force", str(tree))
    desktop.follow(laptop)


def test_detached_and_unborn_both_ways(laptop: Device, desktop: Device, tmp_path: Path) -> None:
    git(laptop.root, "switch", "-q", "--detach")
    assert desktop.follow(laptop) == base_of(desktop.root) == Base(commit=head(laptop.root), branch=None)
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    assert desktop.follow(laptop) == base_of(desktop.root)
    git(laptop.root, "switch", "-q", "-C", "main")
    git(desktop.root, "branch", "-q", "-f", "main")
    assert desktop.follow(laptop) == base_of(desktop.root)
    fresh = Device(make_repository(tmp_path / "fresh"))
    assert fresh.landing.base() == Base(commit=None, branch=MAIN)
    assert fresh.follow(laptop) == base_of(fresh.root)
    assert fresh.status() == ""
    empty = Device(make_repository(tmp_path / "empty"))
    for path in ("a.txt", "d/b.txt", "old"):
        os.unlink(os.path.join(fresh.root, path.encode()))
    assert fresh.follow(empty) == base_of(fresh.root) == Base(commit=None, branch=MAIN)
    git(empty.root, "symbolic-ref", "HEAD", "refs/heads/later")
    assert fresh.follow(empty) == base_of(fresh.root) == Base(commit=None, branch="refs/heads/later")
    assert fresh.status() == ""
    fresh.close()
    empty.close()


def test_what_is_not_whole_or_not_safe_is_refused(laptop: Device, desktop: Device) -> None:
    old = desktop.landing.base()
    before = desktop.untouched()
    absent = CommitId("0123456789" * 4)
    for new, error, words in (
        (Base(commit=absent, branch=MAIN), Missing, "is not here"),
        (Base(commit=absent, branch=None), Missing, "is not here"),
        (Base(commit=CommitId("--help"), branch=MAIN), Unsafe, "is no commit id"),
        (Base(commit=old.commit, branch="refs/heads/../../HEAD"), Unsafe, "is no name of a branch"),
        (Base(commit=old.commit, branch="refs/tags/x"), Unsafe, "is no name of a branch"),
        (Base(commit=old.commit, branch="HEAD"), Unsafe, "is no name of a branch"),
    ):
        for attempt in (desktop.landing.check_landing, lambda a, b: desktop.landing.land(a, b, message="x")):
            with pytest.raises(error, match=words):
                attempt(old, new)
    assert desktop.untouched() == before


def test_landing_where_it_is_does_nothing(desktop: Device) -> None:
    before = desktop.untouched()
    desktop.landing.check_landing(before[0], before[0])
    desktop.landing.land(before[0], before[0], message="x")
    assert desktop.untouched() == before


# -- commits ------------------------------------------------------------------------------------------


def blob(device: Device, content: bytes) -> Entry:
    return Entry(kind=Kind.FILE, oid=ObjectId(device.store.put(b"blob", content)))


def tree_with(device: Device, **files: bytes | None) -> TreeId:
    """Return the tree of HEAD with these files (``__`` for a slash), only in our store's memory."""
    edits = {
        RelPath(name.replace("__", "/").encode()): None if content is None else blob(device, content)
        for name, content in files.items()
    }
    return device.trees.splice(device.store.tree_of(device.landing.base().commit), edits)


def test_a_commit_beside_staged_files(laptop: Device, tmp_path: Path) -> None:
    put(laptop.root, ".git/hooks/pre-commit", f"#!/bin/sh\ntouch {tmp_path}/ran\nfalse\n", executable=True)
    parent = head(laptop.root)
    put(laptop.root, "d/b.txt", b"staged by the user\n")
    git(laptop.root, "add", "d/b.txt")
    os.unlink(laptop.root + b"/old")
    put(laptop.root, "old/inside", b"inside\n")
    put(laptop.root, "a.txt", b"saved\n")
    tree = tree_with(laptop, **{"a.txt": b"saved\n", "old": None, "old/inside": b"inside\n"})
    base = laptop.landing.commit(
        [RelPath(b"a.txt"), RelPath(b"old"), RelPath(b"old/inside")], message="Save a.txt\n\nand more \xe9", tree=tree
    )
    assert base == base_of(laptop.root)
    assert not (tmp_path / "ran").exists()
    assert laptop.git("rev-parse", "HEAD^{tree}", "HEAD^") == f"{tree}\n{parent}"
    assert (
        laptop.git("log", "-1", "--format=%an <%ae>|%B").strip()
        == "User <user@example.org>|Save a.txt\n\nand more \xe9"
    )
    assert laptop.git("reflog", "-1", "--format=%gs") == "autosync: Save a.txt"
    assert laptop.status() == "M  d/b.txt\n"
    laptop.git("fsck", "--strict", "--no-dangling")
    assert laptop.landing.commit(None, message="nothing", tree=tree) == base


def test_a_message_is_utf8_whatever_git_is_told(laptop: Device) -> None:
    for setting in ("i18n.commitEncoding", "i18n.logOutputEncoding"):
        git(laptop.root, "config", setting, "ISO-8859-1")
    message = "Sa\u010d \u00e9t\u00e9\n\nDevice: B\u00fcro\n"
    base = laptop.landing.commit(None, message=message, tree=tree_with(laptop, **{"a.txt": b"saved\n"}))
    assert base.commit is not None
    assert laptop.landing.message(base.commit) == message
    assert laptop.git("-c", "i18n.logOutputEncoding=UTF-8", "log", "-1", "--format=%B").strip() == message.strip()


def test_the_first_commit_and_a_merge(laptop: Device, tmp_path: Path) -> None:
    fresh = Device(make_repository(tmp_path / "fresh"))
    put(fresh.root, "a", b"a\n")
    base = fresh.landing.commit(None, message="first", tree=tree_with(fresh, a=b"a\n"))
    assert (base_of(fresh.root), fresh.status()) == (base, "")
    theirs = head(laptop.root)
    fresh.receive(laptop, theirs)
    put(fresh.root, "a.txt", b"one\n")
    merged = fresh.landing.commit(
        None, message="Merge", tree=tree_with(fresh, **{"a.txt": b"one\n"}), extra_parent=theirs
    )
    assert fresh.git("rev-list", "--parents", "-1", "HEAD").split() == [merged.commit, base.commit, theirs]
    assert fresh.status() == ""
    fresh.git("fsck", "--strict", "--no-dangling")
    fresh.close()


def test_a_commit_without_a_name_says_what_to_do(laptop: Device, tmp_path: Path) -> None:
    (tmp_path / "home" / ".gitconfig").write_text("")
    before = laptop.untouched()
    with pytest.raises(AutosyncError, match=r"git does not know who commits in .*laptop") as error:
        laptop.landing.commit(None, message="x", tree=tree_with(laptop, a=b"a"))
    assert error.value.hint.startswith("Run: git config --global user.name 'Your Name'")
    assert laptop.untouched() == before
    # Landing needs no name.
    laptop.landing.land(before[0], Base(commit=before[0].commit, branch=None), message="x")


def test_unresolved_conflicts_are_never_committed(laptop: Device) -> None:
    put(laptop.root, "a.txt", b"stashed\n")
    git(laptop.root, "stash", "-q")
    put(laptop.root, "a.txt", b"other\n")
    commit_all(laptop.root)
    git(laptop.root, "stash", "pop", "-q", check=False)
    before = laptop.untouched()
    with pytest.raises(Busy, match="the index holds unresolved conflicts"):
        laptop.landing.commit(None, message="x", tree=tree_with(laptop, a=b"a"))
    assert laptop.untouched() == before


# -- races and kills ------------------------------------------------------------------------------------


def test_the_user_commits_all_the_time_and_no_commit_is_lost(laptop: Device, desktop: Device) -> None:
    put(laptop.root, "a.txt", b"two\n")
    theirs = commit_all(laptop.root)
    desktop.receive(laptop, theirs)
    script = (
        "echo out.log > .git/info/exclude; i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i > mine; git add mine; "
        "git commit -q -m user$i > out.log && echo $i; done"
    )
    user = subprocess.Popen(["sh", "-c", script], cwd=desktop.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    landed = refused = 0
    while user.poll() is None or not landed:
        base = desktop.landing.base()
        try:
            tree = tree_with(desktop, ours=b"%d\n" % landed)
            desktop.landing.commit([RelPath(b"ours")], message=f"agent{landed}", tree=tree)
            landed += 1
        except Busy:
            refused += 1
        assert base.branch == MAIN
    assert user.stdout is not None
    made = user.stdout.read().decode().split()
    user.stdout.close()
    subjects = desktop.git("log", "--format=%s").split("\n")
    assert [s for s in subjects if s.startswith("agent")] == [f"agent{n}" for n in reversed(range(landed))]
    assert [s for s in subjects if s.startswith("user")] == [f"user{n}" for n in reversed(made)]
    assert landed > 0
    assert made != []
    assert desktop.landing.busy() is None


_ENDLESS = """
import sys
sys.path.insert(0, {tests!r})
from test_git_landing import *
device = Device({root!r})
device.landing.recover()
print("ready", flush=True)
bases = [Base(commit=CommitId(c), branch=b) for c, b in {bases!r}]
while True:
    for new in bases:
        device.landing.land(device.landing.base(), new, message="x")
"""


def test_a_kill_at_any_moment_is_repaired(laptop: Device, desktop: Device) -> None:
    first = head(laptop.root)
    put(laptop.root, "d/b.txt", b"two\n")
    second = commit_all(laptop.root)
    desktop.receive(laptop, second)
    put(desktop.root, "staged", b"staged\n")
    git(desktop.root, "add", "staged")
    bases = [(second, MAIN), (first, MAIN), (first, None), (second, "refs/heads/side"), (first, MAIN)]
    script = _ENDLESS.format(tests=os.path.dirname(__file__), root=desktop.root, bases=bases)
    chance = random.Random(3)
    states = set()
    for number in range(15):
        agent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"ready\n"
        # Some at any moment; the others under the lock, which is held for a moment only.
        aimed, end = number % 2, time.monotonic() + chance.random() * 0.25
        while time.monotonic() < end + 3 * aimed and agent.poll() is None:
            if aimed and os.path.exists(desktop.repo.git_dir + b"/index.lock"):
                break
        os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
        agent.stdout.close()
        states.add(os.path.exists(desktop.repo.git_dir + b"/index.lock"))
        desktop.landing.recover()
        until(lambda: desktop.landing.busy() is None and locks_in(desktop) == [])  # its git may take time to die
        base = desktop.landing.base()
        assert (base.commit, base.branch) in bases
        # The index belongs to the base: nothing but what the user staged differs.
        assert desktop.git("diff-index", "--cached", "--name-status", str(base.commit)) == "A\tstaged"
    assert states == {False, True}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("main", "main"),
        ("main", "topic"),
        ("main", "--detach"),
        ("--detach", "main"),
        ("--detach", "--detach"),
    ],
)
def test_an_index_that_cannot_be_written_takes_the_refs_back(
    laptop: Device, desktop: Device, before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before == "--detach":
        desktop.git("checkout", "-q", "--detach")
    if after != "main":
        laptop.git("checkout", "-q", *(("-b", after) if after == "topic" else (after,)))
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root, "two")
    new = laptop.landing.base()
    assert new.commit is not None
    desktop.receive(laptop, new.commit)
    desktop.take_files(new.commit)
    old = desktop.landing.base()
    staged = desktop.git("ls-files", "--stage")
    replace = os.replace

    def fail_for_the_index(source: bytes, target: bytes) -> None:
        if os.fsencode(target).endswith(b"/.git/index"):
            raise OSError(5, "Input/output error", target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_index)
    with pytest.raises(OSError, match="Input/output"):
        desktop.landing.land(old, new, message="as on laptop")
    monkeypatch.undo()
    assert desktop.landing.base() == old == base_of(desktop.root)
    assert desktop.git("ls-files", "--stage") == staged
    assert not list(Path(os.fsdecode(desktop.repo.git_dir)).rglob("*.lock"))
    desktop.landing.land(old, new, message="as on laptop")
    assert desktop.landing.base() == new
    assert desktop.status() == ""


def locks_in(device: Device) -> list[str]:
    return sorted(path.name for path in Path(os.fsdecode(device.repo.git_dir)).rglob("*.lock"))


def at_the_index_lock(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have ``do`` called when git holds the ref for us and the lock of the index is to be taken."""
    link = os.link

    def linked(source: bytes, target: bytes) -> None:
        do()
        link(source, target)

    monkeypatch.setattr(os, "link", linked)


def kill_our_git() -> None:
    """Kill the git processes that this one has started."""
    for child in children(os.getpid()):
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("way", ["main", "side", "detach"])
def test_a_git_of_ours_that_is_killed_leaves_no_lock_on_what_is_the_users(
    laptop: Device, desktop: Device, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "main":
        laptop.git("switch", "-q", *(("-c", "side") if way == "side" else ("--detach",)))
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    old = desktop.landing.base()
    at_the_index_lock(monkeypatch, kill_our_git)
    with pytest.raises(Busy, match="git could not move"):
        desktop.follow(laptop)
    monkeypatch.undo()
    record("kills survived", 1)
    assert locks_in(desktop) == []
    assert desktop.landing.base() == old
    desktop.git("commit", "-q", "--allow-empty", "-m", "the user's git works")
    desktop.git("reset", "-q", "--soft", "HEAD~")
    assert desktop.follow(laptop) == desktop.landing.base()
    assert desktop.status() == ""


def test_a_git_of_ours_that_is_killed_when_it_was_done_has_the_index_follow(
    laptop: Device, desktop: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    real = shutil.which("git")
    mortal = f'#!/bin/bash\n[[ $* == *update-ref* ]] || exec {real} "$@"\n'
    mortal += f'{real} "$@" | while read line; do [[ $line == commit* ]] && kill -9 $$; echo "$line"; done\n'
    put(os.fsencode(tmp_path), "bin/git", mortal, executable=True)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    new = desktop.follow(laptop)
    monkeypatch.undo()
    assert desktop.landing.base() == new
    assert desktop.status() == ""
    assert locks_in(desktop) == []


def test_a_git_of_ours_that_is_killed_has_answered_nothing_and_is_asked_again(
    laptop: Device, desktop: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    real = shutil.which("git")
    mortal = f'#!/bin/sh\ncase "$*" in rev-list*) kill -9 $$;; esac\nexec {real} "$@"\n'
    put(os.fsencode(tmp_path), "bin/git", mortal, executable=True)
    before = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{before}")
    with pytest.raises(TransientError, match=r"^git rev-list --objects --stdin --not --all was ended by signal 9\n"):
        desktop.follow(laptop)
    monkeypatch.setenv("PATH", before)
    assert desktop.follow(laptop) == desktop.landing.base()


def test_an_agent_that_is_killed_before_it_wrote_the_lock_leaves_none(laptop: Device, desktop: Device) -> None:
    """As on a file system without hard links, where the lock cannot appear with its content."""
    put(laptop.root, "a.txt", b"two\n")
    new = commit_all(laptop.root)
    desktop.receive(laptop, new)
    script = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_git_landing import *\n"
        "def die(*_): os._exit(9)\n"
        "def link(*_): os.write = die; raise PermissionError(1, 'no hard links here')\n"
        f"device = Device({desktop.root!r}); os.link = link\n"
        f"device.landing.land(device.landing.base(), Base(commit=CommitId({new!r}), branch={MAIN!r}), message='x')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    record("kills survived", 1)
    until(lambda: locks_in(desktop) == ["index.lock"])  # git lets go of the refs by itself
    until(lambda: possible_holder(desktop.repo) is None)
    desktop.landing.recover()
    assert locks_in(desktop) == []
    put(desktop.root, ".git/index.lock", b"")
    desktop.landing.recover()
    assert locks_in(desktop) == ["index.lock"]  # of which no journal knows


@pytest.mark.parametrize("prepared", [True, False])
def test_an_agent_that_is_killed_together_with_its_git_leaves_no_lock(
    laptop: Device, desktop: Device, prepared: bool
) -> None:
    """Killed while git holds the refs for it, or before it could know which files git's locks are."""
    put(laptop.root, "a.txt", b"two\n")
    new = commit_all(laptop.root)
    desktop.receive(laptop, new)
    point = 'os, "link"' if prepared else 'RefLocks, "note"'
    script = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_git_landing import *\n"
        "from autosync.backends.git.reflocks import RefLocks\n"
        "def die(*_): kill_our_git(); os._exit(9)\n"
        f"setattr({point}, die)\n"
        f"device = Device({desktop.root!r})\n"
        f"device.landing.land(device.landing.base(), Base(commit=CommitId({new!r}), branch={MAIN!r}), message='x')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    record("kills survived", 1)
    assert {"HEAD.lock", "main.lock"} <= set(locks_in(desktop))
    assert Device(desktop.root).landing.busy() is not None  # who only looks takes nothing away
    until(lambda: possible_holder(desktop.repo) is None)  # who is killed may take time to die
    desktop.landing.recover()
    assert locks_in(desktop) == []
    assert desktop.follow(laptop) == desktop.landing.base()


def test_a_lock_that_another_git_may_hold_stays_until_that_has_ended(
    laptop: Device, desktop: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    os.mkfifo(tmp_path / "words")
    lock = desktop.repo.git_dir + b"/HEAD.lock"
    with contextlib.ExitStack() as users:

        def be_quicker() -> None:
            """Our git is killed, and the user's takes the lock before that is noticed."""
            kill_our_git()
            os.unlink(lock)
            by_somebody_else(desktop.root, f"git update-ref --stdin <{tmp_path}/words")
            users.enter_context((tmp_path / "words").open("wb"))
            until(lambda: running_command(desktop.root) == "git update-ref")
            put(desktop.root, ".git/HEAD.lock", b"")

        at_the_index_lock(monkeypatch, be_quicker)
        with pytest.raises(Busy, match="git could not move"):
            desktop.follow(laptop)
        monkeypatch.undo()
        assert "HEAD.lock" in locks_in(desktop)
        words = f"git is at work here: it holds HEAD.lock (if none runs, remove {os.fsdecode(lock)})"
        assert desktop.landing.busy() == words
    until(lambda: desktop.landing.busy() is None)
    assert locks_in(desktop) == []
    assert desktop.follow(laptop) == desktop.landing.base()


@contextlib.contextmanager
def a_command_of_the_users(device: Device, at: bytes, command: str, pipe: Path, lock: bytes) -> Iterator[None]:
    """Have a git command hold ``lock`` within the block, in a hook of the user's; then it succeeds."""
    os.mkfifo(pipe)
    hook = f'#!/bin/sh\n[ "$1" != prepared ] || cat "{pipe}" >&2\n'
    put(device.repo.git_dir, "hooks/reference-transaction", hook, executable=True)
    done = f"{pipe}.done"
    by_somebody_else(at, f"sh -c '{command} && touch {done}'")
    with pipe.open("wb"):
        assert os.path.exists(lock)
        os.unlink(device.repo.git_dir + b"/hooks/reference-transaction")
        yield
        assert os.path.exists(lock)
    until(lambda: os.path.exists(done))
    assert not os.path.exists(lock)


def test_a_lock_that_the_user_takes_while_ours_are_taken_is_not_taken_for_ours(
    laptop: Device, desktop: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packed refs are not locked to move a branch; another git may lock them meanwhile."""
    put(laptop.root, "a.txt", b"two\n")
    commit_all(laptop.root)
    desktop.git("branch", "unneeded")
    note = RefLocks.note
    lock = desktop.repo.git_dir + b"/packed-refs.lock"
    with contextlib.ExitStack() as users:

        def note_after_the_user(self: RefLocks, *held: Sequence[bytes]) -> None:
            command = "git branch -q -D unneeded"
            users.enter_context(a_command_of_the_users(desktop, desktop.root, command, tmp_path / "pipe", lock))
            note(self, *held)

        monkeypatch.setattr(RefLocks, "note", note_after_the_user)
        assert desktop.follow(laptop) == desktop.landing.base()
    assert desktop.git("for-each-ref", "refs/heads/unneeded") == ""


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("root", "git branch topic"),
        ("root", "git -c alias.sprout=branch sprout topic"),
        ("worktree", "git branch topic"),
        ("elsewhere", "git --git-dir=desktop/.git branch topic"),
        ("elsewhere", "env GIT_DIR=desktop/.git git fetch -q laptop main:topic"),
    ],
)
def test_a_lock_that_a_git_of_the_users_holds_for_long_stays_whatever_command_that_is(
    desktop: Device, tmp_path: Path, place: str, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    desktop.git("worktree", "add", "-q", "--detach", str(tmp_path / "worktree"))
    for number in range(20):  # of worktrees that were half deleted, in any order
        os.mkdir(desktop.repo.git_dir + b"/worktrees/%d" % number)
    at = {"root": desktop.root, "elsewhere": os.fsencode(tmp_path), "worktree": os.fsencode(tmp_path / "worktree")}
    lock = desktop.repo.git_dir + b"/refs/heads/topic.lock"
    locks = RefLocks(desktop.repo, LANDING_LOCKS)
    with contextlib.ExitStack() as users:
        with locks.expected([lock]):
            users.enter_context(a_command_of_the_users(desktop, at[place], command, tmp_path / "pipe", lock))
        assert locks.left == (lock,)
        assert "topic.lock may be held by git " in caplog.text
        locks.clear()
        RefLocks(desktop.repo, LANDING_LOCKS).clear()
    locks.clear()
    assert locks.left == ()


def test_a_lock_that_may_be_ours_is_looked_at_without_a_pause_until_it_stood_for_long_enough(
    desktop: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it sleeps"))
    paths = {name: desktop.repo.git_dir + b"/" + name for name in (b"HEAD.lock", b"packed-refs.lock")}
    locks = RefLocks(desktop.repo, LANDING_LOCKS)
    monkeypatch.setattr(RefLocks, "clear", partialmethod(RefLocks.clear, wait=False))
    with locks.expected([*paths.values()]):
        for name in paths:
            put(desktop.root, f".git/{name.decode()}", b"")
    assert locks.left == tuple(paths.values())
    assert [entry.args for entry in caplog.records] == [(os.fsdecode(path), "another git") for path in paths.values()]
    now += PAUSE
    locks.clear()
    assert locks.left == (paths[b"packed-refs.lock"],)
    put(desktop.root, ".git/HEAD.lock", b"")  # which comes later, so it is the user's
    now += PACKING_PAUSE
    locks.clear()
    assert locks.left == ()
    assert locks_in(desktop) == ["HEAD.lock"]
    assert len(caplog.records) == 2


def test_a_push_that_is_under_way_keeps_its_locks_when_the_folder_is_taken_up_again(desktop: Device) -> None:
    desktop.landing.recover()
    lock = desktop.repo.git_dir + b"/refs/remotes/origin/main.lock"
    with RefLocks(desktop.repo, PUSHING_LOCKS).expected([lock]):
        put(desktop.root, ".git/refs/remotes/origin/main.lock", b"")
        desktop.landing.recover()
        assert os.path.exists(lock)
        Device(desktop.root).landing.recover()  # another agent: the one who pushed was killed
        assert not os.path.exists(lock)


def test_locks_are_not_forgotten_in_a_power_cut(laptop: Device, desktop: Device) -> None:
    """What was not told to the disk is empty afterwards, as ext4 and XFS may leave it."""
    put(laptop.root, "a.txt", b"two\n")
    new = commit_all(laptop.root)
    desktop.receive(laptop, new)
    script = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_git_landing import *\n"
        f"device = Device({desktop.root!r}); kept = set(); sync = os.fsync\n"
        "def synced(file): kept.add(os.fstat(file).st_ino); sync(file)\n"
        "def die(*_):\n"
        "    kill_our_git()\n"
        "    for path in Path(os.fsdecode(device.repo.metadata)).glob('landing-locks*'):\n"
        "        if path.stat().st_ino not in kept: path.write_bytes(b'')\n"
        "    os._exit(9)\n"
        "os.fsync = synced; os.link = die\n"
        f"device.landing.land(device.landing.base(), Base(commit=CommitId({new!r}), branch={MAIN!r}), message='x')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    record("kills survived", 1)
    assert locks_in(desktop) == ["HEAD.lock", "main.lock"]
    until(lambda: possible_holder(desktop.repo) is None)
    desktop.landing.recover()
    assert locks_in(desktop) == []


def test_recover_leaves_the_users_lock_and_removes_ours(desktop: Device) -> None:
    old = desktop.landing.base()
    lock = desktop.repo.git_dir + b"/index.lock"
    script = (
        f"import sys, os; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_git_landing import *\n"
        f"device = Device({desktop.root!r}); old = device.landing.base()\n"
        "with device.landing._lock.held(old, Base(commit=None, branch=None)): os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert os.path.exists(lock)
    assert desktop.landing.busy() is None  # it is ours
    ours = Path(os.fsdecode(lock)).read_bytes()
    os.unlink(lock)
    put(desktop.root, ".git/index.lock", b"the user's")
    assert desktop.landing.busy() == "git is at work here: it holds index.lock"
    desktop.landing.recover()
    assert os.path.exists(lock)
    put(desktop.root, ".git/index.lock", ours)
    desktop.landing.recover()
    assert os.path.exists(lock)  # the journal that knew it is gone
    os.unlink(lock)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert json.loads(Path(os.fsdecode(desktop.repo.metadata), "landing").read_text())["old"]["branch"] == MAIN
    desktop.landing.recover()
    assert not os.path.exists(lock)
    assert desktop.landing.base() == old
