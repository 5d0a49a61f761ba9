"""Agents on machines of their own, whose networks change, break and come back, and that sleep."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import figures
from tests.networks import ip, needs_network
from tests.system.fleet import Device, Fleet, until
from tests.system.recording import recorded
from tests.waiting import PATIENCE, freeze

FILES = {"a.txt": "one\n", "b/c.txt": "two\n"}
EVERYTHING = "everything is looked at"


@dataclass(frozen=True, slots=True)
class Machine:
    """A network namespace with an interface ``eth0``, whose other end is ``port`` in the network of the test."""

    pid: int
    port: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command there."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    def ip(self, command: str) -> None:
        """Run ip(8) there."""
        subprocess.run([*self.prefix, "ip", *command.split()], check=True)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Machines at one switch, without addresses."""
    ip("link add switch type bridge")
    ip("link set switch up")
    here = os.readlink("/proc/thread-self/ns/net")
    with contextlib.ExitStack() as stack:
        made = []
        for n in range(count):
            holder = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
            stack.callback(holder.kill)
            until(lambda pid=holder.pid: os.readlink(f"/proc/{pid}/ns/net") != here)  # type: ignore[misc]
            machine = Machine(holder.pid, f"port{n}")
            ip(f"link add {machine.port} type veth peer name eth0 netns {holder.pid}")
            ip(f"link set {machine.port} master switch up")
            machine.ip("link set lo up")
            made.append(machine)
        yield made


@contextlib.contextmanager
def agents(place: Path, at: list[Machine], **options: object) -> Iterator[Fleet]:
    """Laptop and desktop, not started, which have nothing but their networks to find each other."""
    with Fleet(place) as fleet:
        devices = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
        fleet.configure(devices, peers=False, **options)
        for device, machine in zip(devices, at, strict=True):
            device.prefix = machine.prefix
            text = device.config.read_text().replace("discovery: false", "discovery: true")
            device.config.write_text(text.replace("listen: 127.0.0.1:", "listen: '*:").replace("\ndisc", "'\ndisc"))
        yield fleet


def address_of_peer(device: Device) -> str:
    """Return where the other device is linked with, empty if it is not."""
    return next((str(p["address"]) for p in device.status()["peers"] if p["address"]), "")


def looks(device: Device) -> int:
    """Return how often the whole working copy was looked at."""
    return device.log.count(EVERYTHING)


def exchange(fleet: Fleet, what: str) -> None:
    """Let what is written on one device arrive on the other, in both directions."""
    laptop, desktop = fleet.devices
    laptop.write("a.txt", f"{what}, from the laptop\n")
    desktop.write("b/c.txt", f"{what}, from the desktop\n")
    for device, name, sender in ((desktop, "a.txt", "laptop"), (laptop, "b/c.txt", "desktop")):
        expected = f"{what}, from the {sender}\n"
        until(
            lambda d=device, n=name, e=expected: d.read(n) == e,  # type: ignore[misc]
            3 * PATIENCE,
            why=lambda: f"{what}: {laptop.log[-6000:]}\n{desktop.log[-6000:]}",
        )


@pytest.mark.timeout(900)  # networks that break are waited for several times
@needs_network
def test_devices_stay_together_whatever_their_networks_do(tmp_path: Path) -> None:
    with machines(2) as (here, there), agents(tmp_path / "fleet", [here, there]) as fleet:
        laptop, desktop = fleet.devices
        fleet.start()  # no machine has any network
        here.ip("link set eth0 up")
        there.ip("link set eth0 up")
        here.ip("addr add 192.0.2.1/24 dev eth0")
        there.ip("addr add 192.0.2.2/24 dev eth0")
        exchange(fleet, "networks that came")
        before = looks(laptop), looks(desktop)

        here.ip("addr del 192.0.2.1/24 dev eth0")
        here.ip("addr add 192.0.2.77/24 dev eth0")
        exchange(fleet, "a changed address")
        until(lambda: address_of_peer(desktop).startswith("192.0.2.77:"), why=lambda: desktop.log)

        for machine, net in ((here, "1"), (there, "2")):
            machine.ip("addr flush dev eth0 scope global")
            machine.ip(f"addr add 198.51.100.{net}/24 dev eth0")
        exchange(fleet, "another network for both")

        here.ip("link set eth0 down")
        laptop.write("offline.txt", "written without any network\n")
        here.ip("link set eth0 up")
        here.ip("addr replace 198.51.100.1/24 dev eth0")
        exchange(fleet, "an interface that was down")

        # Nobody is told of this: what is sent vanishes.
        ip(f"link set {here.port} nomaster")
        here.ip("addr del 198.51.100.1/24 dev eth0")
        here.ip("addr add 198.51.100.3/24 dev eth0")
        desktop.write("swallowed.txt", "said into a black hole\n")
        ip(f"link set {here.port} master switch")
        exchange(fleet, "a black hole")

        for machine in (here, there):
            machine.ip("addr flush dev eth0 scope global")
        exchange(fleet, "link-local addresses")
        until(lambda: "fe80:" in address_of_peer(laptop), why=lambda: f"{laptop.status()['peers']}\n{laptop.log}")

        fleet.equal()
        assert (looks(laptop), looks(desktop)) == before
        for device in fleet.devices:
            assert "Traceback" not in device.log
            assert device.end() == 0
    figures.record("faults injected", 6)


@pytest.mark.timeout(900)  # networks that break are waited for several times
@needs_network
def test_a_device_that_slept_catches_up_without_looking_at_everything(tmp_path: Path) -> None:
    """A stopped process stands in for a sleeping machine; meanwhile its network has become another one."""
    with machines(2) as (here, there), agents(tmp_path / "fleet", [here, there]) as fleet:
        laptop, desktop = fleet.devices
        for machine, net in ((here, "1"), (there, "2")):
            machine.ip("link set eth0 up")
            machine.ip(f"addr add 192.0.2.{net}/24 dev eth0")
        fleet.start()
        exchange(fleet, "before the sleep")
        before, told = (looks(laptop), looks(desktop)), laptop.log.count("the networks changed")
        process = laptop.process
        assert process is not None
        freeze(process.pid)
        here.ip("addr del 192.0.2.1/24 dev eth0")
        here.ip("addr add 192.0.2.111/24 dev eth0")
        for n in range(5):
            desktop.write(f"new{n}.txt", f"while the laptop slept {n}\n")
            recorded(desktop, f"new{n}.txt")
        process.send_signal(signal.SIGCONT)
        until(lambda: laptop.read("new4.txt") is not None, 3 * PATIENCE, why=lambda: laptop.log)
        fleet.equal()
        exchange(fleet, "after the sleep")
        assert (looks(laptop), looks(desktop)) == before
        until(lambda: laptop.log.count("the networks changed") > told, why=lambda: laptop.log)
    figures.record("faults injected", 2)
