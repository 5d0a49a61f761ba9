"""How much is said per save when many devices share one workspace, in simulated time.

``python -m benchmarks.fleet [--devices 2 10 50] [--saves 5]``

Whole sessions on one simulated clock, with a network that delays by 1 to 20 ms and loses nothing: what is
counted does not depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from random import Random

from autosync.core.announcement import encode
from autosync.core.events import Announcement, AnnouncementsAsked
from autosync.core.model import DeviceId, RelPath
from autosync.simulation.clock import Clock
from autosync.simulation.device import Device
from autosync.simulation.network import Network
from autosync.simulation.users import Users
from autosync.simulation.world import World
from autosync.trust.sealing import OVERHEAD

ACQUAINTANCE = 2000.0
"""Simulated seconds until each device of a hundred has let the others in."""
REST = 60.0
STANZA = 512
"""Bytes of XML around the base64 of an announcement."""
CERTIFICATE = 500
"""Bytes of a device's certificate, which simulated devices do not have."""


class Tally(Network):
    """A network that counts what it carries."""

    def __init__(self, clock: Clock, random: Random) -> None:
        super().__init__(clock, random, loss=0.0)
        self.calm = True
        self.delivered = 0
        self.said: dict[tuple[DeviceId, int], Announcement] = {}

    def send(self, sender: int, receiver: int, deliver: Callable[[], None]) -> None:
        """Carry and count."""
        self.delivered += 1
        super().send(sender, receiver, deliver)

    def watch(self, device: Device) -> None:
        """Take note of what ``device`` hears: each announcement once, whoever hears it."""
        hear = device.hear

        def listen(said: Announcement) -> None:
            self.said[(said.device, said.seq)] = said
            hear(said)

        device.hear = listen  # type: ignore[method-assign]  # a wire tap

    def begin(self) -> None:
        """Count anew."""
        self.delivered = 0
        self.said = {}

    def size(self) -> int:
        """Return the bytes of all that was said, each announcement once."""
        return sum((len(encode(said)) + CERTIFICATE + OVERHEAD) * 4 // 3 + STANZA for said in self.said.values())


def fleet(count: int) -> tuple[World, Tally]:
    """Return that many devices that know each other and are at rest."""
    world = World(count, devices=count)
    world.limit = sys.maxsize
    tally = Tally(world.clock, Random(count))  # repeatable by design
    world.network = tally
    for _ in range(3):
        for device in world.devices:
            device.post(AnnouncementsAsked())
        world.clock.run(ACQUAINTANCE)
    for device in world.devices:
        tally.watch(device)
    return world, tally


def save(world: World, users: Users, number: int) -> float:
    """Save a file on one device; return the simulated seconds until all of them have it."""
    path, content = RelPath(b"file.txt"), b"content %d\n" % number * 20
    began = world.clock.now
    users.save(world.devices[number % len(world.devices)], path, content)
    while any(device.files.get(path, (None, b""))[1] != content for device in world.devices):
        world.clock.run(0.001)
        if world.clock.now - began > REST:
            raise RuntimeError("the devices do not become equal")
    took = world.clock.now - began
    world.clock.run(REST)
    return took


def measure(count: int, saves: int) -> str:
    """Return the row of ``count`` devices."""
    world, tally = fleet(count)
    users = Users(world)
    save(world, users, 0)  # also those who have never spoken to each other are at rest after it
    said, delivered, size, took = [], [], [], []
    for number in range(1, saves + 1):
        tally.begin()
        took.append(save(world, users, number))
        said.append(len(tally.said))
        delivered.append(tally.delivered)
        size.append(tally.size())
    per_save = statistics.mean(size)
    return (
        f"{count:>7} {statistics.mean(said):>9.0f} {statistics.mean(delivered):>10.0f} {per_save / 1024:>10.0f} "
        f"{per_save * (count - 1) / 1024:>14.0f} {statistics.median(took) * 1000:>12.0f}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", type=int, default=[2, 10, 50], help="of one workspace")
    parser.add_argument("--saves", type=int, default=5, help="on one device after the other")
    options = parser.parse_args()
    if min(options.devices) < 2 or options.saves < 1:
        parser.error("at least 2 devices and 1 save are needed")
    sys.stdout.write("devices announced  delivered  KiB to the  KiB from the  ms until all\n")
    sys.stdout.write("         per save   per save      server        server    have it\n")
    for count in options.devices:
        sys.stdout.write(measure(count, options.saves) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
