"""Agents that hear of each other by a reflector, a fanout server, several channels at once, or by nothing at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channels.fanout_server import FanoutServer
from tests.channels.reflectors import Running
from tests.channels.sparkleshare import SparkleShare
from tests.system.fleet import Device, Fleet
from tests.waiting import until

FILES = {"a.txt": "1\n2\n3\n", "d/x": "x\n"}
ID = "9a1f3c7e5b2d4f60718293a4b5c6d7e8f9012345"


@pytest.fixture
def reflector() -> Iterator[Running]:
    server = Running()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fanout() -> Iterator[FanoutServer]:
    server = FanoutServer()
    server.start()
    yield server
    server.stop()


def without_links(*devices: Device) -> None:
    """Let devices have no direct connection."""
    for device in devices:
        text = device.config.read_text()
        device.config.write_text(re.sub(r"^listen: .*$", "listen: none", text, flags=re.MULTILINE))


def channels(device: Device) -> dict[str, str]:
    """Return the state of every channel."""
    return {c["kind"]: c["state"] for c in device.ask("status")["channels"]}


def test_small_changes_travel_by_the_reflector_alone(tmp_path: Path, reflector: Running) -> None:
    with Fleet(tmp_path) as fleet:
        laptop, desktop, late = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop", "late")
        fleet.configure(fleet.devices, peers=False, top=f"reflector: 127.0.0.1:{reflector.port}\n")
        without_links(*fleet.devices)
        fleet.start(laptop, desktop)
        laptop.write("a.txt", "by the reflector\n")
        fleet.equal(laptop, desktop)
        assert desktop.applied("a.txt")["lane"] == "inline over reflector"
        assert {a["lane"] for a in desktop.activities("applied")} == {"inline over reflector"}
        shown = laptop.run("status").stdout.splitlines()[0]
        assert shown.endswith(f"channel reflector online: Connected to 127.0.0.1:{reflector.port}.")
        desktop.write("big", os.urandom(40000))
        until(lambda: any(p["state"] == "ahead" for p in laptop.status()["peers"]), why=lambda: laptop.log)
        told = laptop.run("explain", str(laptop.root / "big")).stdout
        assert told.endswith("big: absent. There is no such file here; what desktop has is not all here yet.\n")
        (desktop.root / "big").unlink()
        fleet.equal(laptop, desktop)
        assert laptop.run("peers").stdout == "notes: direct connections are off here (`listen: none`)\n\n"
        for device in (laptop, desktop):
            device.end()
        late.start()  # nobody else is there: what it gets was kept
        until(lambda: late.read("a.txt") == "by the reflector\n", why=lambda: late.log)
        checked = late.run("check", "--json")
        findings = {f["what"]: f["level"] for f in json.loads(checked.stdout)["findings"]}
        assert findings["reflector"] == "ok"


def test_several_channels_carry_the_same_and_one_is_enough(
    tmp_path: Path, reflector: Running, fanout: FanoutServer
) -> None:
    with Fleet(tmp_path) as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES, hub=False), "laptop", "desktop")
        top = f"reflector: 127.0.0.1:{reflector.port}\nfanout: 127.0.0.1:{fanout.port}\n"
        fleet.configure(fleet.devices, top=top)
        fleet.start()
        online = {"lan": "online", "reflector": "online", "fanout": "online"}
        until(lambda: channels(laptop) == channels(desktop) == online)
        shown = laptop.run("status").stdout
        assert {line.split()[1] for line in shown.splitlines() if line.startswith("  channel ")} == set(online)
        laptop.write("d/x", "three ways\n")
        fleet.equal()
        for name in ("one", "two"):
            desktop.write(name, f"{name}\n" * 2000)  # no line of the fanout protocol holds that
        fleet.equal()
        assert all(set(w["dropped"]) <= {"repeated"} for w in desktop.ask("status")["workspaces"])
        reflector.stop()
        until(lambda: channels(laptop)["reflector"] == "offline")
        laptop.write("d/x", "two ways\n")
        fleet.equal()
        fanout.stop()
        until(lambda: channels(laptop)["fanout"] == "offline")
        laptop.write("d/x", "one way\n")
        fleet.equal()
        reflector.start()
        fanout.start()
        until(lambda: channels(laptop) == channels(desktop) == online)


def test_a_fanout_server_carries_what_fits_and_the_hub_the_rest(tmp_path: Path, fanout: FanoutServer) -> None:
    with Fleet(tmp_path) as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
        top = f"fanout: 127.0.0.1:{fanout.port}\n"
        fleet.configure(fleet.devices, peers=False, top=top, remote="origin", poll="1h")
        without_links(*fleet.devices)
        fleet.start()
        until(lambda: channels(laptop) == channels(desktop) == {"fanout": "online"})
        fleet.equal()
        laptop.write("a.txt", "small\n")
        fleet.equal()
        laptop.write("big", "".join(f"{n * n}\n" for n in range(3000)))
        laptop.run("sync")
        fleet.equal()
        assert desktop.applied("a.txt")["lane"] == "inline over fanout"
        assert desktop.applied("big")["lane"].split()[0] == "hub"
        assert max(len(line) for line in fanout.said) <= 4096 + len("announce ")


def push_as_sparkleshare(clone: Path, fleet: Fleet, name: str, content: str) -> str:
    """Commit and push as SparkleShare does; return the commit."""
    (clone / name).write_text(content)
    fleet.git("add", "--all", at=clone)
    fleet.git("commit", "-q", "-m", f"+ ‘{name}’", at=clone)
    fleet.git("push", "-q", "origin", "main", at=clone)
    return fleet.git("rev-parse", "HEAD", at=clone).strip()


@pytest.mark.parametrize("kind", ["reflector", "fanout"])
def test_sparkleshare_and_autosync_notify_each_other(
    tmp_path: Path, kind: str, reflector: Running, fanout: FanoutServer
) -> None:
    """Neither waits for its next look at the hub, which is an hour away."""
    port = reflector.port if kind == "reflector" else fanout.port
    with Fleet(tmp_path) as fleet:
        hub = fleet.seed({**FILES, ".sparkleshare": f"{ID}\n"})
        (laptop,) = fleet.clone(hub, "laptop")
        fleet.git("clone", "-q", str(hub), "sparkle")
        sparkle = tmp_path / "sparkle"
        listener = SparkleShare(port, ID)
        fleet.configure(
            [laptop], remote="origin", commits="auto", commit_after="1s", poll="1h", top=f"{kind}: 127.0.0.1:{port}\n"
        )
        laptop.start()
        until(lambda: channels(laptop)[kind] == "online")
        laptop.write("from-autosync.txt", "hello\n")
        until(lambda: fleet.git("ls-tree", "--name-only", "main", at=fleet.hub).count("from-autosync") == 1)
        listener.wait_for(ID, fleet.git("rev-parse", "main", at=fleet.hub).strip())
        fleet.git("pull", "-q", "--ff-only", at=sparkle)
        assert (sparkle / "from-autosync.txt").read_text() == "hello\n"
        commit = push_as_sparkleshare(sparkle, fleet, "from-sparkleshare.txt", "hi\n")
        listener.announce(ID, commit)
        listener.wait_for(ID, commit)  # which comes back, and may not be read together with the next one
        until(lambda: laptop.read("from-sparkleshare.txt") == "hi\n", why=lambda: laptop.log)
        until(lambda: laptop.head() == commit)
        # The user's own push is told of too.
        laptop.end()
        fleet.configure([laptop], remote="origin", poll="1h", top=f"{kind}: 127.0.0.1:{port}\n")
        laptop.start()
        until(lambda: channels(laptop)[kind] == "online")
        laptop.ask("conflicts")  # answered in the thread in which it has looked by then what was pushed before
        laptop.write("mine.txt", "mine\n")
        mine = laptop.commit("mine")
        laptop.git("push", "-q", "origin", "main")
        listener.wait_for(ID, mine)
        listener.close()


LOOK = "fetch --dry-run --no-tags --no-write-fetch-head --refmap= autosync-hub"
"""How git is asked what a hub has of some beginnings of names."""


def counting_git(fleet: Fleet, device: Device) -> Path:
    """Have every git that ``device``'s agent starts written down; return the list."""
    real, place = shutil.which("git"), device.home / "bin"
    place.mkdir()
    log = device.home / "git.log"
    (place / "git").write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} "$@"\n')
    (place / "git").chmod(0o755)
    device.environment = {**device.environment, "PATH": f"{place}:{device.environment['PATH']}"}
    return log


