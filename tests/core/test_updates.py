"""When `on-update` is run: many batches become one run, one at a time, until they are only echoes."""

from __future__ import annotations

from autosync.core.model import DeviceId, RelPath, Version
from autosync.core.updates import ECHOES, Batch, Updates, newcomers

LAPTOP, DESKTOP, SERVER = DeviceId("laptop"), DeviceId("desktop"), DeviceId("server")
A, B, C = RelPath(b"a"), RelPath(b"b"), RelPath(b"c")


def batch(*paths: RelPath, causes: tuple[DeviceId, ...] = (LAPTOP,), echoes: int = 0) -> Batch:
    return Batch(paths=paths, causes=causes, echoes=echoes)


def test_those_who_made_more_states_are_the_cause() -> None:
    before = Version.of({LAPTOP: 1, DESKTOP: 5, SERVER: 1})
    after = Version.of({LAPTOP: 2, DESKTOP: 5, SERVER: 9, DeviceId("new"): 1})
    assert newcomers(before, after, own=SERVER) == (LAPTOP, DeviceId("new"))


def test_nothing_is_due_before_anything_came() -> None:
    updates = Updates(1.0)
    assert (updates.due(), updates.waits, updates.halted) == (None, False, False)


def test_batches_become_one_run_after_a_moment_of_quiet() -> None:
    updates = Updates(1.0)
    updates.applied([B], [LAPTOP], echoes=0, now=10.0)
    assert updates.due() == 11.0
    updates.applied([A, B], [DESKTOP], echoes=0, now=10.5)
    assert updates.due() == 11.5
    assert updates.begin() == batch(A, B, causes=(DESKTOP, LAPTOP))
    assert (updates.due(), updates.waits) == (None, False)


def test_a_stream_of_batches_does_not_put_it_off_for_ever() -> None:
    updates = Updates(1.0)
    for tenth in range(200):
        updates.applied([A], [LAPTOP], echoes=0, now=tenth / 10)
    assert updates.due() == 10.0


def test_what_comes_during_a_run_waits_for_the_next() -> None:
    updates = Updates(1.0)
    updates.applied([A], [LAPTOP], echoes=0, now=0.0)
    updates.begin()
    updates.applied([B], [DESKTOP], echoes=0, now=1.0)
    assert updates.due() is None
    updates.ended(succeeded=True)
    assert updates.due() == 2.0
    assert updates.begin() == batch(B, causes=(DESKTOP,))


def test_the_paths_of_a_run_that_failed_are_for_the_next_too() -> None:
    updates = Updates(1.0)
    updates.carry([C])
    assert updates.due() is None
    updates.applied([A], [LAPTOP], echoes=0, now=0.0)
    assert updates.begin() == batch(A, C)
    updates.ended(succeeded=False)
    assert updates.due() is None
    updates.applied([B], [DESKTOP], echoes=0, now=1.0)
    assert updates.begin() == batch(A, B, C, causes=(DESKTOP,))
    updates.ended(succeeded=True)
    updates.applied([B], [DESKTOP], echoes=0, now=2.0)
    assert updates.begin() == batch(B, causes=(DESKTOP,))


def test_an_end_without_a_run_is_nothing() -> None:
    updates = Updates(1.0)
    updates.ended(succeeded=False)
    assert updates.waiting() == batch(causes=())


def test_echoes_are_run_for_no_more_until_somebody_changes_something() -> None:
    updates = Updates(1.0)
    updates.applied([A], [LAPTOP], echoes=ECHOES - 1, now=0.0)
    assert (updates.due(), updates.halted) == (1.0, False)
    assert updates.begin().echoes == ECHOES - 1
    updates.ended(succeeded=True)
    updates.applied([A], [LAPTOP], echoes=ECHOES, now=1.0)
    assert (updates.due(), updates.halted, updates.waits) == (None, True, True)
    updates.applied([B], [LAPTOP], echoes=0, now=5.0)
    assert (updates.due(), updates.halted) == (6.0, False)
    assert updates.begin() == batch(A, B)
