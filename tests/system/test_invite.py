"""`autosync invite`, `join` and `reload` as people use them: real agents, git and Mercurial."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core.candidates import on_lan
from autosync.invitation import InvitationLine
from autosync.trust.sealing import create_key, load_key
from tests.figures import record
from tests.ports import free_ports
from tests.system.fleet import Device, Fleet, entries, until
from tests.system.hgfleet import HgFleet
from tests.waiting import PATIENCE

FILES = {"a.txt": "".join(f"{n}\n" for n in range(1, 10)), "d/x": "x\n", "d/y": "y\n"}


@pytest.fixture(params=["git", "hg"])
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A laptop that runs with a working copy, by the one version control and the other."""
    kind = HgFleet if request.param == "hg" else Fleet
    with kind(tmp_path / "fleet") as fleet:
        start_laptop(fleet)
        yield fleet


@pytest.fixture
def git_fleet(tmp_path: Path) -> Iterator[Fleet]:
    """The same where the version control makes no difference."""
    with Fleet(tmp_path / "fleet") as fleet:
        start_laptop(fleet)
        yield fleet


def start_laptop(fleet: Fleet) -> None:
    laptop, *_ = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
    fleet.configure([laptop])
    laptop.start()
    until(lambda: laptop.status()["phase"] == "watching" and laptop.status()["tree"])


def newcomer(fleet: Fleet, name: str = "desktop", more: str = "") -> Device:
    """A device with a configuration and nothing else."""
    device = fleet.device(name)
    (port,) = free_ports(1)
    device.config.write_text(
        f"# mine\ndevice: {name}\nstate-dir: state\nlisten: 127.0.0.1:{port}\ndiscovery: false\n{more}"
    )
    device.config.chmod(0o600)
    return device


def invite(device: Device, *options: str) -> str:
    """Return the line that a device invites by."""
    done = device.run("invite", *options)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # nothing else goes to standard output
    assert re.fullmatch(r"autosync1-[a-z2-7]{60,190}", line)
    return line


def join(device: Device, line: str, *options: str) -> None:
    """Join with the folder that the device has, without starting the agent."""
    done = device.run("join", line, str(device.root), "--no-run", *options)
    assert done.returncode == 0, done.stderr


def refusal(device: Device, *arguments: str) -> str:
    """Return why a command fails; fails itself if that left anything behind."""
    before = left_by(device)
    done = device.run(*arguments)
    assert (done.returncode, done.stdout) == (1, ""), (done.stdout, done.stderr)
    assert left_by(device) == before
    record("bad inputs refused", 1)
    return done.stderr


def left_by(device: Device) -> dict[str, object]:
    """Return all that stands in a device's home, but for its own identity and logs."""
    own = (device.state, device.home / "agent.log")
    paths = [p for p in device.home.rglob("*") if not any(o == p or o in p.parents for o in own)]
    # A repository that is being kept changes by itself.
    kept = [p for p in paths if not {".git", ".hg"} & set(p.relative_to(device.home).parts)]
    return {str(p): p.read_bytes() if p.is_file() else p.stat().st_mode for p in kept}


# -- joining ---------------------------------------------------------------------------------------
def test_a_line_is_all_that_a_new_device_needs(git_fleet: Fleet) -> None:
    fleet = git_fleet
    (laptop,) = fleet.devices
    laptop.write("new", "not committed\n")
    desktop = newcomer(fleet)
    join(desktop, invite(laptop, "notes"))
    key = desktop.home / "notes.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert load_key(str(key)).id == load_key(str(fleet.key)).id
    assert desktop.config.read_text().startswith("# mine\ndevice: desktop\n")
    desktop.start()
    fleet.equal()
    assert set(entries(desktop.root)) == {b"a.txt", b"d/x", b"d/y", b"new"}
    assert (desktop.head(), desktop.branch()) == (laptop.head(), laptop.branch())
    desktop.write("a.txt", "from the desktop\n")
    fleet.equal()
    (listed,) = json.loads(laptop.run("invite", "--list", "--json").stdout)
    assert [v["name"] for v in listed["joined"]] == ["desktop"]
    assert laptop.activities("joined")[0]["device"] == "desktop"
    assert "desktop (127.0.0.1:" in laptop.log


