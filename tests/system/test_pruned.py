"""What the user rewrites and prunes before autosync could look stops nothing and loses nothing."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Device, Fleet, at_once, until
from tests.system.hgfleet import HgDevice, HgFleet
from tests.system.recording import recorded
from tests.waiting import freeze

LINES = "".join(f"line {number}\n" for number in range(30))
FLEETS = {"git": Fleet, "hg": HgFleet}


@pytest.fixture(params=FLEETS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    with FLEETS[request.param](tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed({"src/a.txt": LINES, "src/b.txt": LINES}, hub=False), "laptop", "desktop")
        fleet.configure(fleet.devices)
        fleet.start()
        fleet.equal()
        yield fleet


def rewrite_and_prune(device: Device, content: str) -> None:
    """Put other content in the place of the last commit's, and leave nothing of what was there."""
    device.write("src/a.txt", content)
    device.write("src/new.txt", "another try\n")
    if isinstance(device, HgDevice):
        device.hg("commit", "--addremove", "--amend", "-q", "-m", "second try")
    else:
        device.git("add", "-A")
        device.git("commit", "-q", "--amend", "-m", "second try")
    prune(device)


def uncommit(device: Device) -> None:
    """Undo the last commit and leave what it made as it stands, and nothing of the commit."""
    if isinstance(device, HgDevice):
        device.hg("strip", "-q", "--keep", "--no-backup", ".")
    else:
        device.git("reset", "-q", "HEAD~1")
    prune(device)


def prune(device: Device) -> None:
    if isinstance(device, HgDevice):
        shutil.rmtree(device.root / ".hg/strip-backup", ignore_errors=True)
    else:
        device.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
        device.git("gc", "-q", "--prune=now")


def commit_everywhere(fleet: Fleet, device: Device) -> str:
    """Make a commit with content of its own and return it when all devices stand on it."""
    device.write("src/a.txt", "of the first try\n" + LINES)
    device.write("src/new.txt", "first try\n")
    head = device.commit("first try")
    fleet.equal()
    assert {each.head() for each in fleet.devices} == {head}
    return head


def has(device: Device, commit: str) -> bool:
    """Return whether the user's repository, or autosync's store of a git one, has the commit."""
    if isinstance(device, HgDevice):
        return bool(device.hg("log", "-r", commit, "-T", "{node}", check=False))
    places = (device.root / ".git", device.root / ".git/autosync/store.git")
    return any(device.git("-C", str(place), "cat-file", "-t", commit, ok=(0, 128)) for place in places)


def rewritten_while_off(fleet: Fleet, device: Device) -> str:
    """Rewrite and prune, with the agent off, what all devices stand on; return the commit that is gone."""
    head = commit_everywhere(fleet, device)
    device.end()
    rewrite_and_prune(device, "of the second try\n" + LINES)
    assert not has(device, head)
    return head


def names(device: Device) -> list[str]:
    """Return the names of all files."""
    return [str(p.relative_to(device.root)) for p in (device.root / "src").iterdir()]


