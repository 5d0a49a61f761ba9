"""`autosync install-service` under a real systemd of a user, and without one."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from autosync import __version__
from autosync.cli.invocation import Invocation
from autosync.cli.service import install_service
from autosync.service.files import unit
from autosync.service.installing import program
from tests import figures
from tests.edges.test_service import HOSTILE
from tests.system.fleet import Device, Fleet, until
from tests.system.machine import Machine
from tests.system.mounts import needs_mounts
from tests.system.test_headless import Manager
from tests.waiting import PATIENCE


class Seat:
    """A user whose systemd runs, with one device."""

    def __init__(self, place: Path, machine: Machine, fleet: Fleet) -> None:
        self.machine = machine
        (self.device,) = fleet.clone(fleet.seed({"a.txt": "1\n"}, hub=False), "laptop")
        fleet.configure([self.device])
        self.device.prefix = machine.prefix
        self.environment = {**fleet.environment, "XDG_RUNTIME_DIR": str(place / "run"), "USER": "you"}
        machine.start_user_manager(self.environment)
        self.unit = Path(self.environment["HOME"]) / ".config/systemd/user/autosync.service"

    def autosync(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "autosync", "--config", str(self.device.config), *arguments)
        return self.machine.run(*command, env=self.environment)

    def systemctl(self, *arguments: str) -> str:
        return self.machine.run("systemctl", "--user", *arguments, env=self.environment).stdout.strip()

    def show(self, what: str) -> str:
        return self.systemctl("show", "autosync", "--value", f"--property={what}")


@needs_mounts
def test_the_life_of_an_installed_service(tmp_path: Path) -> None:
    with Machine(tmp_path, cgroups=True) as machine, Fleet(tmp_path / "fleet") as fleet:
        if not machine.has_cgroups:
            _it_is_started_as_systemd_would(fleet)
            return
        seat = Seat(tmp_path, machine, fleet)
        rehearsed = json.loads(seat.autosync("install-service", "--dry-run", "--json").stdout)
        assert (rehearsed["dry-run"], seat.unit.exists()) == (True, False)
        done = seat.autosync("install-service")
        assert done.returncode == 0, done.stderr
        assert f"written: {seat.unit}\n" in done.stdout
        assert "journalctl --user -u autosync -f" in done.stdout
        assert "loginctl enable-linger you" in done.stdout
        assert rehearsed["written"] == [line[9:] for line in done.stdout.splitlines() if line.startswith("written: ")]
        # Type=notify: the command has returned, so the agent is up.
        pid = int(seat.show("MainPID"))
        assert seat.device.ask("status")["agent"]["pid"] == pid
        assert (seat.systemctl("is-enabled", "autosync"), seat.systemctl("is-active", "autosync")) == (
            "enabled",
            "active",
        )
        until(lambda: seat.show("StatusText") == "All is recorded; no other device yet")
        assert seat.show("WatchdogUSec") == "1min"
        seat.device.write("b.txt", "new\n")
        until(lambda: machine.journal("AUTOSYNC_KIND=saved", "_TRANSPORT=journal"))
        _what_it_opens_is_no_part_of_it(seat, tmp_path / "opened")
        _it_is_upgraded(seat, pid)
        _it_is_ended_by_its_watchdog_and_back(seat)
        _it_is_removed(seat)
        _every_name_arrives(seat, tmp_path)


def _it_is_started_as_systemd_would(fleet: Fleet) -> None:
    """Where no systemd can be had, the unit's command is run with the end of a notify socket that one would have."""
    (laptop,) = fleet.clone(fleet.seed({"a.txt": "1\n"}, hub=False), "laptop")
    fleet.configure([laptop])
    command = [*program(), "--config", str(laptop.config), "run"]
    text = unit(command, name="autosync", environment={"PATH": os.defpath}, sandbox=True)
    (written,) = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    with Manager(f"@autosync-service-{os.getpid()}") as manager:
        environment = {**laptop.environment, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
        process = subprocess.Popen(shlex.split(written), env=environment, stdin=subprocess.DEVNULL)
        manager.until("READY=1")
        manager.until("WATCHDOG=1")
        process.terminate()
        manager.until("STOPPING=1")
        assert process.wait(PATIENCE) == 0


def _what_it_opens_is_no_part_of_it(seat: Seat, found: Path) -> None:
    """A browser can gain the rights that some need, finds the display, and does not end with the service."""
    look = f"grep -h NoNewPrivs /proc/self/status >{found}; echo $DISPLAY >>{found}; exit 7"
    script = (
        "import os, subprocess, sys; from autosync.desktop.launching import outside;"
        f"sys.exit(subprocess.run(outside(['sh', '-c', {look!r}], os.environ)).returncode)"
    )
    service = ("systemd-run", "--user", "--wait", "--quiet", "--property=NoNewPrivileges=yes", "--setenv=DISPLAY=:9")
    done = seat.machine.run(*service, sys.executable, "-c", script, env=seat.environment)
    assert (done.returncode, found.read_text()) == (7, "NoNewPrivs:\t0\n:9\n"), done.stderr


def _it_is_upgraded(seat: Seat, pid: int) -> None:
    """A second run changes nothing; another version, and another program, is taken up; drop-ins stay."""
    again = json.loads(seat.autosync("install-service", "--json").stdout)
    assert (again["written"], int(seat.show("MainPID"))) == ([], pid)
    drop_in = seat.unit.parent / "autosync.service.d/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=0\n")
    text = seat.unit.read_text()
    earlier = text.replace(f" of version {__version__},", " of version 0.0.1,")
    assert earlier != text
    seat.unit.write_text(earlier)
    newer = json.loads(seat.autosync("install-service", "--json").stdout)
    assert (newer["written"], newer["replaced"]) == ([str(seat.unit)], {})
    assert int(seat.show("MainPID")) not in (0, pid)
    pid = int(seat.show("MainPID"))
    old = text.replace('ExecStart="', 'ExecStart="/old')
    assert old != text
    seat.unit.write_text(old)
    upgraded = json.loads(seat.autosync("install-service", "--json").stdout)
    assert upgraded["written"] == [str(seat.unit)]
    assert next(iter(upgraded["replaced"].values())).startswith("/old/")
    assert f"Your drop-ins hold as before: {drop_in}" in upgraded["notes"]
    assert (seat.unit.read_text(), int(seat.show("MainPID")) != pid) == (text, True)
    assert seat.show("WatchdogUSec") == "2s"


