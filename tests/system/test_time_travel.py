"""Time travel as users do it: on the command line, with agents that sync meanwhile, for git and for hg."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autosync.cli.main import main
from autosync.errors import AutosyncError
from tests.system import mounts
from tests.system.fleet import Device, Fleet, at_once, entries, until
from tests.system.hgfleet import hg_pair
from tests.system.mounts import needs_mounts


@pytest.fixture(scope="module", params=["git", "hg"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A running laptop and desktop, which the tests of this module share."""
    place = tmp_path_factory.mktemp("travel") / "fleet"
    if request.param == "hg":
        with hg_pair(place, {"README": "notes\n"}) as pair:
            yield pair
        return
    with Fleet(place) as fleet:
        fleet.clone(fleet.seed({"README": "notes\n"}, hub=False), "laptop", "desktop")
        fleet.configure(fleet.devices)
        fleet.start()
        fleet.equal()
        yield fleet


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `autosync` in this process, in the working copy of a device or elsewhere: thrice as fast as in another."""

    patch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[bytes]

    def __call__(self, device: Device, *arguments: str, at: Path | None = None) -> Done:
        self.patch.chdir(at or device.root)
        self.captured.readouterr()
        code = main(["--config", str(device.config), *arguments])
        out, err = (os.fsdecode(printed) for printed in self.captured.readouterr())
        return Done(code, out, err)

    def told(self, device: Device, *arguments: str) -> dict[str, Any]:
        """Return what a command tells as JSON."""
        done = self(device, *arguments, "--json")
        assert done.code == 0, done.err
        answer: dict[str, Any] = json.loads(done.out)
        return answer


@pytest.fixture
def autosync(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    """The command line."""
    return CommandLine(monkeypatch, capfdbinary)


def test_what_was_is_listed_compared_shown_and_brought_back_everywhere(fleet: Fleet, autosync: CommandLine) -> None:
    laptop, desktop = fleet.devices
    head, user = laptop.head(), laptop.fingerprint()
    laptop.save("plan.txt", "one\ntwo\n")
    fleet.equal()
    desktop.save("plan.txt", "one\n2\n")
    fleet.equal()
    odd = os.fsdecode(b"odd \xff")
    laptop.ask("pause")  # so that both are seen in one look
    os.rename(laptop.root / "plan.txt", laptop.root / "renamed.txt")
    laptop.save(odd, "odd\n")
    laptop.ask("resume")
    fleet.equal()
    until(lambda: len(autosync.told(laptop, "log", "renamed.txt")["rows"]) == 3)
    rows = autosync.told(laptop, "log", "renamed.txt")["rows"]
    assert [row["device"] for row in rows] == ["laptop", "desktop", "laptop"]
    first, second = rows[2]["snapshot"], rows[1]["snapshot"]
    assert first[:10] in autosync(laptop, "log", "renamed.txt").out

    patch = autosync(laptop, "diff", f"{first[:9]}..{second[:9]}", "plan.txt").out
    assert "-two\n+2\n" in patch
    assert autosync(laptop, "show", second, "plan.txt").out == "one\n2\n"
    assert "A\t" in autosync(laptop, "diff", f"{second}..", "--names").out
    assert f"A\0{odd}\0" in autosync(laptop, "diff", f"{second}..", "-z").out

    done = autosync(laptop, "restore", "plan.txt", "--at", first[:12])
    assert (done.code, done.err) == (0, "")
    assert "plan.txt: back" in done.out
    fleet.equal()
    assert (desktop.read("plan.txt"), desktop.read("renamed.txt")) == ("one\ntwo\n", "one\n2\n")
    assert laptop.head() == head
    if not (laptop.root / ".hg").exists():  # hg notes in its dirstate what it has looked at
        assert laptop.fingerprint() == user
    copy = laptop.home / "copy"
    assert autosync.told(laptop, "restore", ".", "--at", second, "--to", str(copy))["count"] == 2
    assert sorted(entries(copy)) == [b"README", b"plan.txt"]
    patch = os.fsencode(autosync(laptop, "diff", f"{second}..").out)
    subprocess.run(["git", "apply"], cwd=copy, env=laptop.environment, input=patch, check=True)
    assert entries(copy) == entries(laptop.root)
    # The other device knows the same snapshots.
    assert autosync(desktop, "show", first[:12], "plan.txt").out == "one\ntwo\n"


def test_undo_is_one_step_and_can_be_undone(fleet: Fleet, autosync: CommandLine) -> None:
    laptop, desktop = fleet.devices
    files = {f"{name}/{number}": name for name in "xyz" for number in range(5)}
    before = entries(laptop.root)
    for name, content in files.items():
        laptop.write(name, content)
    until(lambda: laptop.status()["pending"] == 0 and laptop.status()["phase"] == "watching")
    fleet.equal()
    after = entries(laptop.root)
    when = next(
        row["snapshot"]
        for row in autosync.told(laptop, "log")["rows"]
        if not any(p["path"] in files for p in row["paths"])
    )
    dry = autosync.told(laptop, "undo", when[:12], "--dry-run")
    assert (dry["count"], sum(dry["taken-back"].values()) >= 1, entries(laptop.root)) == (15, True, after)
    assert autosync.told(laptop, "undo", when[:12])["count"] == 15
    assert entries(laptop.root) == before
    fleet.equal()
    again = autosync.told(desktop, "undo")  # on any device: 15 deletions are one change
    assert (again["count"], again["taken-back"]) == (15, {"laptop": 1})
    fleet.equal()
    assert entries(laptop.root) == after


def test_undo_to_now_takes_nothing_back(fleet: Fleet, autosync: CommandLine) -> None:
    laptop, _ = fleet.devices
    (laptop.root / "below").mkdir()
    laptop.save("below/newest", "of now\n")
    fleet.equal()
    done = autosync(laptop, "undo", "now", at=laptop.root / "below")
    assert (done.code, "Nothing differs from it" in done.out) == (0, True), done
    assert laptop.read("below/newest") == "of now\n"
    done = autosync(laptop, "undo", "")
    assert (done.code, "'' names no state" in done.err) == (1, True), done


def test_what_was_saved_a_moment_ago_is_the_last_change(fleet: Fleet) -> None:
    laptop, _ = fleet.devices
    laptop.save("moment", "before\n")
    fleet.equal()
    rehearsed = laptop.ask("undo", path=str(laptop.root), dry_run=True)["recorded"]
    laptop.save("moment", "just now\n")
    with pytest.raises(AutosyncError, match="notes has changed since you were asked: nothing was restored"):
        laptop.ask("undo", path=str(laptop.root), expected=rehearsed)
    assert laptop.read("moment") == "just now\n"
    now = laptop.ask("undo", path=str(laptop.root), dry_run=True)["recorded"]
    answer = laptop.ask("undo", path=str(laptop.root), expected=now)
    assert laptop.read("moment") == "before\n"
    assert laptop.ask("show", path=str(laptop.root / "moment"), at=answer["recorded"])["entry"]["text"] == "just now\n"


def test_what_was_deleted_by_accident_comes_back_held_or_not(fleet: Fleet) -> None:
    laptop, _ = fleet.devices
    for number in range(60):
        laptop.write(f"many/{number}", f"{number}\n")
    fleet.equal()
    before, root = entries(laptop.root), str(laptop.root)
    state = laptop.ask("history", path=root, limit=1)["rows"][0]["snapshot"]
    with at_once(laptop):
        shutil.rmtree(laptop.root / "many")
    until(lambda: laptop.status()["held"]["count"] >= 25 and laptop.status()["pending"] == 0)
    assert laptop.ask("undo", path=root)["count"] >= 25
    laptop.ask("restore", path=root, at=state)  # if some of them were taken in one by one
    assert entries(laptop.root) == before
    until(lambda: laptop.status()["held"]["count"] == 0)
    fleet.equal()


def test_refusals_say_what_to_do(fleet: Fleet, autosync: CommandLine) -> None:
    laptop, _ = fleet.devices
    for arguments, words in (
        (("restore", "README", "--at", "nonsense"), "is no time and no snapshot"),
        (("restore", "none", "--at", "now"), "There was no none in snapshot"),
        (("restore", "README", "--at", "0000000000"), "No snapshot 0000000000 is kept here"),
        (("restore", "README", "--at", "50 years ago"), "is no time"),
        (("restore", "README", "--at", "2500 weeks ago"), "No snapshot is as old as"),
        (("restore", "README", "--at", "now", "--to", "README"), "README exists"),
        (("log", "/etc"), "/etc is not in a working copy"),
        (("diff", "a...b"), "three dots"),
    ):
        done = autosync(laptop, *arguments)
        assert (done.code, words in done.err, done.err.count("\n")) == (1, True, 2), done.err
    assert autosync(laptop, "log", "none").out == "No snapshot that is kept changed none.\n"
    laptop.ask("pause")
    try:
        done = autosync(laptop, "undo")
        assert (done.code, "is paused" in done.err) == (1, True)
    finally:
        laptop.ask("resume")
    for arguments in ({"path": 3}, {"path": "relative"}, {"at": True}, {"at": []}, {"before": "x"}, {"limit": 0}):
        with pytest.raises(AutosyncError, match=r"is not (a|what)"):
            laptop.ask("history" if "at" not in arguments else "show", **{"path": str(laptop.root), **arguments})


def test_without_an_agent_one_can_look_but_not_replace(fleet: Fleet, autosync: CommandLine) -> None:
    laptop, _ = fleet.devices
    laptop.end()
    try:
        rows = autosync.told(laptop, "log", "-n", "3")["rows"]
        assert len(rows) == 3
        assert autosync(laptop, "show", rows[0]["snapshot"], "README").out == "notes\n"
        assert autosync(laptop, "diff", f"{rows[2]['snapshot']}..").code == 0
        copy = laptop.home / "without"
        assert autosync(laptop, "restore", "README", "--at", "now", "--to", str(copy)).code == 0
        assert copy.read_text() == "notes\n"
        done = autosync(laptop, "undo", "--in", "notes", at=laptop.home)
        assert (done.code, "The agent is not running, so nothing was changed" in done.err) == (1, True)
    finally:
        laptop.start()


def test_on_a_terminal_it_has_colours_and_nothing_in_a_file_is_obeyed(fleet: Fleet) -> None:
    laptop, _ = fleet.devices
    laptop.save("escape", "\x1b]0;title\x07\n")
    until(lambda: laptop.ask("history", path=str(laptop.root / "escape"))["rows"])
    line = shlex.join([sys.executable, "-m", "autosync", "--config", str(laptop.config), "show", "now"])
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        cwd=laptop.root,
        env={**laptop.environment, "TERM": "xterm", "PAGER": "cat"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert b"\x1b[32m+\\x1b]0;title\\x07\x1b[0m" in done.stdout
    assert b"\x1b]" not in done.stdout


@needs_mounts
def test_a_full_disk_is_told_and_what_is_left_can_be_restored_later(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet, mounts.tmpfs(tmp_path / "disk", "size=12m") as disk:
        laptop = fleet.device("laptop", disk / "notes")
        fleet.git(
            "clone", "-q", str(fleet.seed({"README": "notes\n", ".gitignore": "filler\n"}, hub=False)), str(laptop.root)
        )
        fleet.configure([laptop])
        laptop.start()
        content = random.Random(1).randbytes(3 << 20)
        os.replace(laptop.write(".git/new", content), laptop.root / "large")
        until(lambda: laptop.ask("history", path=str(laptop.root / "large"))["rows"])
        (laptop.root / "large").unlink()
        until(lambda: len(laptop.ask("history", path=str(laptop.root / "large"))["rows"]) == 2)
        with contextlib.suppress(OSError), (laptop.root / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"f" * 4096):
                pass
        with pytest.raises(AutosyncError, match=r"^1 of 1 files were not restored .* is full"):
            laptop.ask("undo", path=str(laptop.root))
        assert not (laptop.root / "large").exists()
        (laptop.root / "filler").unlink()
        laptop.ask("undo", path=str(laptop.root))
        assert (laptop.root / "large").read_bytes() == content
