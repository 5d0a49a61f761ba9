"""``autosync doctor``: finds what is planted, says which line mends it, and ends in time whatever hangs."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from autosync.cli.channelcheck import check_channel
from autosync.cli.clocks import check_reflector, judge
from autosync.cli.doctor import command
from autosync.cli.doctor.places import Mount, mount_of
from autosync.cli.doctor.probing import Probe, run_probes
from autosync.cli.doctor.programs import check_libraries, satisfies
from autosync.cli.doctor.syncing import obstacles
from autosync.cli.finding import Finding, Level
from autosync.cli.main import main
from autosync.config import Config, XmppConfig
from autosync.core.model import DeviceId
from autosync.errors import AutosyncError
from autosync.skew import REMEMBERED, Skew
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, Prosody
from tests.figures import record
from tests.system.commandline import Home
from tests.system.fleet import pair
from tests.system.mounts import needs_mounts, tmpfs

Row = tuple[str, str, str, str]


Diagnose = Callable[..., list[Row]]


def rows(text: str) -> list[Row]:
    """Return level, subject, words and hint of each finding in a JSON document."""
    said = json.loads(text)
    assert said["ok"] is all(f["level"] != "fail" for f in said["findings"])
    return [(f["level"], f["what"], f["detail"], f["hint"]) for f in said["findings"]]


@pytest.fixture
def diagnose(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Diagnose:
    """Runs the command, in this process: it is started often."""
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.chdir(home.path)

    def run(*, code: int = 0, config: Path = home.config) -> list[Row]:
        ended = main(["--config", str(config), "doctor", "--json"])
        told = capsys.readouterr()
        assert (ended, told.err) == (code, ""), told.out
        return rows(told.out)

    return run


def about(what: str, found: list[Row], level: str | None = None) -> list[tuple[str, str]]:
    """Return words and hint of what was found about one subject."""
    return [(detail, hint) for lev, name, detail, hint in found if name == what and level in (None, lev)]


@pytest.fixture
def kept(home: Home, diagnose: Diagnose, capsys: pytest.CaptureFixture[str]) -> Home:
    """A home with one working copy and no agent."""
    (home.path / "notes/deep/er").mkdir(parents=True)
    (home.path / "notes/build/much/more").mkdir(parents=True)
    (home.path / "notes/.gitignore").write_text("build/\n")
    home.configured("device: laptop\nstate-dir: state\nlisten: 127.0.0.1:0\ndiscovery: false\n")
    assert main(["--config", str(home.config), "init", "notes"]) == 0
    capsys.readouterr()
    return home


# -- the whole command -----------------------------------------------------------------------------
def test_it_works_without_any_configuration_and_leaves_nothing_behind(home: Home) -> None:
    shown = home.run("doctor")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[:2] == ["warn  config: there is none yet", "      Begin with `autosync init PATH`."]
    for what in ("python", "libraries", "open files", "disk ", "rights", "git"):
        assert any(line.startswith(f"ok    {what}") for line in lines), what
    assert list(home.path.iterdir()) == []


def test_all_is_well(kept: Home, diagnose: Diagnose) -> None:
    found = diagnose()
    assert [row for row in found if row[0] == "fail"] == []
    # The root, deep, deep/er; what is ignored needs no watch.
    ((watches, _),) = about("inotify", found)
    assert watches.startswith("folders to watch: 3; allowed: ")
    assert ("keys and state are this user's alone", "") in about("rights", found)


def test_one_folder_that_is_not_there_hides_nothing_else(kept: Home, diagnose: Diagnose) -> None:
    with kept.config.open("a") as config:
        config.write("  - path: gone\n    workspace: gone\n    key-file: gone.key\n")
    found = diagnose(code=1)
    assert "gone" in about("config", found, "fail")[0][0]
    assert about("notes", found, "ok")
    record("bad inputs refused", 1)


def test_a_configuration_that_cannot_be_read_hides_nothing_of_the_machine(home: Home, diagnose: Diagnose) -> None:
    home.configured("paths: [\n")
    found = diagnose(code=1)
    assert len(about("config", found, "fail")) == 1
    assert about("libraries", found, "ok")
    record("bad inputs refused", 1)


# -- what is planted -------------------------------------------------------------------------------
def test_who_else_can_read_or_write_is_told_with_the_line_that_mends_it(kept: Home, diagnose: Diagnose) -> None:
    (kept.path / "state").mkdir(mode=0o755)
    (kept.path / "state").chmod(0o755)
    key = kept.path / "notes.key"
    key.chmod(0o644)
    kept.config.chmod(0o666)
    found = diagnose(code=1)
    for what, place, line in (
        ("key file", key, f"chmod 600 {key}"),
        ("state-dir", kept.path / "state", f"chmod 700 {kept.path}/state"),
        ("config", kept.config, f"chmod go-w {kept.config}"),
    ):
        ((detail, hint),) = [row for row in about(what, found) if row[1]]
        assert (str(place) in detail, hint) == (True, line)
        subprocess.run(shlex.split(hint), check=True)
    assert about("rights", diagnose()) == [("keys and state are this user's alone", "")]


def test_a_lock_that_was_left_is_told(kept: Home, diagnose: Diagnose) -> None:
    lock = kept.path / "notes/.git/index.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    told = [hint for detail, hint in about("notes", diagnose(), "warn") if str(lock) in detail]
    assert f"If no git or hg runs there: rm {lock}" in told


def test_what_starts_the_agent_at_login_is_told(kept: Home, diagnose: Diagnose) -> None:
    assert about("service", diagnose(), "warn")[0][1].endswith(" install-service`")
    entry = kept.path / ".config/autostart/autosync.desktop"
    entry.parent.mkdir(parents=True)
    entry.touch()
    assert about("service", diagnose()) == [(f"{entry} starts the agent at login", "")]


def test_few_open_files_are_told(kept: Home, diagnose: Diagnose) -> None:
    done = subprocess.run(
        ["prlimit", "--nofile=200:300", *kept.argv("--config", kept.config, "doctor", "--json")],
        env=kept.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    ((detail, hint),) = about("open files", rows(done.stdout), "warn")
    assert detail == "200 may be open at once; 320 may be needed"
    assert hint.startswith("ulimit -n 1024    before `autosync")
    assert "limits.conf: * hard nofile 1024" in hint


def test_a_second_agent_at_the_same_folder_is_told(kept: Home, diagnose: Diagnose) -> None:
    other = kept.path / "other.yaml"
    other.write_text(kept.config.read_text().replace("state-dir: state", "state-dir: state2"))
    other.chmod(0o600)
    with kept.start("--config", other, "run") as agent:
        try:
            assert agent.stdout is not None
            next(line for line in agent.stdout if "saved the first state" in line)
            found = diagnose(code=1)
        finally:
            agent.kill()
    twins = [row for row in about("notes", found, "fail") if "another agent" in row[0]]
    assert twins == [
        (
            f"{kept.path}/notes is kept by another agent too (pid {agent.pid}), of another configuration",
            f"End it, or take the path out of one of them: kill {agent.pid}",
        )
    ]


@needs_mounts
def test_a_disk_without_room_is_told(tmp_path: Path, diagnose: Diagnose) -> None:
    with tmpfs(tmp_path / "a disk", "size=1m,nr_inodes=300") as disk:
        home = Home(disk)
        (disk / "notes").mkdir()
        assert home.run("--config", home.config, "init", "notes").returncode == 0
        found = diagnose(code=1, config=home.config)
        assert mount_of(str(disk / "notes")) == Mount(point=str(disk), kind="tmpfs")
    told = about(f"disk {disk}", found)
    assert [detail.split()[-2:] for detail, _ in told] == [["are", "free"], ["files", "(inodes)"]]
    assert told[0][1].startswith(f"Make room: du -xh {shlex.quote(str(disk))}")
    assert ("lies on tmpfs: it is gone when the machine is switched off", "Keep it on a disk.") in about("notes", found)


def test_a_file_system_without_small_letters_is_told(kept: Home, diagnose: Diagnose) -> None:
    (kept.path / "notes/.GIT").symlink_to(".git")  # as a file system that folds case shows it
    assert any("README and readme are one file" in detail for detail, _ in about("notes", diagnose(), "warn"))


# -- limits of the kernel --------------------------------------------------------------------------
def test_too_few_watches_are_told_with_the_line_that_lasts(kept: Home) -> None:
    program = """
        import sys
        from pathlib import Path
        Path("/proc/sys/user/max_inotify_watches").write_text("2")
        from autosync.cli.main import main
        sys.exit(main(sys.argv[1:]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), "--config", str(kept.config), "doctor", "--json"]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", *command],
        env=kept.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = rows(done.stdout)
    assert about("inotify", found, "fail") == [
        (
            "folders to watch: 3; allowed: 2",
            "Allow more, for good: echo user.max_inotify_watches=16384 | "
            "sudo tee -a /etc/sysctl.d/60-autosync.conf && sudo sysctl --system",
        )
    ]


