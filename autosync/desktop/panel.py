"""Shows what is told, at the board's pace, and has done what the user presses; for the thread of the main loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gi.repository import GLib

from autosync.config import Popups
from autosync.desktop.board import Board, Order, ShowNow, TakeAway
from autosync.desktop.deeds import Deeds
from autosync.desktop.logged import line_of, minute_of_day
from autosync.desktop.notifications import Notifications
from autosync.desktop.popup import Deed, Kind, Popup
from autosync.desktop.standing import Gone
from autosync.desktop.telling import Told
from autosync.errors import AutosyncError

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Deeds that are done at the same time: a window to describe a commit stays open for long."""


class Panel:
    """The popups of this desktop."""

    def __init__(self, wishes: Popups, deeds: Deeds) -> None:
        self._board = Board(wishes)
        self._deeds = deeds
        self._notifications = Notifications(self._pressed, self._board.closed)
        self._notifications.watch()
        self._working = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="deed")
        self._timer = 0
        self._failures = 0

    def stop(self) -> None:
        """End; what was begun may finish."""
        self._working.shutdown(wait=False, cancel_futures=True)

    def take(self, told: Told) -> None:
        """Show what was told when its time comes."""
        for news in told:
            if isinstance(news, Gone):
                self._perform(self._board.withdraw(news.key))
            else:
                self._board.offer(news)
        self._show_due()

    def wish(self, wishes: Popups) -> None:
        """Heed other wishes from now on."""
        self._board.wishes = wishes
        self._show_due()

    def _show_due(self) -> None:
        if self._timer:
            GLib.source_remove(self._timer)
            self._timer = 0
        now, minute = time.monotonic(), minute_of_day()
        self._perform(self._board.due(now, minute))
        deadline = self._board.deadline(now, minute)
        if deadline is not None:
            self._timer = GLib.timeout_add(max(int((deadline - now) * 1000), 20), self._time_passed)

    def _time_passed(self) -> bool:
        self._timer = 0
        self._show_due()
        return False

    def _perform(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case TakeAway():
                    self._notifications.take_away(order.key)
                case ShowNow():
                    if not self._notifications.show(order.popup, order.urgency):
                        log.info("%s", line_of(order.popup))

    def _pressed(self, popup: Popup, deed: Deed) -> None:
        self._working.submit(self._do, popup, deed)

    def _do(self, popup: Popup, deed: Deed) -> None:
        try:
            self._deeds.do(deed)
        except AutosyncError as error:
            log.warning("%s: %s. %s", popup.title, error.title, error.hint)
            on_main_loop(partial(self._failed, popup, error))
        except Exception:  # a button that fails must not end the popups
            log.exception("%s could not be done", type(deed).__name__)

    def _failed(self, popup: Popup, error: AutosyncError) -> None:
        self._failures += 1
        told = Popup(
            kind=popup.kind,
            key=f"failed {popup.key}",
            title=error.title,
            lines=(error.hint,),
            burst=self._failures,
            lasting=popup.kind is not Kind.ARRIVED,
        )
        self.take([told])


def on_main_loop(what: Callable[[], object]) -> None:
    """Have ``what`` done in the thread of the main loop."""

    def once() -> bool:
        what()
        return False

    GLib.idle_add(once)
