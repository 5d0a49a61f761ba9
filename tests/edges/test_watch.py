"""TreeWatcher against the real kernel."""

from __future__ import annotations

import ctypes
import gc
import operator
import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath, parent_directories
from autosync.errors import AutosyncError
from autosync.watch import TreeWatcher, WatchStatus
from tests.waiting import PATIENCE

LIBC = ctypes.CDLL(None, use_errno=True)
POLLS = {"x86_64": {"7", "271"}, "aarch64": {"73"}}
"""The numbers of poll(2) and ppoll(2), by machine."""
EXCLUDED = frozenset({b".git", b".hg"})


class Listener:
    """Keeps what it is told and lets a test wait for it."""

    def __init__(self) -> None:
        self.hints: list[PathHint] = []
        self.batches = 0
        self.metadata = 0
        self.vanished = 0
        self.changed = threading.Condition()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def hold(self, watched: Watched) -> None:
        """Return once the watcher is in a callback that does not end until ``open`` is set."""
        self.open.clear()
        (watched.root / "first").touch()
        assert self.entered.wait(PATIENCE)

    def paths_changed(self, hints: Sequence[PathHint]) -> None:
        self.entered.set()
        self.open.wait(PATIENCE)
        with self.changed:
            self.hints += hints
            self.batches += 1
            self.changed.notify_all()

    def metadata_changed(self) -> None:
        with self.changed:
            self.metadata += 1
            self.changed.notify_all()

    def root_vanished(self) -> None:
        with self.changed:
            self.vanished += 1
            self.changed.notify_all()

    def until(self, told: Callable[[], bool]) -> None:
        with self.changed:
            if not self.changed.wait_for(told, PATIENCE):
                raise AssertionError(f"not told in {PATIENCE} s; told were {self.hints[-20:]}")

    def forget(self) -> None:
        with self.changed:
            self.hints.clear()

    def touches(self, path: str) -> list[Touch]:
        with self.changed:
            return [hint.touch for hint in self.hints if hint.path == path.encode()]

    def covers(self, path: bytes) -> bool:
        return not self.missed([path])

    def missed(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return those of ``paths`` that nobody would look at for all that was told."""
        told = {hint.path for hint in self.hints}
        whole = {hint.path for hint in self.hints if hint.touch is Touch.SUBTREE}
        return [p for p in paths if p not in told and not whole & {p, b"", *parent_directories(RelPath(p))}]


class Rules:
    """Ignore rules that a test can change: names of files and directories."""

    def __init__(self, *names: bytes) -> None:
        self.names = set(names)
        self.questions = 0

    def __call__(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        self.questions += 1
        return frozenset(path for path in paths if self.names & set(path.split(b"/")))


class Watched:
    """A working copy with its watcher."""

    def __init__(self, root: Path, *, rules: Rules | None = None, metadata: Sequence[Path] = ()) -> None:
        self.root = root
        self.listener = Listener()
        self.rules = rules or Rules()
        self.watcher = TreeWatcher(
            os.fsencode(root),
            metadata_directories=lambda: [os.fsencode(path) for path in metadata],
            excluded=EXCLUDED,
            ignored=self.rules,
            listener=self.listener,
            rescan_interval=0.2,
        )

    def settle(self, name: str = "settled") -> None:
        """Return when everything done so far has been told."""
        marker = self.root / f"{name}-{time.monotonic_ns()}"
        marker.touch()
        rel = os.fsencode(marker.name)
        self.listener.until(lambda: any(hint.path in {rel, b""} for hint in self.listener.hints))
        marker.unlink()
        self.listener.until(lambda: Touch.GONE in self.listener.touches(marker.name) or self.listener.covers(rel))

    def expect(self, path: str, touch: Touch) -> PathHint:
        hint: list[PathHint] = []

        def told() -> bool:
            hint[:] = [h for h in self.listener.hints if h.path == path.encode() and h.touch is touch]
            return bool(hint)

        self.listener.until(told)
        return hint[-1]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    watchers = []

    def start(**how: object) -> Watched:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        watched = Watched(root, **how)  # type: ignore[arg-type]  # passed through
        watchers.append(watched.watcher)
        watched.watcher.start()
        return watched

    yield start
    for watcher in watchers:
        watcher.stop()


Watch = Callable[..., Watched]


def watched_directories(root: Path) -> int:
    return 1 + sum(len(dirs) for _, dirs, _ in os.walk(root))


# -- files ----------------------------------------------------------------------------------


def test_a_new_file_is_told_as_created_written_and_closed(watch: Watch) -> None:
    watched = watch()
    (watched.root / "f").write_bytes(b"x")
    watched.expect("f", Touch.CLOSED)
    touches = watched.listener.touches("f")
    assert (touches[0], touches[-1]) == (Touch.CREATED, Touch.CLOSED)
    assert Touch.WRITTEN in touches


def test_a_change_of_mode_and_a_deletion_are_told(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/f").touch()
    watched = watch()
    (watched.root / "f").chmod(0o755)
    (watched.root / "f").unlink()
    watched.expect("f", Touch.GONE)
    assert watched.listener.touches("f") == [Touch.ATTRIBUTES, Touch.GONE]


def test_a_replaced_file_has_a_fresh_source(watch: Watch) -> None:
    watched = watch()
    (watched.root / "f.tmp").write_bytes(b"x")
    (watched.root / "f.tmp").rename(watched.root / "f")
    assert watched.expect("f", Touch.MOVED_IN) == PathHint(
        path=RelPath(b"f"), touch=Touch.MOVED_IN, fresh_source=True, source=RelPath(b"f.tmp")
    )
    assert watched.listener.touches("f.tmp")[-1] is Touch.GONE


def test_a_file_renamed_twice_after_it_was_made_is_still_fresh(watch: Watch) -> None:
    watched = watch()
    (watched.root / "f.tmp").write_bytes(b"x")
    (watched.root / "f.tmp").rename(watched.root / "f.new")
    (watched.root / "f.new").rename(watched.root / "f")
    assert watched.expect("f", Touch.MOVED_IN).fresh_source


def test_the_source_of_an_old_file_is_told_and_not_fresh(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    (tmp_path / "root/a").touch()
    watched = watch()
    (watched.root / "a").rename(watched.root / "d/b")
    assert watched.expect("d/b", Touch.MOVED_IN) == PathHint(
        path=RelPath(b"d/b"), touch=Touch.MOVED_IN, fresh_source=False, source=RelPath(b"a")
    )


def test_a_file_from_outside_counts_as_fresh(watch: Watch, tmp_path: Path) -> None:
    watched = watch()
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").rename(watched.root / "f")
    hint = watched.expect("f", Touch.MOVED_IN)
    assert (hint.fresh_source, hint.source) == (True, None)


def _symlink(path: Path) -> None:
    path.symlink_to("nowhere")


def _hard_link(path: Path) -> None:
    path.hardlink_to(path.parent / "old")


@pytest.mark.parametrize("make", [_symlink, _hard_link, os.mkfifo])
def test_what_is_whole_when_it_gets_its_name_is_told_as_closed(
    watch: Watch, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/old").touch()
    watched = watch()
    make(watched.root / "f")
    watched.expect("f", Touch.CLOSED)
    assert watched.listener.touches("f")[0] is Touch.CREATED


def test_a_new_file_that_is_open_is_not_told_as_closed(watch: Watch) -> None:
    watched = watch()
    with (watched.root / "f").open("wb", buffering=0) as file:
        file.write(b"x")
        watched.settle()
        assert watched.listener.touches("f") == [Touch.CREATED, Touch.WRITTEN]


def test_names_are_bytes(watch: Watch) -> None:
    watched = watch()
    names = [b"\xff\xfe", b"new\nline", "ü".encode(), b" lead", b"-dash", b"a\\b", b"x" * 255]
    for name in names:
        os.mkdir(os.path.join(os.fsencode(watched.root), name))
    watched.settle()
    for name in names:
        with open(os.path.join(os.fsencode(watched.root), name, name), "wb"):
            pass
        path = RelPath(name + b"/" + name)
        closed = PathHint(path=path, touch=Touch.CLOSED)
        watched.listener.until(partial(operator.contains, watched.listener.hints, closed))


# -- directories ----------------------------------------------------------------------------


def test_a_directory_filled_before_it_is_watched_is_told_with_all_that_is_in_it(watch: Watch) -> None:
    watched = watch()
    made = []
    for n in range(300):
        deep = watched.root / f"{n}/b/c"
        deep.mkdir(parents=True)
        for path in (deep.parent.parent / "f", deep.parent / "f", deep / "f"):
            path.touch()
            made.append(os.fsencode(path.relative_to(watched.root)))
    watched.settle()
    assert watched.listener.missed(made) == []
    assert watched.watcher.status() == WatchStatus(watched=901, unwatched=0)
    watched.listener.forget()
    for name in made:
        (watched.root / os.fsdecode(name)).write_bytes(b"x")
    watched.settle()
    told = {hint.path for hint in watched.listener.hints if hint.touch is Touch.CLOSED}
    assert told >= set(made)


def test_an_unpacked_archive_is_told_with_all_that_is_in_it(watch: Watch, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for n in range(400):
        (source / f"{n % 7}/{n % 31}/{n}").mkdir(parents=True)
        (source / f"{n % 7}/{n % 31}/{n}/f").touch()
    subprocess.run(["tar", "cf", tmp_path / "a.tar", "-C", source, "."], check=True)
    watched = watch()
    subprocess.run(["tar", "xf", tmp_path / "a.tar", "-C", watched.root], check=True)
    watched.settle()
    files = [os.fsencode(path.relative_to(source)) for path in source.rglob("f")]
    assert len(files) == 400
    assert watched.listener.missed(files) == []
    assert watched.watcher.status().watched == watched_directories(watched.root)


def test_a_directory_moved_within_the_tree_keeps_its_watches_under_its_new_name(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/a/deep").mkdir(parents=True)
    (tmp_path / "root/other").mkdir()
    watched = watch()
    (watched.root / "a").rename(watched.root / "other/b")
    hint = watched.expect("other/b", Touch.SUBTREE)
    assert hint.source == b"a"
    assert watched.listener.touches("a") == [Touch.GONE]
    (watched.root / "other/b/deep/f").touch()
    watched.expect("other/b/deep/f", Touch.CLOSED)
    assert watched.watcher.status().watched == 4


def test_a_directory_moved_out_of_the_tree_loses_its_watches(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/a/deep").mkdir(parents=True)
    watched = watch()
    (watched.root / "a").rename(tmp_path / "outside")
    watched.expect("a", Touch.GONE)
    poll_until(lambda: watched.watcher.status().watched == 1)
    (tmp_path / "outside/deep/f").touch()
    watched.settle()
    assert not [hint for hint in watched.listener.hints if hint.path.endswith(b"/f")]


def test_a_directory_moved_into_the_tree_is_watched_and_told(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "outside/deep/f").touch()
    watched = watch()
    (tmp_path / "outside").rename(watched.root / "in")
    watched.expect("in", Touch.SUBTREE)
    (watched.root / "in/deep/f").write_bytes(b"x")
    watched.expect("in/deep/f", Touch.CLOSED)


def test_two_directories_that_change_places_keep_their_watches(watch: Watch, tmp_path: Path) -> None:
    for name in ("a/in-a", "b/in-b"):
        (tmp_path / "root" / name).mkdir(parents=True)
    watched = watch()
    at_fdcwd, exchange = -100, 2
    root = os.fsencode(watched.root)
    assert LIBC.renameat2(at_fdcwd, root + b"/a", at_fdcwd, root + b"/b", exchange) == 0
    watched.expect("a", Touch.SUBTREE)
    watched.expect("b", Touch.SUBTREE)
    (watched.root / "a/in-b/f").touch()
    (watched.root / "b/in-a/g").touch()
    watched.expect("a/in-b/f", Touch.CLOSED)
    watched.expect("b/in-a/g", Touch.CLOSED)
    assert watched.watcher.status().watched == 5


def test_a_directory_made_where_one_was_moved_away_stays_watched(watch: Watch, tmp_path: Path) -> None:
    """The old one went into a directory that was not watched yet, so only one half of its move is ever told."""
    (tmp_path / "root/deep").mkdir(parents=True)
    watched = watch()
    watched.listener.hold(watched)
    (watched.root / "new").mkdir()
    (watched.root / "deep").rename(watched.root / "new/deep")
    (watched.root / "deep").mkdir()
    watched.listener.open.set()
    for number in range(3):  # the missing half is given up after a few turns
        watched.settle(f"turn{number}")
    watched.listener.forget()
    for directory in ("deep", "new/deep"):
        (watched.root / directory / "f").touch()
    watched.expect("deep/f", Touch.CLOSED)
    watched.expect("new/deep/f", Touch.CLOSED)
    assert watched.watcher.status().watched == 4


def test_a_directory_deleted_and_made_again_is_watched_again(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/a/deep").mkdir(parents=True)
    watched = watch()
    for _ in range(50):
        shutil.rmtree(watched.root / "a")
        (watched.root / "a/deep").mkdir(parents=True)
    watched.settle()
    watched.listener.forget()
    (watched.root / "a/deep/f").touch()
    watched.expect("a/deep/f", Touch.CLOSED)
    assert Touch.SUBTREE not in watched.listener.touches("a")
    assert watched.watcher.status().watched == 3


def test_a_directory_renamed_to_and_fro_while_files_are_made_in_it_is_told_whole(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/a/x").mkdir(parents=True)
    watched = watch()
    here, there = watched.root / "a", watched.root / "b"
    for n in range(200):
        (here / f"x/{n}").touch()
        here.rename(there)
        here, there = there, here
    watched.settle()
    assert watched.listener.missed(os.fsencode(f"{here.name}/x/{n}") for n in range(200)) == []
    watched.listener.forget()
    (here / "x/last").touch()
    watched.expect(f"{here.name}/x/last", Touch.CLOSED)
    assert watched.watcher.status().watched == 3


@pytest.mark.parametrize("seed", range(4))
def test_after_a_storm_of_moves_every_directory_is_told_under_its_right_name(
    watch: Watch, tmp_path: Path, seed: int
) -> None:
    """What a peer would have if it looked at what it is told, against what is there."""
    chance = random.Random(seed)
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    watched = watch()
    for n in range(300):
        inside = [watched.root, *(path for path in watched.root.rglob("*") if path.is_dir())]
        outside = list((tmp_path / "outside").iterdir())
        here, there = chance.choice(inside), chance.choice(inside) / chance.choice("abcdef")
        match chance.choice("mmmmrrriodf"):
            case "m" if not there.exists():
                (there / "x/y").mkdir(parents=True)
                (there / "x/y/made").touch()
            case "r" if here != watched.root and not there.exists() and here not in there.parents:
                here.rename(there)
            case "i" if outside and not there.exists():
                outside[0].rename(there)
            case "o" if here != watched.root:
                here.rename(tmp_path / "outside" / str(n))
            case "d" if here != watched.root:
                shutil.rmtree(here)
            case _:
                (here / "written").write_bytes(b"x")
    watched.settle()
    there_now = {os.fsencode(path.relative_to(watched.root)) for path in watched.root.rglob("*") if path.is_file()}
    assert watched.listener.missed(there_now) == []
    poll_until(lambda: watched.watcher.status().watched == watched_directories(watched.root))
    watched.listener.forget()
    directories = [watched.root, *(path for path in watched.root.rglob("*") if path.is_dir())]
    for path in directories:
        (path / "probe").write_bytes(b"x")
    watched.settle()
    probes = {os.fsencode((path / "probe").relative_to(watched.root)) for path in directories}
    assert {hint.path for hint in watched.listener.hints if hint.path.endswith(b"probe")} == probes
    assert not [hint for hint in watched.listener.hints if hint.touch is Touch.SUBTREE]


def test_a_directory_that_becomes_readable_is_watched(tmp_path: Path) -> None:
    (tmp_path / "root/closed").mkdir(parents=True)
    ran = in_namespace(
        """
        import sys
        from pathlib import Path
        from tests.edges.test_watch import Watched
        watched = Watched(Path(sys.argv[1]))
        closed = watched.root / "closed"
        closed.chmod(0)
        watched.watcher.start()
        print(watched.watcher.status())
        closed.chmod(0o755)
        (closed / "f").touch()
        watched.listener.until(lambda: watched.listener.covers(b"closed/f"))
        print(watched.watcher.status())
        watched.watcher.stop()
        """,
        str(tmp_path / "root"),
        almighty=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "WatchStatus(watched=1, unwatched=0, message='')",
        "WatchStatus(watched=2, unwatched=0, message='')",
    ]


def test_a_symlink_to_a_directory_is_not_followed(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/old").symlink_to(tmp_path / "outside")
    watched = watch()
    (watched.root / "new").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/f").touch()
    watched.settle()
    assert watched.listener.touches("new") == [Touch.CREATED, Touch.CLOSED]
    assert not [hint for hint in watched.listener.hints if hint.path.endswith(b"/f")]
    assert watched.watcher.status().watched == 1


# -- what is left alone ---------------------------------------------------------------------


def test_repositories_inside_are_watched_without_their_metadata(watch: Watch, tmp_path: Path) -> None:
    for name in (".git/objects", "nested/.git/objects", "nested/src", "other/.hg/store"):
        (tmp_path / "root" / name).mkdir(parents=True)
    watched = watch()
    assert watched.watcher.status().watched == 4
    for name in (".git/HEAD", "nested/.git/HEAD", "other/.hg/store/x", "nested/src/f"):
        (watched.root / name).touch()
    watched.expect("nested/src/f", Touch.CLOSED)
    watched.settle()
    assert {hint.path.split(b"-")[0] for hint in watched.listener.hints} == {b"nested/src/f", b"settled"}


def test_a_directory_that_becomes_a_repository_is_told(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    watched = watch()
    (watched.root / "d/.git").mkdir()
    watched.expect("d", Touch.SUBTREE)
    watched.listener.forget()
    (watched.root / "d/.git").rmdir()
    watched.expect("d", Touch.SUBTREE)


def test_metadata_is_told_once_for_many_events_and_never_as_paths(watch: Watch, tmp_path: Path) -> None:
    git = tmp_path / "root/.git"
    git.mkdir(parents=True)
    watched = watch(metadata=[git])
    watched.listener.hold(watched)  # so that what follows is one batch
    for n in range(100):
        (git / f"{n}.lock").touch()
    watched.listener.open.set()
    watched.settle()
    watched.listener.until(lambda: watched.listener.metadata > 0)
    assert watched.listener.metadata <= 3
    assert not [hint for hint in watched.listener.hints if hint.path.startswith(b".git")]


def test_a_metadata_directory_that_comes_and_goes_is_watched_whenever_it_is_there(watch: Watch, tmp_path: Path) -> None:
    git = tmp_path / "root/.git"
    git.mkdir(parents=True)
    watched = watch(metadata=[git, git / "rebase-merge"])
    for _ in range(3):
        (git / "rebase-merge").mkdir()
        watched.listener.until(lambda: watched.listener.metadata > 0)
        watched.settle()
        watched.listener.metadata = 0
        (git / "rebase-merge/done").touch()
        watched.listener.until(lambda: watched.listener.metadata > 0)
        shutil.rmtree(git / "rebase-merge")
        watched.settle()
        watched.listener.metadata = 0


def test_what_is_ignored_has_neither_watch_nor_event(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/node_modules/x").mkdir(parents=True)
    watched = watch(rules=Rules(b"node_modules", b"f.log"))
    (watched.root / "sub/node_modules/y").mkdir(parents=True)
    (watched.root / "f.log").touch()
    watched.settle()
    for name in ("node_modules/x/f", "sub/node_modules/y/f"):
        (watched.root / name).touch()
    watched.settle()
    assert {hint.path.split(b"-")[0] for hint in watched.listener.hints} == {b"sub", b"settled"}
    assert watched.watcher.status().watched == 2


def test_the_rules_are_asked_about_many_paths_at_once(watch: Watch, tmp_path: Path) -> None:
    for n in range(500):
        (tmp_path / f"root/{n}/a/b").mkdir(parents=True)
    watched = watch()
    assert watched.watcher.status().watched == 1501
    assert watched.rules.questions <= 4


def test_rules_that_cannot_be_asked_hide_nothing(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Rules):
        def __call__(self, _paths: Sequence[RelPath]) -> frozenset[RelPath]:
            raise AutosyncError("git check-ignore failed", hint="")

    watched = watch(rules=Broken())
    (watched.root / "f").touch()
    watched.expect("f", Touch.CLOSED)
    assert "ignore rules cannot be read: git check-ignore failed" in caplog.text


def test_refresh_drops_what_is_ignored_now_and_tells_what_is_wanted_again(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "root/build/x").mkdir(parents=True)
    watched = watch()
    watched.rules.names.add(b"build")
    watched.watcher.refresh()
    poll_until(lambda: watched.watcher.status().watched == 1)
    (watched.root / "build/x/f").touch()
    watched.settle()
    assert not [hint for hint in watched.listener.hints if hint.path.startswith(b"build")]
    watched.rules.names.clear()
    watched.watcher.refresh()
    watched.expect("build", Touch.SUBTREE)
    assert watched.listener.touches("build/x") == []
    assert watched.watcher.status().watched == 3


@pytest.mark.parametrize("name", [".gitignore", ".hgignore"])
def test_a_changed_ignore_file_is_followed(watch: Watch, tmp_path: Path, name: str) -> None:
    (tmp_path / "root/sub/build/x").mkdir(parents=True)
    watched = watch()
    watched.rules.names.add(b"build")
    (watched.root / "sub" / name).write_text("build\n")
    watched.expect("sub", Touch.SUBTREE)
    assert watched.watcher.status().watched == 2
    watched.rules.names.clear()
    watched.listener.forget()
    (watched.root / "sub" / name).unlink()
    watched.expect("sub", Touch.SUBTREE)
    assert watched.watcher.status().watched == 4


# -- the root -------------------------------------------------------------------------------


def test_a_deleted_root_is_told_even_while_somebody_is_in_it(watch: Watch) -> None:
    watched = watch()
    fd = os.open(watched.root, os.O_RDONLY)
    try:
        watched.root.rmdir()
        watched.listener.until(lambda: watched.listener.vanished == 1)
    finally:
        os.close(fd)


def test_a_moved_root_is_told(watch: Watch, tmp_path: Path) -> None:
    watched = watch()
    watched.root.rename(tmp_path / "elsewhere")
    watched.listener.until(lambda: watched.listener.vanished == 1)


def test_a_root_that_moves_with_a_directory_above_it_is_told(tmp_path: Path) -> None:
    root = tmp_path / "above/between/root"
    root.mkdir(parents=True)
    watched = Watched(root)
    watched.watcher.start()
    (tmp_path / "above").rename(tmp_path / "elsewhere")
    watched.listener.until(lambda: watched.listener.vanished == 1)
    watched.watcher.stop()


def test_neighbours_of_the_root_may_come_and_go(watch: Watch, tmp_path: Path) -> None:
    watched = watch()
    (tmp_path / "neighbour").touch()
    (tmp_path / "neighbour").unlink()
    watched.settle()
    assert watched.listener.vanished == 0


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutosyncError) as caught:
        Watched(tmp_path / "missing").watcher.start()
    assert str(caught.value) == (
        f"The folder {tmp_path}/missing is not there\n"
        "  Mount or restore it, or take it out of the configuration, then start again."
    )


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AutosyncError) as caught:
        Watched(tmp_path / "file").watcher.start()
    assert caught.value.title == f"The folder {tmp_path}/file cannot be watched: Not a directory"


def test_nothing_is_told_after_stop(watch: Watch) -> None:
    watched = watch()
    watched.watcher.stop()
    (watched.root / "f").touch()
    watched.watcher.refresh()
    watched.watcher.stop()
    assert watched.listener.hints == []
    assert not [thread for thread in threading.enumerate() if thread.name == f"watch {watched.root}"]


def test_stop_may_be_called_by_the_listener(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.listener.root_vanished = watched.watcher.stop  # type: ignore[method-assign]
    watched.watcher.start()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == f"watch {tmp_path}"]
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_listener_that_fails_ends_the_watching_loudly(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watched = watch()

    def fail(_hints: Sequence[PathHint]) -> None:
        raise ZeroDivisionError

    watched.listener.paths_changed = fail  # type: ignore[assignment,method-assign]
    (watched.root / "f").touch()
    watched.listener.until(lambda: watched.listener.vanished == 1)
    assert "ZeroDivisionError" in caplog.text


# -- limits ---------------------------------------------------------------------------------


def test_an_overflow_is_told_as_the_whole_tree_and_watches_are_complete_after_it(watch: Watch) -> None:
    """A true overflow: the listener is held until the kernel's queue is full."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watched = watch()
    watched.listener.hold(watched)
    (watched.root / "old").mkdir()
    (watched.root / "a").touch()
    (watched.root / "b").touch()
    root = os.fsencode(watched.root)
    for _ in range(queue // 2 + 1):  # alternating, for equal events in a row are merged
        os.utime(root + b"/a")
        os.utime(root + b"/b")
    (watched.root / "lost/deep").mkdir(parents=True)
    (watched.root / "old").rename(watched.root / "moved")
    (watched.root / "lost/deep/f").touch()
    watched.listener.open.set()
    watched.expect("", Touch.SUBTREE)
    poll_until(lambda: watched.watcher.status().watched == 4)
    watched.listener.forget()
    for name in ("lost/deep/f", "moved/g"):
        (watched.root / name).write_bytes(b"x")
        watched.expect(name, Touch.CLOSED)


def in_namespace(
    script: str, *arguments: str, limits: dict[str, int] | None = None, almighty: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Python in a user and mount namespace of its own, with inotify limits of its own.

    Without ``almighty`` it has no capabilities there, whoever runs the tests.
    """
    lower = "".join(f"echo {value} > /proc/sys/user/{name}; " for name, value in (limits or {}).items())
    return subprocess.run(
        [
            *("unshare", "--user", *(("--map-root-user", "--mount") if almighty else ())),
            *("sh", "-ec", lower + 'exec "$@"', "sh"),
            *(sys.executable, "-c", textwrap.dedent(script), *arguments),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_beyond_the_watch_limit_the_rest_is_looked_at_on_a_timer(tmp_path: Path) -> None:
    for n in range(60):
        (tmp_path / f"root/{n // 10}/{n}").mkdir(parents=True)
    ran = in_namespace(
        """
        import sys
        from pathlib import Path
        from autosync.core.events import Touch
        from tests.edges.test_watch import Watched, poll_until
        watched = Watched(Path(sys.argv[1]))
        watched.watcher.start()
        status = watched.watcher.status()
        print(status.watched, status.unwatched)
        print(status.message)
        unwatched = status.unwatched

        # What is watched is told, and what is not comes on the timer, again and again.
        (watched.root / "top").touch()
        watched.expect("top", Touch.CLOSED)
        for _ in range(2):
            watched.listener.forget()
            subtree = {h.path for h in watched.listener.hints if h.touch is Touch.SUBTREE}
            watched.listener.until(lambda: len({h.path for h in watched.listener.hints}) == unwatched)

        # A new directory is counted; the raised limit is made use of.
        (watched.root / "new").mkdir()
        watched.expect("new", Touch.SUBTREE)
        print(watched.watcher.status().unwatched)
        Path("/proc/sys/user/max_inotify_watches").write_text("1000")
        poll_until(lambda: watched.watcher.status().unwatched == 0)
        (watched.root / "5/59/f").touch()
        watched.expect("5/59/f", Touch.CLOSED)
        print(watched.watcher.status())
        watched.watcher.stop()
        """,
        str(tmp_path / "root"),
        limits={"max_inotify_watches": 40},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    counts, message, new, final = ran.stdout.splitlines()
    watched, unwatched = map(int, counts.split())
    assert (watched, unwatched) == (40, 27)
    assert message == (
        "27 of 67 folders are not watched, only looked at now and then: all 40 inotify watches of this "
        "user are taken and 67 are needed. Run: sudo sysctl user.max_inotify_watches=65536"
    )
    assert new == "28"
    assert final == "WatchStatus(watched=68, unwatched=0, message='')"


def test_without_an_inotify_instance_the_error_says_what_to_do(tmp_path: Path) -> None:
    ran = in_namespace(
        """
        import sys
        from pathlib import Path
        from autosync.errors import AutosyncError
        from tests.edges.test_watch import Watched
        first = Watched(Path(sys.argv[1]))
        try:
            Watched(Path(sys.argv[1]))
        except AutosyncError as error:
            print(error)
        """,
        str(tmp_path),
        limits={"max_inotify_instances": 1},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "All 1 inotify instances of this user are taken, so files cannot be watched\n"
        "  Close a program that watches files, or run: sudo sysctl user.max_inotify_instances=128\n"
    )


def test_without_a_file_descriptor_the_error_says_what_to_do(tmp_path: Path) -> None:
    ran = in_namespace(
        """
        import os, resource, sys
        from pathlib import Path
        from autosync.errors import AutosyncError
        from tests.edges.test_watch import Watched
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, 64))
        try:
            Watched(Path(sys.argv[1]))
        except AutosyncError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # for what runs when the interpreter ends
        """,
        str(tmp_path),
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "This process has as many files open as it may, so files cannot be watched\n"
        "  Raise the limit of open files (`ulimit -n`, or LimitNOFILE= in the systemd unit) and start again.\n"
    )


def test_an_unmounted_root_is_told_and_so_is_an_unmounted_directory(tmp_path: Path) -> None:
    ran = in_namespace(
        """
        import subprocess, sys
        from pathlib import Path
        from autosync.core.events import Touch
        from tests.edges.test_watch import Watched
        root = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
        (root / "sub").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", root / "sub"], check=True)
        watched = Watched(root)
        watched.watcher.start()
        subprocess.run(["umount", root / "sub"], check=True)
        watched.expect("sub", Touch.SUBTREE)
        (root / "sub/f").touch()
        watched.expect("sub/f", Touch.CLOSED)
        subprocess.run(["umount", root], check=True)
        watched.listener.until(lambda: watched.listener.vanished == 1)
        watched.watcher.stop()
        """,
        str(tmp_path),
    )
    assert (ran.returncode, ran.stderr) == (0, "")


# -- cost -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 names of files in 5,000 directories."""
    one = tmp_path_factory.mktemp("one") / "file"
    one.touch()
    root = tmp_path_factory.mktemp("large")
    for n in range(5000):
        directory = root / f"{n // 100}/{n}"
        directory.mkdir(parents=True, exist_ok=True)
        for k in range(10):
            os.link(one, directory / f"{k}")  # cheaper than 50,000 inodes
    return root


def test_five_thousand_directories_cost_little_time_and_nothing_per_file(large: Path) -> None:
    watched = Watched(large)
    gc.collect()
    tracemalloc.start()
    before = time.process_time()
    try:
        watched.watcher.start()
        spent = time.process_time() - before
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    directories = watched.watcher.status().watched
    watched.watcher.stop()
    assert directories == watched_directories(large)
    assert spent < 2.0  # tracing more than doubles it
    assert held / directories < 600  # bytes


def test_an_idle_watcher_never_wakes_up(watch: Watch) -> None:
    watched = watch()
    watched.settle()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == f"watch {watched.root}"]

    task = Path(f"/proc/self/task/{thread.native_id}")

    def switches() -> list[str]:
        return [line for line in (task / "status").read_text().splitlines() if "ctxt" in line]

    def sleeps() -> bool:
        """Return whether it is in poll(2); a thread that gets no processor stands still too."""
        is_asleep = (task / "stat").read_text().rpartition(")")[2].split()[0] == "S"
        return is_asleep and (task / "syscall").read_text().split()[0] in POLLS[os.uname().machine]

    poll_until(lambda: sleeps() and switches() == (threading.Event().wait(0.05), switches())[1] and sleeps())
    before = switches()
    threading.Event().wait(1.0)  # time has to pass for nothing to happen in it
    assert switches() == before


def poll_until(true: Callable[[], bool]) -> None:
    """Wait for what no callback tells."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never became so"
        threading.Event().wait(0.005)