# -- clocks ----------------------------------------------------------------------------------------
@contextmanager
def wrong_hub(ahead: float) -> Iterator[str]:
    """A web server whose clock is wrong; it has no repository."""

    class Wrong(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - as http.server calls it

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
            return formatdate(self.server.started + ahead, usegmt=True)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    server.started = time.time()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/notes.git"
    finally:
        server.shutdown()
        server.server_close()


def test_the_clock_of_a_hub_is_compared(kept: Home, diagnose: Diagnose) -> None:
    with wrong_hub(7200) as url:
        kept.git("notes", "remote", "add", "origin", url)
        kept.config.write_text(kept.config.read_text().replace("remote: none", "remote: origin"))
        found = diagnose(code=1)  # it is no hub either
    ((detail, hint),) = [row for row in about("clock", found, "warn") if "hub" in row[0]]
    assert detail.startswith("that of the hub of notes is ")
    assert " ahead of this one, which says 2" in detail
    assert hint == "Set the wrong one right, for good: sudo timedatectl set-ntp true"
    assert about("notes, hub origin", found, "fail")


def test_the_clock_of_a_reflector_is_compared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"debug!connected...\n1000\n")  # in the year 1970

        threading.Thread(target=answer, daemon=True).start()
        (found,) = check_reflector(f"127.0.0.1:{server.getsockname()[1]}")
    assert (found.level, found.what) == (Level.WARN, "clock")
    assert " behind this one, which says 2" in found.detail


