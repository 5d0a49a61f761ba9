"""`on-update` with real agents: it runs for what others changed, and they hear how it ended."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.figures import record
from tests.system.fleet import Device, Fleet, until
from tests.system.terminals import arrives


class Hook:
    """A script as `on-update` of a device, which does what it is told and keeps what it was given."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        self.program = place / "hook"
        (place / "hook.new").write_text(
            f'#!/bin/sh\nrun={place}/run-$$; cat >"$run.paths"; env | grep ^AUTOSYNC_ >"$run.env"; pwd >"$run.cwd"\n'
            f'( . {place}/deed ); code=$?; : >"$run.done"; exit $code\n'
        )
        (place / "hook.new").chmod(0o700)
        (place / "hook.new").rename(self.program)
        self.does("true")

    def does(self, script: str) -> None:
        """Have the next runs do something else."""
        (self.place / "deed.new").write_text(script + "\n")
        (self.place / "deed.new").rename(self.place / "deed")

    def runs(self) -> list[str]:
        """Return the runs that have ended, in their order."""
        done = sorted(self.place.glob("*.done"), key=lambda path: path.stat().st_mtime_ns)
        return [str(path.with_suffix("")) for path in done]

    def paths(self) -> set[str]:
        """Return all paths that runs which have ended were given."""
        found = (Path(f"{run}.paths").read_bytes().split(b"\0") for run in self.runs())
        return {os.fsdecode(path) for paths in found for path in paths if path}

    def variables(self, run: str) -> dict[str, str]:
        return dict(line.partition("=")[::2] for line in Path(f"{run}.env").read_text().splitlines())


def on_update(device: Device) -> dict[str, Any]:
    found: dict[str, Any] = device.status()["on-update"]
    return found


