"""Decides when a working copy that is kept by commands is committed, pulled and pushed.

The mechanism of dvcs-autosync: changes settle, are committed and pushed; the peers hear that there is
something new at the remote, commit what is theirs, pull, and push again if that made something new.
One thing at a time; own changes are committed before anything is pulled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from autosync.core import events as ev
from autosync.core.backoff import Backoff
from autosync.core.model import DeviceId, Version
from autosync.core.settings import Halt

LONGEST_UNREST = 10
"""Times ``commit_after`` that one who never rests has to wait for a commit."""
FIRST_RETRY = 0.5
LAST_RETRY = 300.0
MOST_PEERS = 256


class Work(Enum):
    """What the runner does, one at a time."""

    RECORD = "committing"
    PULL = "pulling"
    PUSH = "pushing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandedSettings:
    """What has to be known of the configuration; times in seconds."""

    device: DeviceId
    commit_after: float = 60.0
    poll: float = 60.0
    rescan: float = 600.0
    can_record: bool = True
    can_pull: bool = True
    can_push: bool = True
    conservative: bool = False


@dataclass(frozen=True, slots=True)
class Perform:
    """Do this.  ``whole``: let version control look at everything itself; ``forced``: the user has
    said that what was halted is meant."""

    work: Work
    whole: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Announce what was pushed and pulled: ``version`` counts each device's pushes."""

    state: str
    version: Version