def test_the_clock_of_an_xmpp_server_is_compared() -> None:
    with Prosody(["me"]) as server:
        account = XmppConfig(
            jid=f"me@{DOMAIN}", password=PASSWORD, host="127.0.0.1", port=server.port, ca_file=str(server.ca_file)
        )
        online, clock = check_channel(Config(source="/c", device="laptop", state_dir="/s", xmpp=account), "xmpp")
    assert (online.level, online.what) == (Level.OK, "xmpp")
    assert (clock.level, clock.what) == (Level.OK, "clock")
    assert clock.detail.startswith("that of the xmpp server agrees (")


def test_a_small_difference_is_none() -> None:
    assert judge("x", -59.6) == Finding(Level.OK, "clock", "that of x agrees (-60 s)")
    assert judge("x", 61).level is Level.WARN


def test_what_was_under_way_for_long_says_nothing_of_a_clock() -> None:
    skew, peer = Skew(), DeviceId("desktop")
    assert skew.ahead() == {}
    for sent_at, now in ((100.0, 150.0), (200.0, 201.0), (300.0, 390.0)):
        skew.heard(peer, sent_at=sent_at, now=now)
    assert skew.ahead() == {peer: -1.0}
    for _ in range(REMEMBERED):  # the clock was set
        skew.heard(peer, sent_at=1000.0, now=400.0)
    assert skew.ahead() == {peer: 600.0}


# -- each examination ends, and so do all ------------------------------------------------------------
def test_what_hangs_is_left_behind_and_what_fails_fails_alone() -> None:
    never, fine = threading.Event(), Finding(Level.OK, "a", "well")

    def hangs() -> Iterator[Finding]:
        yield fine
        never.wait()

    def refuses() -> Iterator[Finding]:
        raise AutosyncError("No", hint="Ask again.")

    def breaks() -> Iterator[Finding]:
        yield fine
        raise KeyError("x")

    def starves() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/secret")

    def is_odd() -> Iterator[Finding]:
        raise IsADirectoryError(21, "Is a directory", "/there")

    finds = (("h", hangs, 0.01), ("r", refuses, 60.0), ("b", breaks, 60.0), ("s", starves, 60.0), ("o", is_odd, 60.0))
    probes = [Probe(what=what, find=find, patience=patience) for what, find, patience in finds]
    found = list(run_probes(probes))
    never.set()
    hung = [f for f in found if f.what in ("a", "h")][:2]
    assert hung[-1].detail in ("well", "no answer within 0.01 seconds")
    assert (
        Finding(
            Level.FAIL,
            "h",
            "no answer within 0.01 seconds",
            "See whether the disk and the network that it is on answer.",
        )
        in found
    )
    assert Finding(Level.FAIL, "r", "No", "Ask again.") in found
    assert (
        Finding(
            Level.FAIL,
            "b",
            "cannot be examined: KeyError: 'x'",
            "Please report this: `autosync bug-report` gathers what is needed.",
        )
        in found
    )
    assert [f.detail for f in found if f.what == "s"] == ["No permission for /secret"]
    assert [f.detail for f in found if f.what == "o"] == ["Is a directory ('/there')"]