def comes_to(device: Device, state: str) -> None:
    until(lambda: on_update(device)["state"] == state, why=lambda: (on_update(device), device.log[-3000:]))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Laptop and server, running and equal."""
    with Fleet(tmp_path_factory.mktemp("on-update") / "fleet") as fleet:
        devices = fleet.clone(fleet.seed({"notes.txt": "first\n"}, hub=False), "laptop", "server")
        options = {d.name: f"on-update: {{run: [{fleet.place}/hook-{d.name}/hook], debounce: 50ms}}" for d in devices}
        for device in devices:
            Hook(fleet.place / f"hook-{device.name}")
        fleet.configure(devices, own=options, max_wait="50ms")
        fleet.start()
        fleet.equal()
        yield fleet


@pytest.fixture
def hooks(fleet: Fleet) -> Iterator[tuple[Hook, Hook]]:
    """The hooks of laptop and server; both do nothing afterwards."""
    laptop, server = (Hook(fleet.place / f"hook-{device.name}") for device in fleet.devices)
    yield laptop, server
    laptop.does("true")
    server.does("true")


def test_it_runs_for_what_others_changed(fleet: Fleet, hooks: tuple[Hook, Hook]) -> None:
    (laptop, server), (own, hook) = fleet.devices, hooks
    laptop.write("with space\n.txt", "new\n")
    laptop.write("sub/a.txt", "new\n")
    until(lambda: {"with space\n.txt", "sub/a.txt"} <= hook.paths(), why=lambda: server.log)
    comes_to(server, "idle")
    run = hook.runs()[-1]
    variables = hook.variables(run)
    assert (variables["AUTOSYNC_FROM"], variables["AUTOSYNC_DEVICE"]) == ("laptop", "server")
    assert (variables["AUTOSYNC_WORKSPACE"], variables["AUTOSYNC_CONFIG"]) == ("notes", str(server.config))
    assert variables["AUTOSYNC_PATH"] == Path(f"{run}.cwd").read_text().strip() == str(server.root)
    assert variables["AUTOSYNC_COMMIT"] == server.head()
    assert not {"with space\n.txt", "sub/a.txt"} & own.paths()


def test_a_failure_gets_back_to_who_caused_it_even_if_he_was_away(fleet: Fleet, hooks: tuple[Hook, Hook]) -> None:
    (laptop, server), (_, hook) = fleet.devices, hooks
    gate = hook.place / "gate"
    os.mkfifo(gate)
    hook.does(f"cat {gate}; printf '\\033[31mno\\tway\\033[0m\\n'; exit 3")
    laptop.save("notes.txt", "broken\n")
    comes_to(server, "running")
    assert laptop.end() == 0
    gate.write_text("one\n")
    comes_to(server, "failed")
    laptop.start()
    until(lambda: laptop.activities("hook-failed"), why=lambda: (server.log, laptop.log))
    [failed] = laptop.activities("hook-failed")
    news = f"server: {hook.program} failed with exit code 3\nno way"
    assert (failed["made_by"], failed["text"]) == ("server", news)
    assert [a["text"] for a in server.activities("hook-failed")] == [news]
    text = f"{hook.program} failed with exit code 3: no way"
    assert f"on-update of server: {text}" in laptop.run("status").stdout
    assert f"notes: on-update: {text}" in server.run("status").stdout
    # An edit of the server's own runs nothing; one of the laptop, for all that failed too, makes it well again.
    hook.does("true")
    server.write("own.txt", "on the server\n")
    arrives(laptop, "own.txt", "on the server\n")
    laptop.write("b.txt", "mended\n")
    until(lambda: laptop.activities("hook-recovered"), why=lambda: (server.log, laptop.log))
    last = Path(f"{hook.runs()[-1]}.paths").read_bytes()
    assert sorted(last.split(b"\0")) == [b"", b"b.txt", b"notes.txt"]
    assert "failed" not in laptop.run("status").stdout
    assert "own.txt" not in hook.paths()


def test_a_run_that_a_kill_cut_short_is_ended_and_begun_again(fleet: Fleet, hooks: tuple[Hook, Hook]) -> None:
    (laptop, server), (_, hook) = fleet.devices, hooks
    numbers = hook.place / "numbers"
    hook.does(f"sleep 1000 & echo $! >{numbers}.new; mv {numbers}.new {numbers}; wait")
    laptop.write("killed.txt", "1\n")
    until(numbers.exists)
    child = int(numbers.read_text())
    laptop.write("meanwhile.txt", "1\n")
    arrives(server, "meanwhile.txt", "1\n")
    server.kill()
    assert is_running(child)
    hook.does("true")
    server.start()
    until(lambda: {"killed.txt", "meanwhile.txt"} <= hook.paths(), why=lambda: (server.log, hook.paths()))
    assert not is_running(child)
    comes_to(server, "idle")
    record("kills survived", 1)


def test_two_programs_that_answer_each_other_are_braked(fleet: Fleet, hooks: tuple[Hook, Hook]) -> None:
    fleet.equal()
    for device in fleet.devices:
        comes_to(device, "idle")
    before = sum(len(hook.runs()) for hook in hooks)
    for hook in hooks:
        hook.does('date +%N >"$run.stamp"; mv "$run.stamp" stamp')  # one change, however slow the machine is
    fleet.devices[0].write("notes.txt", "by hand\n")
    until(lambda: any(on_update(d)["state"] == "halted" for d in fleet.devices), why=lambda: fleet.devices[1].log)
    halted = next(d for d in fleet.devices if on_update(d)["state"] == "halted")
    other = next(d for d in fleet.devices if d is not halted)
    assert "is not run any more: 8 runs in a row" in on_update(halted)["last"]["problem"]
    fleet.equal()
    assert sum(len(hook.runs()) for hook in hooks) - before == 8
    until(lambda: other.activities("hook-failed"))
    # What a person changes next runs it again, unless he does so as soon as the program does.
    numbers = itertools.count()

    def again() -> bool:
        other.write(f"again/{next(numbers)}.txt", "by hand\n")
        return any(path.startswith("again/") for hook in hooks for path in hook.paths())

    until(again, why=lambda: halted.log)
    record("faults injected", 1)


def is_running(pid: int) -> bool:
    """Return whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # it is gone, or went while it was read
        return False
