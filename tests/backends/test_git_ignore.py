"""Ignore rules are git's own, also after they have changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from git_repos import Looking, git, isolate, make_repository, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autosync.core.model import RelPath


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


def by_git(root: bytes, paths: Sequence[bytes]) -> set[bytes]:
    """Return what a fresh `git check-ignore` says."""
    names = b"".join(b"./" + path + b"\0" for path in paths)
    output = git(root, "check-ignore", "-z", "--stdin", "--no-index", input=names, check=False)
    return {name.removeprefix(b"./") for name in output.split(b"\0")[:-1]}


_PARTS = st.sampled_from(["a", "b", "*.o", "c*", "**", "[ab]", "?", "x.o", "\\#h", "sp ace", "ü"])
_PATTERNS = st.builds(
    lambda negated, anchored, parts, directory: (
        ("!" if negated else "") + ("/" if anchored else "") + "/".join(parts) + ("/" if directory else "")
    ),
    st.booleans(),
    st.booleans(),
    st.lists(_PARTS, min_size=1, max_size=3),
    st.booleans(),
)
_RULES = st.lists(st.one_of(_PATTERNS, st.sampled_from(["", "# comment", "*", "!*/", "a ", "a\\ "])), max_size=5)
_PLACES = st.sampled_from(["", "a", "b", "a/b", "c1"])
_FILES = st.lists(
    st.lists(st.sampled_from(["a", "b", "c1", "x.o", "#h", "sp ace", "ü", ":(top)a"]), min_size=1, max_size=4).map(
        "/".join
    ),
    min_size=1,
    max_size=8,
)


@given(
    rounds=st.lists(st.tuples(st.dictionaries(_PLACES, _RULES, max_size=4), _RULES, _RULES), min_size=1, max_size=3),
    files=_FILES,
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_answers_are_those_of_git(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[tuple[dict[str, list[str]], list[str], list[str]]],
    files: list[str],
) -> None:
    root = make_repository(tmp_path_factory.mktemp("ignore") / "repo")
    home = os.fsencode(os.environ["HOME"])
    for place in ("a/b", "c1", "b"):
        os.makedirs(os.path.join(root, os.fsencode(place)), exist_ok=True)
    for name in files:
        if not os.path.exists(os.path.join(root, os.fsencode(name))):
            _make(root, name)
    asked = [RelPath(os.fsencode(name)) for name in {*files, *(n.rpartition("/")[0] for n in files), "none/x.o"} - {""}]
    with Looking(root) as looking:
        for inside, exclude, everywhere in rounds:
            for place, rules in inside.items():
                if os.path.isdir(os.path.join(root, os.fsencode(place))):
                    put(root, os.path.join(place, ".gitignore"), "\n".join(rules) + "\n")
            put(root, ".git/info/exclude", "\n".join(exclude))
            put(home, ".config/git/ignore", "\n".join(everywhere) + "\n")
            assert looking.reader.ignored(asked) == by_git(root, asked)


def _make(root: bytes, name: str) -> None:
    try:
        put(root, name)
    except (NotADirectoryError, FileExistsError):
        return  # a file stands where this name needs a directory: then it is just asked for


def test_patterns_of_the_config_are_the_weakest(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"tracked.tmp": b"1\n", ".gitignore": b"!keep.tmp\n"})
    put(os.fsencode(os.environ["HOME"]), ".config/git/ignore", b"\xef\xbb\xbf*.bak\n!mine.tmp\n")
    with Looking(root, patterns=("*.tmp", "cache/")) as looking:
        looking.read()
        for name in ("x.tmp", "keep.tmp", "mine.tmp", "cache/a", "y.bak", "tracked.tmp", "z"):
            put(root, name, b"2\n")
        names = [
            RelPath(n) for n in (b"x.tmp", b"keep.tmp", b"mine.tmp", b"cache", b"cache/a", b"y.bak", b"tracked.tmp")
        ]
        assert looking.reader.ignored(names) == {b"x.tmp", b"cache", b"cache/a", b"y.bak"}
        listed = looking.listing(looking.read())
        assert set(listed) == {b".gitignore", b"keep.tmp", b"mine.tmp", b"tracked.tmp", b"z"}
        put(os.fsencode(os.environ["HOME"]), ".config/git/ignore", b"z\n")
        assert looking.reader.ignored([RelPath(b"y.bak"), RelPath(b"z"), RelPath(b"x.tmp")]) == {b"x.tmp"}
        os.unlink(os.path.join(root, b"z"))
        looking.read("z")
        assert looking.reader.ignored([RelPath(b"z")]) == {b"z"}


def test_an_included_config_is_noticed(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a": b"1\n"})
    put(root, ".git/more", b"")
    git(root, "config", "include.path", "more")
    put(root, "../rules", b"*.x\n")
    with Looking(root) as looking:
        assert looking.reader.ignored([RelPath(b"b.x")]) == frozenset()
        put(root, ".git/more", b"[core]\n\texcludesFile = ../rules\n")
        assert looking.reader.ignored([RelPath(b"b.x")]) == {b"b.x"}
        put(root, "../rules", b"*.y\n")
        assert looking.reader.ignored([RelPath(b"b.x"), RelPath(b"b.y")]) == {b"b.y"}


def test_many_long_paths_fit_through_the_pipe(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitignore": b"*7\n"})
    paths = [RelPath(b"%s/%d" % (b"d" * 200, number)) for number in range(3000)]
    with Looking(root) as looking:
        assert looking.reader.ignored(paths) == {path for path in paths if path.endswith(b"7")}


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitignore": b"*.o\n"})
    with Looking(root) as looking:
        for _ in range(3):
            assert looking.reader.ignored([RelPath(b"a.o"), RelPath(b"b.c")]) == {b"a.o"}
            for process in _children(root):
                os.kill(process, 9)


def _children(root: bytes) -> list[int]:
    """Return the git processes that this process has running in ``root``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent == os.getpid() and os.readlink(f"/proc/{name}/cwd").startswith(os.fsdecode(root)):
                    found.append(int(name))
            except OSError:
                continue
    return found
