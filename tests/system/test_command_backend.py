"""Real agents keep real Fossil checkouts, and git ones by commands alone."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import figures
from tests.system.fleet import Device, Fleet, at_once
from tests.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples/fossil.yaml"
FOSSIL: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["paths"][0]["commands"] | {"time-limit": "30s"}
ODD = ("with space", "-rf", 'it\'s "quoted"', "new\nline", "$(touch owned);`x`", "{path}", "%s", "ü", "*", "d/-x")


class Fossils(Fleet):
    """Devices whose working copies are checkouts of one Fossil repository; ``server`` is its remote."""

    @property
    def server(self) -> Path:
        return self.place / "server.fossil"

    def fossil(self, *arguments: str, at: Path | None = None) -> str:
        """Run fossil as the user, who repeats what met one of the agent's, and return what it printed."""
        ends: list[subprocess.CompletedProcess[bytes]] = []

        def is_let() -> bool:
            argv, where = ["fossil", *arguments], at or self.place
            ends.append(subprocess.run(argv, cwd=where, env=self.environment, capture_output=True, check=False))
            return b"database is locked" not in ends[-1].stderr

        until(is_let, why=lambda: arguments)
        assert ends[-1].returncode == 0, (arguments, ends[-1].stdout, ends[-1].stderr)
        return ends[-1].stdout.decode("utf-8", "surrogateescape")

    def checkouts(self, *names: str) -> list[Device]:
        """Make devices with a checkout each."""
        self.environment |= {"FOSSIL_USER": "you", "USER": "you"}
        if not self.server.exists():
            self.fossil("init", str(self.server))
        made = []
        for name in names:
            device = self.device(name)
            device.root.mkdir()
            repository = str(device.home / "notes.fossil")
            self.fossil("clone", str(self.server), repository)
            self.fossil("open", repository, at=device.root)
            self.fossil("settings", "autosync", "off", at=device.root)
            made.append(device)
        return made

    def commands(self, devices: list[Device], commands: dict[str, Any] | None = None, **options: object) -> None:
        """Write configurations with these commands; what settles is committed after a second."""
        usual: dict[str, object] = {"commit_after": "1s", "poll": "1h", "rescan": "1h"}
        self.configure(devices, backend="command", commands=commands or FOSSIL, **(usual | options))

    def history(self, device: Device) -> list[str]:
        """Return the subjects of all check-ins, the newest first."""
        return [
            line.split("] ", 1)[1]
            for line in self.fossil("timeline", "-n", "0", "-t", "ci", "-W", "0", at=device.root).splitlines()
            if "] " in line
        ]


@pytest.fixture
def fossils(tmp_path: Path) -> Iterator[Fossils]:
    with Fossils(tmp_path / "f") as fleet:
        yield fleet


def files(device: Device) -> dict[str, bytes]:
    """Return the files of a working copy without its version control's own."""
    found = {}
    for directory, names, here in os.walk(device.root):
        names[:] = [name for name in names if name != ".git"]
        for name in here:
            if not name.startswith(".fslckout"):
                path = Path(directory, name)
                with contextlib.suppress(FileNotFoundError):  # it went between the two looks
                    found[str(path.relative_to(device.root))] = path.read_bytes()
    return found


def at_rest(*devices: Device) -> bool:
    return all(d.status()["phase"] == "watching" and not d.status()["pending"] for d in devices)


def same(*devices: Device) -> None:
    """Wait until nothing is under way and all have the same files."""
    first, *others = devices
    until(
        lambda: at_rest(*devices) and all(files(other) == files(first) for other in others),
        why=lambda: "\n".join(f"{d.name}: {sorted(files(d))} {d.status()}\n{d.log[-3000:]}" for d in devices),
    )