def test_a_folder_alone_is_no_line(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    done = desktop.run("join", str(desktop.root), "--no-run", stdin=invite(laptop))
    assert done.returncode == 0, done.stderr
    assert desktop.root.is_dir()


def test_a_running_agent_takes_it_up_and_join_returns_when_all_is_here(fleet: Fleet) -> None:
    (laptop,) = fleet.devices
    desktop = newcomer(fleet)
    desktop.start()
    done = desktop.run("join", invite(laptop), str(desktop.root), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["state"], shown["workspace"], shown["path"]) == ("in sync", "notes", str(desktop.root))
    assert (done.stderr, shown["conflicts"], shown["inviter"]) == ("", 0, "laptop")
    assert desktop.view() == laptop.view()
    desktop.write("d/x", "edited\n")
    fleet.equal()


def test_a_folder_with_files_is_merged_and_nothing_is_deleted(fleet: Fleet) -> None:
    (laptop,) = fleet.devices
    laptop.write("only laptop", "laptop\n")
    laptop.write("both", "of the laptop\n")
    laptop.write("same", "same\n")
    desktop = newcomer(fleet)
    desktop.write("only/desktop", "desktop\n").chmod(0o755)
    desktop.write("both", "of the desktop\n")
    desktop.write("same", "same\n")
    desktop.write("a.txt", "another a\n")
    (desktop.root / "link").symlink_to("nowhere")
    join(desktop, invite(laptop))
    desktop.start()
    fleet.equal()
    found = entries(laptop.root)
    contents = sorted(content for _, content in found.values())
    for content in (b"of the laptop\n", b"of the desktop\n", b"another a\n", FILES["a.txt"].encode(), b"nowhere"):
        assert contents.count(content) == 1, (content, found)
    assert found[b"only/desktop"] == ("executable", b"desktop\n")
    assert {b"only laptop", b"same", b"d/x", b"d/y", b"both", b"a.txt"} <= set(found)
    assert contents.count(b"same\n") == 1
    assert sum(b"conflict" in name for name in found) == 2


def test_a_checkout_with_edits_is_adopted(fleet: Fleet) -> None:
    (laptop,) = fleet.devices
    (desktop,) = fleet.clone(fleet.place / "seed", "desktop")
    shutil.copy(newcomer(fleet, "other").config, desktop.config)
    fleet.devices.pop()
    laptop.write("a.txt", "laptop\n" + FILES["a.txt"])
    laptop.commit("second")
    (laptop.root / "d/y").unlink()
    desktop.write("a.txt", FILES["a.txt"] + "desktop\n")
    desktop.write("untracked", "mine\n")
    join(desktop, invite(laptop))
    desktop.start()
    fleet.equal()
    assert desktop.read("a.txt") == "laptop\n" + FILES["a.txt"] + "desktop\n"
    assert (laptop.read("untracked"), desktop.head()) == ("mine\n", laptop.head())
    assert not [name for name in entries(laptop.root) if b"conflict" in name]


def test_a_repository_with_another_history_halts_and_keeps_everything(fleet: Fleet) -> None:
    (laptop,) = fleet.devices
    desktop = newcomer(fleet)
    desktop.root.mkdir()
    if isinstance(fleet, HgFleet):
        fleet.hg("init", at=desktop.root)
    else:
        fleet.git("init", "-q", str(desktop.root))
    desktop.write("a.txt", "of another world\n")
    desktop.commit("elsewhere")
    desktop.write("a.txt", "edited\n")
    before, theirs = (desktop.head(), entries(desktop.root)), (laptop.head(), entries(laptop.root))
    desktop.start()
    done = desktop.run("join", invite(laptop), str(desktop.root), "--json")
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["state"]) == (1, "halted"), (shown, desktop.status())
    words = "has changesets here that laptop lacks" if isinstance(fleet, HgFleet) else "histor"
    assert words in shown["title"] + shown["hint"], shown
    assert (desktop.head(), entries(desktop.root)) == before
    assert (laptop.head(), entries(laptop.root)) == theirs


