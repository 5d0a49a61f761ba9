"""`autosync invite` and `join` between networks that only a reflector, or only ssh, joins."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.channels.reflectors import Running, running
from tests.edges.ssh_server import SshServer
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, Prosody
from tests.ports import free_ports
from tests.system.fleet import Device, Fleet
from tests.system.secluded import Hatch
from tests.waiting import PATIENCE, until

FILES = {"a.txt": "one\n"}
LARGE = 3_000_000
"""Bytes that fit into no announcement."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A laptop with a repository and no hub, and a server with nothing; neither runs."""
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, *_ = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        fleet.device("server")
        laptop.write("large.bin", os.urandom(LARGE))
        yield fleet


@pytest.fixture
def reflector() -> Iterator[Running]:
    with running() as server:
        yield server


def configure(device: Device, more: str = "") -> None:
    (port,) = free_ports(1)
    device.config.write_text(
        f"device: {device.name}\nstate-dir: state\nlisten: 127.0.0.1:{port}\ndiscovery: false\nlog-level: debug\n{more}"
    )
    device.config.chmod(0o600)


def seclude(stack: ExitStack, device: Device, port: int) -> None:
    """Let everything that runs on a device reach ``port`` and nothing else."""
    device.prefix = stack.enter_context(Hatch(device.home / "hatch", port)).prefix


def start_laptop(fleet: Fleet, more: str) -> str:
    """Have the laptop run; return the line by which it invites."""
    laptop = fleet.devices[0]
    configure(laptop, more)
    done = laptop.run("init", str(laptop.root), "--workspace", "notes")
    assert done.returncode == 0, done.stderr
    laptop.start()
    until(lambda: laptop.status()["phase"] == "watching" and laptop.status()["tree"], why=lambda: laptop.log)
    if more.startswith(("reflector", "xmpp")):
        until(lambda: laptop.ask("status")["channels"][0]["state"] == "online", why=lambda: laptop.log)
    done = laptop.run("invite", "--once")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def join(device: Device, line: str) -> subprocess.CompletedProcess[str]:
    """Join from where the device is."""
    argv = [*device.prefix, sys.executable, "-m", "autosync", "--config", str(device.config)]
    return subprocess.run(
        [*argv, "join", line, str(device.root), "--no-run"],
        cwd=Path(__file__).parents[2],
        env=device.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


def call_is_heard(reflector: Running, place: str) -> bool:
    """Return whether anybody waits at a place."""
    with reflector.client() as caller:
        caller.say(f"call {place}")
        return caller.line() == "pipe!open"


def agree(fleet: Fleet) -> None:
    """Wait until both have everything, changes of each side included."""
    laptop, server = fleet.devices
    server.start()
    until((server.root / "large.bin").exists, PATIENCE, why=lambda: server.log[-5000:])
    server.write("note.txt", "from the server\n")
    fleet.equal(seconds=PATIENCE)
    assert (server.root / "large.bin").read_bytes() == (laptop.root / "large.bin").read_bytes()
    assert laptop.read("note.txt") == "from the server\n"
    assert "Traceback" not in laptop.log + server.log


def test_a_reflector_alone_is_enough_for_everything(fleet: Fleet, reflector: Running) -> None:
    laptop, server = fleet.devices
    with ExitStack() as stack:
        for device in fleet.devices:
            seclude(stack, device, reflector.port)
        line = start_laptop(fleet, f"reflector: 127.0.0.1:{reflector.port}\n")
        configure(server)
        done = join(server, line)
        assert done.returncode == 0, done.stderr
        assert f"reflector: 127.0.0.1:{reflector.port}\n" in server.config.read_text()
        agree(fleet)
        assert reflector.reflector.counts["piped bytes"] > LARGE
        assert f"reflector  127.0.0.1:{reflector.port}/" in laptop.run("peers").stdout + server.run("peers").stdout
        (place,) = set(
            re.findall(rf"127\.0\.0\.1:{reflector.port}/([0-9a-f]{{32}})", server.run("peers", "--json").stdout)
        )
        assert call_is_heard(reflector, place)
        assert server.end() == 0
        assert laptop.run("revoke", "server", "--yes").returncode == 0
        until(lambda: not call_is_heard(reflector, place), why=lambda: laptop.log[-3000:])
        assert laptop.end() == 0


def as_a_user_logs_in(device: Device, sshd: SshServer, programs: Path) -> None:
    """Let a device's ssh know the server and have a key, as a user's ~/.ssh/config would."""
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {" ".join(sshd.command[1:])} "$@"\n')
    (programs / "ssh").chmod(0o755)
    device.environment = {**device.environment, "PATH": f"{programs}:{device.environment['PATH']}"}


def with_a_clock(device: Device, wrong_by: str) -> dict[str, str]:
    """Return the environment in which a device's wall clock, and that alone, is wrong (libfaketime(1))."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    fake = {"LD_PRELOAD": str(library), "FAKETIME": wrong_by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return {**device.environment, **fake}


def test_ssh_alone_is_enough_for_everything_and_the_time_is_the_inviters(fleet: Fleet, tmp_path: Path) -> None:
    laptop, server = fleet.devices
    with SshServer(tmp_path / "sshd") as sshd, ExitStack() as stack:
        seclude(stack, server, sshd.port)  # which cannot reach the laptop's agent, though it is on this machine
        as_a_user_logs_in(server, sshd, tmp_path / "bin")
        login = sshd.address(0).removesuffix("/0")
        line = start_laptop(fleet, f"ssh-address: {login}\n")
        expired = laptop.run("invite", "--expires", "1s").stdout.strip()
        until(lambda: len(laptop.ask("status")["invitations"]) == 1)
        configure(server)
        right = server.environment
        server.environment = with_a_clock(server, "-1h")
        told = join(server, expired).stderr
        assert "This invitation is not open (any more)" in told, told
        server.environment = right
        server.environment = with_a_clock(server, "+1h")
        done = join(server, line)
        assert done.returncode == 0, done.stderr
        server.environment = right
        (named,) = re.findall(r"^peers: \[(.*)\]$", server.config.read_text(), re.MULTILINE)
        assert re.fullmatch(rf"\"?ssh://{re.escape(login)}/\d+\"?", named), named
        (server.state / "introductions.json").unlink()  # as it is after a week
        agree(fleet)


def test_an_xmpp_account_alone_is_enough_to_join(fleet: Fleet) -> None:
    laptop, server = fleet.devices
    (laptop.root / "large.bin").unlink()
    with Prosody(["u0"]) as prosody, ExitStack() as stack:
        account = {
            "jid": f"u0@{DOMAIN}",
            "host": "127.0.0.1",
            "port": prosody.port,
            "ca-file": prosody.ca_file,
            "password": PASSWORD,
        }
        for device in fleet.devices:
            seclude(stack, device, prosody.port)
        line = start_laptop(fleet, f"xmpp: {json.dumps(account)}\n")
        configure(server, f"xmpp: {json.dumps(account)}\n")
        done = join(server, line)
        assert done.returncode == 0, done.stderr
        server.start()
        until((server.root / "a.txt").exists, PATIENCE, why=lambda: server.log[-5000:])
        assert PASSWORD not in done.stderr + laptop.log + server.log
