"""Several devices in one thread: real sessions and performers, a memory version control, a seeded network."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from autosync.backends.memory import MemoryHub, MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import (
    Announce,
    Command,
    Commit,
    Fetch,
    Integrate,
    ListHub,
    MergeBranch,
    Push,
    SourceKind,
    SyncBranch,
    TakeSnapshot,
    Tell,
)
from autosync.core.events import Announcement, PathHint, Touch
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, Version
from autosync.core.session import Session
from autosync.core.settings import SessionSettings
from autosync.errors import AutosyncError, Unreachable
from autosync.perform import Performer


@dataclass
class Device:
    """One device: a session, its working copy, and whether it is switched on."""

    name: str
    copy: MemoryWorkingCopy
    performer: Performer
    settings: SessionSettings
    session: Session
    life: int = 0
    on: bool = True
    linked: bool = True
    told: list[str] = field(default_factory=list)
    seq: int = 0

    @property
    def id(self) -> DeviceId:
        return self.settings.device


class World:
    """A clock, a bus that may lose, delay and repeat, and the devices on it."""

    def __init__(
        self, seed: int, *, devices: int = 3, hub: bool = False, loss: float = 0.0, **settings: object
    ) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.loss = loss
        self.trace: list[str] = []
        self.ledger: set[bytes] = set()
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._order = count()
        self.hub = MemoryHub() if hub else None
        origin = MemoryWorkingCopy("origin", hub=self.hub)
        origin.user.write(RelPath(b"shared.txt"), b"".join(b"line %d\n" % n for n in range(20)))
        origin.user.commit("start")
        self.devices: list[Device] = []
        for number in range(devices):
            name = f"d{number}"
            copy = origin.clone(name)
            device_id = DeviceId(f"{name}-0000000{number}")
            chosen = SessionSettings(device=device_id, name=name, hub=hub, **settings)  # type: ignore[arg-type]  # test settings
            performer = Performer(backend=copy, tree=copy, device=device_id, name=name, clock=lambda: self.now)
            self.devices.append(Device(name, copy, performer, chosen, Session(chosen)))
        for device in self.devices:
            self._boot(device)

    # -- time -----------------------------------------------------------------------------
    def at(self, when: float, action: Callable[[], None]) -> None:
        heappush(self._queue, (when, next(self._order), 0, action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            deadlines = [(d.session.deadline(), d) for d in self.devices if d.on]
            soonest, device = min(
                ((t, d) for t, d in deadlines if t is not None), key=lambda pair: pair[0], default=(None, None)
            )
            queued = self._queue[0][0] if self._queue else None
            candidates = [t for t in (soonest, queued) if t is not None]
            if not candidates or min(candidates) > end:
                self.now = end
                return
            self.now = max(self.now, min(candidates))
            if queued is not None and queued <= self.now:
                heappop(self._queue)[3]()
            elif device is not None:
                before = device.session.deadline()
                self.post(device, ev.TimePassed())
                after = device.session.deadline()
                if after is not None and before is not None and after <= self.now and after == before:
                    busy = device.session._local is not None or device.session._fetching is not None
                    if not busy:
                        raise AssertionError(f"{device.name} spins at {self.now}: deadline {after}")

    # -- devices ----------------------------------------------------------------------------------
    def _boot(self, device: Device) -> None:
        device.session = Session(device.settings)
        device.on = True
        self.post(device, ev.Started(current=device.performer.open()))
        self.post(device, ev.AnnouncementsAsked())
        for other in self.devices:
            if other is not device and other.on:
                self.at(self.now + 0.01, lambda other=other: self.post(other, ev.AnnouncementsAsked()))  # type: ignore[misc]

    def crash(self, device: Device) -> None:
        """Kill the agent: what it had in memory only is gone."""
        device.life += 1
        device.on = False
        device.copy.crash()
        fresh = Performer(
            backend=device.copy, tree=device.copy, device=device.id, name=device.name, clock=lambda: self.now
        )
        device.performer = fresh

    def restart(self, device: Device) -> None:
        self._boot(device)

    def post(self, device: Device, event: ev.Event) -> None:
        if not device.on:
            return
        self.trace.append(f"{self.now:.3f} {device.name} {type(event).__name__}")
        for command in device.session.handle(event, self.now):
            self.trace.append(f"{self.now:.3f} {device.name} -> {type(command).__name__}")
            self._perform(device, command)

    def _answer(self, device: Device, delay: float, work: Callable[[], ev.Event]) -> None:
        life = device.life

        def finish() -> None:
            if device.life == life and device.on:
                self.post(device, work())

        self.at(self.now + delay, finish)

    def _perform(self, device: Device, command: Command) -> None:
        delay = self.random.uniform(0.001, 0.02)
        match command:
            case TakeSnapshot() | Integrate() | Commit() | SyncBranch() | MergeBranch():
                self._answer(device, delay, lambda: self._local(device, command))
            case Fetch():
                self._answer(device, delay, lambda: self._fetch(device, command))
            case Push():
                self._answer(device, delay, lambda: device.performer.push(command))
            case ListHub():
                self._answer(device, delay, lambda: device.performer.list_hub(command))
            case Announce():
                self._announce(device, command)
            case Tell():
                device.told.append(command.title)

    def _local(self, device: Device, command: TakeSnapshot | Integrate | Commit | SyncBranch | MergeBranch) -> ev.Event:
        before = dict(device.copy.files)
        head = device.copy.base()
        event = device.performer.local(command)
        after = dict(device.copy.files)
        hints = [
            PathHint(path=p, touch=Touch.MOVED_IN if p in after else Touch.GONE, fresh_source=True)
            for p in sorted(before.keys() | after.keys())
            if before.get(p) != after.get(p)
        ]
        if hints:
            self.at(self.now, lambda: self.post(device, ev.PathsChanged(hints=tuple(hints))))
        if device.copy.base() != head:
            self.at(self.now, lambda: self.post(device, ev.MetadataChanged()))
        return event

    def _fetch(self, device: Device, command: Fetch) -> ev.SnapshotFetched:
        if command.source.kind is SourceKind.INLINE:
            return device.performer.absorb(command)
        if command.source.kind is SourceKind.HUB:
            return device.performer.fetch(command)
        source = next(d for d in self.devices if d.id == command.source.device)

        def get() -> Snapshot:
            if not (source.on and source.linked and device.linked):
                raise Unreachable(f"{source.name} is away", hint="")
            pipe = io.BytesIO()
            source.copy.serve(command.wanted, device.copy.haves(), pipe)
            pipe.seek(0)
            return device.copy.receive(command.wanted, pipe)

        return device.performer.receive(command, get)

    def _announce(self, device: Device, command: Announce) -> None:
        device.seq += 1
        current = command.current
        shared = current if command.share else None
        pack = b""
        if command.inline and shared is not None:
            try:
                pack = device.copy.pack(shared.id, limit=8192) or b""
            except AutosyncError:
                pack = b""
        said = Announcement(
            device=device.id,
            name=device.name,
            seq=device.seq,
            state=command.state,
            snapshot=shared.id if shared else None,
            tree=current.tree if current else None,
            base=current.base if current else Base(commit=None, branch=None),
            version=shared.version if shared else Version(),
            addresses=(),
            certificate=b"",
            on_hub=command.on_hub,
            inline=pack,
        )
        for other in self.devices:
            if other is device or not device.linked or not other.linked:
                continue
            for _ in range(self.random.choice((1, 1, 1, 2))):
                if self.random.random() < self.loss:
                    continue
                heard = replace(said, inline=pack if self.random.random() < 0.7 else b"")
                self.at(
                    self.now + self.random.uniform(0.001, 0.3),
                    lambda other=other, heard=heard: self.post(other, ev.Announced(announcement=heard, lane="bus")),  # type: ignore[misc]
                )

    # -- users ------------------------------------------------------------------------------------------
    def write(self, device: Device, path: bytes, content: bytes) -> None:
        """Save a file as an editor would, with the event that the kernel gives."""
        self._overwritten(device, path)
        self.ledger.add(content)
        device.copy.user.write(RelPath(path), content)
        self.post(device, ev.PathsChanged(hints=(PathHint(path=RelPath(path), touch=Touch.CLOSED),)))

    def remove(self, device: Device, path: bytes) -> None:
        self._overwritten(device, path)
        device.copy.user.remove(RelPath(path))
        self.post(device, ev.PathsChanged(hints=(PathHint(path=RelPath(path), touch=Touch.GONE),)))

    def rename(self, device: Device, old: bytes, new: bytes) -> None:
        device.copy.user.rename(RelPath(old), RelPath(new))
        hints = (PathHint(path=RelPath(old), touch=Touch.GONE), PathHint(path=RelPath(new), touch=Touch.MOVED_IN))
        self.post(device, ev.PathsChanged(hints=hints))

    def _overwritten(self, device: Device, path: bytes) -> None:
        """What the user himself replaces before anybody looked is not autosync's to keep."""
        standing = device.copy.files.get(RelPath(path))
        if standing is not None and standing[1] in self.ledger - self.kept(without=device):
            self.ledger.discard(standing[1])

    def commit(self, device: Device) -> None:
        device.copy.user.commit(f"by {device.name} at {self.now}")
        self.post(device, ev.MetadataChanged())

    # -- what is true -----------------------------------------------------------------------------------
    def trees(self) -> list[dict[bytes, tuple[object, bytes]]]:
        return [{bytes(p): v for p, v in d.copy.files.items()} for d in self.devices]

    def kept(self, *, without: Device | None = None) -> set[bytes]:
        """Return every content that is in a working copy or in the tree of a kept snapshot of any device."""
        found = {content for d in self.devices if d is not without for _, content in d.copy.files.values()}
        for device in self.devices:
            for snapshot in device.copy.pins().values():
                loaded = device.copy.load(SnapshotId(snapshot))
                if loaded is not None:
                    for change in device.copy.changes(None, loaded.tree):
                        assert change.new is not None
                        found.add(device.copy.store.texts[change.new.oid])
        return found
