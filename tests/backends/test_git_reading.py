"""Looking at real git working copies: what `git add -A` would store, and nothing of the user's touched."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_repos import (
    Listing,
    Looking,
    added,
    base_of,
    commit_all,
    fingerprint,
    git,
    head,
    isolate,
    make_repository,
    put,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autosync.backends.git.files import Torn, longest_write
from autosync.core.model import Entry, Kind, RelPath, TreeId
from tests.waiting import until


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return make_repository(tmp_path / "repo", {"a.txt": b"one\n", "src/m.c": b"int main;\n", "src/deep/x": b"x\n"})


@pytest.fixture
def looking(root: bytes) -> Iterator[Looking]:
    with Looking(root) as it:
        it.read()
        yield it


def test_a_clean_working_copy_is_its_base(looking: Looking) -> None:
    assert looking.read() == git(looking.root, "rev-parse", "HEAD^{tree}").decode().strip()
    assert looking.last is not None
    assert looking.last.torn == frozenset()


def test_nothing_committed_yet(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "new")
    with Looking(root) as looking:
        assert looking.read() == git(root, "hash-object", "-t", "tree", "/dev/null").decode().strip()
        put(root, "first", b"1\n")
        assert looking.read("first") == added(root)[0]
        assert looking.record().base.commit is None


def _nasty(root: bytes, tmp_path: Path) -> None:
    """Everything that makes storing a file more than hashing it, committed."""
    attributes = b"*.crlf text eol=crlf\n*.auto text=auto\n*.up filter=up\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
    put(root, ".gitattributes", attributes + b"*.u16 text working-tree-encoding=UTF-16LE\n*.id ident\n*.raw -text\n")
    put(root, ".gitignore", b"*.o\nbuild/\n!build-me/\n")
    git(root, "config", "filter.up.clean", "tr a-z A-Z")
    git(root, "config", "filter.up.smudge", "tr A-Z a-z")
    git(root, "config", "filter.up.required", "true")
    git(root, "lfs", "install", "--local")
    put(root, "a.crlf", b"1\r\n2\r\n")
    put(root, "run.sh", b"#!/bin/sh\n", executable=True)
    os.symlink(b"src/m.c", os.path.join(root, b"lnk"))
    put(root, "keep.o", b"forced\n")
    git(root, "add", "-A")
    git(root, "add", "-f", "keep.o")
    oid = git(root, "hash-object", "-w", "--no-filters", "--stdin", input=b"q\r\nw\r\n").decode().strip()
    git(root, "update-index", "--add", "--cacheinfo", f"100644,{oid},old.auto")
    put(root, "old.auto", b"q\r\nw\r\n")
    make_repository(tmp_path / "library", {"lib.c": b"lib\n"})
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "library"), "sub")
    git(root, "commit", "-q", "-m", "nasty")


def _edit_nasty(root: bytes) -> list[str | bytes]:
    """Change all of it; return the paths a watcher would name."""
    odd = b'dir\xff/na\xfeme\nwith\tall "q" \\ \x01 :(glob)*.txt'
    contents: dict[str | bytes, bytes] = {
        "a.crlf": b"1\r\n2\r\n3\r\n",
        "n.auto": b"z\r\n",
        "n2.auto": b"z\n",
        "old.auto": b"q\r\nw\r\ne\r\n",
        "bin.auto": b"\0\r\n\r\n",
        "f.up": b"shout\n",
        "m.bin": bytes(range(256)) * 20,
        "w.u16": "hé\n".encode("utf-16-le"),
        "v.id": b"$Id: abc$\n",
        "r.raw": b"1\r\n",
        odd: b"odd\n",
        ":(top)magic": b"magic\n",
        "empty": b"",
        "ignored.o": b"o",
        "build/x": b"x",
        "keep.o": b"changed\n",
    }
    for path, content in contents.items():
        put(root, path, content)
    put(root, "new.sh", b"#!/bin/sh\n", executable=True)
    os.chmod(os.path.join(root, b"run.sh"), 0o644)
    os.unlink(os.path.join(root, b"lnk"))
    os.symlink(b"tgt\xff", os.path.join(root, b"lnk"))
    os.unlink(os.path.join(root, b"src/m.c"))
    put(root, "src/m.c/now/a/directory", b"d\n")
    os.unlink(os.path.join(root, b"src/deep/x"))
    os.rmdir(os.path.join(root, b"src/deep"))
    put(root, "src/deep", b"now a file\n")
    git(os.path.join(root, b"sub"), "commit", "-q", "--allow-empty", "-m", "two")
    make_repository(Path(os.fsdecode(root)) / "nested", {"inner": b"not ours\n"})
    links: list[str | bytes] = [
        "new.sh",
        "run.sh",
        "lnk",
        "src/m.c",
        "src/m.c/now/a/directory",
        "src/deep",
        "src/deep/x",
    ]
    return [*contents, *links, "sub/anything", "nested/inner", "nested", "fifo"]


@pytest.mark.parametrize("autocrlf", ["false", "input", "true"])
@pytest.mark.parametrize("way", ["everything", "hints", "directories"])
def test_it_stores_what_git_add_stores(root: bytes, tmp_path: Path, way: str, autocrlf: str) -> None:
    _nasty(root, tmp_path)
    git(root, "config", "core.autocrlf", autocrlf)
    with Looking(root) as looking:
        looking.read()
        hints = _edit_nasty(root)
        wanted, listing = added(root, without=[b"nested"])
        os.mkfifo(os.path.join(root, b"fifo"))
        before = fingerprint(root)
        if way == "everything":
            tree = looking.read()
        elif way == "hints":
            tree = looking.read(*hints)
        else:
            tree = looking.read("", "src", "dir\udcff")
        assert looking.last is not None
        assert looking.last.torn == frozenset()
        assert looking.listing(tree) == listing
        assert tree == wanted
        snapshot = looking.record()
        assert looking.store.load(snapshot.id) == snapshot
        assert fingerprint(root) == before
        assert looking.content(tree, "f.up") == b"SHOUT\n"
        assert looking.content(tree, "m.bin").startswith(b"version https://git-lfs.github.com/spec/v1\n")
        assert b"nested/inner" not in looking.listing(tree)
        for repository in (looking.repo.git, looking.repo.store):
            assert repository.run("fsck", "--strict", "--no-dangling") == b""


_NAMES = ("a", "b", "d", "d/a", "d/b", "d/e/f", "x.o", "d/x.o", "ign/y", "d.txt", "d-")
_Edit = tuple[str, str, bytes]


@given(
    committed=st.dictionaries(st.sampled_from(_NAMES), st.sampled_from([b"", b"1\n", b"2\r\n"]), max_size=6),
    rounds=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "delete", "link", "executable", "stage", "unstage", "commit", "ignore"]),
                st.sampled_from(_NAMES),
                st.sampled_from([b"", b"1\n", b"3\n", b"4\r\n"]),
            ),
            max_size=5,
        ),
        max_size=4,
    ),
    as_directories=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hints_find_what_a_whole_look_finds(
    tmp_path_factory: pytest.TempPathFactory,
    committed: dict[str, bytes],
    rounds: list[list[_Edit]],
    as_directories: bool,
) -> None:
    root = make_repository(tmp_path_factory.mktemp("random") / "repo", {".gitignore": b"*.o\nign/\n"})
    for name, content in committed.items():
        _write(root, name, content)
    commit_all(root)
    with Looking(root) as looking, Looking(root) as fresh:
        looking.read()
        for edits in rounds:
            hints: set[str | bytes] = set()
            for edit in edits:
                hints.update(_perform(root, edit))
            if as_directories:
                hints = {os.path.dirname(hint) for hint in hints}
            fresh.last = looking.last
            whole = _checked(fresh, fresh.read())
            assert looking.listing(looking.read(*(hints or {"nothing"}))) == whole
            looking.record()


def _checked(looking: Looking, tree: TreeId) -> Listing:
    """Return the listing of a whole look: what `git add -A` finds and what was synced before it was ignored."""
    by_git = added(looking.root)[1]
    ours = looking.listing(tree)
    assert {path: entry for path, entry in ours.items() if path in by_git} == by_git
    beyond = ours.keys() - by_git.keys()
    assert looking.ignore.matches([RelPath(path) for path in beyond]) == beyond
    return ours


def _write(root: bytes, name: str, content: bytes) -> None:
    full = os.path.join(root, os.fsencode(name))
    _clear(root, name)
    if os.path.isdir(full):
        shutil.rmtree(full)
    put(root, name, content)


def _clear(root: bytes, name: str) -> None:
    """Take away whatever file or link stands where a directory above ``name`` must be."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        full = os.path.join(root, os.fsencode("/".join(parts[:depth])))
        if os.path.lexists(full) and (os.path.islink(full) or not os.path.isdir(full)):
            os.unlink(full)


