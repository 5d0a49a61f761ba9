"""Agents in networks of their own that only an XMPP server, or only ssh, joins."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.edges.ssh_server import SshServer
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, Prosody, XmppServer
from tests.system.fleet import Device, Fleet
from tests.system.secluded import Hatch
from tests.waiting import until

FILES = {"a.txt": "one\n"}
LARGE = 3_000_000
PATIENCE = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two devices without a configuration: laptop and desktop, with clones of one repository and no hub."""
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
        yield fleet


class SlowProsody(Prosody):
    """Prosody with a limit as Debian ships one, but eighty times as high."""

    def configure(self) -> None:
        """Write the configuration."""
        super().configure()
        file = self.root / "prosody.cfg.lua"
        text = file.read_text().replace('"posix";', '"posix"; "limits";')
        file.write_text(text.replace("VirtualHost", 'limits = { c2s = { rate = "800kb/s" } }\nVirtualHost'))


@pytest.fixture(scope="module")
def slow_server() -> Iterator[XmppServer]:
    """A server that the tests share."""
    with SlowProsody(["u0", "u1", "u2"]) as server:
        yield server


def over_xmpp_alone(fleet: Fleet, server: XmppServer, account: str, stack: ExitStack) -> Hatch:
    """Start the devices so that each reaches the server and nothing else; return what the laptop reaches it through."""
    settings = {
        "jid": f"{account}@{DOMAIN}",
        "host": "127.0.0.1",
        "port": server.port,
        "ca-file": server.ca_file,
        "password": PASSWORD,
    }
    fleet.configure(fleet.devices, peers=False, top=f"xmpp: {json.dumps(settings)}\n")
    hatches = [stack.enter_context(Hatch(device.home / "hatch", server.port)) for device in fleet.devices]
    for device, hatch in zip(fleet.devices, hatches, strict=True):
        device.prefix = hatch.prefix
    fleet.start()
    fleet.equal()
    laptop, desktop = fleet.devices
    ways = {f"{account}@{DOMAIN}/laptop", f"{account}@{DOMAIN}/desktop"}
    until(lambda: {*linked(laptop), *linked(desktop)} == ways, PATIENCE, why=lambda: laptop.log[-3000:])
    return hatches[0]


def linked(device: Device) -> list[str]:
    """Return the addresses of the peers that are linked."""
    return [str(p["address"]) for p in device.status()["peers"] if p["address"]]


def test_what_fits_into_no_announcement_comes_through_a_bytestream_and_others_overtake_it(
    fleet: Fleet, slow_server: XmppServer
) -> None:
    laptop, desktop = fleet.devices
    with ExitStack() as stack:
        hatch = over_xmpp_alone(fleet, slow_server, "u0", stack)
        shown = laptop.run("peers").stdout
        assert f"xmpp  u0@{DOMAIN}/desktop" in shown, shown
        content = os.urandom(LARGE)
        hatch.hold_after(LARGE // 10)  # however slow the machine is, the note comes in the middle
        laptop.write("large.bin", content)
        until(lambda: hatch.is_holding, PATIENCE, why=lambda: laptop.log[-3000:])
        desktop.write("note.txt", "n" * 1024)
        until((laptop.root / "note.txt").exists, PATIENCE, why=lambda: laptop.log[-3000:])
        assert not (desktop.root / "large.bin").exists(), "the note has to overtake it"
        hatch.hold_after(math.inf)
        assert laptop.applied("note.txt")["lane"] == "inline over xmpp"
        assert {a["lane"] for a in laptop.activities("applied")} == {"inline over xmpp"}
        until((desktop.root / "large.bin").exists, PATIENCE, why=lambda: desktop.log[-5000:])
        fleet.equal(seconds=PATIENCE)
        assert (desktop.root / "large.bin").read_bytes() == content
        assert desktop.applied("large.bin")["lane"].startswith("peer ")
        assert [device.end() for device in fleet.devices] == [0, 0]


def test_a_server_killed_in_the_middle_costs_nothing_but_time(fleet: Fleet, slow_server: XmppServer) -> None:
    laptop, desktop = fleet.devices
    with ExitStack() as stack:
        hatch = over_xmpp_alone(fleet, slow_server, "u1", stack)
        content = os.urandom(LARGE // 2)
        hatch.hold_after(LARGE // 5)
        laptop.write("large.bin", content)
        until(lambda: hatch.is_holding, PATIENCE, why=lambda: laptop.log[-3000:])
        slow_server.kill()
        hatch.hold_after(math.inf)
        assert not (desktop.root / "large.bin").exists()
        slow_server.start()
        until((desktop.root / "large.bin").exists, 2 * PATIENCE, why=lambda: desktop.log[-5000:])
        fleet.equal(seconds=PATIENCE)
        assert (desktop.root / "large.bin").read_bytes() == content
        gone_on_with = [int(at) for at in re.findall(r"is gone on with at (\d+) bytes", desktop.log)]
        assert max(gone_on_with, default=0) > LARGE // 20, "what had come was thrown away"
        assert "is fetched from the beginning" not in desktop.log


def test_devices_that_only_ssh_joins_agree(fleet: Fleet, tmp_path: Path) -> None:
    laptop, desktop = fleet.devices
    with SshServer(tmp_path / "sshd") as sshd, ExitStack() as stack:
        fleet.configure(fleet.devices, peers=False)
        hatch = stack.enter_context(Hatch(laptop.home / "hatch", sshd.port))
        laptop.prefix = hatch.prefix
        programs = tmp_path / "bin"
        programs.mkdir()
        # As a user's ~/.ssh/config would be.
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {" ".join(sshd.command[1:])} "$@"\n')
        (programs / "ssh").chmod(0o755)
        laptop.environment = {**laptop.environment, "PATH": f"{programs}:{laptop.environment['PATH']}"}
        way = sshd.address(fleet.ports["desktop"])
        laptop.config.write_text(laptop.config.read_text().replace("peers: []", f"peers: [ssh://{way}]"))
        fleet.start()
        until(lambda: linked(laptop) == [way], PATIENCE, why=lambda: laptop.log[-3000:])
        content = os.urandom(LARGE)
        laptop.write("large.bin", content)
        desktop.write("note.txt", "from the desktop\n")
        until((desktop.root / "large.bin").exists, PATIENCE, why=lambda: desktop.log[-5000:])
        fleet.equal(seconds=PATIENCE)
        assert (desktop.root / "large.bin").read_bytes() == content
        laptop.kill()
        # Its ssh, and with it what sshd had started for it, ends with the agent.
        until(lambda: linked(desktop) == [], PATIENCE, why=lambda: desktop.log[-3000:])
