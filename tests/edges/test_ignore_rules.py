"""Which rule has a path ignored: of git or hg in their files, or ours in the configuration or the working copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autosync.answers.rules import Rule, find_rule
from autosync.config import DEFAULT_IGNORES, PathConfig
from autosync.core.model import RelPath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "my notes").mkdir()
    return tmp_path / "my notes"


def rule(root: Path, vcs: str, path: str, *ignore: str) -> Rule | None:
    config = PathConfig(path=str(root), workspace="notes", key_file="/k", ignore=(*DEFAULT_IGNORES, *ignore))
    return find_rule(config, str(root.parent / "config.yaml"), vcs, RelPath(path.encode()))


def test_our_own_patterns_are_found_where_they_are_written(root: Path) -> None:
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root.parent / "config.yaml").write_text("device: x  # not *.iso\npaths:\n- path: notes\n  ignore:\n  - '*.iso'\n")
    (root / ".autosync").write_text("ignore: [big*.iso, '*.tmp2']\n")
    (root / "big.iso").mkdir()
    found = RelPath(b"a.iso")
    assert rule(root, "git", "a.iso", "*.iso") == Rule(
        path=found, pattern="*.iso", file=str(root.parent / "config.yaml"), line=5
    )
    deep = rule(root, "git", "big.iso/x", "*.iso", "big*.iso")  # of two the last one counts
    assert deep == Rule(path=RelPath(b"big.iso"), pattern="big*.iso", file=str(root / ".autosync"), line=1)
    swap = rule(root, "git", ".x.swp")
    assert swap is not None
    assert (swap.file, swap.line) == ("", 0)
    assert swap.words() == f"`{swap.pattern}`, which autosync leaves out by itself. It names .x.swp."
    assert rule(root, "git", "state", "/state") == Rule(path=RelPath(b"state"), pattern="/state")
    assert rule(root, "git", "plain.txt", "*.iso") is None


def test_what_git_takes_back_is_not_ignored(root: Path) -> None:
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root / ".gitignore").write_text("*.iso\n!keep.iso\n")
    assert rule(root, "git", "keep.iso", "*.iso") is None
    named = rule(root, "git", "-other.iso")
    assert named == Rule(path=RelPath(b"-other.iso"), pattern="*.iso", file=str(root / ".gitignore"), line=1)


def test_rules_of_hg_are_found_where_they_are_included_from(root: Path) -> None:
    subprocess.run(["hg", "init", root], check=True)
    (root / "sub").mkdir()
    (root / ".hgignore").write_text("syntax: glob\n*.o\nsubinclude:sub/.hgignore\n")
    (root / "sub/.hgignore").write_text("# here\nx$\n")
    for name in ("a.o", "sub/x", "b"):
        (root / name).touch()
    assert rule(root, "hg", "a.o") == Rule(path=RelPath(b"a.o"), pattern="*.o", file=str(root / ".hgignore"), line=2)
    assert rule(root, "hg", "sub/x") == Rule(
        path=RelPath(b"sub/x"), pattern="x$", file=str(root / "sub/.hgignore"), line=2
    )
    assert rule(root, "hg", "b") is None
    assert rule(root, "memory", "a.o") is None