def _perform(root: bytes, edit: _Edit) -> list[str]:
    """Do as a user would; return what a watcher would name."""
    action, name, content = edit
    full = os.path.join(root, os.fsencode(name))
    if action == "commit":
        commit_all(root)
        return []
    if action == "ignore":
        put(root, ".gitignore", b"*.o\nign/\n/" + os.fsencode(name) + b"\n")
        return [".gitignore"]
    if action in {"stage", "unstage"}:
        command = ["add", "-A", "--"] if action == "stage" else ["rm", "-r", "-q", "--cached", "--ignore-unmatch", "--"]
        git(root, *command, name, check=False)
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


def entry(looking: Looking, path: str | bytes) -> Entry | None:
    """Return what the last reading has at ``path``."""
    assert looking.last is not None
    return looking.trees.entry(looking.last.tree, RelPath(os.fsencode(path)))


def test_a_directory_hint_finds_what_went_back_to_the_base(looking: Looking) -> None:
    base = looking.read()
    put(looking.root, "src/m.c", b"other\n")
    put(looking.root, "src/new", b"new\n")
    assert looking.read("src/m.c", "src/new") != base
    put(looking.root, "src/m.c", b"int main;\n")
    os.unlink(os.path.join(looking.root, b"src/new"))
    assert looking.read("src") == base


