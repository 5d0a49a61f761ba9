"""The demo: three devices become equal, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.commandline import Home
from tests.waiting import PATIENCE, until


def agents_below(folder: Path) -> list[int]:
    """Return the pids of the agents whose configuration lies below ``folder``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                arguments = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(a.startswith(os.fsencode(folder) + b"/") and a.endswith(b"config.yaml") for a in arguments):
                found.append(int(process.name))
    return found


def servers_left() -> set[Path]:
    """Return the folders of demos' XMPP servers."""
    return set(Path(tempfile.gettempdir()).glob("autosync-demo-prosody-*"))


@pytest.fixture
def running(home: Home) -> Iterator[subprocess.Popen[str]]:
    """A demo that waits for its user's edits."""
    process = home.start("demo")
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("Ctrl-C ends"):
                break
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        until(lambda: not agents_below(home.path / "demo"))


@pytest.mark.parametrize(("channel", "vcs"), [("lan", "git"), ("xmpp", "git"), ("lan", "hg")])
def test_once_ends_with_three_equal_trees(home: Home, channel: str, vcs: str) -> None:
    before = servers_left()
    done = home.run("demo", "--once", "--json", "--channel", channel, "--vcs", vcs, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert (result["equal"], result["channel"]) == (True, channel)
    assert set(result["trees"]) == {"laptop", "desktop", "server"}
    assert len(set(result["trees"].values())) == 1
    first = result["steps"][0]
    assert first["step"] == "the laptop saves a note"
    (save,) = first["saves"]
    assert (save["device"], save["paths"], save["count"]) == ("laptop", ["notes.txt"], 1)
    assert save["arrivals"].keys() == {"desktop", "server"}
    saves = [save for step in result["steps"] for save in step["saves"]]
    lanes = {arrival["lane"] for save in saves for arrival in save["arrivals"].values()}
    # Who hears of another that has it before the announcement itself is here asks that one.
    assert {lane for lane in lanes if not lane.startswith("peer ")} == {f"inline over {channel}"}
    assert not (home.path / "demo").exists()
    assert servers_left() <= before


def test_a_save_by_hand_is_told_and_arrives(home: Home, running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    (home.path / "demo" / "desktop" / "by hand.txt").write_text("Hello.\n")
    told = [running.stdout.readline() for _ in range(3)]
    assert told[0] == "desktop  saved    by hand.txt\n"
    arrived = re.compile(r"  (\w+) +has it after +\d+ ms  \((?:inline over lan|peer \S+)\)\n")  # whichever was sooner
    arrivals = [arrived.fullmatch(line) for line in told[1:]]
    assert {arrival[1] for arrival in arrivals if arrival} == {"laptop", "server"}
    assert (home.path / "demo" / "server" / "by hand.txt").read_text() == "Hello.\n"
    running.send_signal(signal.SIGINT)
    assert running.stdout.read() == "\nThe demo has ended.\n"
    assert running.wait(PATIENCE) == 0
    assert not (home.path / "demo").exists()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_ends_its_agents(home: Home, running: subprocess.Popen[str], ending: signal.Signals) -> None:
    until(lambda: len(agents_below(home.path / "demo")) == 3)  # a child made by vfork has its parent's command line
    running.send_signal(ending)
    assert running.wait(PATIENCE) == 0
    assert agents_below(home.path / "demo") == []
    assert not (home.path / "demo").exists()


def test_a_second_one_in_the_same_folder_is_refused(home: Home, running: subprocess.Popen[str]) -> None:
    folder = home.path / "demo"
    second = home.run("demo", "--once")
    assert (second.returncode, second.stderr) == (
        1,
        f"Error: Another demo runs in {folder}\n  End that one, or choose another folder with --directory.\n",
    )
    assert (folder / "laptop" / "README.md").is_file()
    until(lambda: len(agents_below(folder)) == 3)
    assert running.poll() is None


def test_the_agents_of_one_that_was_killed_end_and_its_folder_is_used_again(
    home: Home, running: subprocess.Popen[str]
) -> None:
    folder = home.path / "demo"
    running.kill()
    until(lambda: not agents_below(folder))
    assert (folder / "laptop" / "README.md").is_file()
    assert home.run("demo", "--once", timeout=120).returncode == 0
    assert not folder.exists()


def test_a_folder_of_the_users_own_stays_as_it_is(home: Home) -> None:
    mine = home.path / "demo" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("Mine.\n")
    done = home.run("demo", "--once")
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: {mine.parent} exists and was not made by the demo\n"
        "  Move it away, or choose another folder with --directory.\n",
    )
    assert [p.name for p in mine.parent.iterdir()] == ["mine.txt"]


def test_the_folder_is_left_when_it_is_to_be_kept(home: Home) -> None:
    assert home.run("demo", "--once", "--keep", "--directory", "here", timeout=120).returncode == 0
    kept = home.path / "here"
    assert {p.name for p in kept.iterdir()} >= {"laptop", "desktop", "server", "hub.git"}
    assert home.git("here/server", "log", "--format=%s") == "What the demo did\nStart\n"
    assert agents_below(kept) == []
