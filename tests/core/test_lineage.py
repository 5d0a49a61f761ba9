"""The nearest common ancestors of two snapshots."""

from __future__ import annotations

from autosync.core.lineage import Ancestry, nearest_common, with_contained
from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version

ONE, TWO = DeviceId("one-00000001"), DeviceId("two-00000002")


def snapshot(name: str, one: int, two: int, *parents: str) -> Snapshot:
    return Snapshot(
        id=SnapshotId(name),
        tree=TreeId("t" + name),
        base=Base(commit=None, branch=None),
        version=Version.of({ONE: one, TWO: two}),
        parents=tuple(SnapshotId(p) for p in parents),
        device="one",
        time=0,
    )


FIRST = snapshot("first", 1, 0)
SECOND = snapshot("second", 2, 0, "first")
OURS = snapshot("ours", 3, 0, "second")
THEIRS = snapshot("theirs", 2, 1, "second")
STORE = {s.id: s for s in (FIRST, SECOND, OURS, THEIRS)}


def test_the_nearest_is_found() -> None:
    assert nearest_common(OURS, THEIRS, STORE.get) == Ancestry(nearest=(SECOND,), missing=None)
    assert nearest_common(THEIRS, OURS, STORE.get) == Ancestry(nearest=(SECOND,), missing=None)


def test_one_may_be_the_other_ones_ancestor() -> None:
    assert nearest_common(OURS, SECOND, STORE.get) == Ancestry(nearest=(SECOND,), missing=None)


def test_an_ancestor_known_by_name_only_is_named() -> None:
    without = {i: s for i, s in STORE.items() if s is not SECOND}
    assert nearest_common(OURS, THEIRS, without.get) == Ancestry(nearest=(), missing=SECOND.id)


def test_strangers_have_none() -> None:
    stranger = snapshot("stranger", 0, 1)
    assert nearest_common(OURS, stranger, {**STORE, stranger.id: stranger}.get) == Ancestry(nearest=(), missing=None)


def test_nothing_is_looked_for_between_strangers() -> None:
    stranger = snapshot("stranger", 0, 2, "its parent")
    assert nearest_common(FIRST, stranger, STORE.get) == Ancestry(nearest=(), missing=None, unknown=())


def test_without_a_chain_versions_tell() -> None:
    known = [FIRST, SECOND, OURS, THEIRS, snapshot("later", 9, 9)]
    assert with_contained((), OURS, THEIRS, lambda: known) == (SECOND,)
    assert with_contained((), OURS, THEIRS, list) == ()


def test_the_empty_state_of_a_store_is_no_ancestor() -> None:
    """It would make a merge there start from nothing that starts from a changeset elsewhere."""
    assert with_contained((), OURS, THEIRS, lambda: [snapshot("empty", 0, 0)]) == ()


def test_a_chain_that_tells_all_is_enough() -> None:
    assert with_contained((SECOND,), OURS, THEIRS, lambda: [snapshot("same", 2, 0)]) == (SECOND,)


def test_a_merge_of_a_merge() -> None:
    merge = snapshot("merge", 3, 1, "ours", "theirs")
    after = snapshot("after", 4, 1, "merge")
    other = snapshot("other", 3, 2, "merge")
    store = {**STORE, merge.id: merge}
    assert nearest_common(after, other, store.get) == Ancestry(nearest=(merge,), missing=None)


def test_merges_that_crossed_have_two() -> None:
    """Both sides hold OURS and THEIRS, each merged with something else in between."""
    left = snapshot("left", 4, 1, "ours", "theirs")
    right = snapshot("right", 3, 2, "theirs", "ours")
    store = {**STORE, left.id: left, right.id: right}
    assert nearest_common(left, right, store.get) == Ancestry(nearest=(OURS, THEIRS), missing=None)


def test_of_crossed_merges_one_may_be_missing() -> None:
    """Below what was found nothing is missed."""
    left = snapshot("left", 4, 1, "ours", "theirs")
    right = snapshot("right", 3, 2, "theirs", "ours")
    store = {i: s for i, s in STORE.items() if s is not THEIRS}
    assert nearest_common(left, right, store.get) == Ancestry(nearest=(OURS,), missing=THEIRS.id)