def test_only_the_hinted_paths_are_looked_at(looking: Looking) -> None:
    put(looking.root, "a.txt", b"two\n")
    put(looking.root, "src/m.c", b"other\n")
    looking.read("a.txt")
    assert looking.content(looking.last.tree if looking.last else TreeId(""), "src/m.c") == b"int main;\n"
    assert looking.read("src/m.c") == added(looking.root)[0]


def test_what_was_synced_stays_when_it_becomes_ignored(looking: Looking) -> None:
    put(looking.root, "notes.log", b"1\n")
    put(looking.root, "other.log", b"1\n")
    looking.read("notes.log")
    looking.record()
    put(looking.root, ".gitignore", b"*.log\n")
    looking.read(".gitignore")
    assert (entry(looking, "notes.log"), entry(looking, "other.log")) == (
        Entry(kind=Kind.FILE, oid=looking.store.put(b"blob", b"1\n")),
        None,
    )
    commit_all(looking.root, "ignore logs")
    looking.read()
    assert entry(looking, "notes.log") is not None
    put(looking.root, "notes.log", b"2\n")
    looking.read("notes.log")
    assert looking.content(looking.last.tree if looking.last else TreeId(""), "notes.log") == b"2\n"
    os.unlink(os.path.join(looking.root, b"notes.log"))
    looking.read("notes.log")
    assert entry(looking, "notes.log") is None


def test_what_was_synced_stays_when_a_repository_is_made_around_it(looking: Looking) -> None:
    put(looking.root, "project/code", b"1\n")
    synced = looking.read("project")
    subprocess.run(["git", "init", "-q", os.path.join(looking.root, b"project")], check=True)
    assert looking.read() == synced
    put(looking.root, "project/code", b"2\n")
    assert looking.read("project/code") != synced


def test_an_untracked_nested_repository_is_left_out(looking: Looking) -> None:
    clean = looking.read()
    make_repository(Path(os.fsdecode(looking.root)) / "vendor" / "lib", {"file": b"1\n"})
    assert looking.read("vendor", "vendor/lib", "vendor/lib/file", "vendor/lib/.git/HEAD", ".git/config") == clean
    assert looking.read() == clean


