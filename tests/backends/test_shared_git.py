"""Several worktrees of one git repository: what one of them does never moves, takes or hides what is another's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from git_repos import base_of, commit_all, git, isolate, make_repository, put

from autosync.backends.git.backend import GitBackend, open_git
from autosync.backends.git.maintenance import Maintenance
from autosync.backends.git.repository import open_repository
from autosync.core.events import PathHint
from autosync.core.model import Base, CommitId, DeviceId, Entry, Kind, ObjectId, RelPath, Snapshot, Version, WorkspaceId
from autosync.errors import Busy, NotAWorkingCopy
from autosync.foothold import Foothold, Vanished
from autosync.turns import Turns
from autosync.watch import TreeWatcher
from tests.waiting import persistently, until

LAPTOP = DeviceId("laptop-00000001")
MAIN, SIDE = "refs/heads/main", "refs/heads/side"
DAY = 24 * 3600.0


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def main(tmp_path: Path) -> bytes:
    return make_repository(tmp_path / "main", {"a.txt": b"one\n", "d/b.txt": b"b\n"})


@contextmanager
def opened(*roots: bytes) -> Iterator[list[GitBackend]]:
    """Open working copies, and close them again."""
    found = [open_git(root, workspace=WorkspaceId(f"{n:032x}"), remote=None) for n, root in enumerate(roots)]
    try:
        yield found
    finally:
        for backend in found:
            backend.close()


def linked(main: bytes, name: str, *options: str) -> bytes:
    """Make a worktree beside ``main`` and return its root."""
    root = os.path.join(os.path.dirname(main), os.fsencode(name))
    git(main, "worktree", "add", "-q", *options, root)
    return root


def ahead(root: bytes) -> str:
    """Return a commit on top of what is checked out that no ref names, as one that has just been fetched."""
    tree = git(root, "rev-parse", "HEAD^{tree}").decode().strip()
    return git(root, "commit-tree", tree, "-p", "HEAD", "-m", "theirs").decode().strip()


def snap(backend: GitBackend, files: dict[str, bytes], pin: str, count: int = 1) -> Snapshot:
    """Record what is checked out with these files, and pin it."""
    base = backend.base()
    entries = {
        RelPath(path.encode()): Entry(kind=Kind.FILE, oid=ObjectId(backend.store.put(b"blob", content)))
        for path, content in files.items()
    }
    snapshot = backend.record(
        tree=backend.splice(backend.tree_of(base.commit), entries),
        base=base,
        version=Version.of({LAPTOP: count}),
        parents=(),
        device="laptop",
        time=1_700_000_000 + count,
    )
    backend.pin(pin, snapshot.id)
    return snapshot


def is_whole(backend: GitBackend, snapshot: Snapshot) -> bool:
    """Return whether every object of the snapshot and of its base's history can be read."""
    try:
        git(backend.repo.store_dir, "rev-list", "--objects", snapshot.id)
    except AssertionError:
        return False
    return True


# -- whose branch it is ----------------------------------------------------------------------------


def held_by_another(other: bytes) -> str:
    return rf"the branch main is (checked out|being rebased|being bisected) in another worktree, {os.fsdecode(other)}: "