def test_a_checkout_of_another_branch_stays_on_it(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    (desktop,) = git_fleet.clone(git_fleet.place / "seed", "desktop")
    shutil.copy(newcomer(git_fleet, "other").config, desktop.config)
    git_fleet.devices.pop()
    laptop.write("a.txt", "edited on main\n")
    desktop.git("switch", "-q", "-c", "feature")
    desktop.write("d/x", "of the branch\n")
    desktop.commit("on a branch")
    desktop.write("new", "not committed\n")
    before = [(d.branch(), d.head(), entries(d.root)) for d in (laptop, desktop)]
    desktop.start()
    done = desktop.run("join", invite(laptop), str(desktop.root))
    assert done.returncode == 1
    assert "Halted: This device is on feature, laptop is on main, and both moved" in done.stderr
    assert f"`git merge {desktop.head()}`" in done.stderr
    assert [(d.branch(), d.head(), entries(d.root)) for d in (laptop, desktop)] == before


def test_a_hub_is_set_up_as_on_the_inviter(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
        fleet.configure([laptop], remote="origin")
        laptop.start()
        desktop = newcomer(fleet)
        join(desktop, invite(laptop))
        assert desktop.git("remote", "get-url", "origin").strip() == str(fleet.hub)
        assert "remote: origin" in desktop.config.read_text()
        desktop.start()
        fleet.equal()
        # Whoever pushes into a directory runs its hooks: one with any is not taken over.
        (fleet.hub / "hooks").mkdir(exist_ok=True)
        (fleet.hub / "hooks/pre-receive").write_text("#!/bin/sh\n")
        third = newcomer(fleet, "third")
        done = third.run("join", invite(laptop), str(third.root), "--no-run")
        assert f"hub {fleet.hub} is not used here: {fleet.hub} on this device has hooks" in done.stderr
        assert (third.git("remote"), "remote: none" in third.config.read_text()) == ("", True)


def test_channels_are_added_where_there_are_none_and_left_where_there_are(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        reflector, other = (f"127.0.0.1:{port}" for port in free_ports(2))
        xmpp = "xmpp: {jid: me@example.org, password: secret-word, host: 127.0.0.1, port: 1}\n"
        fleet.configure([laptop], top=f"reflector: {reflector}\n{xmpp}")
        laptop.start()
        desktop = newcomer(fleet)
        done = desktop.run("join", invite(laptop), str(desktop.root), "--no-run")
        assert done.returncode == 0, done.stderr
        assert f"reflector: {reflector}\n" in desktop.config.read_text()
        assert "xmpp: {jid: me@example.org, password-command: [pass, show, xmpp], host: 127.0.0.1" in done.stderr
        assert "secret-word" not in done.stderr + desktop.config.read_text()
        third = newcomer(fleet, "third", more=f"reflector: {other}\n")
        done = third.run("join", invite(laptop), str(third.root), "--no-run")
        assert f"`reflector` stays {other}; the inviter has {reflector}." in done.stderr
        assert reflector not in third.config.read_text()


def test_who_has_joined_can_invite(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop, third = newcomer(git_fleet), newcomer(git_fleet, "third")
    for host, guest in ((laptop, desktop), (desktop, third)):
        join(guest, invite(host))
        guest.start()
    git_fleet.equal()
    third.write("a.txt", "from the third\n")
    git_fleet.equal()


def test_without_an_agent_join_becomes_it(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    line = invite(laptop, "--once")
    with (desktop.home / "agent.log").open("wb") as log:
        desktop.process = subprocess.Popen(
            [sys.executable, "-m", "autosync", "--config", str(desktop.config), "join", "-"],
            cwd=desktop.home,
            env=desktop.environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    assert desktop.process.stdin is not None
    desktop.process.stdin.write(f"  {line[:40].upper()}\n{line[40:]}\n".encode())  # as a chat may wrap it
    desktop.process.stdin.close()
    until(lambda: "In sync." in desktop.log, why=lambda: desktop.log)
    git_fleet.equal()  # below the current folder, under the workspace's name
    assert "An invitation to notes" not in laptop.run("status").stdout
    assert " used  one device  desktop (" in laptop.run("invite", "--list").stdout
    assert desktop.end(signal.SIGINT) == 130
    assert "Traceback" not in desktop.log


def test_ctrl_c_ends_join_while_nobody_else_is_there(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    with (desktop.home / "agent.log").open("wb") as log:
        desktop.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "autosync",
                "--config",
                str(desktop.config),
                "join",
                invite(laptop),
                str(desktop.root),
            ],
            cwd=desktop.home,
            env=desktop.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        until(lambda: "Starting the agent" in desktop.log, why=lambda: desktop.log)
        laptop.kill()
        until(desktop.answers, why=lambda: desktop.log)
        assert desktop.end(signal.SIGINT) == 130
    assert "Traceback" not in desktop.log


# -- who is not let in -----------------------------------------------------------------------------
def test_a_line_for_one_device_is_for_one_device(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop, thief = newcomer(git_fleet), newcomer(git_fleet, "thief")
    line = invite(laptop, "--once")
    join(desktop, line)
    said = refusal(thief, "join", line, str(thief.root), "--no-run")
    assert "laptop does not let this device in: this invitation was for one device, and another one has come" in said
    until(lambda: laptop.activities("refused"))
    assert laptop.activities("refused")[0]["device"] == "thief"
    assert "somebody else has seen the line" in laptop.log
    (listed,) = json.loads(laptop.run("invite", "--list", "--json").stdout)
    assert ([v["name"] for v in listed["joined"]], [v["name"] for v in listed["refused"]]) == (["desktop"], ["thief"])
    assert "refused: thief (127.0.0.1:" in laptop.run("invite", "--list").stdout
    assert "already" in refusal(desktop, "join", line, str(desktop.root))


def test_a_line_that_is_not_open_opens_nothing(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    closed = "This invitation is not open (any more)"
    expired = invite(laptop, "--expires", "1s")
    cancelled = invite(laptop)
    (row,) = [i for i in laptop.ask("status")["invitations"] if i["seconds"] > 1]
    assert laptop.run("invite", "--cancel", row["id"]).stdout == f"closed: {row['id']}\n"
    assert "No invitation" in refusal(laptop, "invite", "--cancel", row["id"])
    until(lambda: not laptop.ask("status")["invitations"])
    open_before = invite(laptop)
    laptop.end()
    laptop.start()
    for line in (expired, cancelled, open_before):
        assert closed in refusal(desktop, "join", line, str(desktop.root), "--no-run")
    assert not laptop.ask("status")["invitations"]


def test_what_is_no_line_is_told_as_such(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    line = invite(laptop)
    for wrong in (line[:-1], line[:60], line[:70] + ("a" if line[70] != "a" else "b") + line[71:], "autosync1-"):
        said = refusal(desktop, "join", wrong, str(desktop.root))
        assert "not complete, or a character of it is wrong" in said
        assert line[20:40] not in said  # it is a secret, also when it is mistyped
    assert "That is no invitation" in refusal(desktop, "join", "notes", str(desktop.root))
    assert "newer autosync" in refusal(desktop, "join", "autosync2" + line[9:], str(desktop.root))
    assert "on this very device" in refusal(laptop, "join", line)


def test_what_is_in_the_way_is_told_before_anything_is_done(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    line = invite(laptop, "--once")
    here = ("join", line, str(desktop.root), "--no-run")
    key = desktop.home / "notes.key"
    create_key(str(key))
    other = key.read_bytes()
    assert f"There is a key file {key} already, of another workspace" in refusal(desktop, *here)
    assert key.read_bytes() == other
    key.unlink()
    desktop.root.write_text("a file")
    assert f"{desktop.root} is not a directory" in refusal(desktop, *here)
    desktop.root.unlink()
    outer = desktop.home / "outer"
    git_fleet.git("init", "-q", str(outer))
    assert "lies inside the working copy" in refusal(desktop, "join", line, str(outer / "in/it"), "--no-run")
    assert "would lie in the working copy" in refusal(
        desktop, *here, "--key-file", str(desktop.root / "deep/notes.key")
    )
    (desktop.home / "hg/.hg").mkdir(parents=True)
    assert "is a Mercurial working copy" in refusal(desktop, "join", line, str(desktop.home / "hg"))
    create_key(str(desktop.home / "elsewhere.key"))
    (desktop.home / "elsewhere").mkdir()
    entry = f"paths:\n- {{path: {desktop.home}/elsewhere, workspace: notes, key-file: {desktop.home}/elsewhere.key}}\n"
    text = desktop.config.read_text()
    desktop.config.write_text(text + entry)
    assert "--workspace NAME" in refusal(desktop, *here)
    # None of these has used it up.
    join(desktop, line, "--workspace", "notes of the laptop")
    assert (desktop.home / "notes-of-the-laptop.key").exists()
    assert desktop.root.is_dir()


def test_a_device_that_was_revoked_may_be_invited_again(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    join(desktop, invite(laptop))
    desktop.start()
    git_fleet.equal()
    assert laptop.run("revoke", "desktop", "--yes").returncode == 0
    until(lambda: desktop.status()["halt"], why=lambda: desktop.log)
    assert "this device was revoked by laptop" in desktop.run("invite").stderr
    desktop.end()
    join(desktop, invite(laptop))
    desktop.start()
    laptop.write("again", "together\n")
    git_fleet.equal()
    assert desktop.read("again") == "together\n"


def test_nothing_secret_is_told(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    desktop = newcomer(git_fleet)
    desktop.start()
    line = invite(laptop)
    join(desktop, line)
    git_fleet.equal()
    key = git_fleet.key.read_text().strip()
    told = [laptop.log, desktop.log, *(json.dumps(d.ask(c)) for d in git_fleet.devices for c in ("status", "activity"))]
    told += [p.read_text(errors="replace") for d in git_fleet.devices for p in d.state.rglob("*.json")]
    told += [said_by(p, file) for p in children_of(os.getpid()) for file in ("cmdline", "environ")]
    for text in told:
        assert key not in text
        assert line[10:36] not in text


def children_of(pid: int) -> list[int]:
    """Return all processes below ``pid``."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *children_of(child)]
    return found


def said_by(pid: int, file: str) -> str:
    """Return what everybody may read of a process, nothing of one that has just ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_text()
    return ""


def test_without_an_agent_there_is_nobody_to_invite(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    laptop.end()
    said = refusal(laptop, "invite")
    assert "The agent is not running" in said
    assert f"`autosync --config {laptop.config} run`" in said


def test_ctrl_c_while_the_inviter_is_looked_for_leaves_nothing(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        desktop = newcomer(fleet)
        where = on_lan([f"127.0.0.1:{silent.getsockname()[1]}"])
        line = InvitationLine(token=bytes(16), inviter="a" * 26, candidates=where)
        before = left_by(desktop)
        joining = subprocess.Popen(
            [sys.executable, "-m", "autosync", "--config", str(desktop.config), "join", str(line), str(desktop.root)],
            cwd=desktop.home,
            env=desktop.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        connection, _ = silent.accept()
        with connection:
            joining.send_signal(signal.SIGINT)
            said, _ = joining.communicate(timeout=PATIENCE)
        assert (joining.returncode, said.split()) == (130, [b"Interrupted."])
        assert left_by(desktop) == before


# -- reload ----------------------------------------------------------------------------------------
def test_init_and_reload_reach_the_running_agent(git_fleet: Fleet) -> None:
    (laptop,) = git_fleet.devices
    (laptop.home / "more").mkdir()
    (laptop.home / "more/file").write_text("here\n")
    done = laptop.run("init", str(laptop.home / "more"))
    assert done.returncode == 0, done.stderr
    assert f"{laptop.home / 'more'} is kept from now on." in done.stdout
    assert laptop.status("more")["phase"]
    assert laptop.run("reload").stdout == "Nothing is new in the configuration.\n"
    assert "which workspace is meant" in refusal(laptop, "invite")
    desktop = newcomer(git_fleet)
    desktop.root = desktop.home / "more"
    join(desktop, invite(laptop, "more"))
    desktop.start()
    until(lambda: desktop.read("file") == "here\n", why=lambda: desktop.log)

    text = laptop.config.read_text()
    laptop.config.write_text(text.replace("log-level: debug", "log-level: info").replace("  workspace: more\n", ""))
    assert 'the key "workspace" is missing' in refusal(laptop, "reload")
    laptop.config.write_text(text.replace("log-level: debug", "log-level: info"))
    done = laptop.run("reload", "--json")
    assert json.loads(done.stdout)["restart"] == ["`log-level` was changed"]
    assert "A restart of the agent is needed for the rest: `log-level` was changed." in laptop.run("reload").stdout
    assert laptop.status()["phase"] == "watching"
