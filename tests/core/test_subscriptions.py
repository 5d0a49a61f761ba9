"""Names and patterns of what is followed on a hub."""

from __future__ import annotations

import pytest

from autosync.core.subscriptions import is_pattern, matches, problem_of


@pytest.mark.parametrize("name", ["main", "feature/*", "f*", "@", "release-2.0", "größe", "a.b", "feature/a.*", "x@y"])
def test_names_and_beginnings_of_names_are_taken(name: str) -> None:
    assert problem_of(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty"),
        ("*", "it means all there are"),
        ("a" * 256, "it is longer than 255 bytes"),
        ("*/x", "a * may only stand at its end"),
        ("a**", "a * may only stand at its end"),
        ("a b", "no name can hold ' ' there"),
        ("a\n", "no name can hold '\\n' there"),
        ("default:x", "no name can hold ':' there"),
        ("-rf", "no name can hold '-' there"),
        ("/a", "no name can hold '/' there"),
        ("a..b", "no name can hold '..' there"),
        ("a.lock", "no name can hold '.lock' there"),
        ("feature/[ab]", "no name can hold '[' there"),
        ("a\udc80", "no name can hold '\\udc80' there"),
        ("feature/", "no name can end with '/'"),
        ("a.", "no name can end with '.'"),
    ],
)
def test_what_names_nothing_is_told(name: str, problem: str) -> None:
    assert problem_of(name) == problem


def test_a_pattern_means_all_names_that_begin_so() -> None:
    assert is_pattern("feature/*")
    assert not is_pattern("feature")
    assert matches(["main", "feature/*"], "feature/a/b")
    assert matches(["main", "feature/*"], "main")
    assert not matches(["main", "feature/*"], "mainly")
    assert not matches([], "main")
