"""What counts as confirmed, and since when two devices are apart."""

from __future__ import annotations

from autosync.confirmations import Confirmation, Confirmations
from autosync.core.model import DeviceId, TreeId

DESK, SERVER = DeviceId("desk-1"), DeviceId("server-1")
OLD, NEW = TreeId("old"), TreeId("new")


def test_nothing_is_confirmed_that_was_not_said() -> None:
    known = Confirmations()
    known.moved([(DESK, OLD)], OLD, 1)  # seen on the hub: the device itself has said nothing
    assert known.of(DESK) == Confirmation()


def test_who_says_what_is_here_has_confirmed_it() -> None:
    known = Confirmations()
    known.heard(DESK, OLD, OLD, said_at=10, now=10)
    assert known.of(DESK) == Confirmation(tree=OLD, at=10)
    known.heard(DESK, OLD, OLD, said_at=20, now=20)
    assert known.of(DESK) == Confirmation(tree=OLD, at=20)


def test_words_that_were_kept_count_from_when_they_were_said_but_never_from_later() -> None:
    known = Confirmations()
    known.heard(DESK, OLD, OLD, said_at=3, now=10)
    known.heard(SERVER, OLD, OLD, said_at=99, now=10)
    assert (known.of(DESK).at, known.of(SERVER).at) == (3, 10)


def test_a_change_here_ends_it_until_it_is_confirmed_again() -> None:
    known = Confirmations()
    known.heard(DESK, OLD, OLD, said_at=10, now=10)
    known.moved([(DESK, OLD)], NEW, 12)
    known.moved([(DESK, OLD)], TreeId("newer"), 13)
    assert known.of(DESK) == Confirmation(tree=OLD, at=10, apart_since=12)
    known.heard(DESK, NEW, TreeId("newer"), said_at=14, now=14)
    assert known.of(DESK) == Confirmation(tree=OLD, at=10, apart_since=12)
    known.heard(DESK, TreeId("newer"), TreeId("newer"), said_at=15, now=15)
    assert known.of(DESK) == Confirmation(tree=TreeId("newer"), at=15)


def test_following_what_another_has_said_is_its_confirmation_too() -> None:
    known = Confirmations()
    known.heard(DESK, NEW, OLD, said_at=10, now=10)
    assert known.of(DESK) == Confirmation(apart_since=10)
    known.moved([(DESK, NEW)], NEW, 11)
    assert known.of(DESK) == Confirmation(tree=NEW, at=10)


def test_without_a_tree_here_nobody_can_agree() -> None:
    known = Confirmations()
    known.heard(DESK, None, None, said_at=1, now=1)
    assert known.of(DESK) == Confirmation(apart_since=1)