def test_what_is_done_on_one_device_is_done_on_the_other(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two])
    for name in ODD:
        one.write(name, f"content of {name}\n")
    fossils.start()
    until(lambda: len(files(two)) == len(ODD), why=lambda: one.log + two.log)
    same(one, two)
    # Edited, renamed and deleted at once; on the other device something new.
    one.write("-rf", "edited\n")
    os.rename(one.root / "with space", one.root / "-moved here")
    os.unlink(one.root / "*")
    two.write("two's own", "new\n")
    until(lambda: two.read("-moved here") == "content of with space\n", why=lambda: one.log + two.log)
    same(one, two)
    assert two.read("-rf") == "edited\n"
    assert one.read("two's own") == "new\n"
    assert not (two.root / "*").exists()
    assert not (two.root / "with space").exists()
    assert not list(one.root.rglob("owned"))
    history = fossils.history(one)
    assert any("Rename with space to -moved here" in line for line in history), history
    finished = fossils.fossil("finfo", "./-moved here", at=one.root)
    assert finished
    assert one.run("sync", "--wait").returncode == 0


def test_edits_on_both_sides_at_once_are_joined(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two])
    lines = [f"line {n}\n" for n in range(20)]
    one.write("shared", "".join(lines))
    fossils.start()
    until(lambda: two.read("shared") == "".join(lines), why=lambda: one.log + two.log)
    same(one, two)
    for device, number in ((one, 0), (two, 19)):
        device.ask("pause")
        changed = (device.root / "shared").read_text().splitlines(keepends=True)
        device.write("shared", "".join([*changed[:number], f"of {device.name}\n", *changed[number + 1 :]]))
        device.write(f"own of {device.name}", "x\n")
    for device in (one, two):
        device.ask("resume")
    joined = "".join(["of one\n", *lines[1:19], "of two\n"])
    until(lambda: one.read("shared") == two.read("shared") == joined, why=lambda: one.log[-4000:] + two.log[-4000:])
    same(one, two)
    assert files(one).keys() == {"shared", "own of one", "own of two"}


def test_an_edit_that_leaves_size_and_time_of_the_file_is_seen(fossils: Fossils) -> None:
    """As one right after a commit may: Fossil's times are in seconds."""
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two])
    one.write("a", "line 0\n")
    fossils.start()
    until(lambda: two.read("a") == "line 0\n", why=lambda: one.log + two.log)
    same(one, two)
    before = (one.root / "a").stat()
    one.write("a", "of one\n")
    os.utime(one.root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    one.write("b", "beside it\n")
    until(lambda: two.read("a") == "of one\n", why=lambda: one.log[-4000:] + two.log[-4000:])
    same(one, two)


def test_a_conflict_is_told_and_waits_for_the_user(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two], ignore=["*-baseline", "*-merge", "*-original"])
    for device in (one, two):
        fossils.fossil("settings", "ignore-glob", "*-baseline,*-merge,*-original", at=device.root)
    one.write("a", "first\n")
    fossils.start()
    until(lambda: two.read("a") == "first\n", why=lambda: one.log + two.log)
    same(one, two)
    one.ask("pause")
    two.ask("pause")
    one.write("a", "of one\n")
    two.write("a", "of two\n")
    one.ask("resume")
    until(lambda: "Change a" in fossils.history(one)[0] and at_rest(one), why=lambda: one.log)
    two.ask("resume")
    until(
        lambda: "unresolved merge conflicts" in (two.status()["waiting-for"] or ""),
        why=lambda: f"{two.status()}\n{two.log[-5000:]}",
    )
    assert "of one" in str(two.read("a"))
    assert "of two" in str(two.read("a"))
    two.write("a", "of both\n")
    until(lambda: one.read("a") == "of both\n", why=lambda: f"{two.status()}\n{two.log[-5000:]}")
    until(lambda: at_rest(one, two) and two.status()["waiting-for"] is None, why=two.status)


