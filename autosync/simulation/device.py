"""One simulated device: a real session and performer on a working copy in memory, killed as one likes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.brakes import BrakeLimits, Brakes
from autosync.core.commands import (
    Announce,
    Command,
    Fetch,
    ListHub,
    LocalCommand,
    Push,
    SourceKind,
    TakeSnapshot,
    Tell,
)
from autosync.core.intake import Intake
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, Version
from autosync.core.session import Session
from autosync.core.settings import SessionSettings
from autosync.errors import AutosyncError, Unreachable
from autosync.history import History
from autosync.perform import Performer
from autosync.ports import Backend, Tree
from autosync.simulation.clock import Clock
from autosync.simulation.ledger import Standing
from autosync.simulation.network import Network

EPOCH = 1_800_000_000.0
"""Where the wall clocks begin, in seconds since the epoch."""
NO_LIMITS = BrakeLimits(huge_file=None, burst=None, mass_deletion=None, secrets=())
"""Nothing is held back: there is nobody to ask."""
INLINE_LIMIT = 8192
"""Bytes of a snapshot that travels inside its announcement, as agents do it."""
INLINE_LOST = 0.3
"""Share of the announcements that a channel carries without the content."""
IN_A_ROW = 50
"""Wake-ups at one moment after which a session is said to spin."""


class Killed(BaseException):
    """The agent was killed in the middle of a command."""


class Spinning(Exception):
    """A session asks to be woken again and again at the same moment, or the devices never come to rest."""


class Surroundings(Protocol):
    """What a device has around it."""

    clock: Clock
    network: Network
    random: Random
    devices: list[Device]
    trace: list[tuple[float, str, str, str]]
    limit: int


@dataclass(slots=True)
class _Fault:
    """What happens in the middle of a command that touches the working copy, ``left`` steps from now."""

    left: int
    action: Callable[[], None]


class Device:
    """A device, by its ``number``; ``on`` tells whether its agent runs.

    ``told`` is what the agent told its user, ``commands`` counts what it did.
    """

    has_user = True

    def __init__(self, number: int, copy: MemoryWorkingCopy, settings: SessionSettings, around: Surroundings) -> None:
        self.number = number
        self.copy = copy
        self.settings = settings
        self.name = settings.name
        self.around = around
        self.on = False
        self.told: list[str] = []
        self.wall_skew = 0.0
        self.free_since = 0.0
        """When the agent was last kept from looking: by being off, by a pause, by the user's git."""
        self.awake: float | None = None
        self.session = Session(settings)
        self.performer = self._new_performer()
        self._intake = Intake()
        self._life = 0
        self._seq = 0
        self._faults: list[_Fault] = []
        self._in_a_row = 0
        self._last_wake = -1.0
        copy.step = self._step

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.settings.device

    @property
    def files(self) -> Mapping[RelPath, Standing]:
        """What stands at each path."""
        return self.copy.files

    def base(self) -> Base:
        """Return what is checked out."""
        return self.copy.base()

    def _parts(self) -> tuple[Backend, Tree]:
        return self.copy, self.copy

    def _open(self) -> Snapshot | None:
        return self.performer.open()

    def _new_performer(self) -> Performer:
        backend, tree = self._parts()
        return Performer(
            backend=backend,
            tree=tree,
            device=self.settings.device,
            name=self.settings.name,
            brakes=Brakes(NO_LIMITS),
            history=History(backend, clock=self._wall_clock, elapsed=lambda: self.around.clock.now),
            clock=self._wall_clock,
        )

    def _wall_clock(self) -> float:
        return EPOCH + self.around.clock.now + self.wall_skew

    # -- the agent's life ---------------------------------------------------------------
    def boot(self) -> None:
        """Start the agent."""
        if self.on:
            return
        self.on = True
        self.free_since = self.around.clock.now
        self.session = Session(self.settings)
        try:
            current = self._open()
        except Killed:
            self.crash()
            return
        self.post(ev.Started(current=current))
        self.post(ev.AnnouncementsAsked())

    def crash(self) -> None:
        """Kill the agent: what it had in memory only is gone."""
        self._life += 1
        self.on = False
        self.awake = None
        self.copy.crash()
        self.performer = self._new_performer()
        self._intake = Intake({device: seq - 1 for device, seq in self._intake.last().items()})

    def interrupt(self, steps: int, action: Callable[[], None]) -> None:
        """Let ``action`` happen in the middle of a command, after so many steps of the working copy."""
        self._faults.append(_Fault(steps, action))

    def be_spared(self) -> None:
        """Forget every interruption that has not happened yet."""
        self._faults.clear()

    def die(self) -> None:
        """Kill the agent in the middle of what it does: for :meth:`interrupt`."""
        raise Killed

    def _step(self, _what: str) -> None:
        if not self._faults:
            return
        due = [fault for fault in self._faults if fault.left <= 0]
        self._faults = [fault for fault in self._faults if fault.left > 0]
        for fault in self._faults:
            fault.left -= 1
        for fault in due:
            fault.action()

    def describe(self) -> str:
        """Return what the agent says of itself, in one line."""
        status = self.session.status()
        halt = f", halted: {status.halt.title}" if status.halt else ""
        waits = f", waiting for {status.waiting_for}" if status.waiting_for else ""
        return f"{status.phase}, {status.pending} paths pending{waits}{halt}"

    # -- events in --------------------------------------------------------------------------
    def post(self, event: ev.Event) -> None:
        """Feed the session and perform what it wants."""
        if not self.on:
            return
        now = self.around.clock.now
        commands = self.session.handle(event, now)
        current = self.session.current
        self.around.trace.append((now, self.name, type(event).__name__, current.id if current else ""))
        if len(self.around.trace) > self.around.limit:
            raise Spinning(f"{self.name} never comes to rest: {self.describe()}")
        for command in commands:
            self._perform(command)
        self._set_timer()

    def seen(self, *hints: ev.PathHint, metadata: bool = False) -> None:
        """Let the watcher tell of what happened to files, a moment later, if it still runs then."""
        if hints and self.on:
            self._later(ev.PathsChanged(hints=hints), least=0.0005, most=0.005)
        if metadata and self.on:
            self._later(ev.MetadataChanged(), least=0.0005, most=0.005)

    def hear(self, said: ev.Announcement) -> None:
        """Take an announcement from the network."""
        if self.on and not self._intake.take(ev.Announced(announcement=said, lane="bus"), self.around.clock.now):
            for announced in self._intake.due(self.around.clock.now):
                self.post(announced)

    def _later(self, event: ev.Event, *, least: float, most: float) -> None:
        life = self._life
        self.around.clock.after(
            self.around.random.uniform(least, most), lambda: self.post(event) if self._life == life else None
        )

    def _set_timer(self) -> None:
        deadline = self.session.deadline()
        if deadline == self.awake:
            return
        self.awake = deadline
        if deadline is not None:
            self.around.clock.at(deadline, lambda: self._wake(deadline))

    def _wake(self, deadline: float) -> None:
        if not self.on or self.awake != deadline:
            return
        now = self.around.clock.now
        self._in_a_row = self._in_a_row + 1 if now == self._last_wake else 0
        self._last_wake = now
        if self._in_a_row > IN_A_ROW:
            raise Spinning(f"{self.name} at {now:.3f} s, deadline {deadline:.3f}: {self.describe()}")
        self.awake = None
        self.post(ev.TimePassed())

    # -- commands out -------------------------------------------------------------------------
    def _perform(self, command: Command) -> None:
        self.around.trace.append((self.around.clock.now, self.name, "->", type(command).__name__))
        match command:
            case Announce():
                self._announce(command)
            case Tell():
                self.told.append(command.title)
            case Fetch():
                self._do(lambda: self._fetch(command))
            case Push():
                self._do(lambda: self.performer.push(command))
            case ListHub():
                self._do(lambda: self.performer.list_hub(command))
            case _:
                self._do(lambda: self._locally(command))

    def _do(self, work: Callable[[], ev.Event]) -> None:
        """Perform a command some time later and answer some time after that, if the agent lives so long."""
        life = self._life

        def perform() -> None:
            if self._life != life:
                return
            try:
                event = work()
            except Killed:
                self.crash()
            else:
                self._later(event, least=0.0005, most=0.01)

        self.around.clock.after(self.around.random.uniform(0.0005, 0.01), perform)

    def _locally(self, command: LocalCommand) -> ev.Event:
        """Perform a command that touches the working copy; the watcher sees what it does."""
        before, head = dict(self.copy.files), self.copy.base()
        event = self.performer.local(command)
        files = self.copy.files
        if not isinstance(command, TakeSnapshot) or files != before:
            changed = sorted(p for p in before.keys() | files.keys() if before.get(p) != files.get(p))
            self.seen(*(_echo(path, there=path in files) for path in changed), metadata=self.copy.base() != head)
        return event

    def _fetch(self, command: Fetch) -> ev.SnapshotFetched:
        if command.source.kind is SourceKind.INLINE:
            return self.performer.absorb(command)
        if command.source.kind is SourceKind.HUB:
            return self.performer.fetch(command)
        source = next(d for d in self.around.devices if d.id == command.source.device)
        return self.performer.receive(command, lambda: self._receive(source, command.wanted))

    def _receive(self, source: Device, wanted: SnapshotId) -> Snapshot:
        if not source.on or not self.around.network.reaches(self.number, source.number):
            raise Unreachable(f"{source.name} is away", hint="It is tried again.")
        pipe = io.BytesIO()
        source.performer.backend.serve(wanted, self.performer.backend.haves(), pipe)
        pipe.seek(0)
        return self.performer.backend.receive(wanted, pipe)

    def _announce(self, command: Announce) -> None:
        self._seq += 1
        current = command.current
        shared = current if command.share else None
        pack = b""
        if command.inline and shared is not None:
            known, reached = self.session.peers.bases(), self.session.peers.reached()
            with suppress(AutosyncError):  # what is announced without content can be fetched
                pack = self.copy.pack(shared.id, limit=INLINE_LIMIT, known=known, reached=reached) or b""
        said = ev.Announcement(
            device=self.id,
            name=self.name,
            seq=self._seq,
            state=command.state,
            snapshot=shared.id if shared else None,
            tree=current.tree if current else None,
            base=current.base if current else Base(commit=None, branch=None),
            version=shared.version if shared else Version(),
            candidates=(),
            certificate=b"",
            on_hub=command.on_hub,
            inline=pack,
        )
        for other in self.around.devices:
            if other is not self:
                light = bool(pack) and self.around.random.random() < INLINE_LOST
                heard = replace(said, inline=b"") if light else said
                self.around.network.send(self.number, other.number, lambda to=other, what=heard: to.hear(what))  # type: ignore[misc]  # bound now


def _echo(path: RelPath, *, there: bool) -> ev.PathHint:
    return ev.PathHint(path=path, touch=ev.Touch.MOVED_IN if there else ev.Touch.GONE, fresh_source=True)
