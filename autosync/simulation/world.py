"""All that a simulation holds: devices, their network, their hub, their users' ledger, on one clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from random import Random

from autosync.backends.memory import MemoryHub, MemoryWorkingCopy
from autosync.backends.memory.objects import text_id
from autosync.core.events import AnnouncementsAsked, Paused, Resumed
from autosync.core.model import DeviceId, RelPath, SnapshotId, TreeId
from autosync.core.settings import Mode, SessionSettings
from autosync.simulation.clock import Clock
from autosync.simulation.deeds import TEXT
from autosync.simulation.device import Device
from autosync.simulation.ledger import Ledger, Standing
from autosync.simulation.network import Network
from autosync.simulation.storedevice import StoreDevice

NEVER = 1e9
"""Seconds: no look at everything now and then, which would hide that a change was missed."""
MOST = 4000
"""Events and commands in which any number of devices have come to rest: ten times what they need."""
DEFAULT = SessionSettings(device=DeviceId(""), name="", rescan=NEVER)


class World:
    """Several devices that begin with the same repository; every random choice comes from ``seed``.

    ``settings`` are those of every device but for its name, its id and ``hub``.  With ``store`` there
    is one more, the last, that keeps snapshots and has no files; if the others are ``apart`` they
    reach that one alone.
    """

    def __init__(
        self,
        seed: int,
        *,
        devices: int,
        loss: float = 0.0,
        hub: bool = False,
        store: bool = False,
        apart: bool = False,
        settings: SessionSettings = DEFAULT,
    ) -> None:
        self.clock = Clock()
        self.random = Random(f"world {seed}")  # noqa: S311  # repeatable by design
        self.network = Network(self.clock, self.random, loss=loss)
        self.ledger = Ledger()
        self.trace: list[tuple[float, str, str, str]] = []
        """What happened: the moment, the device, the event or command, the snapshot that it is at."""
        self.limit = MOST
        self.hub = MemoryHub() if hub else None
        self.agreed: Mapping[RelPath, Standing] = {}
        """What all devices had when they were last seen to be equal."""
        self._endings: dict[int, Callable[[], None]] = {}
        self._begun = 0
        self._kept: set[str] = set()
        self._looked_through: set[tuple[int, SnapshotId]] = set()
        self._oids: dict[TreeId, frozenset[str]] = {}
        origin = MemoryWorkingCopy("origin", hub=self.hub)
        origin.user.write(TEXT, b"".join(b"line %d\n" % n for n in range(12)))
        origin.user.commit("start")
        if self.hub is not None:
            origin.push_branch("refs/heads/main")
        self.devices: list[Device] = []
        for number in range(devices):
            name = f"d{number}"
            chosen = replace(settings, device=DeviceId(f"{name}-{number:08x}"), name=name, hub=hub)
            self.devices.append(Device(number, origin.clone(name), chosen, self))
        if store:
            chosen = replace(settings, device=DeviceId("a-store-0"), name="a-store", auto_commit=False, mode=Mode.STORE)
            self.devices.append(StoreDevice(devices, MemoryWorkingCopy("store"), chosen, self))
        for one, other in combinations(range(devices), 2) if apart else ():
            self.network.cut(one, other)
        self.agreed = dict(self.devices[0].files)
        for device in self.devices:
            device.boot()

    def expect_rest(self) -> None:
        """Raise :class:`Spinning`, from now on, if more than :data:`MOST` things happen before the next call."""
        self.limit = len(self.trace) + MOST

    # -- things that last ----------------------------------------------------------------
    def until(self, seconds: float, ending: Callable[[], None]) -> None:
        """Let ``ending`` happen once: in ``seconds``, or when everything is made well."""
        self._begun += 1
        key = self._begun
        self._endings[key] = ending
        self.clock.after(seconds, lambda: self._end(key))

    def _end(self, key: int) -> None:
        ending = self._endings.pop(key, None)
        if ending is not None:
            ending()

    def make_well(self) -> None:
        """End every fault and let every device say and ask where all are, as after a reconnection."""
        self.expect_rest()
        for device in self.devices:
            device.be_spared()
        for key in list(self._endings):
            self._end(key)
        self.network.calm = True
        for device in self.devices:
            device.boot()
        for device in self.devices:
            device.post(AnnouncementsAsked())

    def kill(self, device: Device, seconds: float) -> None:
        """Kill an agent, for a while."""
        if device.on:
            device.crash()
            self.until(seconds, device.boot)

    def kill_during(self, device: Device, seconds: float) -> None:
        """Kill an agent in the middle of what it does, for a while: for :meth:`Device.interrupt`."""
        self.until(seconds, device.boot)
        device.die()

    def pause(self, device: Device, seconds: float) -> None:
        """Pause an agent, for a while."""
        device.post(Paused())

        def resume() -> None:
            device.free_since = self.clock.now
            device.post(Resumed())

        self.until(seconds, resume)

    def cut(self, one: Device, other: Device, seconds: float) -> None:
        """Cut two devices off from each other, for a while; then their channels come up again."""
        self.network.cut(one.number, other.number)

        def mend() -> None:
            self.network.mend(one.number, other.number)
            one.post(AnnouncementsAsked())
            other.post(AnnouncementsAsked())

        self.until(seconds, mend)

    def take_hub_away(self, seconds: float) -> None:
        """Let the hub not answer, for a while."""
        hub = self.hub
        if hub is None:
            return
        hub.cut_off = True

        def bring_back() -> None:
            hub.cut_off = False

        self.until(seconds, bring_back)

    # -- what is kept ------------------------------------------------------------------------
    def was_kept(self, content: bytes) -> bool:
        """Return whether a content is, or was, in a snapshot that any device keeps."""
        for device in self.devices:
            for snapshot in device.copy.pins().values():
                if (device.number, snapshot) not in self._looked_through:
                    self._looked_through.add((device.number, snapshot))
                    self._kept |= self._oids_of(device.copy, snapshot)
        return text_id(content) in self._kept

    def kept(self) -> set[str]:
        """Return the id of every content in a working copy or in a snapshot that is kept now."""
        found: set[str] = {text_id(content) for d in self.devices for _, content in d.copy.files.values()}
        for device in self.devices:
            for snapshot in set(device.copy.pins().values()):
                found |= self._oids_of(device.copy, snapshot)
        return found

    def _oids_of(self, copy: MemoryWorkingCopy, snapshot: SnapshotId) -> frozenset[str]:
        tree = copy.store.snapshots[snapshot].tree
        if tree not in self._oids:
            self._oids[tree] = frozenset(entry.oid for entry in copy.store.listing(tree).values())
        return self._oids[tree]