def test_a_remote_that_is_away_is_waited_for(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two])
    fossils.start()
    same(one, two)
    away = fossils.server.with_suffix(".away")
    fossils.server.rename(away)
    one.write("a", "1\n")
    two.write("b", "2\n")
    for device in (one, two):
        until(lambda d=device: "`fossil push` in" in (d.status()["waiting-for"] or ""), why=device.status)  # type: ignore[misc]
        until(lambda d=device: d.status()["phase"] == "waiting")  # type: ignore[misc]
    shown = one.run("status").stdout
    assert "notes waits: `fossil pu" in shown
    away.rename(fossils.server)
    # Nobody is told that it is back: the next try finds it.
    one.ask("sync")
    two.ask("sync")
    until(lambda: one.read("b") == "2\n" and two.read("a") == "1\n", why=lambda: one.log[-3000:] + two.log[-3000:])
    same(one, two)
    assert one.status()["waiting-for"] is None


def test_a_kill_at_any_moment_loses_nothing(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two])
    fossils.start(one, two)
    same(one, two)
    moments = ("committing", "pushing")
    for n, moment in enumerate(moments):
        one.write(f"file {n}", f"{n}\n")
        if moment == "pushing":
            two.write("of two", "2\n")
        seen: list[str] = []
        until(lambda m=moment, s=seen: s.append(one.status()["phase"]) or m in s or "watching" in s[5:])  # type: ignore[misc, func-returns-value]
        one.kill()
        one.write(f"while away {n}", "x\n")
        (one.root / f"while away {n - 1}").unlink(missing_ok=True)
        one.start()
        until(lambda n=n: two.read(f"while away {n}") == "x\n", why=lambda: one.log[-4000:] + two.log[-2000:])  # type: ignore[misc]
        same(one, two)
        figures.record("kills survived", 1)
    assert files(one).keys() == {*(f"file {n}" for n in range(len(moments))), "of two", f"while away {n}"}


def test_a_folder_that_is_gone_is_not_taken_for_deleted(fossils: Fossils) -> None:
    one, two = fossils.checkouts("one", "two")
    fossils.commands([one, two], brakes={"mass-deletion": 3})
    for n in range(4):
        one.write(str(n), "x\n")
    fossils.start()
    until(lambda: len(files(two)) == 4, why=lambda: one.log + two.log)
    same(one, two)
    away = one.root.rename(one.root.with_name("away"))
    one.root.mkdir()  # as of a disk that is unmounted
    until(lambda: one.status()["halt"], why=lambda: one.log)
    assert "notes" in one.status()["halt"]["title"]
    one.root.rmdir()
    away.rename(one.root)
    until(lambda: at_rest(one) and one.status()["halt"] is None, why=lambda: one.log)
    # All files at once is an accident until the user says that it is not.
    with at_once(one):
        for n in range(4):
            (one.root / str(n)).unlink()
    until(lambda: one.status()["halt"], why=lambda: one.log)
    assert one.status()["halt"]["title"] == "4 of 4 files are gone (0, 1, 2 …); that was not committed"
    assert len(files(two)) == 4
    assert one.run("resume").returncode == 0
    until(lambda: files(two) == {}, why=lambda: one.log + two.log)
    # It may not be mounted yet when the agent starts.
    same(one, two)
    one.end()
    away = one.root.rename(one.root.with_name("away"))
    one.root.mkdir()
    one.start()
    assert one.status()["halt"]["title"] == f"There is no repository in {one.root}"
    one.root.rmdir()
    away.rename(one.root)
    until(lambda: at_rest(one), why=lambda: one.log)


def test_when_the_agent_ends_the_command_that_hangs_ends_too(fossils: Fossils) -> None:
    (one,) = fossils.checkouts("one")
    hang = fossils.place / "hang"
    hang.write_text(f"#!/bin/sh\nsleep 600 &\necho $! >{shlex.quote(str(fossils.place))}/pid\nwait\n")
    hang.chmod(0o755)
    fossils.commands([one], FOSSIL | {"push": [str(hang)], "time-limit": "1h"})
    fossils.start()
    until(lambda: (fossils.place / "pid").exists() and one.status()["phase"] == "pushing", why=lambda: one.log)
    assert one.end() == 0
    left = int((fossils.place / "pid").read_text())
    until(lambda: has_ended(left))


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:  # it is gone, or went while it was read
        return True


