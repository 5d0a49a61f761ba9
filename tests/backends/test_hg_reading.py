"""Looking at real hg working copies: what `hg commit -A` would store, with what the user told hg of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_look import Listing, Looking
from hg_repos import DEBIAN, Vanilla, commit_all, copy_of, fingerprint, hg, isolate, make_repository, put, versions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autosync.backends.git.files import Torn
from autosync.backends.hg import files
from autosync.backends.hg.server import HgRefuses
from autosync.core.model import Kind, RelPath
from autosync.errors import Missing
from tests import figures

FILES = {
    "a.txt": b"one\n",
    "src/m.c": b"int main;\n",
    "src/deep/x": b"x\n",
    "run": b"#!/bin/sh\n",
    "tracked.o": b"o\n",
    ".hgignore": b"syntax: glob\n*.o\nsyntax: regexp\n^ign/\nsyntax: rootglob\ntop/*.tmp\nsubinclude:sub/.hgignore\n",
    "sub/.hgignore": b"syntax: glob\n*.sub\n",
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = make_repository(tmp_path_factory.mktemp("base") / "r")
    for name, content in FILES.items():
        put(root, name, content, executable=name == "run")
    hg(root, "add", "-q", *FILES)
    commit_all(root)
    return root


@pytest.fixture
def root(base: bytes, tmp_path: Path) -> bytes:
    return copy_of(base, tmp_path / "r")


@pytest.fixture
def looking(root: bytes) -> Iterator[Looking]:
    with Looking(root) as it:
        it.read()
        yield it


def committed(root: bytes, place: Path, *options: str) -> Listing:
    """Return what `hg commit -A` stores, done in a copy."""
    copy = copy_of(root, place)
    hg(copy, *options, "commit", "-qA", "-m", "all", check=False)
    shutil.rmtree(os.path.join(copy, b".hg", b"autosync"), ignore_errors=True)
    with Looking(copy) as it:
        return it.listing(it.base_tree())


def stir(root: bytes) -> None:
    """Make one of each kind of difference."""
    put(root, "a.txt", b"two\n")
    hg(root, "mv", "src/m.c", "moved.c")
    hg(root, "cp", "src/deep/x", "copied")
    hg(root, "forget", "run")
    put(root, "tracked.o", b"edited\n")
    for name in (
        b"latin \xe9",
        b"d/*",
        b"d/deep/[x]",
        b"added",
        b"junk.o",
        b"ign/y",
        b"top/z.tmp",
        b"sub/v.sub",
        b"v.sub",
    ):
        put(root, name, b"new " + name)
    put(root, "exe", b"#!\n", executable=True)
    os.symlink(b"../no such \xff thing", os.path.join(root, b"dangling"))
    os.symlink(b"src", os.path.join(root, b"to src"))
    hg(root, "add", "added")
    os.unlink(os.path.join(root, b"src/deep/x"))
    os.symlink(b"y", os.path.join(root, b"src/deep/x"))


MARKS = {b"moved.c": b"a\0src/m.c", b"src/m.c": b"r", b"copied": b"a\0src/deep/x", b"run": b"r", b"added": b"a"}
HINTS = [
    "a.txt",
    "src",
    "moved.c",
    "copied",
    "run",
    "tracked.o",
    b"latin \xe9",
    "d",
    "added",
    "junk.o",
    "ign",
    "top/z.tmp",
]
MORE_HINTS = ["sub", "v.sub", "exe", "dangling", "to src", "to src/deep/x", "fifo"]


class TestTrees:
    @pytest.mark.parametrize("version", ["7.2", "6.9.5", "6.3.2"])
    def test_the_tree_of_a_changeset_is_what_it_holds(
        self, root: bytes, request: pytest.FixtureRequest, version: str
    ) -> None:
        by = versions(request.config.cache.mkdir("hg"))[version]
        os.symlink("a.txt", os.path.join(root, b"link"))
        put(root, ".git/config", b"somebody's\n")
        put(root, "empty")
        put(root, "meta", b"\1\nlooks like copy metadata\n")
        hg(root, "cp", "a.txt", "copied")
        commit_all(root)
        with Looking(root, by) as it:
            kinds = {"run": Kind.EXECUTABLE}
            first = {name.encode(): (kinds.get(name, Kind.FILE), content) for name, content in FILES.items()}
            more = {
                b"link": (Kind.SYMLINK, b"a.txt"),
                b"empty": (Kind.FILE, b""),
                b"meta": (Kind.FILE, b"\1\nlooks like copy metadata\n"),
                b"copied": (Kind.FILE, b"one\n"),
            }
            tip = it.base_tree()
            assert it.listing(tip) == {**first, **more}
            hg(root, "update", "-q", "0")
            assert it.listing(it.base_tree()) == first
            hg(root, "update", "-q", "null")
            assert it.listing(it.base_tree()) == {}
            hg(root, "update", "-q", "1")
            assert it.base_tree() == tip
        with Looking(root, by) as again:
            assert again.base_tree() == tip
            assert again.listing(tip) == {**first, **more}

    def test_what_was_stripped_is_missing(self, root: bytes) -> None:
        put(root, "a.txt", b"only there\n")
        commit_all(root)
        with Looking(root) as it:
            tip = it.base_tree()
            commit = it.head.base().commit
            hg(root, "--config", "extensions.strip=", "strip", "-q", "--no-backup", "-r", "tip")
            assert it.listing(it.base_tree()) != {}
            with pytest.raises(Missing, match=r"^content "):
                it.content(tip, "a.txt")
            shutil.rmtree(os.path.join(root, b".hg/autosync"))
        with Looking(root) as fresh, pytest.raises(Missing):
            fresh.trees.tree_of(commit)


class TestReading:
    @pytest.mark.parametrize(
        ("way", "version"), [("everything", "7.2"), ("hints", "6.9.5"), ("directories", "6.3.2"), ("hints", "7.2")]
    )
    def test_it_is_what_hg_would_commit(
        self, root: bytes, tmp_path: Path, request: pytest.FixtureRequest, way: str, version: str
    ) -> None:
        by = versions(request.config.cache.mkdir("hg"))[version]
        with Looking(root, by) as it:
            clean = it.read()
            assert clean == it.base_tree()
            it.store.flush()
            stir(root)
            wanted = committed(root, tmp_path / "copy")
            # What he forgot is still there, and known to have been his.
            wanted[b"run"] = (Kind.EXECUTABLE, FILES["run"])
            os.mkfifo(os.path.join(root, b"fifo"))
            before = fingerprint(root)
            ways = {"everything": (), "hints": (*HINTS, *MORE_HINTS), "directories": ("", "src")}
            tree = it.read(*ways[way])
            assert it.listing(tree) == wanted
            assert it.marks(tree) == MARKS
            assert it.unreadable() == set()
            assert it.read() == it.read("nothing") == tree
            hidden = (b".hg/autosync", b"autosync")
            after = fingerprint(root)
            assert {p: v for p, v in after.items() if not p.startswith(hidden)} == {
                p: v for p, v in before.items() if not p.startswith(hidden)
            }

    def test_marks_come_without_a_changed_file(self, looking: Looking) -> None:
        clean = looking.read()
        put(looking.root, "new", b"new\n")
        unknown = looking.read("new")
        hg(looking.root, "add", "new")
        assert looking.marks(looking.read("nothing")) == {b"new": b"a"}
        hg(looking.root, "forget", "new")
        assert looking.read("nothing") == unknown
        hg(looking.root, "cp", "--after", "--force", "src/m.c", "a.txt")
        assert looking.marks(looking.read("nothing")) == {b"a.txt": b"m\0src/m.c"}
        hg(looking.root, "revert", "-q", "--all")
        os.unlink(os.path.join(looking.root, b"new"))
        assert looking.read("new") == clean

    def test_an_ignored_file_is_found_as_soon_as_it_is_added(self, looking: Looking, root: bytes) -> None:
        put(root, "late.o", b"ignored\n")
        assert b"late.o" not in looking.listing(looking.read())
        hg(root, "add", "late.o")
        tree = looking.read("nothing")
        assert looking.content(tree, "late.o") == b"ignored\n"
        assert looking.read() == tree

    def test_a_move_of_which_nothing_but_the_dirstate_is_told_is_seen_whole(
        self, looking: Looking, root: bytes
    ) -> None:
        before = dict(looking.listing(looking.read()))
        hg(root, "mv", "a.txt", "elsewhere")
        tree = looking.read("nothing")
        before[b"elsewhere"] = before.pop(b"a.txt")
        assert looking.listing(tree) == before
        assert looking.read() == tree

    def test_an_added_file_is_tracked_whatever_the_rules_say(self, looking: Looking) -> None:
        put(looking.root, "ign/sub/y", b"y\n")
        asked = [RelPath(path) for path in (b"ign", b"ign/sub", b"ign/sub/y", b"ign/z", b"a.txt", b"tracked.o", b"")]
        assert looking.reader.ignored(asked) == {b"ign/sub", b"ign/sub/y", b"ign/z"}
        hg(looking.root, "add", "ign/sub/y")
        assert looking.reader.ignored(asked) == {b"ign/z"}
        assert looking.content(looking.read("ign/sub/y"), "ign/sub/y") == b"y\n"

    def test_only_the_hinted_paths_are_looked_at(self, looking: Looking) -> None:
        put(looking.root, "a.txt", b"two\n")
        put(looking.root, "src/m.c", b"other\n")
        assert looking.content(looking.read("a.txt"), "src/m.c") == b"int main;\n"
        assert looking.content(looking.read("src"), "src/m.c") == b"other\n"

    def test_a_moved_base_is_looked_at_whole(self, looking: Looking) -> None:
        put(looking.root, "a.txt", b"two\n")
        put(looking.root, "kept", b"unknown\n")
        before = looking.read()
        commit_all(looking.root)
        put(looking.root, "src/m.c", b"dirty\n")
        after = looking.read("a.txt")
        assert looking.store.changes(looking.base_tree(), after)[0].path == b"src/m.c"
        hg(looking.root, "update", "-q", "-C", "0")
        assert looking.read("nothing") == looking.base_tree() != before

    def test_a_file_that_took_the_place_of_one_of_its_size_and_time_stays_as_it_was_read(
        self, looking: Looking
    ) -> None:
        """Which hg itself takes for unchanged, and so does a look at everything that it is asked for."""
        for name in ("a.txt", "other.txt"):
            put(looking.root, name, b"two\n" if name == "other.txt" else b"one\n")
            os.utime(os.path.join(looking.root, name.encode()), (0, 1_600_000_000))
        commit_all(looking.root)
        assert hg(looking.root, "status") == b""
        looking.read()
        os.rename(os.path.join(looking.root, b"other.txt"), os.path.join(looking.root, b"a.txt"))
        assert hg(looking.root, "status") == b"! other.txt\n", "hg takes it for unchanged"
        after = looking.read("a.txt", "other.txt")
        assert looking.content(after, "a.txt") == b"two\n"
        assert looking.read() == after
        commit_all(looking.root)
        assert looking.read() == after, "hg did not commit it"

    def test_files_that_are_written_again_at_once_are_read_again(self, looking: Looking) -> None:
        for number in range(50):
            put(looking.root, "a.txt", b"%02d\n" % number)
            assert looking.content(looking.read("a.txt"), "a.txt") == b"%02d\n" % number
            assert looking.content(looking.read("src"), "a.txt") == b"%02d\n" % number

    def test_what_is_too_large_for_hg_stays_as_it_was(self, looking: Looking, caplog: pytest.LogCaptureFixture) -> None:
        clean = looking.read()
        os.truncate(os.path.join(looking.root, b"a.txt"), files.LARGEST + 1)
        assert looking.read("a.txt") == looking.read() == clean
        assert looking.unreadable() == {b"a.txt"}
        assert "hg cannot handle" in caplog.text
        os.truncate(os.path.join(looking.root, b"a.txt"), 9 << 20)
        assert looking.content(looking.read("a.txt"), "a.txt") == b"one\n".ljust(9 << 20, b"\0")
        assert looking.unreadable() == set()
        assert looking.read() == looking.last.tree if looking.last else False


class TestIgnoring:
    def test_changed_rules_are_heeded_wherever_they_come_from(self, looking: Looking) -> None:
        put(looking.root, "x.sub", b"1\n")
        put(looking.root, "sub/x.late", b"2\n")
        first = looking.read()
        outside = os.path.join(os.fsencode(os.environ["HOME"]), b"ignored")
        with open(outside, "wb") as file:
            file.write(b"syntax: glob\n*.outside\n")
        put(looking.root, ".hg/hgrc", b"[ui]\nignore.more = " + outside + b"\n")
        put(looking.root, "new.outside", b"3\n")
        assert looking.read("new.outside") == first
        with open(outside, "wb") as file:
            file.write(b"syntax: glob\n*.never\n")
        assert looking.content(looking.read("nothing"), "new.outside") == b"3\n"
        put(looking.root, "sub/.hgignore", b"syntax: glob\n*.sub\n*.early\n")
        put(looking.root, "sub/x.early", b"4\n")
        tree = looking.read("sub/.hgignore", "sub/x.early")
        assert looking.content(tree, "sub/x.early") is None
        assert looking.reader.ignored([RelPath(b"sub/x.early"), RelPath(b"x.early")]) == {b"sub/x.early"}

    def test_a_rule_that_is_none_is_told_as_hg_tells_it(self, looking: Looking) -> None:
        put(looking.root, ".hgignore", b"*.o\n")
        with pytest.raises(HgRefuses) as failed:
            looking.read(".hgignore")
        place = os.path.join(os.fsdecode(looking.root), ".hgignore")
        assert failed.value.title == f"{os.fsdecode(looking.root)}: {place}: invalid pattern (relre): *.o"
        assert failed.value.hint == "Mend that; autosync goes on by itself."
        figures.record("bad inputs refused", 1)
        put(looking.root, ".hgignore", FILES[".hgignore"])
        assert looking.read("nothing") == looking.base_tree()

    def test_what_was_synced_stays_when_it_becomes_ignored(self, looking: Looking) -> None:
        put(looking.root, "notes.log", b"1\n")
        put(looking.root, "other.log", b"1\n")
        looking.read("notes.log")
        with open(os.path.join(looking.root, b".hgignore"), "ab") as file:
            file.write(b"syntax: glob\n*.log\n")
        tree = looking.read(".hgignore")
        assert (looking.content(tree, "notes.log"), looking.content(tree, "other.log")) == (b"1\n", None)
        commit_all(looking.root)
        assert looking.content(looking.read(), "notes.log") == b"1\n"
        put(looking.root, "notes.log", b"2\n")
        assert looking.content(looking.read("notes.log"), "notes.log") == b"2\n"
        os.unlink(os.path.join(looking.root, b"notes.log"))
        assert looking.content(looking.read("notes.log"), "notes.log") is None

    def test_our_own_patterns_are_those_of_git(self, root: bytes) -> None:
        patterns = [
            "*.swp",
            "/only-top",
            "build/",
            "!keep.swp",
            "a/**/z",
            "**/deep",
            "x[!0-9]y",
            "doc/*.txt",
            r"\#h\!",
            "#no",
        ]
        names = [
            "f.swp", "d/f.swp", "keep.swp", "only-top", "d/only-top", "build/x", "d/build/y", "d2/build", "a/z",
            "a/b/z", "a/b/c/z", "q/deep/r", "x1y", "xay", "doc/a.txt", "doc/b/a.txt", "#h!", "#no",
        ]  # fmt: skip
        subprocess.run(["git", "init", "-q", root], check=True)
        with open(os.path.join(root, b".git/info/exclude"), "w") as file:
            file.write("\n".join(patterns) + "\n")
        for name in names:
            put(root, name, b"1\n")
        asked = subprocess.run(["git", "check-ignore", *names], cwd=root, capture_output=True, check=False).stdout
        expected = set(asked.split())
        assert len(expected) == 12
        shutil.rmtree(os.path.join(root, b".git"))
        with Looking(root, ignore=patterns) as it:
            tree = it.read()
            assert set(it.listing(tree)) & {name.encode() for name in names} == {n.encode() for n in names} - expected
            assert it.reader.ignored([RelPath(name.encode()) for name in names]) == expected
            assert it.reader.ignored([RelPath(b"build"), RelPath(b"d2/build"), RelPath(b"a.txt")]) == {b"build"}
            put(root, "late.swp", b"1\n")
            assert it.read("late.swp", "f.swp") == tree


class TestGround:
    def test_what_was_synced_stays_when_a_repository_is_made_around_it(self, looking: Looking) -> None:
        put(looking.root, "project/code", b"1\n")
        synced = looking.read("project")
        for make in (["git", "init", "-q", "."], [*DEBIAN, "init", "."]):
            subprocess.run(make, cwd=os.path.join(looking.root, b"project"), check=True)
            assert looking.read() == synced
        put(looking.root, "project/code", b"2\n")
        assert looking.content(looking.read("project/code"), "project/code") == b"2\n"
        subprocess.run([*DEBIAN, "init", "src"], cwd=looking.root, check=True)
        assert looking.content(looking.read(), "src/m.c") == b"int main;\n"

    def test_a_nested_repository_is_left_out(self, looking: Looking) -> None:
        clean = looking.read()
        make_repository(Path(os.fsdecode(looking.root)) / "vendor" / "lib", {"file": b"1\n"})
        subprocess.run(["git", "init", "-q", os.path.join(looking.root, b"vendor/git")], check=True)
        put(looking.root, "vendor/git/file", b"1\n")
        assert looking.read("vendor", "vendor/lib", "vendor/lib/file", "vendor/lib/.hg/dirstate") == clean
        assert looking.read("vendor/git/file", "vendor/git/.git/HEAD") == looking.read() == clean
        assert looking.unreadable() == set()

    def test_a_path_behind_a_link_is_not_in_the_tree(self, looking: Looking, tmp_path: Path) -> None:
        make_repository(tmp_path / "elsewhere", {"secret": b"outside\n", "m.c": b"outside\n"})
        shutil.rmtree(os.path.join(looking.root, b"src"))
        os.symlink(os.fsencode(tmp_path / "elsewhere"), os.path.join(looking.root, b"src"))
        tree = looking.read("src/secret", "src/m.c", "src/deep/x")
        assert looking.content(tree, "src") == os.fsencode(tmp_path / "elsewhere")
        assert tree == looking.read()
        assert looking.reader.standing(RelPath(b"src/m.c")).signature is None

    def test_names_that_cannot_be_are_left_out_and_told(self, looking: Looking) -> None:
        clean = looking.read()
        for name in (b"line\nfeed", b"d/re\rturn/x", b"d/re\rturn/y", b".GIT/config", b".git/config", b"ign/l\nf"):
            put(looking.root, name, b"1\n")
        told = {b"line\nfeed", b"d/re\rturn", b".GIT"}
        hints = [b"line\nfeed", b"d/re\rturn/x", b".GIT/config", b".git/config", b"ign/l\nf", b"never\n"]
        assert looking.read(*hints) == clean
        assert looking.unreadable() == told
        assert looking.read() == clean
        assert looking.unreadable() == told
        os.unlink(os.path.join(looking.root, b"line\nfeed"))
        looking.read(b"line\nfeed")
        assert looking.unreadable() == told - {b"line\nfeed"}

    def test_a_file_that_is_being_written_is_torn(self, looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("autosync.backends.git.files._YOUNG", 3600 * 10**9)  # however long hg takes to answer
        with open(os.path.join(looking.root, b"a.txt"), "wb") as file:
            file.write(b"half")
            file.flush()
            previous = looking.last
            assert previous is not None
            reading = looking.reader.read([RelPath(b"a.txt")], (previous.base, previous.tree))
            assert (reading.torn, reading.tree) == ({b"a.txt"}, previous.tree)
            with pytest.raises(Torn):
                looking.reader.standing(RelPath(b"a.txt"))
        assert looking.content(looking.read("a.txt"), "a.txt") == b"half"


class TestConverting:
    @pytest.mark.parametrize("way", ["everything", "hints"])
    def test_contents_are_stored_as_hg_stores_them(self, root: bytes, tmp_path: Path, way: str) -> None:
        put(root, ".hgeol", b"[patterns]\n**.txt = native\n**.dos = CRLF\n**.raw = BIN\n")
        with open(os.path.join(root, b".hg/hgrc"), "ab") as file:
            file.write(b"[extensions]\neol =\n[encode]\n**.up = tr a-z A-Z\n")
        hg(root, "commit", "-qAm", "eol")
        with Looking(root) as it:
            it.read()
            names = ["a.txt", "new.txt", "b.dos", "c.raw", "mixed.txt", "shout.up", "link.txt"]
            for name in names[:4]:
                put(root, name, b"1\r\n2\r\n")
            put(root, "mixed.txt", b"1\r\n2\n")
            put(root, "shout.up", b"loud\n")
            os.symlink("a.txt", os.path.join(root, b"link.txt"))
            tree = it.read(*([] if way == "everything" else names))
            assert it.content(tree, "mixed.txt") == b"1\r\n2\n"  # which the extension lets nobody commit
            os.unlink(os.path.join(root, b"mixed.txt"))
            tree = it.read("mixed.txt")
            assert it.listing(tree) == committed(root, tmp_path / "copy")
            assert it.content(tree, "a.txt") == b"1\n2\n"
            assert it.content(tree, "shout.up") == b"LOUD\n"
            standing = it.reader.standing(RelPath(b"new.txt"))
            assert standing.entry == it.store.entry(tree, RelPath(b"new.txt"))
            put(root, ".hgeol", b"[patterns]\n**.raw = native\n")
            tree = it.read(".hgeol")
            assert (it.content(tree, "new.txt"), it.content(tree, "c.raw")) == (b"1\r\n2\r\n", b"1\n2\n")
            put(root, ".hgeol", b"[patterns]\n**.txt = native\n[repository]\nnative = LF\n")
            with open(os.path.join(root, b".hg/hgrc"), "ab") as file:
                file.write(b"[eol]\nonly-consistent = False\n")
            put(root, "mixed.txt", b"1\r\n2\n3\r\n")
            tree = it.read("mixed.txt")
            assert (it.content(tree, "new.txt"), it.content(tree, "mixed.txt")) == (b"1\n2\n", b"1\n2\n3\n")


_NAMES = ("a", "b", "d", "d/a", "d/b", "d/e/f", "x.o", "d/x.o", "ign/y", "d.txt", "d-")
_Edit = tuple[str, str, bytes]


@given(
    committed_first=st.dictionaries(st.sampled_from(_NAMES), st.sampled_from([b"", b"1\n", b"2\r\n"]), max_size=6),
    rounds=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "delete", "link", "executable", "add", "forget", "commit", "ignore"]),
                st.sampled_from(_NAMES),
                st.sampled_from([b"", b"1\n", b"3\n", b"4\r\n"]),
            ),
            max_size=5,
        ),
        max_size=4,
    ),
    as_directories=st.booleans(),
)
@example(
    committed_first={},
    rounds=[[("ignore", "x.o", b"")], [("write", "d/b", b""), ("ignore", "d/b", b"")]],
    as_directories=False,
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hints_find_what_a_whole_look_finds(
    base: bytes,
    tmp_path_factory: pytest.TempPathFactory,
    committed_first: dict[str, bytes],
    rounds: list[list[_Edit]],
    as_directories: bool,
) -> None:
    root = copy_of(base, tmp_path_factory.mktemp("random") / "repo")
    user = Vanilla(root)
    try:
        for name, content in committed_first.items():
            _write(root, name, content)
        user("commit", "-qAm", "first", check=False)
        with Looking(root) as looking:
            looking.read()
            for edits in rounds:
                hints: set[str | bytes] = set()
                for edit in edits:
                    hints.update(_perform(root, user, edit))
                if as_directories:
                    hints = {os.path.dirname(hint) for hint in hints}
                before = looking.last
                tree = looking.read(*(hints or {"nothing"}))
                looking.last = before
                assert looking.read() == tree
                assert looking.listing(tree) == _by_hg(root, looking.listing(tree))
                assert looking.marks(tree) == _marks_by_hg(user)
    finally:
        user.close()


def _by_hg(root: bytes, ours: Listing) -> Listing:
    """Return what hg lists, as it stands on the disk, and what of ours it ignores or has forgotten.

    One that has been running does not see that .hgignore has other rules of the same length.
    """
    listed = set(hg(root, "status", "-mcau0n").split(b"\0")[:-1])
    beyond = set(hg(root, "status", "-ir0n").split(b"\0")[:-1]) & ours.keys()
    found: Listing = {}
    for path in listed | beyond:
        full = os.path.join(root, path)
        if os.path.islink(full):
            found[path] = (Kind.SYMLINK, os.readlink(full))
        elif os.path.isfile(full):
            kind = Kind.EXECUTABLE if os.stat(full).st_mode & 0o100 else Kind.FILE
            with open(full, "rb") as file:
                found[path] = (kind, file.read())
    return found


def _marks_by_hg(user: Vanilla) -> dict[bytes, bytes]:
    """Return what the dirstate itself says of added and removed files; no name has a space in it."""
    lines = [line.split() for line in user("debugdirstate", "--no-dates").splitlines()]
    return {fields[-1]: fields[0] for fields in lines if fields[0] in {b"a", b"r"}}


def _write(root: bytes, name: str, content: bytes) -> None:
    full = os.path.join(root, os.fsencode(name))
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        above = os.path.join(root, os.fsencode("/".join(parts[:depth])))
        if os.path.lexists(above) and (os.path.islink(above) or not os.path.isdir(above)):
            os.unlink(above)
    if os.path.isdir(full):
        shutil.rmtree(full)
    put(root, name, content)


def _perform(root: bytes, user: Vanilla, edit: _Edit) -> list[str]:
    """Do as a user would; return what a watcher would name."""
    action, name, content = edit
    full = os.path.join(root, os.fsencode(name))
    if action == "commit":
        user("commit", "-qAm", "work", check=False)
        return []
    if action == "ignore":
        put(root, ".hgignore", b"syntax: glob\n*.o\nsyntax: rootglob\nign\n" + os.fsencode(name) + b"\n")
        return [".hgignore"]
    if action in {"add", "forget"}:
        user(action, "-q", name, check=False)
        return []
    if action == "delete" and os.path.isdir(full) and not os.path.islink(full):
        shutil.rmtree(full)
    elif action == "delete":
        if os.path.lexists(full):
            os.unlink(full)
    else:
        _write(root, name, content)
        if action == "executable":
            put(root, name, content, executable=True)
        if action == "link":
            os.unlink(full)
            os.symlink(b"target" + content.strip(), full)
    parts = name.split("/")
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