def test_a_base_that_was_pruned_while_the_agent_was_off(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    head = rewritten_while_off(fleet, laptop)
    desktop.write("src/b.txt", "from the desktop\n" + LINES)
    recorded(desktop, "src/b.txt")
    laptop.start()
    fleet.equal()
    assert laptop.read("src/a.txt") == "of the second try\n" + LINES
    assert desktop.read("src/new.txt") == "another try\n"
    assert laptop.read("src/b.txt") == "from the desktop\n" + LINES
    assert desktop.head() == laptop.head() != head


def test_a_base_that_was_pruned_during_a_rebase(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, desktop = fleet.clone(fleet.seed({"src/a.txt": LINES}, hub=False), "laptop", "desktop")
        fleet.configure(fleet.devices)
        fleet.start()
        fleet.equal()
        head = commit_everywhere(fleet, laptop)
        laptop.git("-c", "sequence.editor=sed -i s/^pick/edit/", "rebase", "-q", "-i", "HEAD~1")
        until(lambda: laptop.status()["waiting-for"] == "a rebase is in progress", why=laptop.status)
        with at_once(laptop):  # an agent that looks in between keeps what it stands on
            rewrite_and_prune(laptop, "of the second try\n" + LINES)
            laptop.git("rebase", "--continue")
            prune(laptop)
        assert not has(laptop, head)
        fleet.equal()
        assert laptop.read("src/a.txt") == "of the second try\n" + LINES
        assert desktop.read("src/new.txt") == "another try\n"
        assert desktop.head() == laptop.head() != head


def test_a_file_that_others_changed_on_a_base_that_was_pruned_here(fleet: Fleet) -> None:
    laptop, desktop = fleet.devices
    rewritten_while_off(fleet, laptop)
    desktop.write("src/a.txt", "of the first try\n" + LINES + "from the desktop\n")
    recorded(desktop, "src/a.txt")
    laptop.start()
    fleet.equal()
    assert laptop.read("src/a.txt") == "of the second try\n" + LINES + "from the desktop\n"
    assert sorted(names(laptop)) == ["src/a.txt", "src/b.txt", "src/new.txt"]


@pytest.mark.parametrize("vcs", FLEETS)
def test_a_base_that_was_pruned_on_all_devices_at_once(tmp_path: Path, vcs: str) -> None:
    """Then nobody can tell what each has changed: where they differ, both are kept."""
    with FLEETS[vcs](tmp_path / "fleet") as fleet:
        (source,) = fleet.clone(fleet.seed({"src/a.txt": LINES, "src/b.txt": LINES}, hub=False), "source")
        source.write("src/a.txt", "of the first try\n" + LINES)
        head = source.commit("first try")
        laptop, desktop = fleet.clone(source.root, "laptop", "desktop")
        fleet.configure([laptop, desktop])
        fleet.start(laptop, desktop)
        fleet.equal(laptop, desktop)
        for device, which in ((laptop, "second"), (desktop, "third")):
            device.end()
            if isinstance(device, HgDevice):
                device.hg("phase", "--draft", "--force", ".")
            else:
                device.git("remote", "remove", "origin")
            rewrite_and_prune(device, f"of the {which} try\n" + LINES)
        uncommit(desktop)
        assert [has(device, head) for device in (laptop, desktop)] == [False, False]
        fleet.start(laptop, desktop)
        fleet.equal(laptop, desktop)
        kept = {laptop.read(name) for name in names(laptop)}
        assert {"of the second try\n" + LINES, "of the third try\n" + LINES} <= kept
        assert laptop.head() == desktop.head()


def test_a_base_that_was_pruned_where_nobody_has_it_any_more(fleet: Fleet) -> None:
    """It stood nowhere else: what was saved afterwards is recorded all the same."""
    laptop, desktop = fleet.devices
    desktop.end()
    laptop.write("src/new.txt", "first try\n")
    head = laptop.commit("first try")
    until(lambda: laptop.status()["base"] == head, why=laptop.status)
    laptop.end()
    rewrite_and_prune(laptop, "of the second try\n" + LINES)
    assert not has(laptop, head)
    laptop.start()
    until(lambda: laptop.status()["base"] == laptop.head(), why=laptop.status)
    desktop.start()
    fleet.equal()
    assert desktop.read("src/new.txt") == "another try\n"


def test_what_stood_on_a_base_that_was_pruned_here_comes_from_the_hub(tmp_path: Path) -> None:
    """The device that made it is off, and the hub has the base that this one has lost."""
    with Fleet(tmp_path / "fleet") as fleet:
        laptop, desktop = fleet.clone(fleet.seed({"src/a.txt": LINES, "src/b.txt": LINES}), "laptop", "desktop")
        fleet.configure(fleet.devices, remote="origin", poll=1)
        fleet.start()
        fleet.equal()
        head = commit_everywhere(fleet, laptop)
        laptop.end()
        rewrite_and_prune(laptop, "of the second try\n" + LINES)
        assert not has(laptop, head)
        desktop.write("src/b.txt", "from the desktop\n" + LINES)
        recorded(desktop, "src/b.txt")
        until(lambda: desktop.status()["snapshot"] in fleet.git("for-each-ref", at=fleet.hub), why=desktop.status)
        desktop.end()
        laptop.start()
        until(lambda: laptop.read("src/b.txt") == "from the desktop\n" + LINES, why=lambda: laptop.log[-3000:])
        assert laptop.read("src/a.txt") == "of the second try\n" + LINES
        desktop.start()
        fleet.equal()


def test_who_only_sends_still_reaches_one_who_has_pruned_the_base(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        seed = fleet.seed({"src/a.txt": LINES, "src/b.txt": LINES}, hub=False)
        laptop, desktop = fleet.clone(seed, "laptop", "desktop")
        fleet.configure(fleet.devices)
        fleet.start()
        fleet.equal()
        head = commit_everywhere(fleet, laptop)
        laptop.end()
        desktop.end()
        desktop.config.write_text(desktop.config.read_text() + "  mode: send\n")
        rewrite_and_prune(laptop, "of the second try\n" + LINES)
        assert not has(laptop, head)
        fleet.start()
        desktop.write("src/b.txt", "from the desktop\n" + LINES)
        until(lambda: laptop.read("src/b.txt") == "from the desktop\n" + LINES, why=lambda: laptop.log[-3000:])
        assert laptop.read("src/a.txt") == "of the second try\n" + LINES


def test_what_is_not_committed_survives_on_the_others_though_it_is_ignored_here_by_now(fleet: Fleet) -> None:
    """What was synced stays synced, also if it would not be taken up today."""
    laptop, desktop = fleet.devices
    head = commit_everywhere(fleet, laptop)
    desktop.write("notes.local", "never committed\n")
    fleet.equal()
    laptop.end()
    if isinstance(laptop, HgDevice):
        (laptop.root / ".hgignore").write_text("syntax: glob\nnotes.local\n")
    else:
        (laptop.root / ".git/info/exclude").write_text("notes.local\n")
    rewrite_and_prune(laptop, "of the second try\n" + LINES)
    assert not has(laptop, head)
    laptop.start()
    until(lambda: desktop.head() == laptop.head(), why=desktop.status)
    assert [device.read("notes.local") for device in fleet.devices] == ["never committed\n"] * 2
    desktop.write("notes.local", "edited\n")
    until(lambda: laptop.read("notes.local") == "edited\n", why=laptop.status)
    until(lambda: laptop.status()["tree"] == desktop.status()["tree"], why=laptop.status)


@pytest.mark.parametrize("uncommitted", [False, True])
def test_a_base_that_was_pruned_before_a_running_agent_could_look(tmp_path: Path, *, uncommitted: bool) -> None:
    """It has the base open, and what it has read; a third device gets from it all that its state is made of."""
    with Fleet(tmp_path / "fleet") as fleet:
        seed = fleet.seed({"src/a.txt": LINES, "src/b.txt": LINES}, hub=False)
        laptop, desktop, phone = fleet.clone(seed, "laptop", "desktop", "phone")
        fleet.configure(fleet.devices)
        fleet.start(laptop, desktop)
        fleet.equal(laptop, desktop)
        assert laptop.process is not None
        freeze(laptop.process.pid)  # so that only the user's repository has what is committed
        laptop.write("src/deep/new.txt", "first try\n")
        head = laptop.commit("first try")
        laptop.git("gc", "-q")
        laptop.process.send_signal(signal.SIGCONT)
        fleet.equal(laptop, desktop)
        laptop.write("src/b.txt", "edited\n" + LINES)
        fleet.equal(laptop, desktop)
        desktop.end()
        freeze(laptop.process.pid)
        if uncommitted:
            uncommit(laptop)
        else:
            rewrite_and_prune(laptop, "of the second try\n" + LINES)
        assert not has(laptop, head)
        laptop.process.send_signal(signal.SIGCONT)
        until(lambda: laptop.status()["base"] == laptop.head() and not laptop.status()["pending"], why=laptop.status)
        phone.start()
        fleet.equal(laptop, phone)
        assert phone.read("src/deep/new.txt") == "first try\n"
        assert phone.read("src/b.txt") == "edited\n" + LINES
        desktop.start()
        fleet.equal()