def test_a_branch_in_two_worktrees_is_moved_by_neither(main: bytes) -> None:
    """`--ignore-other-worktrees` makes it possible; then a base that moves would take the other HEAD along."""
    other = linked(main, "other", "--detach")
    git(other, "switch", "-q", "--ignore-other-worktrees", "main")
    with opened(main, other) as (here, there):
        for backend, elsewhere in ((here, other), (there, main)):
            old = backend.base()
            new = Base(commit=ahead(main), branch=MAIN)  # type: ignore[arg-type]
            for attempt in (
                lambda b=backend, o=old, n=new: b.check_landing(o, n),  # type: ignore[misc]
                lambda b=backend, o=old, n=new: b.land(o, n, tree=b.tree_of(n.commit), message="m"),  # type: ignore[misc]
                lambda b=backend, o=old: b.reword(o, "other words"),  # type: ignore[misc]
            ):
                with pytest.raises(Busy, match=held_by_another(elsewhere)) as refused:
                    attempt()
                assert refused.value.title.endswith(
                    ": switch that one to another branch (or `git switch --detach`), then this one follows"
                )
            tree = backend.splice(
                backend.tree_of(old.commit),
                {RelPath(b"new"): Entry(kind=Kind.FILE, oid=ObjectId(backend.store.put(b"blob", b"new\n")))},
            )
            with pytest.raises(Busy, match=held_by_another(elsewhere)):
                backend.commit(None, message="auto", tree=tree)
        assert base_of(main) == base_of(other) == old
        git(other, "switch", "-q", "--detach")
        here.land(old, new, tree=here.tree_of(new.commit), message="m")
        assert base_of(main) == new
        assert base_of(other).commit == old.commit


@pytest.mark.parametrize("state", ["rebase", "update-refs", "bisect"])
def test_a_branch_that_another_worktree_is_rebasing_or_bisecting_is_its_own(main: bytes, state: str) -> None:
    """HEAD is detached there meanwhile, but the branch is about to move or to be gone back to, as git knows."""
    git(main, "switch", "-q", "--detach")
    other = linked(main, "other")
    git(other, "switch", "-q", "main")
    put(other, "a.txt", b"two\n")
    commit_all(other)
    if state == "bisect":
        git(other, "bisect", "start", "-q", "HEAD", "HEAD~1", check=False)
        git(other, "checkout", "-q", "--detach")
    elif state == "rebase":
        git(other, "rebase", "-q", "-f", "-x", "false", "HEAD~1", check=False)
    else:
        git(other, "branch", "top")
        git(other, "switch", "-q", "top")
        put(other, "a.txt", b"three\n")
        commit_all(other)
        git(other, "rebase", "-q", "-f", "--update-refs", "-x", "false", "HEAD~2", check=False)
    assert base_of(other).branch is None
    with opened(main) as (here,):
        old = here.base()
        new = Base(commit=here.base().commit, branch=MAIN)
        with pytest.raises(Busy, match=held_by_another(other)):
            here.check_landing(old, new)


def test_a_worktree_whose_folder_is_named_relatively_counts(main: bytes) -> None:
    """As `git worktree add --relative-paths` writes it (git 2.48)."""
    other = linked(main, "other", "-b", "side")
    with open(os.path.join(main, b".git/worktrees/other/gitdir"), "w") as file:
        file.write("../../../../other/.git\n")
    with opened(main) as (here,):
        old = here.base()
        with pytest.raises(Busy, match=f"the branch side is checked out in another worktree, {os.fsdecode(other)}: "):
            here.check_landing(old, Base(commit=old.commit, branch=SIDE))


def test_a_locked_worktree_counts_while_its_disk_is_away(main: bytes) -> None:
    other = linked(main, "other", "-b", "side")
    git(main, "worktree", "lock", other)
    shutil.rmtree(other)
    with opened(main) as (here,):
        old, new = here.base(), Base(commit=here.base().commit, branch=SIDE)
        with pytest.raises(Busy, match="the branch side is checked out in another worktree"):
            here.check_landing(old, new)
        git(main, "worktree", "unlock", "other")
        here.check_landing(old, new)


@pytest.mark.parametrize("own_config", [False, True])
def test_a_bare_repository_has_no_branch_checked_out(main: bytes, tmp_path: Path, own_config: bool) -> None:
    """Its HEAD names main, which is no working copy's; `git sparse-checkout`, for one, has moved core.bare."""
    bare = os.fsencode(tmp_path / "bare.git")
    git(main, "clone", "-q", "--bare", main, bare)
    if own_config:
        git(bare, "config", "extensions.worktreeConfig", "true")
        git(bare, "config", "--worktree", "core.bare", "true")
        git(bare, "config", "--file", "config", "--unset", "core.bare")
    one, two = linked(bare, "one", "--detach"), linked(bare, "two", "-b", "side")
    with opened(one, two) as (first, second):
        assert first.store_directory == second.store_directory == bare
        old, new = first.base(), Base(commit=first.base().commit, branch=MAIN)
        first.check_landing(old, new)
        first.land(old, new, tree=first.tree_of(new.commit), message="m")
        assert base_of(one) == new
        with pytest.raises(Busy, match="the branch main is checked out in another worktree"):
            second.check_landing(second.base(), new)


