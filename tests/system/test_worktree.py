"""`autosync worktree add` as people use it: with git and Mercurial, here and on another device that has the store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from autosync.cli.main import main as run_main
from autosync.trust.sealing import load_key
from tests.backends.hg_repos import DEBIAN
from tests.figures import record
from tests.system.fleet import Device, Fleet, entries, pair, until
from tests.system.hgfleet import HgDevice, HgFleet, hg_pair
from tests.system.mounts import needs_mounts, remount, tmpfs

FILES = {"a.txt": "".join(f"{n}\n" for n in range(1, 10)), "d/x": "x\n"}


@pytest.fixture(params=["git", "hg"])
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A laptop and a desktop that run, with clones of one repository."""
    place, commits = tmp_path / "fleet", {"commit_after": 30}
    # With two Mercurials, 7.2 and 6.3.
    hg = hg_pair(place, FILES, hg={"desktop": DEBIAN[0]}, **commits) if request.param == "hg" else None
    with hg or pair(place, FILES, **commits) as fleet:
        yield fleet


def add(device: Device, *words: str, code: int = 0) -> dict[str, Any]:
    """Run `autosync worktree add` in the device's working copy; return what it prints for programs."""
    done = run(device, *words, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(device: Device, *words: str) -> subprocess.CompletedProcess[str]:
    return device.run_here("worktree", "add", *words, at=device.root)


def beside(device: Device, name: str) -> Device:
    """Return a further working copy of a device as a device, whose agent is the other's."""
    home = device.home
    if isinstance(device, HgDevice):
        return HgDevice(device.name, home, home / name, device.environment, user=device.user)
    return Device(device.name, home, home / name, device.environment)


@pytest.mark.timeout(240)
def test_a_working_copy_here_and_one_on_another_device_that_has_the_store(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    said = add(laptop, "../fix", "--branch", "fix")
    assert (said["workspace"], said["branch"], said["new-branch"]) == ("fix", "fix", True)
    assert (said["from"], said["settings"]) == (str(laptop.root), ["commit-after"])
    assert said["agent"] == [f"{laptop.home}/fix is kept from now on."]
    here, there = beside(laptop, "fix"), beside(desktop, "my fix")
    until(lambda: laptop.status("fix")["phase"] == "watching" and laptop.status("fix")["tree"])
    here.write("d/x", "committed in fix\n")
    commit = here.commit("in fix")
    here.write("new", "not committed\n")
    line = laptop.run_here("invite", "fix", "--once").stdout.strip()
    joined = add(desktop, "../my fix", "--join", line)
    assert (joined["state"], joined["path"], joined["conflicts"]) == ("in sync", str(there.root), 0)
    # Who waits for the first sync does not begin it again and again: a large one would never end.
    assert "fix: FlushAsked" not in desktop.log
    assert there.view() == here.view()
    assert there.head() == commit
    assert load_key(str(desktop.home / "fix.key")).id == load_key(str(laptop.home / "fix.key")).id
    # It is on the store that was there: no second history.
    parts = told(desktop, there)
    assert parts["kind"] in ("linked worktree", "share")
    assert [other["path"] for other in parts["others"]] == [str(desktop.root)]
    assert (there.root / (".git" if parts["vcs"] == "git" else ".hg/sharedpath")).is_file()
    # What was made here and there goes the other way, and the first workspace has nothing of it.
    there.write("new", "edited on the desktop\n")
    until(lambda: here.read("new") == "edited on the desktop\n", why=lambda: laptop.log[-3000:])
    assert laptop.read("new") is None
    assert desktop.read("d/x") == laptop.read("d/x") == FILES["d/x"]


def told(device: Device, at: Device) -> dict[str, Any]:
    """Return what `autosync shared` tells of a working copy."""
    found: dict[str, Any] = json.loads(device.run_here("shared", str(at.root), "--json").stdout)
    return found


def test_the_store_is_known_by_its_commits(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES, hub=False), "laptop")
        fleet.configure([laptop])
        laptop.commit("later than what the desktop has")
        laptop.start()
        add(laptop, "../fix")
        line = laptop.run_here("invite", "fix").stdout.strip()
        # Another repository of that name, and a clone that autosync does not keep.
        desktop = fleet.device("desktop", fleet.place / "desktop/notes")
        fleet.git("init", "-q", str(desktop.root))
        fleet.configure([desktop], peers=False)
        desktop.commit("of another world")
        clone = desktop.home / "clone"
        fleet.git("clone", "-q", str(fleet.place / "seed"), str(clone))
        fleet.git("switch", "-q", "-c", "fix", at=clone)
        for words, title, hint in (
            ([], 'keeps here has the history of the workspace "fix"', f"autosync join LINE {desktop.home}/fix."),
            (["--from", "notes"], f"{desktop.root} has nothing of the history", "autosync join LINE"),
            (["--from", str(clone)], f"on the branch fix, which is checked out here in {clone}", "a clone of its own"),
        ):
            done = run(desktop, "../fix", "--join", line, *words)
            assert (done.returncode, title in done.stderr, hint in done.stderr) == (1, True, True), done.stderr
            assert not (desktop.home / "fix").exists()
            assert not (desktop.home / "fix.key").exists()
            record("bad inputs refused", 1)
        fleet.git("switch", "-q", "main", at=clone)
        done = run(desktop, "../fix", "--join", line, "--no-run", "--from", str(clone))
        assert done.returncode == 0, done.stderr
        assert f"It is a linked worktree of {clone}: no second copy of the history is made." in done.stderr
        desktop.start()
        fix = beside(desktop, "fix")
        until(lambda: fix.view() == beside(laptop, "fix").view(), why=lambda: desktop.log[-3000:])


@needs_mounts
def test_a_full_disk_and_a_configuration_that_cannot_be_written(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet, tmpfs(tmp_path / "small", "size=1m") as small:
        (laptop,) = fleet.clone(fleet.seed({**FILES, "large": "x" * 3_000_000}, hub=False), "laptop")
        fleet.configure([laptop])
        before = left_by(laptop)
        done = run(laptop, str(small / "fix"))
        assert (done.returncode, list(small.iterdir()), left_by(laptop)) == (1, [], before), done.stderr
        with tmpfs(tmp_path / "config") as place:
            shutil.copy(laptop.config, place / "config.yaml")
            laptop.config.unlink()
            laptop.config.symlink_to(place / "config.yaml")
            before = left_by(laptop)
            remount(place, "ro")
            done = run(laptop, "../fix", "--key-file", "../fix.key")
            assert done.returncode == 1
            assert "Read-only file system" in done.stderr
            assert left_by(laptop) == before
        record("faults injected", 2)


# -- without an agent: what is made, and what is refused -----------------------------------------------
BLOCK = 'test -z "$BLOCK" || { touch "$BLOCK"; sleep 1000; }'
"""What a program that the checkout runs does: it says that it was reached, and stays there."""


@pytest.fixture(params=["git", "hg"])
def laptop(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A laptop with a working copy, in which we are, and no agent; its checkouts can be stopped half-way."""
    kind = HgFleet if request.param == "hg" else Fleet
    with kind(tmp_path / "fleet") as fleet:
        with (fleet.place / "home" / ("hgrc" if kind is HgFleet else ".gitconfig")).open("a") as settings:
            smudge = json.dumps(f"{BLOCK}; cat")
            settings.write(
                f"[hooks]\npreupdate.stop = {BLOCK}\n" if kind is HgFleet else f'[filter "stop"]\nsmudge = {smudge}\n'
            )
        seed = fleet.seed({**FILES, ".gitattributes": "d/x filter=stop\n"}, hub=False)
        (device,) = fleet.clone(seed, "laptop")
        fleet.configure([device], ignore=["*.iso", "b c"], commits="manual", on_update=["true"], mode="two-way")
        for name, value in device.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(device.root)
        yield device


def added(device: Device, *words: str) -> int:
    """Call `autosync worktree add` in this process, and return its exit code."""
    return run_main(["--config", str(device.config), "worktree", "add", *words])


def left_by(device: Device) -> dict[str, object]:
    """Return all that a run may leave: files, branches or bookmarks, worktrees."""
    paths = [p for p in device.home.rglob("*") if not {".git", ".hg"} & set(p.relative_to(device.home).parts)]
    kept: dict[str, object] = {str(p): p.read_bytes() if p.is_file() else None for p in paths if p != device.state}
    kept.pop(str(device.state / "workspaces"), None)
    kept["names"] = device.hg("bookmarks") if is_hg(device) else device.git("for-each-ref")
    kept["worktrees"] = "" if is_hg(device) else device.git("worktree", "list")
    return kept


def is_hg(device: Device) -> TypeGuard[HgDevice]:
    return isinstance(device, HgDevice)


def test_it_has_the_settings_of_the_one_it_is_made_from(laptop: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert added(laptop, "../fix", "--branch", "topic", "--workspace", "my fix") == 0
    said = capsys.readouterr().out
    assert f'{laptop.home}/fix is now a working copy of the workspace "my fix": a ' in said
    assert f"  key:    {laptop.home}/my-fix.key (new" in said
    assert (
        "  Settings taken over: ignore, commits.\n  Not taken over, as meant for the other folder: on-update.\n" in said
    )
    text = laptop.config.read_text()
    entry = text[text.index("- path: " + str(laptop.home / "fix")) :]
    assert [line.strip(" -") for line in entry.splitlines()[1:]] == [
        "workspace: my fix",
        f"key-file: {laptop.home}/my-fix.key",
        "remote: none",
        'ignore: ["*.iso", "b c"]',
        'commits: "manual"',
    ]
    fix = beside(laptop, "fix")
    assert (fix.head(), entries(fix.root)) == (laptop.head(), entries(laptop.root))
    assert fix.is_clean()
    # From there a third one, on a branch that is there.
    old = ("bookmark", "-i", "old") if is_hg(laptop) else ("branch", "old")
    laptop.hg(*old) if is_hg(laptop) else laptop.git(*old)
    assert added(laptop, "../third", "--from", "my fix", "--branch", "old", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["branch"], said["new-branch"], said["from"]) == ("old", False, str(fix.root))
    if is_hg(laptop):
        return
    # One that autosync does not keep does as well, which is so whatever its version control is.
    laptop.config.write_text("device: laptop\nstate-dir: state\n")
    assert added(laptop, "../fourth", "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"] == []


def test_what_cannot_be_is_refused_and_leaves_nothing(
    laptop: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full, file, other = laptop.home / "full", laptop.home / "file", laptop.home / "other.key"
    full.mkdir()
    for place in (full / "mine", file, other):
        place.write_text("mine\n")
    name = "the name of a bookmark" if is_hg(laptop) else "the name of a branch"
    own: tuple[tuple[list[str], str], ...] = (
        (["../new", "--branch", "@"], f'"@" cannot be {name}'),
        (["../new", "--branch", "refs/heads/new"], f'"refs/heads/new" cannot be {name}'),
    )
    if is_hg(laptop):
        laptop.hg("bookmark", "main")
        own = tuple(([f"../{place}"], f"{place}: Mercurial makes no share") for place in ("n#w", "$HOME"))
    cases = (
        (["../full"], f"{full} is not empty"),
        (["../file"], f"{file} is not a directory"),
        (["../no/new"], f"{laptop.home}/no is not a folder"),
        (["inside"], f"{laptop.root}/inside would lie inside the working copy {laptop.root}"),
        ([str(laptop.root)], f"{laptop.root} is there already"),
        (["../new", "--workspace", "notes"], 'a workspace "notes" is there already'),
        (["../new", "--workspace", "a/b"], '"a/b" cannot be the name of a workspace'),
        (["../new", "--key-file", str(other)], f"There is a key file {other} already"),
        (["../new", "--key-file", "../new/key"], "would lie in the working copy"),
        (["../new", "--branch", "main"], "main is "),
        (["../new", "--branch", "a:b"], f'"a:b" cannot be {name}'),
        (["../new", "--from", str(full)], f"{full} lies in no working copy"),
        (["../new", "--from", "nowhere"], "nowhere does not exist"),
        (["../new", "--join", "nonsense"], "invitation"),
        *own,
    )
    before = left_by(laptop)
    for words, title in cases:
        assert added(laptop, *words) == 1, words
        assert title in capsys.readouterr().err
        assert left_by(laptop) == before
    if not is_hg(laptop):
        hook = laptop.root / ".git/hooks/post-checkout"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
        assert added(laptop, "../new") == 1
        assert "gives no reason, perhaps a hook" in capsys.readouterr().err
        assert left_by(laptop) == before
    assert added(laptop, "../new", "--join", "x", "--branch", "y") == 2
    monkeypatch.undo()
    record("bad inputs refused", len(cases))


# -- in the middle of it ---------------------------------------------------------------------------------
def stopped(device: Device, how: signal.Signals) -> int:
    """End `worktree add` in the middle of its checkout; return its exit code."""
    block = device.home / "reached"
    program = subprocess.Popen(
        [sys.executable, "-m", "autosync", "--config", str(device.config), "worktree", "add", "../fix"],
        cwd=device.root,
        env={**device.environment, "BLOCK": str(block)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: block.exists() or program.poll() is not None)
    assert block.exists(), program.returncode
    os.killpg(program.pid, how)
    code = program.wait()
    block.unlink()
    return code


def test_what_is_stopped_in_the_middle_leaves_nothing_half(
    laptop: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_hg(laptop):
        # Another one whose disk is away: git would take it for one that was deleted.
        laptop.git("worktree", "add", "-q", "-b", "away", "../away")
        (laptop.home / "away").rename(laptop.home / "not-mounted")
    before = left_by(laptop)
    if not is_hg(laptop):
        assert added(laptop, "../away", "--branch", "new") == 1
        assert f"{laptop.home}/away is a worktree already" in capsys.readouterr().err
    assert stopped(laptop, signal.SIGINT) == 130
    assert left_by(laptop) == before
    # A kill cannot be answered, so something is there; the next run takes it away.
    text = laptop.config.read_bytes()
    assert stopped(laptop, signal.SIGKILL) == -signal.SIGKILL
    assert (laptop.config.read_bytes(), (laptop.home / "fix").is_dir()) == (text, True)
    # But nothing that is the user's, who is told how to do it.
    (laptop.home / "fix/mine").write_text("mine\n")
    assert added(laptop, "../fix") == 1
    said = capsys.readouterr().err
    assert "was being made when the command was killed, and there are files in it" in said
    assert (laptop.home / "fix/mine").read_text() == "mine\n"
    (laptop.home / "fix/mine").unlink()
    assert added(laptop, "../fix") == 0
    fix = beside(laptop, "fix")
    assert (fix.head(), entries(fix.root)) == (laptop.head(), entries(laptop.root))
    assert fix.is_clean()
    assert laptop.config.read_text().count("key-file") == 2
    assert list(laptop.state.glob("*.unfinished")) == []
    # What it says to do by hand does it.
    laptop.config.write_bytes(text)
    lines = said.rpartition("this takes it away: ")[2]
    subprocess.run(["sh", "-ec", lines], env=laptop.environment, check=True, stdout=subprocess.DEVNULL)
    assert left_by(laptop) == before
    monkeypatch.undo()
    record("kills survived", 1)
