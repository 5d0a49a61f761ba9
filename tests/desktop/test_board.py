"""When a popup is shown, changed in place, kept for later, and taken away."""

from __future__ import annotations

from dataclasses import replace

from autosync.config import Popups, Urgency
from autosync.desktop.board import PACE, Board, ShowNow, TakeAway
from autosync.desktop.popup import Kind, Popup

NOON, NIGHT, MORNING = 12 * 60, 23 * 60, 7 * 60
ARRIVED = Popup(kind=Kind.ARRIVED, key="arrived notes", title="1 file", burst=1)
HELD = Popup(kind=Kind.HELD, key="held /n", title="held", burst=1, lasting=True)
QUIET = Popups(quiet_hours=(22 * 60, 7 * 60))


def test_a_popup_changes_at_a_pace_and_its_last_state_is_shown() -> None:
    board = Board(Popups())
    assert board.deadline(0.0, NOON) is None
    board.offer(ARRIVED)
    assert board.due(0.0, NOON) == [ShowNow(ARRIVED, Urgency.LOW)]
    for n in range(2, 10_000):
        board.offer(replace(ARRIVED, title=f"{n} files"))
        assert board.due(0.5, NOON) == []
    assert board.deadline(0.5, NOON) == PACE
    assert board.due(PACE, NOON) == [ShowNow(replace(ARRIVED, title="9999 files"), Urgency.LOW)]
    assert board.due(9.0, NOON) == []


def test_who_closed_it_hears_no_more_of_the_same_but_of_what_needs_him() -> None:
    board = Board(Popups())
    for popup in (ARRIVED, HELD):
        board.offer(popup)
    assert len(board.due(0.0, NOON)) == 2
    for popup in (ARRIVED, HELD):
        board.closed(popup.key)
        board.offer(popup)
    assert board.due(10.0, NOON) == [ShowNow(HELD, Urgency.NORMAL)]
    board.offer(replace(ARRIVED, burst=2))
    assert board.due(20.0, NOON) == [ShowNow(replace(ARRIVED, burst=2), Urgency.LOW)]


def test_what_is_no_more_is_taken_away_once() -> None:
    board = Board(Popups())
    board.offer(HELD)
    assert board.withdraw(HELD.key) == []
    assert board.due(0.0, NOON) == []
    board.offer(HELD)
    board.due(1.0, NOON)
    assert board.withdraw(HELD.key) == [TakeAway(HELD.key)]
    assert board.withdraw(HELD.key) == []


def test_in_quiet_hours_nothing_is_shown_and_afterwards_what_needs_an_answer() -> None:
    board = Board(QUIET)
    for popup in (ARRIVED, HELD):
        board.offer(popup)
    for minute in (22 * 60, NIGHT, 0, MORNING - 1):
        assert board.due(0.0, minute) == []
    assert board.deadline(0.0, NIGHT) == 60.0  # the clock may be set meanwhile
    assert board.due(1.0, MORNING) == [ShowNow(HELD, Urgency.NORMAL)]
    assert board.deadline(1.0, MORNING) is None


def test_quiet_hours_of_a_day_end_on_that_day() -> None:
    board = Board(Popups(quiet_hours=(9 * 60, 17 * 60)))
    board.offer(HELD)
    assert (board.due(0.0, 9 * 60), board.due(0.0, 16 * 60 + 59)) == ([], [])
    assert board.due(0.0, 17 * 60) == [ShowNow(HELD, Urgency.NORMAL)]


def test_what_is_not_wished_is_not_shown() -> None:
    board = Board(Popups(arrived=Urgency.NONE, held=Urgency.CRITICAL))
    board.offer(ARRIVED)
    board.offer(HELD)
    assert board.due(0.0, NOON) == [ShowNow(HELD, Urgency.CRITICAL)]
    assert board.deadline(0.0, NOON) is None