def _it_is_ended_by_its_watchdog_and_back(seat: Seat) -> None:
    pid = int(seat.show("MainPID"))
    os.kill(pid, signal.SIGSTOP)
    until(lambda: int(seat.show("NRestarts")) > 0, why=lambda: seat.systemctl("status", "autosync"))
    until(lambda: seat.show("ActiveState") == "active" and int(seat.show("MainPID")) not in (0, pid))
    until(lambda: seat.show("StatusText") == "All is recorded; no other device yet")


def _it_is_removed(seat: Seat) -> None:
    stopped = seat.systemctl("stop", "autosync")
    assert (stopped, seat.show("Result"), seat.show("ExecMainStatus")) == ("", "success", "0")
    removed = json.loads(seat.autosync("install-service", "--uninstall", "--json").stdout)
    assert str(seat.unit) in removed["removed"]
    assert any(note.startswith("Your drop-ins stay: ") for note in removed["notes"])
    assert (seat.unit.exists(), (seat.unit.parent / "autosync.service.d/override.conf").exists()) == (False, True)


def _every_name_arrives(seat: Seat, place: Path) -> None:
    """Whatever a folder, or the program itself, is called."""
    strange = place / "my $HOME %h 'program\" \\ é"
    strange.symlink_to(sys.executable)
    out, path = place / "out", "/a b:/c%d$X\"'\\"
    code = f"import sys, json, os; json.dump([sys.argv[1:], os.environ['PATH']], open({str(out)!r}, 'w'))"
    text = unit([str(strange), "-c", code, *HOSTILE], name="strange", environment={"PATH": path}, sandbox=True)
    seat.unit.with_name("strange.service").write_text(text.replace("Type=notify", "Type=oneshot"))
    seat.systemctl("daemon-reload")
    seat.systemctl("start", "strange")
    assert json.loads(out.read_text()) == [HOSTILE, path]
    figures.record("bad inputs refused", len(HOSTILE))


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Device]:
    """A device of a user without a systemd."""
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed({"a.txt": "1\n"}, hub=False), "laptop")
        fleet.configure([laptop])
        yield laptop


def test_without_systemd_the_desktop_starts_it(laptop: Device) -> None:
    home = Path(laptop.environment["HOME"])
    done = laptop.run("install-service")
    assert done.returncode == 0, done.stderr
    entry = home / ".config/autostart/autosync.desktop"
    assert "Until then: autosync --config " in done.stdout
    assert f'"--config" "{laptop.config}" "run"\n' in entry.read_text()
    menu = (home / ".local/share/applications/autosync.desktop").read_text()
    assert f'"--config" "{laptop.config}" "web" "--open"\n' in menu
    assert (home / ".local/share/icons/hicolor/scalable/apps/autosync.svg").is_file()
    assert laptop.run("install-service", "--uninstall").returncode == 0
    assert laptop.run("install-service", "--uninstall").stdout == "There was no service autosync of autosync's.\n"
    assert [path for path in home.rglob("*") if "autosync" in path.name] == []


def test_a_server_without_systemd_is_told_what_to_do(laptop: Device) -> None:
    done = laptop.run("install-service", "--headless")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No systemd of this user runs here, and without a desktop nothing else")
    assert f"--config {laptop.config} run --headless" in done.stderr


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "a/b", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    done = CliRunner().invoke(install_service, ["--name", name], obj=Invocation())
    assert (done.exit_code, "use letters, digits and _ . - only" in done.stderr) == (2, True)