@dataclass(frozen=True, slots=True)
class Opened:
    """The working copy can be worked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """``work`` ended; ``problem`` says what went wrong.

    ``to_push`` tells that there is a new commit.  Of a RECORD: ``done`` tells that nothing is left
    to be committed, ``halted`` that only the user can say how to go on.  Of a PULL: ``touched``
    tells that files are other ones now.
    """

    work: Work
    problem: Halt | None = None
    done: bool = True
    to_push: bool = False
    touched: bool = False
    halted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandedPeer:
    """What another device has said."""

    device: DeviceId
    name: str
    state: str
    version: Version
    remote: str
    seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandedStatus:
    """What a machine tells about itself."""

    phase: str
    pending: int
    waiting_for: str
    halt: Halt | None
    peers: tuple[CommandedPeer, ...]


Command = Perform | Say
CommandedEvent = ev.Event | Opened | Finished


class CommandedSession:
    """The state machine of one working copy.

    ``first`` is above every number that this device has counted its pushes with (milliseconds
    since the epoch are); ``draw`` returns random numbers in 0..1.
    """

    def __init__(self, settings: CommandedSettings, *, first: int, draw: Callable[[], float]) -> None:
        self.settings = settings
        self.busy: Work | None = None
        self.paused = False
        self.halt: Halt | None = None
        self.pushes = 0
        """The number of this device's last push, 0 before the first one."""
        self._first = first
        self._draw = draw
        self._is_open = False
        self._gone: Halt | None = None
        self._dirty_since: float | None = None
        self._record_at = 0.0
        self._whole = False
        self._forced = False
        self._unpushed = False
        self._pull_at = math.inf
        self._pull_failed = False
        self._look_at = math.inf
        self._peers: dict[DeviceId, CommandedPeer] = {}
        self._pulled = Version()
        self._pulling = Version()
        self._problems: dict[Work, Halt] = {}
        self._not_before = dict.fromkeys(Work, 0.0)
        self._backoffs = {work: Backoff(FIRST_RETRY, LAST_RETRY) for work in Work}

    # -- what others ask ----------------------------------------------------------------------
    @property
    def version(self) -> Version:
        """Return what this device has: its own pushes, and what it pulled of others'."""
        return self._pulled.join(Version.of({self.settings.device: self.pushes}))

    def status(self) -> CommandedStatus:
        """Return what a user may want to know."""
        return CommandedStatus(
            phase=self._phase(),
            pending=int(self._is_dirty()) + int(self._wants_push()),
            waiting_for="; ".join(f"{problem.title} ({problem.hint})" for problem in self._problems.values()),
            halt=self._gone or self.halt,
            peers=tuple(self._peers.values()),
        )

    def quiet(self) -> bool:
        """Return whether nothing is left to be committed, pushed or pulled."""
        at_rest = self.busy is None and not self._is_dirty() and not self._wants_push() and not self._problems
        return at_rest and not (self.settings.can_pull and self._has_news())

    def unconfirmed(self) -> tuple[CommandedPeer, ...]:
        """Return the peers that have not said that they pulled what was pushed here."""
        me = self.settings.device
        return tuple(peer for peer in self._peers.values() if peer.version.count(me) < self.pushes)

    def deadline(self) -> float | None:
        """Return when :class:`autosync.core.events.TimePassed` is due, ``None`` if nothing waits for time."""
        if self._rests():
            return None
        moment = min(self._look_at, *map(self._when, Work))
        return None if moment == math.inf else moment

    # -- what happens --------------------------------------------------------------------------
    def handle(self, event: CommandedEvent, now: float) -> list[Command]:
        """Return what is to be done about ``event`` at the moment ``now``."""
        said = self._heed(event, now)
        if self._look_at <= now and not self._rests():
            self._look_at = now + self.settings.rescan
            self._dirty(now, whole=not self._pull_failed)
        return [*said, *self._begin(now)]

    def _heed(self, event: CommandedEvent, now: float) -> list[Command]:
        match event:
            case Opened():
                self._is_open = True
                self._unpushed = True  # a kill may have come between commit and push
                self._look_at = now
                self._want_pull(now)
            case ev.PathsChanged() if not self.settings.can_record:
                pass
            case ev.PathsChanged():
                self._changed(now)
            case Finished():
                return self._finished(event, now)
            case ev.Announced():
                self._announced(event, now)
            case ev.AnnouncementsAsked():
                return [self._say()]
            case ev.FlushAsked():
                self._at_once(now)
            case ev.Paused():
                self.paused = True
                return [self._say()]
            case ev.Resumed():
                self.paused, self._forced, self.halt = False, self.halt is not None, None
                self._dirty(now, whole=True)
                self._at_once(now)
                return [self._say()]
            case ev.RootVanished():
                self._gone = Halt(title=event.title or "The folder is gone", hint=event.hint)
                return [self._say()]
            case ev.RootReturned():
                self._gone = None
                self._dirty(now, whole=True)
                return [self._say()]
            case _:
                pass
        return []

    def _changed(self, now: float) -> None:
        if self._dirty_since is None:
            self._dirty_since = now
        rest = self.settings.commit_after
        self._record_at = min(now + rest, self._dirty_since + LONGEST_UNREST * rest)

    def _dirty(self, now: float, *, whole: bool) -> None:
        """Have everything committed that differs, at once; ``whole``: also what no hint told of."""
        if self.settings.can_record:
            self._dirty_since, self._record_at = now, now
            self._whole = self._whole or whole

    def _at_once(self, now: float) -> None:
        self._record_at = now
        self._not_before = dict.fromkeys(Work, now)
        self._want_pull(now)

    def _announced(self, event: ev.Announced, now: float) -> None:
        said = event.announcement
        if said.remote is None:
            return  # a device with another kind of backend: a mistake that its own user sees
        self._peers.pop(said.device, None)
        self._peers[said.device] = CommandedPeer(
            device=said.device,
            name=said.name,
            state=said.state,
            version=said.version,
            remote=said.remote,
            seen=now if event.live else 0.0,
        )
        if len(self._peers) > MOST_PEERS:
            del self._peers[next(iter(self._peers))]
        # A clock that was set back must not make a new push look like an old one.
        self._first = max(self._first, said.version.count(self.settings.device))
        if self._has_news():
            self._want_pull(now)

    def _want_pull(self, when: float) -> None:
        if self.settings.can_pull:
            self._pull_at = when

    # -- what was done -------------------------------------------------------------------------
    def _finished(self, event: Finished, now: float) -> list[Command]:
        work, self.busy = event.work, None
        if event.problem is None:
            self._problems.pop(work, None)
            self._backoffs[work].reset()
        else:
            self._problems[work] = event.problem
            self._not_before[work] = now + self._backoffs[work].next(self._draw())
        return _AFTER[work](self, event, now)

    def _recorded(self, event: Finished, now: float) -> list[Command]:
        self._unpushed |= event.to_push
        if event.halted:
            self.halt = self._problems.pop(Work.RECORD, None)
            self._dirty(now, whole=False)
            return [self._say()]
        if not event.done:
            self._dirty(now, whole=False)
        elif event.problem is not None:
            # Nothing waits for what version control did not take of single paths; it is tried again.
            self._look_at = min(self._look_at, self._not_before[Work.RECORD])
        return []

    def _was_pulled(self, event: Finished, now: float) -> list[Command]:
        self._unpushed |= event.to_push
        self._pull_at = now + self.settings.poll
        self._pull_failed = event.problem is not None
        if event.problem is not None:
            self._pull_at = self._not_before[Work.PULL]
            return []
        if event.touched or self.settings.conservative:
            # What the user did meanwhile was not told apart; version control itself can.
            self._dirty(now, whole=True)
        if event.touched:  # the remote had moved: now what was refused may be taken
            self._not_before[Work.PUSH] = now
        before, self._pulled = self._pulled, self._pulled.join(self._pulling)
        if self._has_news():
            self._pull_at = now
        return [] if self._pulled == before else [self._say()]

    def _was_pushed(self, event: Finished, now: float) -> list[Command]:
        if event.problem is not None:
            self._unpushed = True
            self._want_pull(now)  # it may be that the remote has moved
            return []
        self.pushes = max(self.pushes, self._first) + 1
        return [self._say()]

    # -- what is next ----------------------------------------------------------------------------
    def _begin(self, now: float) -> list[Command]:
        if self._rests():
            return []
        for work in Work:
            if self._when(work) <= now:
                self.busy = work
                return [self._take_up(work)]
        return []

    def _take_up(self, work: Work) -> Perform:
        perform = Perform(work)
        if work is Work.RECORD:
            perform = Perform(work, whole=self._whole, forced=self._forced)
            self._dirty_since, self._whole, self._forced = None, False, False
        elif work is Work.PULL:
            self._pulling = Version.of({p.device: p.version.count(p.device) for p in self._peers.values()})
        else:
            self._unpushed = False
        return perform

    def _when(self, work: Work) -> float:
        """Return when ``work`` is to begin, infinity if it is not wanted."""
        match work:
            case Work.RECORD if self._is_dirty():
                wanted = min(self._record_at, self._pull_at)
            case Work.PULL if not self._is_dirty():
                wanted = self._pull_at
            # What was pulled and cannot be committed is a conflict: to push now would give it to the others.
            case Work.PUSH if self._wants_push() and not (self._is_dirty() and Work.RECORD in self._problems):
                wanted = 0.0
            case _:
                return math.inf
        return max(wanted, self._not_before[work])

    def _rests(self) -> bool:
        stopped = self.paused or self.halt is not None or self._gone is not None
        return stopped or self.busy is not None or not self._is_open

    def _is_dirty(self) -> bool:
        return self._dirty_since is not None

    def _wants_push(self) -> bool:
        return self._unpushed and self.settings.can_push

    def _has_news(self) -> bool:
        return any(peer.version.count(peer.device) > self._pulled.count(peer.device) for peer in self._peers.values())

    def _phase(self) -> str:
        if self.paused:
            return "paused"
        if self._gone is not None or self.halt is not None:
            return "halted"
        if self.busy is not None:
            return self.busy.value
        if self._problems:
            return "waiting"
        return "settling" if self._is_dirty() else "watching"

    def _say(self) -> Say:
        return Say(self._phase(), self.version)


_AFTER: Mapping[Work, Callable[[CommandedSession, Finished, float], list[Command]]] = {
    Work.RECORD: CommandedSession._recorded,
    Work.PULL: CommandedSession._was_pulled,
    Work.PUSH: CommandedSession._was_pushed,
}
