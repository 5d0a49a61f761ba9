"""Remembers what was logged last, as template and values, for a report of a bug."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from pathlib import Path
from typing import Any

REMEMBERED = 500
_LONGEST = 500
"""Characters of one value."""
_PACKAGE = Path(__file__).parent


class Logbook(logging.Handler):
    """Keeps the last records; the words of a template are the program's own, its values may be anybody's."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        super().__init__()
        self._records: deque[dict[str, Any]] = deque(maxlen=remembered)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record."""
        values = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
        row: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "template": str(record.msg)[:_LONGEST],
            "values": [v if isinstance(v, int | float) else str(v)[:_LONGEST] for v in values],
        }
        if record.exc_info and record.exc_info[1] is not None:
            row["error"] = describe(record.exc_info[1])
        self._records.append(row)

    def rows(self) -> list[dict[str, Any]]:
        """Return what is remembered, the oldest first."""
        return list(self._records)


def describe(error: BaseException) -> dict[str, Any]:
    """Return what an error is, what it says, and which lines of autosync led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if Path(f.filename).is_relative_to(_PACKAGE)]
    places = [f"{Path(f.filename).relative_to(_PACKAGE.parent)}:{f.lineno} in {f.name}" for f in inside]
    return {"class": type(error).__name__, "says": str(error)[:_LONGEST], "places": places}


LOGBOOK = Logbook()
"""That of this process."""
