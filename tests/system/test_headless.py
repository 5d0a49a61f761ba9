"""An agent without a desktop: its log is in a real journal, and a service manager hears how it is."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.ports import free_ports
from tests.system.fleet import Device, Fleet, until
from tests.system.machine import Machine
from tests.system.mounts import needs_mounts
from tests.system.recording import recorded
from tests.waiting import PATIENCE, freeze

FILES = {"a.txt": "1\n2\n3\n"}


class Manager:
    """A service manager's end of the notify socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(60)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def until(self, pattern: str) -> list[str]:
        """Return what is said up to the first message that matches."""
        said: list[str] = []
        while not said or not re.fullmatch(pattern, said[-1]):
            said.append(self.socket.recv(4096).decode())
        return said


@contextlib.contextmanager
def headless(device: Device, *prefix: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run its agent without a terminal, without anything else of a desktop; it has to be ended within."""
    log = device.home / "agent.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "autosync", "--config", str(device.config), "run", "--headless"],
            cwd=device.home,
            env={**device.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    device.process = process
    try:
        yield process
        assert process.wait(PATIENCE) == 0, device.log
    finally:
        device.process = None
        process.kill()
        process.wait()


@needs_mounts
def test_what_happens_is_in_the_journal_with_its_fields(tmp_path: Path) -> None:
    with Machine(tmp_path) as machine, Fleet(tmp_path / "fleet") as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
        fleet.configure([laptop, desktop])
        with headless(desktop, *machine.prefix) as process:
            until(desktop.answers)
            laptop.start()
            fleet.equal()  # what comes next is the laptop's alone, no merge
            laptop.write("caf\udce9\nPRIORITY=0", "from there\n")
            until(
                lambda: machine.journal("AUTOSYNC_KIND=applied", "AUTOSYNC_LANE=inline over lan"),
                why=lambda: laptop.log,
            )
            desktop.write("b.txt", "from here\n")
            until(lambda: machine.journal("AUTOSYNC_KIND=saved", "AUTOSYNC_WORKSPACE=notes"))
            process.send_signal(signal.SIGTERM)
        first = machine.journal("AUTOSYNC_KIND=applied", "AUTOSYNC_FROM=laptop")[0]
        told = {key: first[key] for key in ("AUTOSYNC_DEVICE", "AUTOSYNC_WORKSPACE", "AUTOSYNC_FROM", "PRIORITY")}
        assert told == {
            "AUTOSYNC_DEVICE": "desktop",
            "AUTOSYNC_WORKSPACE": "notes",
            "AUTOSYNC_FROM": "laptop",
            "PRIORITY": "6",
        }
        assert machine.journal("SYSLOG_IDENTIFIER=autosync", "PRIORITY=0") == []
        (up,) = machine.journal("SYSLOG_IDENTIFIER=autosync", "CODE_FUNC=run", "PRIORITY=6")
        assert re.fullmatch(r"agent desktop-\w+ is up, pid \d+: notes", up["MESSAGE"])
        assert desktop.log == ""


def test_a_service_manager_hears_how_it_is(tmp_path: Path) -> None:
    """There is no journal socket to be had for others than systemd's children: then standard error has the log."""
    with Fleet(tmp_path / "fleet") as fleet, Manager(f"@autosync-test-{os.getpid()}") as manager:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        fleet.configure([laptop])
        taken = socket.create_server(("127.0.0.1", 0))  # so metrics cannot be had, for which nothing else waits
        laptop.config.write_text(f"metrics: 127.0.0.1:{taken.getsockname()[1]}\n{laptop.config.read_text()}")
        unfed = ("sh", "-c", 'exec "$@" <&-', "sh")
        with taken, headless(laptop, *unfed, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000") as process:
            started = manager.until("READY=1")
            assert f"metrics: 127.0.0.1 port {taken.getsockname()[1]} cannot be listened at" in laptop.log
            assert os.readlink(f"/proc/{process.pid}/fd/0") == os.devnull
            assert "EXTEND_TIMEOUT_USEC=30000000" in started
            manager.until("STATUS=All is recorded; no other device yet")
            for _ in range(3):
                manager.until("WATCHDOG=1")
            another = laptop.home / "more"
            fleet.git("clone", "-q", str(laptop.root), str(another))
            assert laptop.run("init", str(another), "--workspace", "more").returncode == 0
            before = laptop.config.read_text()
            laptop.config.write_text(f"{before}nonsense: 1\n")
            process.send_signal(signal.SIGHUP)
            manager.until(r"RELOADING=1\nMONOTONIC_USEC=\d+")
            manager.until("READY=1")
            assert "all goes on as it was: " in laptop.log
            laptop.config.write_text(before)
            freeze(process.pid)  # who stands still is not heard
            manager.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while manager.socket.recv(4096):
                    pass
            with contextlib.suppress(TimeoutError):
                manager.socket.settimeout(1)
                raise AssertionError(manager.socket.recv(4096))
            manager.socket.settimeout(60)
            os.kill(process.pid, signal.SIGCONT)
            manager.until("WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            manager.until("STOPPING=1")


def test_a_keyring_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        fleet.configure([laptop], top="xmpp: {jid: you@example.org, keyring: true}\n")
        done = laptop.run("run", "--headless")
        assert done.returncode == 1
        assert (
            f"Error: {laptop.config}: xmpp.keyring: there is no keyring for an agent without a desktop" in done.stderr
        )


def test_what_it_starts_finds_nobody_to_ask(tmp_path: Path) -> None:
    """Neither a display nor a bus nor a terminal, whatever the agent was started with."""
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        found = laptop.home / "found"
        laptop.git("config", "filter.look.clean", f"env >{found}; cat")
        laptop.write(".git/info/attributes", "*.txt filter=look\n")
        fleet.configure([laptop])
        desk = {
            "DISPLAY": ":7",
            "WAYLAND_DISPLAY": "w",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/none",
            "SSH_ASKPASS": "/a",
            "GPG_TTY": "/dev/pts/1",
        }
        with headless(laptop, NOTIFY_SOCKET="@nobody", **desk) as process:
            until(laptop.answers)
            until(lambda: laptop.activities("saved"), why=lambda: laptop.log)  # the first state, which tells no paths
            laptop.write("b.txt", "new\n")
            recorded(laptop, "b.txt")
            process.send_signal(signal.SIGTERM)
        lines = found.read_text().splitlines()
        names = {line.partition("=")[0] for line in lines}
        # Without any address, libraries look where the bus of the user's systemd is.
        assert names & {*desk, "NOTIFY_SOCKET"} == {"DBUS_SESSION_BUS_ADDRESS"}
        assert "DBUS_SESSION_BUS_ADDRESS=disabled:" in lines


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Return what Prometheus would read: values by name and labels, without the long ids of devices."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for label, value in sample.labels.items() if label != "id")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_the_others_have_confirmed(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
        (port,) = free_ports(1)
        fleet.configure([laptop, desktop])
        laptop.config.write_text(f"metrics: localhost:{port}\n{laptop.config.read_text()}")
        laptop.start()
        alone = scrape(port)
        assert alone["autosync_workspace_halted", "notes"] == 0
        assert ("autosync_peer_in_sync", "notes", "desktop") not in alone
        desktop.start()
        laptop.write("b.txt", "new\n")
        fleet.equal()
        laptop.write(".env", "held\n")
        until(lambda: scrape(port)["autosync_workspace_held_paths", "notes", "secret"])
        until(lambda: scrape(port)["autosync_peer_in_sync", "notes", "desktop"])
        together = scrape(port)
        assert together["autosync_peer_apart_seconds", "notes", "desktop"] == 0
        assert together["autosync_peer_reachable", "notes", "desktop"] == 1
        assert together["autosync_channel_up", "lan"] == 1
        assert together["autosync_workspace_held_paths", "notes", "huge"] == 0
        assert together["autosync_transferred_bytes_total", "announcement", "lan", "in"] > 0
        assert together["autosync_transferred_bytes_total", "announcement", "lan", "out"] > 0
        assert together["autosync_store_bytes", "notes"] > 0
        assert together["autosync_watched_directories", "notes"] >= 1
        assert together["autosync_inotify_watches_limit",] >= 1
        confirmed = together["autosync_peer_confirmed_timestamp_seconds", "notes", "desktop"]
        assert together["process_start_time_seconds",] - 5 < confirmed < time.time() + 1
        # What is sent, or should have arrived by now, counts for nothing: the other one has to say so.
        desktop.run("pause")
        laptop.write("c.txt", "newer\n")
        until(lambda: scrape(port)["autosync_peer_in_sync", "notes", "desktop"] == 0, why=lambda: laptop.log)
        until(lambda: scrape(port)["autosync_peer_apart_seconds", "notes", "desktop"] > 0)
        (peer,) = laptop.status()["peers"]
        assert peer["confirmed"]["tree"] == peer["tree"] != laptop.status()["tree"]
        assert datetime.fromisoformat(peer["confirmed"]["time"]).timestamp() >= int(confirmed)
        shown = laptop.run("status").stdout
        assert re.search(r"DEVICE +STATE +SEEN +CONFIRMED +PROBLEM\n", shown), shown
        assert re.search(r"desktop +paused +\d+ s ago +\d+ s ago\n", shown), shown
        desktop.run("resume")
        until(lambda: scrape(port)["autosync_peer_in_sync", "notes", "desktop"])
        assert laptop.end() == 0