def test_a_server_that_says_nothing_holds_nothing_up(
    kept: Home, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/notes.git"
        kept.git("notes", "remote", "add", "origin", url)
        kept.config.write_text(kept.config.read_text().replace("remote: none", "remote: origin"))
        monkeypatch.setattr(command, "_OVER_NETWORK", 0.5)
        found = diagnose(code=1)
    assert ("no answer within 0.5 seconds", "See whether the disk and the network that it is on answer.") in about(
        "notes", found, "fail"
    )


# -- versions ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("1.17.0", ">=1.17,<2", True),
        ("1.16.9", ">=1.17,<2", False),
        ("2.0rc1", ">=1.17,<2", False),
        ("7.2.4", ">=7.2,<7.3", True),
        ("7.10", ">=7.2", True),
        ("8", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, *, fits: bool) -> None:
    assert satisfies(version, bounds) is fits


def test_the_libraries_of_this_installation_are_as_asked_for() -> None:
    (found,) = check_libraries()
    assert found.level is Level.OK
    assert "slixmpp 1." in found.detail


# -- a running agent -----------------------------------------------------------------------------------
def test_of_a_running_agent_its_own_limits_count(tmp_path: Path) -> None:
    with pair(tmp_path / "fleet", {"a.txt": "one\n"}) as fleet:
        laptop = fleet.devices[0]
        assert laptop.process is not None
        subprocess.run(["prlimit", "--pid", str(laptop.process.pid), "--nofile=300"], check=True)
        done = laptop.run("doctor", "--json")
        found = rows(done.stdout)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        ((detail, _),) = about("open files", found, "warn")
        assert detail.startswith("300 may be open at once")
        assert about("agent", found) == [(f"runs (pid {laptop.process.pid})", "")]
        assert laptop.run("pause").returncode == 0
        told = rows(laptop.run("doctor", "--json").stdout)
        again = f"`autosync --config {laptop.config} resume {laptop.root}` goes on."
        assert ("paused: nothing is synced", again) in about("notes", told, "warn")
        clocks = [detail for detail, _ in about("clock", found, "ok") if "desktop" in detail]
        assert len(clocks) == 1
        assert clocks[0].startswith("that of device desktop agrees (")


def test_whatever_is_said_against_a_working_copy_has_its_next_step() -> None:
    quiet: dict[str, Any] = {
        "name": "notes",
        "path": "/notes",
        "phase": "watching",
        "halt": None,
        "waiting-for": None,
        "held": {"count": 0},
        "unreadable": [],
        "conflicts": [],
        "peers": [{"device": "desktop", "problem": None}],
    }
    assert list(obstacles(quiet)) == []
    halt = {"title": "Nobody is named in git's user.name", "hint": "Set it."}
    loud = {
        **quiet,
        "halt": halt,
        "held": {"count": 2},
        "unreadable": ["a"],
        "conflicts": [{}],
        "peers": [{"device": "desktop", "problem": "its pack is damaged"}],
    }
    first, *others = obstacles(loud)
    assert first == Finding(Level.FAIL, "notes", f"halted: {halt['title']}", halt["hint"])
    assert [(f.level, f.detail) for f in others] == [
        (Level.WARN, "paths held back: 2"),
        (Level.WARN, "paths that are left out: 1"),
        (Level.WARN, "conflicts: 1"),
        (Level.WARN, "desktop: its pack is damaged"),
    ]
    assert all("`autosync " in f.hint for f in others)
    details = [f.detail for w in ({"phase": "paused"}, {"waiting-for": "a rebase"}) for f in obstacles({**quiet, **w})]
    assert details == ["paused: nothing is synced", "waits: a rebase"]
