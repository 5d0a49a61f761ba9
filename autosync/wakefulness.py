"""Notices that this machine slept or its networks changed, so that connections are not taken for what they were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from autosync.link import NetworkWatch

_LOOK = 5.0
"""Seconds between looks at the clocks."""
_SLEEP = 1.0
"""Seconds of sleep that may have cost a connection: less is what reading two clocks, and a slow one, may differ by."""
_STANDSTILL = 3.0
"""Seconds without a turn that may have: more than a busy machine lets a process wait."""
_JUMP = 10.0
"""Seconds that the time of day may be set by: a correction, and no virtual machine that stood still unaware of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What the clocks of clock_gettime(2) say at one moment, in seconds."""

    monotonic: float
    """Stands still while the machine sleeps."""
    boottime: float
    """Does not."""
    realtime: float
    """Is set now and then."""

    @classmethod
    def now(cls) -> Clocks:
        """Return what they say now."""
        return cls(
            monotonic=time.clock_gettime(time.CLOCK_MONOTONIC),
            boottime=time.clock_gettime(time.CLOCK_BOOTTIME),
            realtime=time.clock_gettime(time.CLOCK_REALTIME),
        )


def interruption(before: Clocks, after: Clocks, *, expected: float) -> str:
    """Return in words what happened between two looks that ought to be ``expected`` seconds apart, empty if nothing."""
    ran = after.monotonic - before.monotonic
    passed = after.boottime - before.boottime
    if passed - ran > _SLEEP:
        return f"this machine slept for {passed - ran:.0f} s"
    if ran - expected > _STANDSTILL:
        return f"this process stood still for {ran - expected:.0f} s"
    set_by = after.realtime - before.realtime - passed
    if abs(set_by) > _JUMP:
        return f"the time of day was set by {set_by:.0f} s"
    return ""


class Wakefulness:
    """Calls ``woken`` with the reason, in words, when connections may be none any more."""

    def __init__(
        self, woken: Callable[[str], None], *, clocks: Callable[[], Clocks] = Clocks.now, look: float = _LOOK
    ) -> None:
        self._woken = woken
        self._clocks = clocks
        self._look = look
        self._before = clocks()
        self._networks = NetworkWatch(lambda: woken("the networks changed"))
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._networks.start()
        self._before = self._clocks()
        self._timer = asyncio.get_running_loop().call_later(self._look, self._compare)

    def stop(self) -> None:
        """Watch no more."""
        self._networks.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _compare(self) -> None:
        before, self._before = self._before, self._clocks()
        self._timer = asyncio.get_running_loop().call_later(self._look, self._compare)
        reason = interruption(before, self._before, expected=self._look)
        if reason:
            self._woken(reason)
