"""Locks are taken in one order by each thread."""

from __future__ import annotations

import threading

import pytest

from autosync.lockorder import Lock, holding


def test_a_later_lock_first_is_an_error() -> None:
    with holding(Lock.TURN), holding(Lock.USER_REFS), holding(Lock.INDEX):
        pass
    with holding(Lock.INDEX), pytest.raises(RuntimeError, match="USER_REFS is to be taken before INDEX"):
        holding(Lock.USER_REFS).__enter__()


def test_what_another_thread_has_is_its_own_affair() -> None:
    seen: list[Lock] = []

    def take() -> None:
        with holding(Lock.UPKEEP):
            seen.append(Lock.UPKEEP)

    with holding(Lock.INDEX):
        other = threading.Thread(target=take)
        other.start()
        other.join()
    assert seen == [Lock.UPKEEP]
