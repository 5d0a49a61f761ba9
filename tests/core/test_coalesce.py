"""collapse: fewer names that still cover everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autosync.core.coalesce import collapse, outermost
from autosync.core.model import RelPath, parent_directories


def rel(*texts: str) -> list[RelPath]:
    return [RelPath(text.encode()) for text in texts]


def files(directory: str, count: int) -> list[RelPath]:
    return rel(*(f"{directory}/{n:05}" for n in range(count)))


def test_a_few_paths_stay_as_they_are() -> None:
    assert collapse(files("src", 128)) == frozenset(files("src", 128))


def test_nothing_stays_nothing() -> None:
    assert collapse([]) == frozenset()


def test_more_of_one_directory_become_the_directory() -> None:
    assert collapse(files("src", 129) + files("doc/img", 3)) == frozenset(rel("src") + files("doc/img", 3))


def test_crowded_directories_of_one_directory_climb_on() -> None:
    paths = [path for n in range(129) for path in files(f"all/{n}", 129)]
    assert collapse(paths) == frozenset(rel("all"))


def test_files_at_the_top_do_not_become_the_root_while_they_fit() -> None:
    paths = rel(*(f"top{n}" for n in range(500)))
    assert collapse(paths) == frozenset(paths)


def test_files_at_the_top_become_the_root_when_nothing_else_helps() -> None:
    assert collapse(rel(*(f"top{n}" for n in range(513)))) == frozenset({RelPath(b"")})


def test_too_many_in_all_collapse_the_fullest_first() -> None:
    crowded = [path for n in range(5) for path in files(f"d{n}", 110)]
    lone = rel("far/away/from/it")
    assert collapse(crowded + lone) == frozenset(rel("d0", "d1", "d2", "d3", "d4", "far/away/from/it"))


def test_one_path_in_each_of_many_directories_climbs() -> None:
    assert collapse(rel(*(f"src/{n}/file" for n in range(600)))) == frozenset(rel("src"))


def test_what_lies_below_a_named_directory_is_not_named_again() -> None:
    assert collapse(rel("a/b", "a/b/c", "a/bc", "a/b/c/d")) == frozenset(rel("a/b", "a/bc"))


def test_the_root_covers_everything() -> None:
    assert collapse(rel("", "a", "b/c")) == frozenset(rel(""))


names = st.lists(st.sampled_from([b"a", b"b", b"c", b"\xff", b"."]), min_size=1, max_size=5)
paths_ = st.sets(names.map(lambda parts: RelPath(b"/".join(parts))), max_size=60)


@given(paths=paths_, per_directory=st.integers(0, 6), total=st.integers(1, 20))
def test_everything_is_covered_by_few_names_from_above_it(paths: set[RelPath], per_directory: int, total: int) -> None:
    named = collapse(paths, per_directory=per_directory, total=total)
    above = {directory for path in paths for directory in (path, *parent_directories(path), RelPath(b""))}
    assert len(named) <= total
    assert named <= above
    assert named == outermost(named)
    for path in paths:
        assert path in named or RelPath(b"") in named or any(d in named for d in parent_directories(path))


@given(paths=paths_)
def test_within_the_limits_only_what_is_covered_goes(paths: set[RelPath]) -> None:
    assert collapse(paths, per_directory=60, total=60) == outermost(paths)
