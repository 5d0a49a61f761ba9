"""Three devices that merge crosswise, each with a different third state, agree on what was deleted."""

from __future__ import annotations

from autosync.core.model import RelPath
from tests.core.copies import START, equal_copies

A, B, OURS = RelPath(b"a.txt"), RelPath(b"b.txt"), RelPath(b"ours.txt")


def test_what_its_only_writer_deleted_stays_deleted_after_merges_that_crossed() -> None:
    """d0 and d1 both merged d0's and d1's first saves, each together with something else.

    d0 has them through d2's state and knows neither d1's first state nor its merge.
    """
    d0, d1, d2 = equal_copies(3)
    d1.save(OURS)
    d2.merge(d1)
    d0.save(A)
    d2.save(B)
    d1.merge(d0)
    d0.merge(d2)
    assert OURS in d0.files.files
    d1.files.user.remove(OURS)
    d1.look()
    merged = d0.merge(d1, d2)
    assert set(d0.files.files) == {START, A, B}
    assert d1.merge(d0) == merged


def test_a_merge_whose_common_past_nobody_has_any_more_keeps_both() -> None:
    d0, d1, d2 = equal_copies(3)
    d1.save(OURS)
    d2.merge(d1)
    d0.save(A)
    d2.save(B)
    d1.merge(d0)
    d0.merge(d2)
    for copy in (d1, d2):
        for snapshot in list(copy.files.store.snapshots.values()):
            if copy.current is not None and snapshot.id != copy.current.id:
                del copy.files.store.snapshots[snapshot.id]
    d1.save(A)
    d0.merge(d1, d2)
    assert d0.content(A) == b"by d1-00000001\n"
    assert {OURS, B} <= set(d0.files.files)
