"""Writes to the log what cannot be shown in popups."""

from __future__ import annotations

import logging
import time

from autosync.config import Popups
from autosync.desktop.board import Board, ShowNow
from autosync.desktop.popup import Popup
from autosync.desktop.telling import Told
from autosync.desktop.text import MOST_LINES, plain

log = logging.getLogger("autosync.news")


class Logged:
    """Tells of popups in lines of the log, at their pace and without those that the configuration leaves out."""

    def __init__(self, wishes: Popups) -> None:
        self._board = Board(wishes)

    def tell(self, told: Told) -> None:
        """Log what is new of ``told``."""
        for news in told:
            if isinstance(news, Popup):
                self._board.offer(news)
        for order in self._board.due(time.monotonic(), minute_of_day()):
            if isinstance(order, ShowNow):
                log.info("%s", line_of(order.popup))

    def wish(self, wishes: Popups) -> None:
        """Heed other wishes from now on."""
        self._board.wishes = wishes


def line_of(popup: Popup) -> str:
    """Return a popup in one line."""
    lines = [plain(line) for line in (popup.title, *popup.lines, popup.instead if popup.buttons else "") if line]
    return " | ".join(lines[: MOST_LINES + 1])


def minute_of_day() -> int:
    """Return the minute of the day, by the clock of this place."""
    now = time.localtime()
    return 60 * now.tm_hour + now.tm_min
