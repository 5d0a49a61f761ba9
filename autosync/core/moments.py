"""The moments that have a date: what another device says to be later is shown as the last of them."""

from __future__ import annotations

from datetime import UTC, datetime

LAST_MS = 253_402_300_799_999
"""Milliseconds since the epoch: the end of 9999-12-31, the last day that :class:`datetime.datetime` knows."""
_LAST_SHOWN = LAST_MS // 1000 - 86_400
"""Seconds since the epoch; it has a date in every time zone."""


def moment(seconds: float) -> datetime:
    """Return the date in UTC of ``seconds`` since the epoch, or of the nearest moment that has one everywhere."""
    return datetime.fromtimestamp(min(max(seconds, 0), _LAST_SHOWN), tz=UTC)
