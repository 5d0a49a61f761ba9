"""A simulated world in which a test says what happens, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autosync.core import events as ev
from autosync.core.model import DeviceId, RelPath
from autosync.core.settings import SessionSettings
from autosync.simulation.device import Device
from autosync.simulation.ledger import Standing
from autosync.simulation.users import Users
from autosync.simulation.world import World


class Scene(World):
    """A world with a network that loses nothing; ``settings`` are fields of :class:`SessionSettings`."""

    def __init__(self, seed: int, *, devices: int = 3, hub: bool = False, **settings: Any) -> None:
        chosen = SessionSettings(device=DeviceId(""), name="", **settings)
        super().__init__(seed, devices=devices, hub=hub, settings=chosen)
        self.network.calm = True
        self.users = Users(self)

    @property
    def now(self) -> float:
        return self.clock.now

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.expect_rest()
        self.clock.run(seconds)

    def write(self, device: Device, path: bytes, content: bytes) -> None:
        """Save a file."""
        self.users.save(device, RelPath(path), content)

    def commit(self, device: Device) -> None:
        """Commit everything."""
        device.copy.user.commit(f"by {device.name} at {self.now}")
        device.seen(metadata=True)

    def post(self, device: Device, event: ev.Event) -> None:
        """Let something happen to a session."""
        device.post(event)

    def crash(self, device: Device) -> None:
        """Kill an agent."""
        device.crash()

    def restart(self, device: Device) -> None:
        """Start an agent, again if it runs."""
        device.on = False
        device.boot()

    def part(self, one: Device, other: Device) -> None:
        """Cut the way between two devices."""
        self.network.cut(one.number, other.number)

    def join(self) -> None:
        """Let everybody reach everybody again; their channels come up."""
        self.network.mend_all()
        for device in self.devices:
            device.post(ev.AnnouncementsAsked())

    def trees(self) -> list[Mapping[RelPath, Standing]]:
        """Return the files of every device."""
        return [dict(device.copy.files) for device in self.devices]