def test_with_no_channel_at_all_the_hub_is_enough_and_a_look_is_one_listing(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        laptop, desktop = fleet.clone(fleet.seed(FILES), "laptop", "desktop")
        fleet.configure(fleet.devices, peers=False, remote="origin", poll="300ms", rescan="1h")
        without_links(*fleet.devices)
        log = counting_git(fleet, desktop)
        fleet.start()
        assert desktop.ask("status")["channels"] == []
        assert "no channel: changes travel over the hub" in desktop.run("status").stdout
        laptop.write("a.txt", "by the hub alone\n")
        until(lambda: desktop.read("a.txt") == "by the hub alone\n", why=lambda: desktop.log)
        desktop.write("d/x", "and back\n")
        fleet.equal()
        assert {a["lane"].split()[0] for d in fleet.devices for a in d.activities("applied")} == {"hub"}
        before = time.monotonic()
        seen = len(log.read_text().splitlines())
        until(lambda: quiet_looks(log, seen) >= 5)
        news = log.read_text().splitlines()[seen:]
        # Each look asks the hub for one listing of our own refs, after it has read what the hub's address is
        # now; nothing else is asked, fetched or pushed: it ends at a ref that no hub has.
        kinds = Counter(re.sub(r"[0-9a-f]{32}", "ID", line) for line in news)
        listing = f"{LOOK} refs/autosync-asked/ID refs/autosync/ID/*:refs/autosync-asked/*"
        assert kinds.keys() == {"config --list -z", listing}, kinds
        # Five looks have four waits between them, each of at least four fifths of `poll`.
        assert time.monotonic() - before >= 4 * 0.8 * 0.3


def quiet_looks(log: Path, seen: int) -> int:
    return sum(line.startswith(LOOK) for line in log.read_text().splitlines()[seen:])
