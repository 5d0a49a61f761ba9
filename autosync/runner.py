"""Runs the session of one working copy: feeds it events and performs what it answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, Protocol

from autosync.activities import Activity, Reporter
from autosync.arriving.fetching import Arriving
from autosync.confirmations import Confirmations
from autosync.conflicts.index import ConflictIndex
from autosync.core import events as ev
from autosync.core.commands import (
    Announce,
    Command,
    Commit,
    Fetch,
    Integrate,
    ListHub,
    LocalCommand,
    MergeBranch,
    Push,
    SourceKind,
    SyncBranch,
    TakeSnapshot,
    Tell,
)
from autosync.core.model import CommitId, DeviceId, Snapshot, SnapshotId
from autosync.core.session import Session
from autosync.core.settings import Mode, SessionSettings
from autosync.errors import AutosyncError
from autosync.failures import failure, title_of
from autosync.history import Tidied
from autosync.link.wire import Wish
from autosync.onlookers import Onlookers
from autosync.perform import Performer

log = logging.getLogger(__name__)

CRASH_PAUSE = 5.0
"""Seconds before a crashed session starts again from the recorded state."""
STOP_PATIENCE = 0.8
"""Seconds that a step may take to finish when the agent stops."""
LONG_STEP = 10.0
"""Seconds after which it is told that a step in the working copy is still under way."""
UNANNOUNCED_MOST = 10.0
"""Seconds between attempts to announce, at most."""
TIDY_EVERY = 600.0
"""Seconds between looks at whether the store wants packing."""


class Outside(Protocol):
    """What the agent does for a runner."""

    async def announce(self, runner: Runner, announce: Announce, pack: bytes) -> None:
        """Seal an announcement and broadcast it over every channel."""

    async def fetch_from_peer(self, runner: Runner, device: DeviceId, wish: Wish, sink: BinaryIO) -> None:
        """Write what a peer answers to ``wish`` to ``sink``.  Raises :class:`AutosyncError`."""

    def happened(self, activity: Activity) -> None:
        """Take note of something for people who watch."""


class Companion(Protocol):
    """Somebody who follows a working copy without a say in what is done there.

    Both methods are called in the event loop and return at once.
    """

    def happened(self, event: ev.Event) -> None:
        """Take note of an event, after the session has."""

    def stepped(self, command: LocalCommand, event: ev.Event) -> None:
        """Take note that ``command`` was performed, with ``event`` as its answer."""

    async def stop(self) -> None:
        """End what was begun."""


@dataclass(slots=True, kw_only=True)
class Runner:
    """One working copy of the agent.

    Start it with :meth:`start`; :meth:`post` feeds it events from the event loop's
    thread, :meth:`post_from_thread` from any other.
    """

    workspace: str
    settings: SessionSettings
    performer: Performer
    outside: Outside
    local: Executor
    network: Executor
    inline_limit: int = 8192
    before_whole_look: Callable[[], None] = lambda: None
    """Called before everything is looked at: ignore rules outside the tree may be other now."""
    wording_time: Callable[[], float] = lambda: 0.0
    """Returns for how many seconds a commit of ours waits with being pushed, so that somebody may describe it."""
    crash_pause: float = CRASH_PAUSE
    session: Session = field(init=False)
    reporter: Reporter = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    companions: list[Companion] = field(default_factory=list)
    _arriving: Arriving = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _timer: asyncio.TimerHandle | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _announcing: asyncio.Task[None] | None = None
    _beginning: asyncio.Task[None] | None = None
    _announce_next: Announce | None = None
    _unannounced: float = 0.0
    """Seconds until what could not be announced is tried again; 0 if all was."""
    _onlookers: Onlookers = field(default_factory=Onlookers)
    _last_failure: str = ""
    """Why the last fetch failed, in words; empty if it did not."""
    _tidied_at: float = 0.0
    _tidying: int = 0
    _step_began: float | None = None
    _stopped: bool = False
    abandoned: bool = False
    """Whether :meth:`stop` left something that touches the working copy unfinished."""
    confirmations: Confirmations = field(default_factory=Confirmations)
    synced_at: float | None = None
    """Wall clock, in seconds, when another device last was known to have the same content."""

    def __post_init__(self) -> None:
        self.session = Session(self.settings)
        self.reporter = Reporter(
            workspace=self.workspace,
            device=self.settings.name,
            performer=self.performer,
            local=self.local,
            happened=self.outside.happened,
            has_files=self.settings.mode is not Mode.STORE,
        )

        self._arriving = Arriving(
            performer=self.performer, network=self.network, ask=partial(self.outside.fetch_from_peer, self)
        )

    @property
    def conflicts(self) -> ConflictIndex:
        """Return the list of the conflict copies that stand in the working copy."""
        return self.reporter.conflicts

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take events from now on; what they ask for begins with :meth:`start`."""
        self._loop = loop

    async def start(self) -> None:
        """Open the working copy and begin."""
        current = await self._loop.run_in_executor(self.local, self.performer.open)
        await self._loop.run_in_executor(self.network, self._arriving.tidy)
        self._tidied_at = self._loop.time()
        self.reporter.began(current)
        self.post(ev.Started(current=current))

    async def speak_out(self, seconds: float) -> None:
        """Wait until what was to be announced has been, for at most ``seconds``."""
        if self._announcing is not None:
            await asyncio.wait({self._announcing}, timeout=seconds)

    async def stop(self) -> None:
        """End: nothing new is begun; what touches the working copy has a moment to finish."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        ends = [self._loop.create_task(companion.stop()) for companion in self.companions]
        local = {t for t in self._tasks if t.get_name().startswith("local")}
        for task in self._tasks - local:
            task.cancel()
        self.abandoned = bool(self._tidying)
        if local:
            _, late = await asyncio.wait(local, timeout=STOP_PATIENCE)
            self.abandoned |= bool(late)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._tasks, *ends, return_exceptions=True)

    # -- the way in ------------------------------------------------------------------------
    def post_from_thread(self, event: ev.Event) -> None:
        """Feed the session from another thread."""
        self._loop.call_soon_threadsafe(self.post, event)

    def post(self, event: ev.Event) -> None:
        """Feed the session."""
        if self._stopped:
            return
        before = self.session.status().phase if log.isEnabledFor(logging.DEBUG) else ""
        current = self.session.current
        try:
            commands = self.session.handle(event, self._loop.time())
        except Exception:  # one session's crash never stops another
            log.exception("%s: the session failed on %s", self.workspace, type(event).__name__)
            self._restart()
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s: %s -> %s", self.workspace, type(event).__name__, before, self.session.status().phase)
        if self._says_equal(event):
            self.synced_at = time.time()
        self._confirm(event, current)
        for command in commands:
            self._perform(command)
        self._set_timer()
        self._onlookers.look()
        for companion in self.companions:
            companion.happened(event)

    def _confirm(self, event: ev.Event, before: Snapshot | None) -> None:
        """Keep account of who has said to have what is here."""
        current, now = self.session.current, time.time()
        ours = current.tree if current is not None else None
        if isinstance(event, ev.Announced):
            said = event.announcement
            if event.live and said.snapshot is not None:
                self.reporter.heard(said.snapshot)
            said_at = now if event.live else said.sent_at_ms / 1000
            self.confirmations.heard(said.device, said.tree, ours, said_at=said_at, now=now)
        if current is not before:
            self.confirmations.moved(((p.device, p.tree) for p in self.session.peers.all()), ours, now)

    def _says_equal(self, event: ev.Event) -> bool:
        """Return whether ``event`` says that this and another device have the same content."""
        if isinstance(event, ev.Integrated):
            return event.complete
        current = self.session.current
        return isinstance(event, ev.Announced) and current is not None and event.announcement.tree == current.tree

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Return whether ``condition`` came true within ``seconds``; it is asked after every event."""
        return await self._onlookers.until(condition, seconds)

    def _restart(self) -> None:
        paused = self.session.paused
        self.session = Session(self.settings)
        self.session.paused = paused
        self.counts["crashes"] = self.counts.get("crashes", 0) + 1
        if self._beginning is None or self._beginning.done():
            self._beginning = self._start(self._begin_again(), "begin")

    async def _begin_again(self) -> None:
        """Go on as after a kill: from the recorded state, and knowing nothing of the others.

        What the crashed session had begun has ended by then, for it had its turn before.
        """
        crashes = 0
        while crashes != self.counts["crashes"]:  # once more if it crashed again meanwhile
            await asyncio.sleep(self.crash_pause)
            crashes = self.counts["crashes"]
            try:
                await self.start()
                self.post(ev.AnnouncementsAsked())
            except AutosyncError as error:
                log.warning("%s: cannot go on yet: %s", self.workspace, error.title)
                crashes = 0

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.session.deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self.post, ev.TimePassed())

    # -- the way out ---------------------------------------------------------------------------
    def _perform(self, command: Command) -> None:
        match command:
            case TakeSnapshot() | Integrate() | Commit() | SyncBranch() | MergeBranch():
                if isinstance(command, TakeSnapshot) and command.paths is None:
                    log.debug("%s: everything is looked at", self.workspace)
                    self.before_whole_look()
                self._start(self._locally(command), "local")
            case Fetch():
                self._start(self._fetch(command), "fetch")
            case Push():
                self._start(self._in_network(command, lambda: self.performer.push(command)), "push")
            case ListHub():
                self._start(self._in_network(command, lambda: self.performer.list_hub(command)), "list")
            case Announce():
                self._announce_next = command
                if self._announcing is None or self._announcing.done():
                    self._announcing = self._start(self._announce(), "announce")
            case Tell():
                self.reporter.tell(command)

    def _start(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        async def run() -> None:
            await work

        task = self._loop.create_task(run(), name=f"{name} {self.workspace}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _locally(self, command: LocalCommand) -> None:
        self._step_began = self._loop.time()
        event = await self._loop.run_in_executor(self.local, self.performer.local, command)
        self._step_began = None
        if isinstance(event, ev.BranchSettled) and isinstance(command, Commit):
            self._await_description(command, event)
        self.post(event)
        for companion in self.companions:
            companion.stepped(command, event)
        await self.reporter.report(command, event, self.session.current)
        due = self._loop.time() - self._tidied_at > TIDY_EVERY or self.performer.history.wants_tidying
        if due and not self._tidying:
            self._start(self._tidy(), "tidy")

    def _await_description(self, command: Commit, event: ev.BranchSettled) -> None:
        """Leave a new commit a moment before it is pushed, if somebody is there who may describe it."""
        seconds = self.wording_time()
        if seconds and event.current.base != command.current.base:
            self.post(ev.DescriptionAwaited(seconds=seconds))

    def long_step(self) -> str:
        """Return in words that the step under way takes long, empty if it does not."""
        taken = 0.0 if self._step_began is None else self._loop.time() - self._step_began
        if taken < LONG_STEP:
            return ""
        return f"{self.performer.backend.vcs} or the disk, for {taken:.0f} s in one step"

    async def _tidy(self) -> None:
        try:
            await self.tidy()
        except (AutosyncError, OSError) as error:
            log.warning("%s: the store was not packed: %s", self.workspace, title_of(error))

    async def tidy(self, *, thorough: bool = False, rehearse: bool = False) -> Tidied:
        """Let go of old snapshots and pack the store, without holding up what touches the working copy."""
        peers = {peer.device: peer.snapshot for peer in self.session.peers.all() if peer.snapshot is not None}
        self._tidying += 1
        try:
            return await self._loop.run_in_executor(
                self.network, partial(self.performer.tidy, peers, thorough=thorough, rehearse=rehearse)
            )
        finally:
            self._tidying -= 1
            self._tidied_at = self._loop.time()

    async def _in_network(self, command: Push | ListHub, work: Callable[[], ev.Event]) -> None:
        try:
            event = await self._loop.run_in_executor(self.network, work)
        except RuntimeError as error:  # the executor is closing down
            event = failure(command, error, self.performer.backend.metadata)
        self.post(event)

    async def _fetch(self, command: Fetch) -> None:
        kind = command.source.kind
        if kind is SourceKind.STORE:
            event = await self._loop.run_in_executor(self.network, self.performer.find, command)
        elif kind is SourceKind.INLINE:
            event = await self._loop.run_in_executor(self.network, self.performer.absorb, command, self._fetched_early)
            if event.snapshot is not None:  # and told already
                return
        elif kind is SourceKind.HUB:
            event = await self._loop.run_in_executor(self.network, self.performer.fetch, command)
        else:
            event = await self._arriving.fetch(command)
        self._fetched(event)

    def _fetched_early(self, event: ev.SnapshotFetched) -> None:
        """Feed the session from another thread with what can be used, but is not on the disk yet."""
        self._loop.call_soon_threadsafe(self._fetched, event)

    def _fetched(self, event: ev.SnapshotFetched) -> None:
        if event.snapshot is None:
            self.counts["failed fetches"] = self.counts.get("failed fetches", 0) + 1
            why = f"{event.wanted[:10]} not to be had from {event.source}: {event.reason}"
            # An attempt is repeated for as long as it takes; once is enough to tell why.
            log.log(logging.DEBUG if why == self._last_failure else logging.INFO, "%s: %s", self.workspace, why)
            self._last_failure = why
        else:
            self._last_failure = ""
            self.reporter.came(event.snapshot.id, event.source)
        self.post(event)

    async def _announce(self) -> None:
        while self._announce_next is not None:
            command, self._announce_next = self._announce_next, None
            pack = b""
            if command.inline and command.share and command.current and not self.session.peers.share_store():
                known, reached = self.session.peers.bases(), self.session.peers.reached()
                pack = await self._loop.run_in_executor(
                    self.network, self._inline_pack, command.current, known, reached
                )
            await self._tell(command, pack)

    async def _tell(self, command: Announce, pack: bytes) -> None:
        """Announce, again and again until it succeeds or there is something newer to say."""
        while True:
            try:
                await self.outside.announce(self, command, pack)
            except (AutosyncError, OSError) as error:
                hint = error.hint if isinstance(error, AutosyncError) else "It is tried again by itself."
                self.post(ev.ShortageNoticed(what="announce", title=title_of(error), hint=hint))
                self._unannounced = min(2 * self._unannounced or 1.0, UNANNOUNCED_MOST)
                await asyncio.sleep(self._unannounced)
                if self._announce_next is not None:
                    return
            else:
                if self._unannounced:
                    self._unannounced = 0.0
                    self.post(ev.ShortageNoticed(what="announce", title="", hint=""))
                return

    def _inline_pack(self, current: Snapshot, known: Collection[CommitId], reached: Sequence[SnapshotId]) -> bytes:
        try:
            backend = self.performer.backend
            return backend.pack(current.id, limit=self.inline_limit, known=known, reached=reached) or b""
        except Exception as error:  # an edge: what is announced without content can be fetched
            log.info("%s: announced without content: %s", self.workspace, title_of(error))
            return b""
