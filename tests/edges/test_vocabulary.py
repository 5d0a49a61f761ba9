"""The words for users of each version control system."""

from __future__ import annotations

import pytest

from autosync.core.model import Base, CommitId
from autosync.vocabulary import GIT, HG, OTHER, Vocabulary, vocabulary

ONE = CommitId("1" * 40)


def test_each_has_its_own() -> None:
    assert [vocabulary(vcs) for vcs in ("git", "hg", "command", None)] == [GIT, HG, OTHER, OTHER]


@pytest.mark.parametrize(
    ("words", "branch", "said"),
    [
        (GIT, "refs/heads/main", "main"),
        (GIT, "refs/heads/a/b", "a/b"),
        (GIT, None, "a detached HEAD"),
        (HG, "default", "default"),
        (HG, "default:feature x", "feature x (default)"),
        (OTHER, "trunk", "trunk"),
    ],
)
def test_what_is_checked_out(words: Vocabulary, branch: str | None, said: str) -> None:
    assert words.branch(Base(commit=ONE, branch=branch)) == said


def test_a_command_that_is_shown_can_be_pasted() -> None:
    root, path = b"/a b/c", b"it's; rm -rf {x}"
    assert GIT.ask_why_ignored(root, path) == """`git -C '/a b/c' check-ignore -v -- 'it'"'"'s; rm -rf {x}'`"""
    assert HG.ask_why_ignored(root, path) == """`hg --cwd '/a b/c' debugignore -- 'it'"'"'s; rm -rf {x}'`"""
    assert OTHER.ask_why_ignored(root, path) == ""


@pytest.mark.parametrize("words", [GIT, HG, OTHER])
def test_every_way_to_join_two_states_names_the_one_to_be_joined(words: Vocabulary) -> None:
    for way in (words.merge, words.merge_unrelated, words.follow):
        assert ONE in way.format(commit=ONE, device="desktop")
    assert "desktop" in words.follow.format(commit=ONE, device="desktop")
