"""Which base a merge stands on."""

from __future__ import annotations

import pytest

from autosync.core.bases import merge_bases
from autosync.core.model import Base, CommitId

MAIN, TOPIC = "refs/heads/main", "refs/heads/topic"


def at(commit: str | None, branch: str | None = MAIN) -> Base:
    return Base(commit=None if commit is None else CommitId(commit), branch=branch)


def in_line(ancestor: CommitId, descendant: CommitId) -> bool:
    """One line of history: "a" before "b" before "c"; "x" and "y" are on none."""
    return ancestor in "abc" and descendant in "abc" and ancestor <= descendant


@pytest.mark.parametrize(
    ("ancestor", "ours", "theirs", "merged"),
    [
        (at("a"), at("a"), at("a"), at("a")),
        (at("a"), at("b"), at("a"), at("b")),
        (at("a"), at("a"), at("x"), at("x")),  # amended there; nobody here moved
        (at("a"), at("b"), at("c"), at("c")),
        (at("a"), at("b"), at("x"), None),
        (at("a"), at("x"), at("y"), None),
        (at("a"), at("b", TOPIC), at("c"), at("c")),  # merged there
        (at("b"), at("a", TOPIC), at("c"), None),  # an old branch was checked out here
        (at("a"), at("x", TOPIC), at("c"), None),
        (at("a"), at("b", TOPIC), at("b"), at("b", TOPIC)),  # one went there by another name, and so did the other
        (at("b"), at("b", TOPIC), at("b"), at("b", TOPIC)),
        (at("a", TOPIC), at("b", "refs/heads/p"), at("b", "refs/heads/q"), at("b", "refs/heads/q")),
        (at("a"), at("b", None), at("b"), at("b", None)),
        (at(None), at("a"), at("c", TOPIC), None),
        (None, at("a"), at("c"), at("c")),
        (None, at("a"), at("c", TOPIC), None),
        (None, at(None, "refs/heads/master"), at("c"), at("c")),
        (None, at(None), at(None, TOPIC), at(None, TOPIC)),
        (at("a"), at(None, TOPIC), at("x"), at("x")),
    ],
)
def test_the_merged_base(ancestor: Base | None, ours: Base, theirs: Base, merged: Base | None) -> None:
    assert merge_bases(ancestor, ours, theirs, in_line) == merged
    assert merge_bases(ancestor, theirs, ours, in_line) == merged