def test_a_push_that_the_remote_refuses_pulls_first(tmp_path: Path) -> None:
    git = {
        "status": ["git", "status", "--porcelain"],
        "startup": ["git", "add", "-A"],
        "add": ["git", "add", "--", "{paths}"],
        "remove": ["git", "rm", "-q", "--cached", "--", "{paths}"],
        "modify": ["git", "add", "--", "{paths}"],
        "commit": ["git", "commit", "-q", "-m", "{message}"],
        "push": ["git", "push", "-q"],
        "pull": ["git", "pull", "-q", "--no-rebase", "--no-edit"],
        "remote-url": ["git", "config", "--get", "remote.origin.url"],
    }
    with Fleet(tmp_path / "f") as fleet:
        hub = fleet.seed({"a": "first\n"})
        one, two = fleet.clone(hub, "one", "two")
        options: dict[str, object] = {"commit_after": "1s", "poll": "1h", "rescan": "1h"}
        fleet.configure([one, two], backend="command", commands=git, **options)
        fleet.start(one)
        until(lambda: at_rest(one))
        # The hub moves while nobody tells of it: the second agent does not run.
        two.write("b", "2\n")
        two.commit("by hand")
        two.git("push", "-q")
        one.write("c", "3\n")
        until(lambda: one.read("b") == "2\n" and at_rest(one), why=lambda: one.log[-4000:])
        assert "`git push -q`" in one.log
        fleet.start(two)
        until(lambda: two.read("c") == "3\n", why=lambda: two.log[-4000:])
        same(one, two)
        assert fleet.git("rev-parse", "main", at=hub) == one.git("rev-parse", "HEAD")
        assert one.status()["remote"] == str(hub)
        assert one.is_clean()


def test_check_looks_for_the_programs_and_asks_status(fossils: Fossils) -> None:
    (one,) = fossils.checkouts("one")
    fossils.commands([one])
    shown = one.run("check")
    assert f"notes: {one.root}: kept by commands: fossil\n" in shown.stdout
    fossils.commands([one], {"status": ["fossil", "no-such"], "commit": ["fossil", "commit"]})
    shown = one.run("check")
    assert shown.returncode == 1
    assert f"fail  notes: `fossil no-such` in {one.root} failed with exit code 1: " in shown.stdout
    fossils.commands([one], {"push": ["no-such-program"], "commit": ["fossil", "commit"]})
    shown = one.run("check")
    assert shown.returncode == 1
    assert f"fail  notes: {one.root}: there is no program no-such-program\n" in shown.stdout
    fossils.commands([one], {"commit": ["fossil", "commit"]})
    assert "commands.pull is not set: nothing of other devices ever arrives" in one.run("check").stdout


def test_what_has_no_meaning_here_is_said(fossils: Fossils) -> None:
    (one,) = fossils.checkouts("one")
    fossils.commands([one], FOSSIL | {"push": ["no-such-program"]})
    one.write("a", "1\n")
    fossils.start()
    until(lambda: one.status()["phase"] == "waiting", why=lambda: one.log)
    shown = one.run("status").stdout
    assert f"notes waits: `no-such-program` in {one.root} cannot be run: there is no such program" in shown
    for command in ("explain", "release"):
        shown = one.run(command, str(one.root / "a"))
        assert shown.returncode == 1
        assert "is kept by commands, of which no path is held back or explained" in shown.stderr
    assert one.run("sync", "--wait", "--timeout", "1").returncode == 1
    assert one.run("conflicts").returncode == 0
    assert one.run("gc").returncode == 0
