"""How runs that answer each other are counted, across devices."""

from __future__ import annotations

from autosync.core.echoes import REMEMBERED, Echoes
from autosync.core.model import RelPath, SnapshotId

A, B = RelPath(b"a"), RelPath(b"b")


def state(number: int) -> SnapshotId:
    return SnapshotId(f"{number:040x}")


def test_what_a_person_makes_counts_nothing() -> None:
    echoes = Echoes()
    echoes.edited(state(1), run=None)
    assert (echoes.count(state(1)), echoes.count(None), echoes.count(state(2))) == (0, 0, 0)


def test_two_devices_that_answer_each_other_count_up() -> None:
    one, other = Echoes(), Echoes()
    count = 0
    one.edited(state(0), run=None)
    for round_ in range(1, 6):
        # The other one hears of the state, follows it, and its program answers.
        other.heard(state(round_ - 1), one.count(state(round_ - 1)))
        count = other.judged(state(round_ - 1), into=None, current=state(round_ - 1), paths=[A])
        other.edited(state(round_), run=count)
        one, other = other, one
    assert count == 4


def test_a_device_without_a_program_passes_the_count_on() -> None:
    echoes = Echoes()
    echoes.heard(state(1), 5)
    echoes.brought(state(1), into=state(0), current=state(1))
    assert echoes.count(state(1)) == 5
    echoes.brought(state(7), into=state(1), current=state(7))
    assert echoes.count(state(7)) == 0


def test_who_knows_less_of_a_state_does_not_reset_the_count() -> None:
    echoes = Echoes()
    echoes.heard(state(1), 5)
    echoes.heard(state(1), 0)
    echoes.edited(state(1), run=None)
    assert echoes.count(state(1)) == 5


def test_a_merge_with_what_a_person_made_is_no_echo() -> None:
    echoes = Echoes()
    echoes.heard(state(1), 5)
    echoes.edited(state(2), run=None)
    assert echoes.judged(state(1), into=state(2), current=state(3), paths=[A]) == 0
    echoes.edited(state(4), run=2)
    assert echoes.judged(state(1), into=state(4), current=state(5), paths=[A]) == 3


def test_of_what_nobody_spoke_the_paths_tell() -> None:
    echoes = Echoes()
    echoes.wrote([A], run=3)
    assert echoes.judged(state(1), into=None, current=state(1), paths=[B]) == 0
    assert echoes.judged(state(2), into=None, current=state(2), paths=[A, B]) == 5


def test_what_is_long_ago_is_forgotten() -> None:
    echoes = Echoes()
    echoes.heard(state(0), 5)
    for number in range(1, REMEMBERED + 1):
        echoes.heard(state(number), 1)
    assert (echoes.count(state(0)), echoes.count(state(1))) == (0, 1)
