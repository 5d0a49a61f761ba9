"""Patterns name what git says they name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from autosync.core.model import RelPath
from autosync.core.patterns import Patterns
from autosync.core.temporary import DEFAULT_IGNORES

CASES = [
    "*.iso",
    "/build/",
    "build/",
    "a/b",
    "/a",
    "**/x",
    "a/**",
    "a/**/z",
    "?",
    "[ab]",
    "[!ab]",
    "[^ab]x",
    "[]]",
    "[a-c]z",
    "\\#a",
    "#a",
    "\\!a",
    "!a",
    "a\\ ",
    "a ",
    "*",
    "a*b",
    "**",
    "d/*",
    "*/x",
    "[[:digit:]]",
    "\\*",
    "a**b",
    "",
    "/",
    "!",
    "a[",
    ".*.sw[a-p]x",
    "a/",
    "[\\]]",
    "a&&b",
    "[&&a]",
    "c/*.txt",
]
PATHS = [
    b"a",
    b"b",
    b"x",
    b"z",
    b"]",
    b"1",
    b"*",
    b"a ",
    b"#a",
    b"!a",
    b"ab",
    b"axb",
    b"bx",
    b"az",
    b"cz",
    b"a[",
    b"&",
    b"a&&b",
    b"film.iso",
    b"build",
    b"d/build/x",
    b"e/film.iso",
    b"d/x",
    b"d/d/x",
    b"d/a/b",
    b"q/a/b/c/z",
    b".f.swpx",
    b"c/n.txt",
    b"c/d/n.txt",
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patterns")
    subprocess.run(["git", "init", "-q", root], check=True)
    for path in PATHS:
        place = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.isdir(place):
            Path(os.fsdecode(place)).write_bytes(b"")
    return root


def by_git(root: Path, patterns: list[str]) -> set[bytes]:
    (root / ".git/info/exclude").write_text("".join(f"{pattern}\n" for pattern in patterns))
    asked = b"".join(path + b"\0" for path in PATHS)
    done = subprocess.run(
        ["git", "-C", root, "check-ignore", "--no-index", "-z", "--stdin"],
        input=asked,
        capture_output=True,
        check=False,
    )
    return set(done.stdout.split(b"\0")) - {b""}


def by_us(root: Path, patterns: list[str]) -> set[bytes]:
    matcher = Patterns(patterns)
    top = os.fsencode(root)
    return {path for path in PATHS if matcher.name(RelPath(path), is_directory=os.path.isdir(os.path.join(top, path)))}


@pytest.mark.parametrize("pattern", CASES)
def test_one_pattern(repository: Path, pattern: str) -> None:
    assert by_us(repository, [pattern]) == by_git(repository, [pattern])


@pytest.mark.parametrize(
    "patterns", [["*", "!a"], ["a", "!a", "a"], ["d/", "!d/x"], ["*.iso", "!e/*.iso"], ["/*", "!/d/", "/d/*", "!/d/x"]]
)
def test_several_patterns(repository: Path, patterns: list[str]) -> None:
    assert by_us(repository, patterns) == by_git(repository, patterns)


def test_a_range_that_goes_backwards_names_nothing() -> None:
    assert not Patterns(["[z-a]"]).name(RelPath(b"b"), is_directory=False)


def test_editors_files_are_named() -> None:
    patterns = Patterns(DEFAULT_IGNORES)
    names = (b".a.txt.swp", b"4913", b"d/.#x", b"#x#", b".~lock.a.odt#", b"~$a.docx")
    assert all(patterns.name(RelPath(name), is_directory=False) for name in names)
    assert not patterns.name(RelPath(b"a.txt"), is_directory=False)
