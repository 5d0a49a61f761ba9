"""Follows one working copy: says what is open here, and tells what is worked on elsewhere at the same time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from autosync.activities import Activity
from autosync.conflicts.index import shown
from autosync.core import events as ev
from autosync.core.allowance import Allowance
from autosync.core.commands import LocalCommand
from autosync.core.model import DeviceId, RelPath
from autosync.core.presence import RENEWED, Presence, Sight, edited_by
from autosync.core.remarks import fitting
from autosync.core.settings import Mode
from autosync.errors import AutosyncError
from autosync.failures import title_of
from autosync.presence.openfiles import OpenFiles
from autosync.runner import Runner

log = logging.getLogger(__name__)

_GATHER = 0.2
"""Seconds in which the signs of one save are gathered: an editor makes and removes its lock several times."""
_RATE, _BURST = 0.2, 8
"""Announcements in a second that are made for this alone, and how many at once."""
_NAMED = 5
"""Files that are named to the user in one go."""


class PresenceKeeper:
    """Who works on which file of one workspace; ``say`` has this device say once more where it is.

    It is a :class:`autosync.runner.Companion`.
    """

    def __init__(self, runner: Runner, files: OpenFiles, say: Callable[[], None]) -> None:
        self._runner = runner
        self._files = files
        self._say = say
        self._presence = Presence()
        self._open: tuple[RelPath, ...] = ()
        self._said: tuple[RelPath, ...] = ()
        self._said_at = float("-inf")
        self._pace = Allowance(rate=_RATE, burst=_BURST)
        self._signs: set[RelPath] = set()
        self._looking: asyncio.Task[None] | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._say_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    def sights(self) -> list[tuple[Sight, float]]:
        """Return who works on what on other devices, and since when by the wall clock (seconds)."""
        now = self._now()
        return [(sight, time.time() - (now - sight.since)) for sight in self._presence.sights(now)]

    def editing(self) -> tuple[RelPath, ...]:
        """Return what an announcement that is made now says to be open here."""
        self._said_at = self._now()
        self._said = self._to_say()
        return fitting(self._said)

    def _to_say(self) -> tuple[RelPath, ...]:
        stays_here = self._runner.session.paused or self._runner.settings.mode is Mode.RECEIVE
        return () if stays_here else self._open

    # -- what happens -----------------------------------------------------------------------
    def happened(self, event: ev.Event) -> None:
        """Take note of an event, after the session has."""
        if isinstance(event, ev.Started):
            self._loop = asyncio.get_running_loop()
        elif isinstance(event, ev.PathsChanged):
            self._see([path for hint in event.hints for path in edited_by(hint.path)])
        elif isinstance(event, ev.Announced):
            said = event.announcement
            there = () if said.state in ("stopped", "paused") or not event.live else said.remarks.editing
            self._tell(self._presence.opened_there(said.device, said.name, [shown(p) for p in there], self._now()))

    def passed_over(self, paths: Sequence[RelPath]) -> None:
        """Take note of ignored paths that changed, as locks usually are; in any thread."""
        signs = [path for lock in paths for path in edited_by(lock)]
        if signs and self._loop is not None:
            self._loop.call_soon_threadsafe(self._see, signs)

    def _see(self, signs: Sequence[RelPath]) -> None:
        if signs:
            self._signs.update(signs)
            self._look_in(_GATHER)

    def stepped(self, command: LocalCommand, event: ev.Event) -> None:
        """Do nothing: what was saved and applied comes as an activity."""

    def told(self, activity: Activity) -> None:
        """Take note of what was done to the working copy."""
        now = self._now()
        if activity.kind == "saved" and activity.written:
            self._tell(self._presence.saved_here(activity.written, activity.count, now))
        elif activity.kind == "applied" and activity.written and "+" not in activity.text:
            maker, name = self._maker(activity), activity.text
            self._tell(self._presence.saved_there(maker, name, activity.written, activity.count, now))

    def _maker(self, activity: Activity) -> DeviceId:
        """Return which device made what was applied: of those of that name, rather the one that is there itself."""
        named = [peer for peer in self._runner.session.peers.all() if peer.name == activity.text]
        named.sort(key=lambda peer: peer.snapshot != activity.snapshot)
        return named[0].device if named else DeviceId(activity.text)

    async def stop(self) -> None:
        """End what was begun."""
        self._stopped = True
        for timer in (self._look_timer, self._say_timer):
            if timer is not None:
                timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    # -- what is open here ----------------------------------------------------------------------
    def _look_in(self, seconds: float) -> None:
        if self._stopped or self._looking is not None:
            return  # the look that is under way is followed by another
        when = self._now() + seconds
        if self._look_timer is not None:
            if self._look_timer.when() <= when:
                return
            self._look_timer.cancel()
        self._look_timer = asyncio.get_running_loop().call_at(when, self._begin_look)

    def _begin_look(self) -> None:
        self._look_timer = None
        self._looking = asyncio.get_running_loop().create_task(self._look(), name=f"open {self._runner.workspace}")

    async def _look(self) -> None:
        signs, self._signs = self._signs, set()
        now = self._now()
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._runner.network, self._files.look, signs, now)
        except (AutosyncError, OSError) as error:
            log.debug("%s: what is open is not known: %s", self._runner.workspace, title_of(error))
            found = self._open
        finally:
            self._looking = None
        if found != self._open:
            self._open = found
            self._tell(self._presence.opened_here([shown(path) for path in found], self._now()))
        self._say_soon()
        if self._signs:
            self._look_in(_GATHER)
        elif found:  # an editor may be killed, and a device that is silent is soon forgotten
            self._look_in(RENEWED)

    def _say_soon(self) -> None:
        """Have the others hear what is open, unless an announcement that was made for more has said it."""
        if self._say_timer is None and self._is_news():
            when = self._pace.free_at(self._now())
            self._say_timer = asyncio.get_running_loop().call_at(when, self._say_now)

    def _say_now(self) -> None:
        self._say_timer = None
        if not self._stopped and self._is_news():
            self._pace.take(self._now())
            self._say()

    def _is_news(self) -> bool:
        wanted = self._to_say()
        return wanted != self._said or (bool(wanted) and self._now() - self._said_at >= RENEWED)

    # -- what is told here --------------------------------------------------------------------------
    def _tell(self, news: Sequence[Sight]) -> None:
        by_device: dict[DeviceId, list[Sight]] = {}
        for sight in news:
            by_device.setdefault(sight.id, []).append(sight)
        for sights in by_device.values():
            more = len(sights) - 1
            self._runner.outside.happened(
                Activity(
                    kind="presence",
                    workspace=self._runner.workspace,
                    device=self._runner.settings.name,
                    at_ms=time.time() * 1000,
                    paths=tuple(sight.path for sight in sights[:_NAMED]),
                    count=len(sights),
                    text=sights[0].text + (f" and {more} more" if more else ""),
                    made_by=sights[0].device,
                )
            )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