def test_a_submodule_is_its_commit(looking: Looking, tmp_path: Path) -> None:
    library = make_repository(tmp_path / "library", {"lib.c": b"lib\n"})
    git(looking.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", library, "sub")
    assert looking.read("sub/lib.c", ".gitmodules") == added(looking.root)[0]
    assert entry(looking, "sub") == Entry(kind=Kind.NESTED, oid=head(library))
    commit_all(looking.root)
    looking.read()
    put(looking.root, "sub/lib.c", b"edited\n")
    assert looking.read("sub/lib.c") == added(looking.root)[0]
    inner = commit_all(os.path.join(looking.root, b"sub"))
    looking.read("sub/lib.c")
    assert entry(looking, "sub") == Entry(kind=Kind.NESTED, oid=inner)
    git(looking.root, "submodule", "--quiet", "deinit", "-f", "sub")
    assert looking.read("sub") == looking.read() == git(looking.root, "rev-parse", "HEAD^{tree}").decode().strip()


def test_a_path_behind_a_link_is_not_in_the_tree(looking: Looking, tmp_path: Path) -> None:
    make_repository(tmp_path / "elsewhere", {"secret": b"outside\n", "m.c": b"outside\n"})
    shutil.rmtree(os.path.join(looking.root, b"src"))
    os.symlink(os.fsencode(tmp_path / "elsewhere"), os.path.join(looking.root, b"src"))
    assert looking.read("src/secret", "src/m.c", "src/deep/x") == added(looking.root)[0]
    assert looking.reader.ignored([RelPath(b"src/secret")]) == frozenset()
    assert looking.reader.standing(RelPath(b"src/m.c")).signature is None


def test_names_that_peers_refuse_are_left_out(looking: Looking) -> None:
    clean = looking.read()
    put(looking.root, ".hg/store", b"1\n")
    put(looking.root, "src/.GIT/config", b"1\n")
    put(looking.root, "git~1", b"1\n")
    assert looking.read(".hg/store", "src/.GIT/config", "src/.GIT", "git~1", ".hg") == clean
    assert looking.read() == clean
    assert looking.reader.ignored([RelPath(b".hg"), RelPath(b"src/.GIT/config")]) == {b".hg", b"src/.GIT/config"}


def test_without_file_mode_the_bit_stays_as_it_was(looking: Looking) -> None:
    put(looking.root, "run.sh", b"1\n", executable=True)
    commit_all(looking.root)
    git(looking.root, "config", "core.fileMode", "false")
    looking.read()
    put(looking.root, "run.sh", b"2\n")
    put(looking.root, "a.txt", b"2\n", executable=True)
    put(looking.root, "new.sh", b"2\n", executable=True)
    assert looking.read("run.sh", "a.txt", "new.sh") == added(looking.root)[0]
    assert [e.kind for p in ("run.sh", "a.txt", "new.sh") if (e := entry(looking, p))] == [
        Kind.EXECUTABLE,
        Kind.FILE,
        Kind.FILE,
    ]
    git(looking.root, "update-index", "--add", "--chmod=+x", "new.sh")
    looking.read("new.sh")
    assert entry(looking, "new.sh") == Entry(kind=Kind.EXECUTABLE, oid=looking.store.put(b"blob", b"2\n"))


def test_without_symlinks_a_link_is_a_file(looking: Looking) -> None:
    os.symlink(b"a.txt", os.path.join(looking.root, b"lnk"))
    commit_all(looking.root)
    git(looking.root, "config", "core.symlinks", "false")
    os.unlink(os.path.join(looking.root, b"lnk"))
    put(looking.root, "lnk", b"src/m.c")
    put(looking.root, ".gitattributes", b"* text eol=crlf\n")
    assert looking.read("lnk", ".gitattributes") == looking.read() == added(looking.root)[0]
    assert entry(looking, "lnk") == Entry(kind=Kind.SYMLINK, oid=looking.store.put(b"blob", b"src/m.c"))


def test_where_case_does_not_count_git_decides(looking: Looking) -> None:
    git(looking.root, "config", "core.ignoreCase", "true")
    put(looking.root, "A.TXT", b"two\n")
    os.unlink(os.path.join(looking.root, b"a.txt"))
    assert looking.read("A.TXT", "a.txt") == looking.read()


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_was_told_to_leave_alone_stays(looking: Looking, bit: str) -> None:
    clean = looking.read()
    git(looking.root, "update-index", bit, "a.txt")
    put(looking.root, "a.txt", b"private\n")
    assert looking.read("a.txt") == clean
    assert looking.read() == clean
    git(looking.root, "update-index", bit.replace("--", "--no-"), "a.txt")
    assert looking.read("a.txt") == added(looking.root)[0] != clean


def test_the_file_counts_and_not_what_is_staged(looking: Looking) -> None:
    put(looking.root, "a.txt", b"staged\n")
    git(looking.root, "add", "a.txt")
    put(looking.root, "a.txt", b"one\n")
    put(looking.root, "planned", b"later\n")
    git(looking.root, "add", "--intent-to-add", "planned")
    git(looking.root, "rm", "-q", "--cached", "src/m.c")
    assert looking.read() == looking.read("a.txt", "planned", "src/m.c") == added(looking.root)[0]
    assert looking.content(looking.read(), "a.txt") == b"one\n"


def test_a_filter_that_fails_keeps_what_was(looking: Looking, caplog: pytest.LogCaptureFixture) -> None:
    git(looking.root, "config", "filter.broken.clean", "false")
    git(looking.root, "config", "filter.broken.required", "true")
    put(looking.root, ".git/info/attributes", b"a.txt filter=broken\n")
    put(looking.root, "a.txt", b"must not leave unfiltered\n")
    put(looking.root, "b.txt", b"fine\n")
    tree = looking.read("a.txt", "b.txt")
    assert (looking.content(tree, "a.txt"), looking.content(tree, "b.txt")) == (b"one\n", b"fine\n")
    assert "1 files cannot be read, first b'a.txt'" in caplog.text


def test_attributes_that_change_are_noticed(looking: Looking) -> None:
    put(looking.root, "n.txt", b"1\r\n")
    assert looking.content(looking.read("n.txt"), "n.txt") == b"1\r\n"
    put(looking.root, ".gitattributes", b"*.txt text\n")
    assert looking.content(looking.read(".gitattributes"), "n.txt") == b"1\n"
    put(looking.root, ".git/info/attributes", b"*.txt -text\n")
    assert looking.content(looking.read("nothing"), "n.txt") == b"1\r\n"
    os.unlink(os.path.join(looking.root, b".git/info/attributes"))
    git(looking.root, "config", "core.attributesFile", "~/attributes")
    os.unlink(os.path.join(looking.root, b".gitattributes"))
    put(os.fsencode(os.environ["HOME"]), "attributes", b"*.txt eol=lf\n")
    assert looking.content(looking.read(".gitattributes"), "n.txt") == b"1\n"


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick", "locks"])
def test_it_works_while_git_does_and_touches_nothing(looking: Looking, operation: str) -> None:
    root = looking.root
    git(root, "checkout", "-q", "-b", "topic")
    put(root, "a.txt", b"topic\n")
    commit_all(root)
    git(root, "checkout", "-q", "main")
    put(root, "a.txt", b"main\n")
    commit_all(root)
    put(root, "kept", b"stashed\n")
    git(root, "stash", "-u", "-q")
    if operation == "locks":
        put(root, ".git/index.lock")
        put(root, ".git/HEAD.lock")
    else:
        git(root, operation, "topic", check=False)
        assert b"<<<<<<<" in git(root, "cat-file", "--filters", ":2:a.txt", check=False) or os.path.exists(
            os.path.join(root, b"a.txt")
        )
    looking.read()
    put(root, "a.txt", b"resolved\n")
    put(root, "new", b"new\n")
    before = fingerprint(root)
    wanted = added(root)[0]
    assert looking.read("a.txt", "new") == wanted
    assert looking.read() == wanted
    looking.record()
    assert fingerprint(root) == before
    assert b"autosync" not in git(root, "for-each-ref") + git(root, "log", "--all", "--format=%an %s")


class _Writer:
    """Writes a file again and again; counts how often, and which writes were not let go on for long."""

    def __init__(self, path: str, size: int) -> None:
        context = multiprocessing.get_context("fork")
        self.writes, self.slow = context.Value("q", 0, lock=False), context.Value("q", 0, lock=False)
        self.process = context.Process(target=self._write_forever, args=(path, size))
        self.process.start()

    def _write_forever(self, path: str, size: int) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        while True:
            began = time.monotonic_ns()
            os.pwrite(handle, bytes([65 + self.writes.value % 26]) * size, 0)
            self.slow.value += time.monotonic_ns() - began > longest_write(size)
            self.writes.value += 1

    def was_slow(self, known: int) -> bool:
        """Return whether more slow writes than are ``known`` were made up to the end of the one under way."""
        now = self.writes.value
        until(lambda: self.writes.value > now)
        return self.slow.value > known


@pytest.mark.parametrize("size", [64_000, 4_000_000, 9_000_000])
def test_a_file_that_is_being_written_is_never_stored_half_and_half(looking: Looking, size: int) -> None:
    path = os.path.join(looking.root, b"torn.dat")
    put(looking.root, "torn.dat", b"A" * size)
    before = looking.read("torn.dat")
    writer = _Writer(os.fsdecode(path), size)
    torn = slow = 0
    try:
        for _ in range(40):
            tree = looking.read("torn.dat")
            assert looking.last is not None
            if looking.last.torn:
                assert looking.last.torn == {b"torn.dat"}
                torn += 1
                with pytest.raises(Torn, match="changes while it is read"):
                    for _ in range(100):
                        looking.reader.standing(RelPath(b"torn.dat"))
                assert tree == before
            else:
                # On a busy machine a write may stand still for so long that it counts as over.
                assert len(set(looking.content(tree, "torn.dat"))) == 1 or writer.was_slow(slow)
                before = tree
            slow = writer.slow.value
    finally:
        writer.process.kill()
        writer.process.join()
    assert torn
    assert looking.read("torn.dat") == added(looking.root)[0]


def test_a_big_file_takes_little_memory(looking: Looking) -> None:
    path = put(looking.root, "big", b"start\r\n")
    put(looking.root, ".gitattributes", b"* text=auto\n")
    with open(os.path.join(looking.root, path), "ab") as file:
        file.truncate(300 << 20)
        file.seek(150 << 20)
        file.write(os.urandom(3 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    tree = looking.read("big", ".gitattributes")
    looking.record()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert max(now - then for now, then in zip(after, before, strict=True)) < 40 << 10
    assert tree == added(looking.root)[0]
    assert looking.repo.store.run("fsck", "--strict", "--no-dangling") == b""
    packs = os.listdir(os.path.join(looking.repo.store_dir, b"objects", b"pack"))
    assert looking.read("big") == tree
    assert os.listdir(os.path.join(looking.repo.store_dir, b"objects", b"pack")) == packs


def test_standing_tells_what_is_there_now(looking: Looking) -> None:
    put(looking.root, "a.txt", b"now\n", executable=True)
    found = looking.reader.standing(RelPath(b"a.txt"))
    seen = os.lstat(os.path.join(looking.root, b"a.txt"))
    assert found.entry == Entry(kind=Kind.EXECUTABLE, oid=looking.store.put(b"blob", b"now\n"))
    assert found.signature == (seen.st_ino, 4, seen.st_mtime_ns, seen.st_mode)
    directory = looking.reader.standing(RelPath(b"src"))
    assert (directory.entry, directory.signature is None) == (None, False)
    absent = looking.reader.standing(RelPath(b"src/m.c/none"))
    assert (absent.entry, absent.signature) == (None, None)


def test_a_file_written_again_within_a_clock_tick_is_seen(looking: Looking) -> None:
    for number in range(300):
        put(looking.root, "a.txt", b"%03d\n" % number)
        assert looking.content(looking.read("a.txt"), "a.txt") == b"%03d\n" % number


def test_tracked_is_never_ignored(looking: Looking) -> None:
    put(looking.root, ".gitignore", b"*.o\nout/\n")
    put(looking.root, "out/kept.o", b"1\n")
    put(looking.root, "out/staged.o", b"1\n")
    git(looking.root, "add", "-f", "out/kept.o")
    git(looking.root, "commit", "-q", "-m", "kept")
    git(looking.root, "add", "-f", "out/staged.o")
    put(looking.root, "out/other.o", b"1\n")
    paths = [RelPath(p) for p in (b"out", b"out/kept.o", b"out/staged.o", b"out/other.o", b"x.o", b"a.txt", b"")]
    assert looking.reader.ignored(paths) == {b"out/other.o", b"x.o"}


def test_a_write_that_takes_long_is_not_caught_in_the_middle(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a file is that of the beginning of a write: it alone does not tell that one goes on."""
    # However long git takes until the file is looked at:
    monkeypatch.setattr("autosync.backends.git.files._YOUNG", 3600 * 10**9)
    clean = looking.read()
    path = os.path.join(looking.root, b"a.txt")
    with open(path, "r+b") as file:
        for setting in (b"a.txt -text\n", b"a.txt text\n", b"a.txt text eol=lf ident\n"):
            put(looking.root, ".git/info/attributes", setting)
            looking.read("src/m.c")  # whatever the new attributes ask for is done before
            file.seek(0)
            file.write(b"half\r\n$Id" * 700_000)  # big enough to be called young for a while
            file.flush()
            assert looking.read("a.txt") == clean
            assert looking.last is not None
            assert looking.last.torn == {b"a.txt"}
        with pytest.raises(Torn):
            looking.reader.standing(RelPath(b"a.txt"))
        os.utime(path, ns=(0, 1_600_000_000_000_000_000))  # open for long, and quiet: a log, a database
        looking.read("a.txt")
        assert looking.last.torn == frozenset()
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    with memory:
        memory[:4] = b"mapp"
        os.utime(path)
        looking.read("a.txt")
        assert looking.last.torn == {b"a.txt"}
    put(looking.root, "a.txt", b"whole\n")
    assert looking.content(looking.read("a.txt"), "a.txt") == b"whole\n"


def test_an_ignored_file_in_place_of_a_directory_of_ours_is_ignored(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitignore": b"", "d/a": b"1\n"})
    with Looking(root) as looking:
        looking.read()
        shutil.rmtree(os.path.join(root, b"d"))
        put(root, "d", b"a file now\n")
        put(root, ".gitignore", b"d\n")
        assert set(looking.listing(looking.read("d/a", "d", ".gitignore"))) == {b".gitignore"}


def test_a_big_file_that_only_moved_is_not_new(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"big": os.urandom(9 << 20), "small": b"small\n"})
    asked: dict[bytes, int] = {}

    def hold(path: RelPath, size: int) -> bool:
        asked[path] = size
        return size > 0

    with Looking(root) as looking:
        before = looking.read()
        os.rename(os.path.join(root, b"big"), os.path.join(root, b"moved"))
        put(root, "other", os.urandom(9 << 20))
        hints = [RelPath(name) for name in (b"big", b"moved", b"other")]
        after = looking.reader.read(hints, (base_of(root), before), hold).tree
        assert asked == {b"moved": 0, b"other": 9 << 20}
        assert looking.trees.entry(after, RelPath(b"moved")) == looking.trees.entry(before, RelPath(b"big"))
        assert looking.listing(after).keys() == {b"moved", b"small"}
        asked.clear()
        os.rename(os.path.join(root, b"moved"), os.path.join(root, b"back"))
        with open(os.path.join(os.fsdecode(root), "back"), "ab") as file:
            file.write(b"more")
        looking.reader.read([RelPath(b"moved"), RelPath(b"back")], (base_of(root), after), hold)
        assert asked == {b"back": (9 << 20) + 4}
