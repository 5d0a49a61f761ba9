"""Waits between attempts grow to their limit and stay there, however long the cause lasts."""

from __future__ import annotations

from autosync.core import events as ev
from autosync.core.retry import Retry
from autosync.core.session import Session
from autosync.core.setbacks import BUSY_MOST
from autosync.core.settings import SessionSettings
from autosync.core.sources import RETRY_MOST
from tests.core.test_session import A, pair

ATTEMPTS = 3000
"""More than a float can be doubled (1024)."""


def test_waits_double_up_to_the_limit_and_stay_there() -> None:
    retry = Retry(0.5, 3.0)
    waits = []
    for _ in range(ATTEMPTS):
        retry.again(100.0, "no")
        waits.append(retry.at - 100.0)
    assert waits == [0.5, 1.0, 2.0] + [3.0] * (ATTEMPTS - 3)


def test_a_rebase_that_is_left_open_over_night_is_waited_for() -> None:
    session = Session(SessionSettings(device="d1-0", name="d1"))
    now = 0.0
    session.handle(ev.Started(current=None), now)
    for _ in range(ATTEMPTS):
        session.handle(ev.UserBusy(reason="a rebase is in progress"), now)
        now += BUSY_MOST
        session.handle(ev.TimePassed(), now)
    assert session.status().waiting_for == "a rebase is in progress"


def test_what_nobody_has_is_asked_for_over_days() -> None:
    world, one, two = pair()
    world.write(two, A, b"new\n")
    world.run(5)
    assert one.session.current is not None
    for _ in range(ATTEMPTS):
        one.session.peers.failed(one.session.current.id, "nobody has it", 1000.0)
    (peer,) = one.session.peers.all()
    assert peer.retry_at == 1000.0 + RETRY_MOST