# -- whose snapshots they are ----------------------------------------------------------------------


def collect_garbage(root: bytes) -> None:
    """Do what takes the most away from the repository."""
    git(root, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(root, "gc", "-q", "--prune=now")


def tidy(backend: GitBackend, *, days: float = 0, thorough: bool = True) -> None:
    """Do the upkeep, after so many days."""
    clock = time.time() + days * DAY
    Maintenance(backend.repo, backend.store, clock=lambda: clock).tidy(thorough=thorough)


def test_what_one_worktree_lets_go_of_stays_the_others(main: bytes) -> None:
    other = linked(main, "other", "-b", "side")
    with opened(main, other) as (here, there):
        put(other, "a.txt", b"to be amended\n")
        commit_all(other)
        theirs = snap(there, {"x": b"theirs"}, "keep/1-1-x")
        mine = snap(here, {"x": b"mine"}, "keep/1-1-x")
        assert here.pins() == {"keep/1-1-x": mine.id}
        assert there.pins() == {"keep/1-1-x": theirs.id}
        git(other, "commit", "-q", "--amend", "-m", "amended")
        there.secure(CommitId(str(theirs.base.commit)))  # as its agent does as soon as the base has moved
        here.unpin("keep/1-1-x")
        collect_garbage(main)
        tidy(here, days=30)
        assert is_whole(there, theirs)
        assert there.load(theirs.id) == theirs
        assert not is_whole(here, mine)


def test_a_worktree_that_is_gone_leaves_no_pin_to_the_next_of_its_name(main: bytes) -> None:
    """git gives it the same directory below `.git/worktrees`; its snapshots are of another workspace."""
    other = linked(main, "other", "--detach")
    with opened(other) as (before,):
        left = snap(before, {"x": b"x"}, "current")
    git(main, "worktree", "remove", "--force", other)
    linked(main, "other", "--detach")
    with opened(other) as (after,):
        assert os.path.basename(after.repo.git_dir) == os.path.basename(before.repo.git_dir)
        assert after.pins() == {}
        assert after.load(left.id) == left


def test_the_states_of_a_worktree_that_is_gone_are_let_go_of_in_the_end(main: bytes) -> None:
    other, third = linked(main, "other", "-b", "side"), linked(main, "third", "--detach")
    wall = int(time.time())
    with opened(main, third) as (here, stays):
        kept = snap(stays, {"x": b"kept"}, f"keep/{wall}000-{wall}-x")
        with opened(other) as (gone,):
            left = snap(gone, {"x": b"left"}, f"keep/{wall}000-{wall}-x")
            gone.pin("current", left.id)
        git(main, "worktree", "remove", "--force", other)
        tidy(here, days=29)
        assert is_whole(here, left)
        git(main, "worktree", "move", third, third + b".moved")
        tidy(here, days=31)
        assert not is_whole(here, left)
        assert is_whole(here, kept)
        assert stays.pins() == {f"keep/{wall}000-{wall}-x": kept.id}


def test_a_worktree_of_an_earlier_version_keeps_its_pins(main: bytes) -> None:
    """Their name was that of git alone."""
    other = linked(main, "other", "-b", "side")
    metadata = os.path.join(main, b".git/worktrees/other/autosync")
    os.mkdir(metadata)
    put(metadata, "store.mark")
    with opened(other) as (backend,):
        assert backend.repo.pin_prefix == "refs/autosync/pins/worktrees/other/"
        left = snap(backend, {"x": b"x"}, "current")
        tidy(backend, days=60)
        assert backend.pins() == {"current": left.id}
        assert is_whole(backend, left)


# -- several processes at one store ----------------------------------------------------------------

_AT_WORK = """
import os, sys
from autosync.turns import Turns
with Turns(os.fsencode(sys.argv[1])).together():
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_agent(store: bytes) -> Iterator[subprocess.Popen[str]]:
    """Have another process work on a store, until its input ends or it is killed."""
    command = [sys.executable, "-c", _AT_WORK, os.fsdecode(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def test_all_worktrees_may_begin_at_once(main: bytes) -> None:
    """Each makes the store that they have in common, if nobody has."""
    roots = [main, *(linked(main, f"w{number}", "--detach") for number in range(4))]
    ready = threading.Barrier(len(roots))

    def begin(root: bytes) -> bytes:
        ready.wait(60)
        return open_repository(root).store.run("config", "core.hooksPath")

    with ThreadPoolExecutor(len(roots)) as threads:
        assert list(threads.map(begin, roots)) == [b"/dev/null\n"] * len(roots)


def test_nothing_is_deleted_while_another_process_is_at_work(main: bytes) -> None:
    """It may just be about to refer to what nothing refers to."""
    with opened(main) as (here,):
        old = snap(here, {"x": b"x"}, "keep/1-1-x")
        here.unpin("keep/1-1-x")
        kept = snap(here, {"y": b"y"}, "keep/2-2-y")
        turns = Turns(here.snapshots_directory)
        clock = time.time() + 30 * DAY
        upkeep = Maintenance(here.repo, here.store, clock=lambda: clock)
        with another_agent(here.snapshots_directory) as other:
            with turns.alone(0) as nobody:
                assert not nobody
            upkeep.tidy(thorough=True, alone=partial(turns.alone, 0.05))
            assert is_whole(here, old)
            other.kill()  # its lock ends with it
            other.wait()
            upkeep.tidy(thorough=True, alone=turns.alone)
        assert not is_whole(here, old)
        assert is_whole(here, kept)


def test_another_process_waits_while_one_is_alone(main: bytes) -> None:
    with opened(main) as (here,):
        turns = Turns(here.snapshots_directory)
        with turns.alone() as nobody:
            assert nobody
            command = [sys.executable, "-c", _AT_WORK, os.fsdecode(here.snapshots_directory)]
            other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            until(lambda: waits_for_a_lock(other.pid))
        said, _ = other.communicate("")
        assert said == "at work\n"


def waits_for_a_lock(process: int) -> bool:
    """Return whether a process waits for a lock of a file (proc(5), "locks")."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and words[5] == str(process) for words in lines)


# -- what is noticed of the others -----------------------------------------------------------------


class Told:
    """Counts what a watcher tells of the repository."""

    def __init__(self) -> None:
        self.metadata = 0

    def paths_changed(self, hints: Sequence[PathHint]) -> None:
        pass

    def metadata_changed(self) -> None:
        self.metadata += 1

    def root_vanished(self) -> None:
        raise AssertionError("it is there")


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_that_another_worktree_moves_is_noticed(main: bytes, packed: bool) -> None:
    """The directory of its ref may be made by that very move, long after the watching began."""
    other = linked(main, "other", "-b", "feature/deep/one")
    if packed:
        git(main, "pack-refs", "--all", "--prune")
        assert not os.path.exists(os.path.join(main, b".git/refs/heads/feature"))
    with opened(other) as (there,):
        told = Told()
        watcher = TreeWatcher(
            there.root,
            metadata_directories=there.metadata_directories,
            excluded=frozenset({b".git", b".hg"}),
            ignored=there.ignored,
            listener=told,
            rescan_interval=60,
        )
        watcher.start()
        try:
            for moved in (ahead(main), git(main, "rev-parse", "main").decode().strip()):
                before = told.metadata
                git(main, "update-ref", "refs/heads/feature/deep/one", moved)
                until(lambda b=before: told.metadata > b)  # type: ignore[misc]
                until(lambda m=moved: there.base().commit == m)  # type: ignore[misc]
            git(other, "switch", "-q", "-c", "new/one")
            until(lambda: there.base().branch == "refs/heads/new/one")
            before, moved = told.metadata, ahead(main)
            git(main, "update-ref", "refs/heads/new/one", moved)
            until(lambda: told.metadata > before)
            assert there.base().commit == moved
        finally:
            watcher.stop()


def test_commits_in_two_worktrees_at_once(main: bytes) -> None:
    """As `commits: auto` makes them, by agents that know nothing of each other."""
    roots = [main, linked(main, "other", "-b", "side")]
    ready = threading.Barrier(len(roots))

    def work(backend: GitBackend) -> None:
        ready.wait(60)
        for number in range(5):
            put(backend.root, "a.txt", b"%d\n" % number)
            tree = backend.read(None, None).tree
            persistently(partial(backend.commit, None, message=f"commit {number}", tree=tree))
            if number % 4 == 3:
                persistently(partial(backend.tidy, thorough=True))

    with opened(*roots) as backends, ThreadPoolExecutor(len(roots)) as threads:
        list(threads.map(work, backends))
        for backend in backends:
            subjects = git(backend.root, "log", "--format=%s").decode().split("\n")[:-1]
            assert subjects == [*(f"commit {number}" for number in reversed(range(5))), "work"]
            assert git(backend.root, "status", "--porcelain") == b""
            assert backend.busy() is None
    git(main, "fsck", "--strict", "--connectivity-only")


def test_a_repository_that_was_moved_is_found_again(main: bytes) -> None:
    other = linked(main, "other", "-b", "side")
    with opened(other) as (there,):
        kept = snap(there, {"x": b"x"}, "current")
        foothold = Foothold(other, there.metadata, lambda: there.store_directory)
        foothold.demand()
        os.rename(main, main + b".moved")
        with pytest.raises(Vanished) as gone:
            foothold.demand()
        place = f"{os.fsdecode(main)}/.git"
        assert gone.value.title == f"The repository of {os.fsdecode(other)}, {place}, is not there"
        assert "`git worktree repair`" in gone.value.hint
    with pytest.raises(NotAWorkingCopy) as refused:
        open_repository(other)
    assert refused.value.title == (
        f"{os.fsdecode(other)} belongs to a repository that is not there: {place}/worktrees/other"
    )
    git(main + b".moved", "worktree", "repair", other)
    with opened(other) as (there,):
        assert there.store_directory == main + b".moved/.git"
        assert there.pins() == {"current": kept.id}
        assert is_whole(there, kept)


def test_what_another_worktree_has_let_go_of_is_not_taken_for_here(main: bytes) -> None:
    """Or it would not be fetched again, and what refers to it would be without it."""
    other = linked(main, "other", "-b", "side")
    with opened(main, other) as (here, there):
        gone = snap(here, {"x": b"x" * 99}, "keep/1-1-x")
        (oid,) = [entry for path, entry in listed(there, gone) if path == b"x"]
        assert there.load(gone.id) == gone
        assert there.store.header(oid) == (b"blob", 99)
        here.unpin("keep/1-1-x")
        tidy(here, days=30)
        assert not is_whole(here, gone)
        assert there.store.header(oid) is None
        assert there.store.headers([oid]) == {}
        assert there.load(gone.id) is None
        assert there.load_many([gone.id]) == []


def listed(backend: GitBackend, snapshot: Snapshot) -> list[tuple[bytes, str]]:
    """Return path and id of every file in a snapshot."""
    lines = git(backend.repo.store_dir, "ls-tree", "-r", "-z", snapshot.tree).split(b"\0")[:-1]
    return [(line.partition(b"\t")[2], line.split()[2].decode()) for line in lines]
