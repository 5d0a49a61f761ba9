"""Looking at real hg working copies tells what hg tells, and nothing of its user's is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_repos import (
    DEBIAN,
    Vanilla,
    both_locks_held,
    commit_all,
    copy_of,
    fingerprint,
    head,
    hg,
    isolate,
    make_repository,
    named,
    opened,
    put,
    rel,
    stored,
    versions,
)

from autosync.backends.hg.command import own_hg
from autosync.backends.hg.repository import NULL, Repository, Status
from autosync.core.model import RelPath
from autosync.errors import Missing

LINES = b"".join(b"line %d\n" % number for number in range(30))
BASE = {
    "a": b"a\n",
    "d/b": LINES,
    "d/c": b"c\n",
    "d/e/f": b"f\n",
    "gone": b"g\n",
    "missing": b"m\n",
    "was/dir": b"w\n",
    ".hgignore": (
        b"syntax: glob\n*.o\nsyntax: regexp\n^build/.*\\.log$\nsyntax: rootglob\ntop/*.tmp\n"
        b"subinclude:d/.hgignore\ninclude:more\n"
    ),
    "d/.hgignore": b"syntax: glob\n*.sub\n",
    "more": b"syntax: glob\n*.inc\n",
    "tracked.o": b"o\n",
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["7.2", "6.9.5", "6.3.2"])
def by(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return versions(request.config.cache.mkdir("hg"))[request.param]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = make_repository(tmp_path_factory.mktemp("base") / "r")
    for name, content in BASE.items():
        put(root, name, content)
    hg(root, "add", "-q", *BASE)
    commit_all(root)
    return root


@pytest.fixture
def root(base: bytes, tmp_path: Path) -> bytes:
    return copy_of(base, tmp_path / "r")


def stir(root: bytes) -> None:
    """Make one of each kind of difference."""
    put(root, "a", b"b\n")
    hg(root, "mv", "d/b", "moved")
    hg(root, "cp", "d/c", "copied")
    hg(root, "rm", "gone")
    os.unlink(os.path.join(root, b"missing"))
    hg(root, "rm", "was/dir")
    put(root, "was", b"a file now\n")
    names = ["x.o", "build/y.log", "build/y.txt", "top/z.tmp", "deep/top/z.tmp", "d/v.sub", "v.sub", "u.inc", "d/new"]
    for name in [*names, b"latin \xe9", b"d/*"]:
        put(root, name, b"new\n")
    put(root, "added", b"added\n")
    hg(root, "add", "added")
    put(root, "tracked.o", b"changed\n")


PARTS: list[tuple[bytes, ...]] = [
    (b"a",),
    (b"d",),
    (b"d/b", b"moved"),
    (b"was",),
    (b"was", b"was/dir"),
    (b"x.o", b"build/y.log", b"v.sub", b"d/v.sub", b"top/z.tmp"),
    (b"gone", b"missing", b"never was"),
    (b"d/e", b"top", b"deep"),
    (b"d/*", b"latin \xe9"),
]


def told(user: Vanilla, *patterns: bytes) -> dict[bytes, set[bytes]]:
    """Return what `hg status` prints."""
    found: dict[bytes, set[bytes]] = {}
    output = user("status", "-mardui0", *(b"path:" + pattern for pattern in patterns))
    for line in output.split(b"\0")[:-1]:
        found.setdefault(line[:1], set()).add(line[2:])
    return found


def kinds(status: Status) -> dict[bytes, set[bytes]]:
    """Return a status in the form of :func:`told`."""
    named = {
        b"M": status.modified,
        b"A": status.added,
        b"R": status.removed,
        b"!": status.missing,
        b"?": status.unknown,
        b"I": status.ignored,
    }
    return {letter: {bytes(path) for path in paths} for letter, paths in named.items() if paths}


class TestStatus:
    def test_it_is_what_hg_tells(self, root: bytes, by: tuple[str, ...]) -> None:
        stir(root)
        user = Vanilla(root)
        everything = told(user)
        some = {name: told(user, *name) for name in PARTS}
        user.close()
        before = fingerprint(root)
        with opened(root, by) as repo:
            found = repo.status(ignored=True)
            assert kinds(found) == everything
            assert found.copies == {b"moved": b"d/b", b"copied": b"d/c"}
            assert repo.status().ignored == ()
            assert {name: kinds(repo.status(rel(*name), ignored=True)) for name in PARTS} == some
            assert kinds(repo.status(rel("", "a"), ignored=True)) == everything
            assert kinds(repo.status([])) == {}
        assert fingerprint(root) == before

    def test_ignore_rules_are_read_anew(self, root: bytes) -> None:
        put(root, "x.o", b"")
        put(root, "y.new", b"")
        with opened(root) as repo:
            assert repo.status().unknown == (b"y.new",)
            put(root, ".hgignore", b"syntax: glob\n*.new\n")
            assert repo.status().unknown == (b"x.o",)

    def test_a_nested_repository_is_not_entered(self, root: bytes) -> None:
        make_repository(Path(os.fsdecode(root), "nested"), {"inner": b"i"})
        with opened(root) as repo:
            assert repo.status().unknown == ()
            assert stored(repo, rel("nested/inner")) == {b"nested/inner": None}


class TestContents:
    def test_of_any_changeset(self, root: bytes, by: tuple[str, ...]) -> None:
        first = head(root)
        put(root, "a", b"second\n", executable=True)
        os.symlink(b"a", os.path.join(root, b"link"))
        os.unlink(os.path.join(root, b"gone"))
        second = commit_all(root)
        with opened(root, by) as repo:
            new, old = repo.manifest(), repo.manifest(first)
            assert set(old) == {name.encode() for name in BASE}
            assert set(new) == set(old) - {b"gone"} | {b"link"}
            found = repo.contents(rel("a", "link", "gone"))
            assert {path: (file.flags, file.content) for path, file in found.items()} == {
                b"a": (b"x", b"second\n"),
                b"link": (b"l", b"a"),
            }
            assert {path: (file.node, file.flags) for path, file in found.items()} == {
                path: new[path] for path in found
            }
            assert repo.contents(rel("gone"), first)[RelPath(b"gone")].content == b"g\n"
            assert repo.difference(first, second) == {
                path: (old.get(path), new.get(path)) for path in rel("a", "link", "gone")
            }
            assert repo.manifest(NULL) == {}
            assert repo.difference(NULL, first) == {path: (None, side) for path, side in old.items()}
            with pytest.raises(Missing, match="is not here"):
                repo.contents(rel("a"), b"1" * 20)
            with pytest.raises(Missing, match="is not a whole node"):
                repo.manifest(b"1")


class TestStanding:
    def test_where_it_is(self, root: bytes, by: tuple[str, ...]) -> None:
        first = head(root)
        user = Vanilla(root)
        user("bookmark", "other")
        user("bookmark", "mine")
        with opened(root, by) as repo:
            found = repo.standing()
            assert (found.p1, found.p2, found.branch, found.phase) == (first, NULL, b"default", 1)
            assert (found.bookmark, found.bookmarks) == (b"mine", (b"mine", b"other"))
            assert (found.operation, found.locks) == ("", ())
            user("branch", "-q", "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
            user("phase", "-fs", "-r", ".")
            user("bookmark", "-i")
            found = repo.standing()
            assert (found.branch, found.phase, found.bookmark) == (b"caf\xc3\xa9", 2, b"")
            user("phase", "-p", "-r", ".")
            assert repo.standing().phase == 0
            user("update", "-q", "null")
            assert (repo.standing().p1, repo.standing().phase) == (NULL, 0)
        user.close()

    def test_what_the_user_is_doing(self, root: bytes) -> None:
        user = Vanilla(root, extensions=["rebase", "histedit", "shelve"])
        put(root, "a", b"one\n")
        user("commit", "-qm", "one")
        one = head(root).hex()
        user("update", "-q", ".^")
        put(root, "a", b"two\n")
        user("commit", "-qm", "two")
        with opened(root) as repo:

            def doing() -> str:
                return repo.standing().operation

            assert doing() == ""
            user("graft", "-q", one, "--tool", "internal:fail", check=False)
            assert doing() == "a graft is in progress"
            user("graft", "--abort")
            user("rebase", "-q", "-d", one, "--tool", "internal:fail", check=False)
            assert doing() == "a rebase is in progress"
            user("rebase", "--abort")
            user("merge", "-q", one, "--tool", "internal:fail", check=False)
            assert doing() == "a merge is in progress"
            user("update", "-qC", ".")
            put(root, "a", b"three\n")
            user("update", "-q", "-m", one, "--tool", "internal:fail", check=False)
            assert doing() == "a merge has unresolved files"
            user("update", "-qC", "tip")
            put(root, "a", b"shelved\n")
            user("shelve", "-q")
            user("update", "-qC", one)
            user("unshelve", "-q", "--tool", "internal:fail", check=False)
            assert doing() == "an unshelve is in progress"
            user("unshelve", "--abort")
            user("update", "-qC", "tip")
            put(root, ".hg/histedit-state", b"v1\n")
            assert doing() == "a histedit is in progress"
            os.unlink(os.path.join(root, b".hg/histedit-state"))
            user("bisect", "--bad", ".")
            assert doing() == "a bisect is in progress"
            user("bisect", "--reset")
            put(root, ".hg/store/journal", b"")
            assert doing() == "a transaction was interrupted (`hg recover` ends it)"
            os.unlink(os.path.join(root, b".hg/store/journal"))
            assert doing() == ""
        user.close()


@pytest.fixture
def held(root: bytes) -> Iterator[subprocess.Popen[str]]:
    with both_locks_held(root) as holder:
        yield holder


def everything(repo: Repository) -> None:
    """Ask all there is to ask."""
    put(repo.root, "a", b"changed\n")
    repo.check_hashes()
    repo.standing()
    repo.status(ignored=True)
    repo.status(rel("d", "a"))
    repo.manifest()
    repo.contents(rel("a"))
    assert named(repo, rel("a", "new"))


class TestTouchingNothing:
    def test_while_others_hold_both_locks(self, root: bytes, held: subprocess.Popen[str], by: tuple[str, ...]) -> None:
        before = fingerprint(root)
        with opened(root, by) as repo:
            everything(repo)
            locks = repo.standing().locks
        assert [lock.partition(" on ")[0] for lock in locks] == [
            f"the lock of the {what} is held by process {held.pid}" for what in ("working copy", "repository")
        ]
        assert fingerprint(root) == before

    def test_a_lock_of_a_dead_process_is_none(self, root: bytes, held: subprocess.Popen[str]) -> None:
        held.kill()
        held.wait()
        with opened(root) as repo:
            assert repo.standing().locks == ()
            everything(repo)

    def test_no_call_that_writes_is_made_below_hg(self, root: bytes, tmp_path: Path) -> None:
        # Without hg's marks, it would try what the file system can by making files.
        for mark in Path(os.fsdecode(root), ".hg/wcache").iterdir():
            mark.unlink()
        log = tmp_path / "log"
        program = tmp_path / "hg.py"
        program.write_text(_AUDITED.format(log=os.fspath(log), metadata=os.fsdecode(root) + "/.hg"))
        before = fingerprint(root)
        with opened(root, [own_hg()[0], "-P", os.fspath(program)]) as repo:
            everything(repo)
        assert log.read_text() == "watching\n"
        assert fingerprint(root) == before

    def test_log_phases_and_bookmarks_are_as_they_were(self, root: bytes) -> None:
        hg(root, "bookmark", "mine")
        ask = ("log", "--hidden", "-T", "{node} {phase} {bookmarks} {branch}\n")
        before = hg(root, *ask), hg(root, "bookmarks"), hg(root, "heads"), fingerprint(root)
        with opened(root) as repo:
            everything(repo)
            assert fingerprint(root) == before[3]
        assert (hg(root, *ask), hg(root, "bookmarks"), hg(root, "heads")) == before[:3]


_AUDITED = """
import os, sys
log = open({log!r}, "a", buffering=1)
log.write("watching\\n")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
changes = {{"os." + name for name in "rename remove mkdir rmdir link symlink truncate utime chmod".split()}}
def audit(event, args):
    if event == "open" and args[2] is not None and args[2] & writing and not args[2] & os.O_TMPFILE == os.O_TMPFILE:
        pass
    elif event not in changes:
        return
    if any(os.fsdecode(arg).startswith({metadata!r}) for arg in args if isinstance(arg, (str, bytes))):
        log.write(f"{{event}} {{args}}\\n")
sys.addaudithook(audit)
from mercurial import dispatch
dispatch.run()
"""


def test_debian_is_the_user() -> None:
    assert DEBIAN == ("/usr/bin/hg",)
