"""The state machine of one working copy: events in, commands out, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from autosync.core import events as ev
from autosync.core.brakes import HELD_HINT, Held, news_of_held
from autosync.core.branchturns import BranchTurns
from autosync.core.commands import (
    Command,
    Commit,
    Integrate,
    LocalCommand,
    MergeBranch,
    SyncBranch,
    TakeSnapshot,
    Tell,
)
from autosync.core.fetches import Fetches
from autosync.core.halts import Halts
from autosync.core.hubtalk import HubTalk
from autosync.core.integration import Integration
from autosync.core.looks import Looks
from autosync.core.model import Snapshot
from autosync.core.saying import Saying
from autosync.core.setbacks import Setbacks
from autosync.core.settings import Halt, Mode, SessionSettings, SessionStatus
from autosync.core.sources import HELLO, Peer, Peers

PATIENCE_WITH_PASSING = 4
"""Repetitions of a failure that should pass by itself before the user is told of it."""


class Session:
    """What one working copy does next.

    :meth:`handle` is the only way in: it takes a fact and the time (seconds of any
    monotonic clock) and returns what is to be done.  At most one command that
    touches the working copy, one fetch and one push are out at a time; each is
    answered by exactly one event.  :meth:`deadline` tells when
    :class:`~autosync.core.events.TimePassed` is due.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings
        self.peers = Peers()
        self.current: Snapshot | None = None
        self.paused = False
        self._halts = Halts()
        self.held: tuple[Held, ...] = ()
        self._looks = Looks(settle=settings.settle, max_wait=settings.max_wait, rescan=settings.rescan)
        self._local: LocalCommand | None = None
        self._setbacks = Setbacks()
        self._integration = Integration()
        self._fetches = Fetches(self.peers, self._integration)
        self._saying = Saying(settings)
        holds = settings.hub_holds_snapshots
        talks = settings.hub and (holds or settings.auto_commit or settings.follows)
        self._hub = HubTalk(interval=settings.poll, holds=holds, who=settings.device) if talks else None
        self._branch: BranchTurns | None = None
        if settings.auto_commit:
            self._branch = BranchTurns(name=settings.name, commit_after=settings.commit_after, hub=settings.hub)
        self._stopped = True

    # -- the way in -------------------------------------------------------------------
    def handle(self, event: ev.Event, now: float) -> list[Command]:
        """Return what is to be done now that ``event`` has happened."""
        commands = list(self._HANDLERS[type(event)](self, event, now))
        return commands + self._decide(now)

    def deadline(self) -> float | None:
        """Return when something is due by time alone, ``None`` if nothing is."""
        if self._stopped or self.paused or self._halts.root_gone:
            return None
        times = [self._looks.rescan_at]
        times += self._fetches.times(self._to_fetch())
        if self._local is None and not self._looks.suspended:
            not_before = self._not_before()
            times += [max(t, not_before) for t in self._local_times()]
        times += self._hub.times() if self._hub else []
        return min(times)

    def _local_times(self) -> list[float]:
        times = self._looks.times()
        if self._branch and self._branch.due is not None:
            times.append(self._branch.due)
        theirs = self._to_integrate()
        if theirs is not None:
            times.append(self._integration.due(theirs, edits_pending=self._looks.edits_pending))
        return times

    @property
    def root_gone(self) -> bool:
        """Return whether the folder went away, and with it whoever watched it."""
        return self._halts.root_gone is not None

    @property
    def halt(self) -> Halt | None:
        """Return what keeps this working copy from being in sync until someone acts."""
        if (halt := self._halts.first) is not None:
            return halt
        current = self.current.id if self.current else None
        for peer in self.peers.all():
            if peer.refusal is not None and peer.refusal.ours == current:
                return Halt(title=peer.refusal.title, hint=peer.refusal.hint)
        return None

    def status(self) -> SessionStatus:
        """Return what the session is doing."""
        return SessionStatus(
            phase=self._phase(),
            current=self.current,
            pending=self._looks.pending,
            waiting_for=self._waiting_for(),
            halt=self.halt,
            held=self.held,
            hub=self._hub.latest if self._hub else None,
            peers=self.peers.all(),
        )

    def quiet(self) -> bool:
        """Return whether nothing local is pending and everybody has been told."""
        return (
            not self._looks.pending
            and self._local is None
            and not self._saying.again
            and self.current is not None
            and not self._to_fetch()
            and self._to_integrate() is None
        )

    def is_recorded(self) -> bool:
        """Return whether what :class:`~autosync.core.events.RestoringEnded` named has been looked at."""
        return self.current is not None and not self._looks.awaited

    def unconfirmed(self) -> tuple[Peer, ...]:
        """Return the peers that have not said yet that they are where this device is.

        A peer that keeps edits to itself can never be; one that only receives has done its
        part when it has everything, one that only sends when the others have.
        """
        current, mode = self.current, self.settings.mode
        if current is None:
            return self.peers.all()
        if mode is Mode.RECEIVE:
            return tuple(self.peers.news(current))
        elsewhere = self.peers.elsewhere(current)
        if mode is Mode.SEND:
            return tuple(p for p in elsewhere if p.tree != current.tree and not p.has_reached(current))
        return tuple(elsewhere)

    def is_on_hub(self) -> bool:
        """Return whether the hub has the state that this device made last."""
        return self._hub is not None and self._hub.settled

    # -- what happened ------------------------------------------------------------------
    def _started(self, event: ev.Started, now: float) -> list[Command]:
        self.current = event.current
        self._stopped = False
        self._looks.started(now)
        return []

    def _paths_changed(self, event: ev.PathsChanged, now: float) -> list[Command]:
        self._looks.paths_changed(event.hints, now)
        return []

    def _metadata_changed(self, _event: ev.MetadataChanged, now: float) -> list[Command]:
        self._looks.metadata_changed(now)
        self._setbacks.may_be_over(now)
        return []

    def _restoring_began(self, _event: ev.RestoringBegan, _now: float) -> list[Command]:
        self._looks.suspend()
        return []

    def _restoring_ended(self, event: ev.RestoringEnded, _now: float) -> list[Command]:
        self._looks.resume(event.paths)
        return []

    def _root_vanished(self, event: ev.RootVanished, _now: float) -> list[Command]:
        return self._halts.root_vanished(Halt(title=event.title, hint=event.hint))

    def _root_returned(self, event: ev.RootReturned, now: float) -> list[Command]:
        self.current = event.current
        self._halts.begin_again()
        self._saying.again = True
        return self._flush(ev.FlushAsked(), now)

    def _shortage_noticed(self, event: ev.ShortageNoticed, _now: float) -> list[Command]:
        return self._halts.short_of(event.what, event.title, event.hint)

    def _got_announcement(self, event: ev.Announced, now: float) -> list[Command]:
        self.peers.announced(event, now)
        if event.announcement.state == HELLO and event.live:
            self._saying.again = True
        return []

    def _asked(self, _event: ev.AnnouncementsAsked, now: float) -> list[Command]:
        self._saying.greet()
        if self._hub:
            self._hub.look_soon(now)
        return []

    def _hub_changed(self, _event: ev.HubChanged, now: float) -> list[Command]:
        if self._hub:
            self._hub.look_soon(now)
        return []

    def _snapshot_taken(self, event: ev.SnapshotTaken, now: float) -> list[Command]:
        self._done_locally()
        self._integration.obstacle_may_be_gone(now)
        self._looks.taken(now, torn=event.torn, keeps=event.keeps)
        if event.changed and event.snapshot is not None:
            self.current = event.snapshot
            self._edited_here(now)
        before, self.held = self.held, event.held
        title = news_of_held(before, event.held)
        return [Tell(title=title, hint=HELD_HINT)] if title else []

    def _ranked(self, event: ev.PeersRanked, _now: float) -> list[Command]:
        self.peers.ranked(event.order)
        return []

    def _fetched(self, event: ev.SnapshotFetched, now: float) -> list[Command]:
        tell = self._halts.short_of("fetch", event.reason, event.hint)
        return tell + self._fetches.ended(event, now)

    def _integrated(self, event: ev.Integrated, now: float) -> list[Command]:
        self._done_locally()
        self._integration.integrated(event, now)
        if event.current != self.current:
            self.current = event.current
            if event.current.id != event.theirs:
                self._edited_here(now)
            elif self._branch and self._made_here(event.current):
                self._branch.edited(event.current, now)  # merged by a store, which makes no commits
            elif self._branch:
                self._branch.followed()
        if event.changed_paths:
            self._looks.files_replaced(now)
        self._looks.again(event.again, now)
        if self.settings.conservative:
            self._looks.at_all()
        return self._halts.short_of("apply", event.reason, event.hint)

    def _ancestor_missing(self, event: ev.AncestorMissing, _now: float) -> list[Command]:
        self._done_locally()
        self._integration.ancestor_missing(event)
        return []

    def _diverged(self, event: ev.BranchesDiverged, now: float) -> list[Command]:
        local = self._local
        self._done_locally()
        if self.current is None:
            return []
        before = self.halt
        self._integration.refused(event.theirs)
        self.peers.refused(event.theirs, self.current.id, event.reason, event.hint)
        if self._branch and isinstance(local, MergeBranch):
            self._branch.merged(now)
        elif self._branch and isinstance(local, Integrate) and self._is_ours_to_merge(local.theirs):
            rank = sum(peer.device < self.settings.device for peer in self.peers.all())
            self._branch.diverged(local.theirs, now, rank=rank)
            return []
        known = before is not None and before.title == event.reason
        return [] if known else [Tell(title=event.reason, hint=event.hint)]

    def _user_busy(self, event: ev.UserBusy, now: float) -> list[Command]:
        self._put_back(now)
        self._setbacks.busy(now, event.reason)
        return []

    def _command_failed(self, event: ev.CommandFailed, now: float) -> list[Command]:
        if event.command in ("Push", "ListHub") and self._hub:
            tell = self._hub.refused(event, now)
            return [Tell(title=event.title, hint=event.hint)] if tell else []
        self._put_back(now)
        # What the others saved may have to wait, and the branch too; what is saved here has not.
        if event.command == "Integrate":
            again = self._integration.failed(event.title, now)
        elif self._branch and event.command in ("Commit", "SyncBranch", "MergeBranch"):
            again = self._branch.failed(event.title, now)
        else:
            again = self._setbacks.failed(now, event.title)
        if not event.transient:
            self._halts.failed(Halt(title=event.title, hint=event.hint))
        tell_at = PATIENCE_WITH_PASSING if event.transient else 0
        return [Tell(title=event.title, hint=event.hint)] if again == tell_at else []

    def _pushed(self, event: ev.Pushed, _now: float) -> list[Command]:
        if self._hub:
            self._hub.pushed(event.snapshot, self.current)
        return []

    def _hub_listed(self, event: ev.HubListed, now: float) -> list[Command]:
        listed = dict(event.snapshots)
        if self._hub:
            self._hub.listed(listed.pop(self.settings.device, None), now)
        for device, snapshot in listed.items():
            self.peers.listed(device, snapshot)
        if self._branch:
            self._branch.looked_at_hub(now)
        return []

    def _branch_settled(self, event: ev.BranchSettled, now: float) -> list[Command]:
        local = self._local
        self._done_locally()
        if event.current != self.current:
            self.current = event.current
            self._edited_here(now)
        if self._branch:
            if isinstance(local, MergeBranch):
                self._branch.merged(now)
            self._branch.settled(now, committed=isinstance(local, Commit | MergeBranch), behind=event.behind)
        return []

    def _description_awaited(self, event: ev.DescriptionAwaited, now: float) -> list[Command]:
        if self._branch:
            self._branch.hold(now + event.seconds)
        return []

    def _time_passed(self, _event: ev.TimePassed, now: float) -> list[Command]:
        self._looks.time_passed(now)
        return []

    def _pause(self, _event: ev.Paused, _now: float) -> list[Command]:
        self.paused = True
        self._saying.again = True
        return []

    def _resume(self, _event: ev.Resumed, now: float) -> list[Command]:
        self.paused = False
        self._halts.begin_again()
        self._saying.again = True
        return self._flush(ev.FlushAsked(), now)

    def _flush(self, _event: ev.FlushAsked, now: float) -> list[Command]:
        self._looks.at_all()
        self._setbacks.clear()
        self._integration.hurry()
        if self._hub:
            self._hub.hurry(now)
        if self._branch:
            self._branch.hurry()
        self.peers.retry_all()
        return []

    _HANDLERS: ClassVar[dict[type, Callable[..., list[Command]]]] = {
        ev.Started: _started,
        ev.PathsChanged: _paths_changed,
        ev.MetadataChanged: _metadata_changed,
        ev.RestoringBegan: _restoring_began,
        ev.RestoringEnded: _restoring_ended,
        ev.RootVanished: _root_vanished,
        ev.RootReturned: _root_returned,
        ev.ShortageNoticed: _shortage_noticed,
        ev.Announced: _got_announcement,
        ev.PeersRanked: _ranked,
        ev.AnnouncementsAsked: _asked,
        ev.HubChanged: _hub_changed,
        ev.SnapshotTaken: _snapshot_taken,
        ev.SnapshotFetched: _fetched,
        ev.Integrated: _integrated,
        ev.AncestorMissing: _ancestor_missing,
        ev.BranchesDiverged: _diverged,
        ev.UserBusy: _user_busy,
        ev.CommandFailed: _command_failed,
        ev.Pushed: _pushed,
        ev.HubListed: _hub_listed,
        ev.BranchSettled: _branch_settled,
        ev.DescriptionAwaited: _description_awaited,
        ev.TimePassed: _time_passed,
        ev.Paused: _pause,
        ev.Resumed: _resume,
        ev.FlushAsked: _flush,
    }

    # -- what is next ---------------------------------------------------------------------
    def _decide(self, now: float) -> list[Command]:
        if self._stopped:
            return []
        commands = self._say_where_we_are()
        if self.paused or self._halts.root_gone:
            return commands
        commands += self._hub.commands(self.current, now) if self._hub else []
        to_fetch = self._to_fetch()
        commands += self._fetches.commands(to_fetch, now)
        if not to_fetch and self._integration.missing is None:
            self._halts.short_of("fetch", "", "")  # what could not be fetched came otherwise
        if self._local is None and not self._looks.suspended and now >= self._not_before():
            self._local = self._next_local(now)
            if self._local is not None:
                self._looks.begun(now)
                commands.append(self._local)
        return commands

    def _say_where_we_are(self) -> list[Command]:
        if self.current is None:
            return []
        on_hub = self._hub is not None and self._hub.latest == self.current.id
        return self._saying.commands(
            self.current, self._state(), on_hub=on_hub, made_here=self._made_here(self.current)
        )

    def _next_local(self, now: float) -> LocalCommand | None:
        look = self._looks.command(self.current, above=self._above(), now=now)
        if look is not None or self.current is None:
            return look
        theirs = self._to_integrate()
        if theirs is not None:
            pending = self._looks.edits_pending
            command = self._integration.command(
                self.current, theirs, edits_pending=pending, above=self._above(), now=now
            )
            if command is not None:
                return command
        return self._branch.command(self.current, now, above=self._above()) if self._branch else None

    # -- small questions ----------------------------------------------------------------------
    def _to_fetch(self) -> list[Peer]:
        if self.current is None or self.settings.mode is Mode.SEND:
            return []
        return [p for p in self.peers.news(self.current) if p.here is None]

    def _to_integrate(self) -> Snapshot | None:
        if self.current is None or self.settings.mode is Mode.SEND:
            return None
        if self._fetches.for_ancestor or self._integration.missing is not None:
            return None
        ready = [p.here for p in self.peers.news(self.current) if p.here is not None]
        ready += self._integration.left_over(self.current, ready)
        pending = self._looks.edits_pending
        # Rather one that can be had now than one that has to wait.
        return min(ready, key=lambda theirs: self._integration.due(theirs, edits_pending=pending), default=None)

    def _not_before(self) -> float:
        return max(self._setbacks.not_before, self._looks.not_before)

    def _made_here(self, snapshot: Snapshot) -> bool:
        return self.settings.name in snapshot.device.split("+")

    def _is_ours_to_merge(self, theirs: Snapshot) -> bool:
        """Return whether this device has to make the merge commit; who made ``theirs`` then follows it.

        Who only keeps that state, as a store does, makes none.
        """
        return all(self.settings.device < maker.device for maker in self.peers.makers(theirs))

    def _above(self) -> int:
        return self.peers.highest(self.settings.device)

    def _edited_here(self, now: float) -> None:
        """Take note of a new state that no other device has made."""
        if self._hub and self.settings.mode is not Mode.RECEIVE:
            self._hub.edited(now)
        if self._branch and self.current is not None:
            self._branch.edited(self.current, now)

    def _done_locally(self) -> None:
        self._local = None
        self._looks.ended()
        self._halts.worked()
        self._setbacks.clear()

    def _put_back(self, now: float) -> None:
        """Take note that the local command did nothing, so that its work is still to be done."""
        local, self._local = self._local, None
        if isinstance(local, TakeSnapshot):
            self._looks.put_back(local, now)
        elif self._branch and isinstance(local, Commit | SyncBranch):
            self._branch.put_back(now)

    def _state(self) -> str:
        if self.paused:
            return "paused"
        return "halted" if self.halt else "ok"

    def _waiting_for(self) -> str:
        hub = self._hub.failed.reason if self._hub else ""
        news = next((p.reason for p in self._to_fetch() if p.reason), "")
        branch = self._branch.reason if self._branch else ""
        return self._setbacks.reason or self._blocked_by() or branch or hub or news

    def _blocked_by(self) -> str:
        return self._integration.reason if self._to_integrate() is not None else ""

    def _phase(self) -> str:
        if self._stopped:
            return "stopped"
        if self.paused:
            return "paused"
        if self._halts.first is not None:
            return "halted"
        if self._local is not None:
            return "snapshotting" if isinstance(self._local, TakeSnapshot) else "applying"
        if self._setbacks.reason or self._blocked_by():
            return "waiting"
        if self._fetches.under_way:
            return "fetching"
        if self._looks.settling:
            return "settling"
        return "halted" if self.halt else "watching"
