"""Several working copies of one store: kept by one agent or by two, each a line of its own, with real git and hg."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autosync.trust.sealing import create_key
from tests.backends.hg_repos import DEBIAN
from tests.figures import record
from tests.system.fleet import Device, Fleet, until
from tests.system.hgfleet import HgDevice, HgFleet

FILES = {"a.txt": "a\n", "d/x": "x\n"}
NOTES, SIDE = "notes", "side"


@dataclass(frozen=True, slots=True)
class Copy:
    """One working copy: the device that keeps it, as which workspace, and where it is."""

    device: Device
    workspace: str
    root: Path

    def git(self, *arguments: str) -> str:
        return self.device.git(*arguments, at=self.root).strip()

    def hg(self, *arguments: str, check: bool = True) -> str:
        assert isinstance(self.device, HgDevice)
        # Without the extension, hg does not see the bookmarks that a share has of its source.
        return self.device.hg("--config", "extensions.share=", *arguments, at=self.root, check=check)

    def write(self, name: str, content: str) -> None:
        """Save as editors do: nobody ever sees half of it."""
        new = self.device.home / f"new-{self.workspace}"
        new.write_text(content)
        os.replace(new, self.root / name)

    def read(self, name: str) -> str:
        path = self.root / name
        return path.read_text() if path.exists() else ""

    def status(self) -> dict[str, Any]:
        return self.device.status(self.workspace)

    def log(self) -> list[list[str]]:
        """Return the paths that each snapshot of its own line changed, as `autosync log` tells."""
        done = self.device.run_here("log", "--json", str(self.root))
        assert done.returncode == 0, done.stderr
        return [[change["path"] for change in row["paths"]] for row in json.loads(done.stdout)["rows"]]


def equal(*copies: Copy) -> None:
    """Wait until working copies of one workspace are in one state, and rest."""

    def are_equal() -> bool:
        states = [copy.status() for copy in copies]
        rests = not any(s["pending"] or s["phase"] != "watching" for s in states)
        return rests and len({(s["tree"], s["base"], s["branch"]) for s in states}) == 1

    until(are_equal, why=lambda: "\n".join(f"{copy.status()}\n{copy.device.log[-3000:]}" for copy in copies))


def second_path(fleet: Fleet, device: Device, root: Path) -> None:
    """Have an agent keep a second working copy."""
    with device.config.open("a") as config:
        config.write(f"- path: {root}\n  workspace: {SIDE}\n  key-file: {fleet.place / 'side.key'}\n")


def second_agent(fleet: Fleet, device: Device) -> None:
    """Have an agent with a state directory of its own keep the workspace ``side`` alone."""
    text = device.config.read_text()
    device.config.write_text(
        text.replace(f"workspace: {NOTES}", f"workspace: {SIDE}").replace(str(fleet.key), str(fleet.place / "side.key"))
    )


# -- git ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scene:
    """A laptop whose one agent keeps two working copies of one store, and a desktop with an agent for each of two."""

    fleet: Fleet
    notes: tuple[Copy, Copy]
    side: tuple[Copy, Copy]

    def rest(self) -> None:
        equal(*self.notes)
        equal(*self.side)


def started(fleet: Fleet, laptop: Device, desktop: Device, other: Device, **settings: Any) -> Scene:
    """Return the scene of a laptop with both copies in one agent, and of a desktop with an agent for each, at rest."""
    create_key(str(fleet.place / "side.key"))
    fleet.configure(fleet.devices, **settings)
    second_path(fleet, laptop, laptop.home / "side")
    second_agent(fleet, other)
    fleet.start()
    scene = Scene(
        fleet,
        (Copy(laptop, NOTES, laptop.root), Copy(desktop, NOTES, desktop.root)),
        (Copy(laptop, SIDE, laptop.home / "side"), Copy(other, SIDE, other.root)),
    )
    scene.rest()
    return scene


@pytest.fixture(scope="module")
def git_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Fleet(tmp_path_factory.mktemp("worktrees") / "fleet") as fleet:
        # The laptop's two are worktrees of a bare repository, the desktop's are a clone and a worktree of that.
        bare, laptop = fleet.seed(FILES), fleet.device("laptop")
        fleet.git("worktree", "add", "-q", str(laptop.root), "main", at=bare)
        fleet.git("worktree", "add", "-q", "-b", "topic/side", str(laptop.home / "side"), at=bare)
        (desktop,) = fleet.clone(fleet.place / "seed", "desktop")
        desktop.git("worktree", "add", "-q", "-b", "topic/side", "../side")
        other = fleet.device("other", desktop.home / "side")
        yield started(fleet, laptop, desktop, other)


def test_each_worktree_is_a_line_of_its_own(git_scene: Scene) -> None:
    (one, other), (left, right) = git_scene.notes, git_scene.side
    one.write("mine", "of notes\n")
    right.write("theirs", "of side\n")
    until(lambda: other.read("mine") == "of notes\n" and left.read("theirs") == "of side\n")
    git_scene.rest()
    assert not (one.root / "theirs").exists()
    assert not (left.root / "mine").exists()
    for copies, path in ((git_scene.notes, "mine"), (git_scene.side, "theirs")):
        for copy in copies:
            assert {p for paths in copy.log() for p in paths} == {path}


def test_what_is_moved_through_one_worktree_is_noticed_in_the_other(git_scene: Scene) -> None:
    (one, _), (left, right) = git_scene.notes, git_scene.side
    # A commit of the side's branch that is made beside all working copies, and set through another worktree.
    tree, parent = one.git("rev-parse", "topic/side^{tree}"), one.git("rev-parse", "topic/side")
    made = one.git("commit-tree", tree, "-p", parent, "-m", "by hand")
    one.git("update-ref", "refs/heads/topic/side", made)
    until(lambda: right.git("rev-parse", "HEAD") == made, why=right.status)
    one.git("pack-refs", "--all", "--prune")
    right.git("gc", "-q", "--prune=now")
    git_scene.rest()
    right.write("d/x", "after gc\n")
    right.git("commit", "-qam", "in the worktree")
    head = right.git("rev-parse", "HEAD")
    until(lambda: left.git("rev-parse", "HEAD") == head and left.git("status", "--porcelain", "-uno") == "")
    # What the side's branch has is in the store of the main one: its user goes there, and so does his peer.
    one.git("switch", "-q", "--detach", "topic/side")
    git_scene.rest()
    until(lambda: git_scene.notes[1].git("rev-parse", "HEAD") == head)
    git_scene.rest()
    one.git("switch", "-q", "main")
    git_scene.rest()


def test_a_branch_in_two_worktrees_waits_and_says_why(git_scene: Scene) -> None:
    (one, other), (left, right) = git_scene.notes, git_scene.side
    topic = left.git("rev-parse", "HEAD")
    left.git("switch", "-q", "--ignore-other-worktrees", "main")
    way_out = "switch that one to another branch (or `git switch --detach`), then this one follows"
    theirs = f"the branch main is checked out in another worktree, {other.root}: {way_out}"
    until(lambda: right.status()["waiting-for"] == theirs, why=right.status)
    before = left.git("rev-parse", "main")
    other.write("a.txt", "committed\n")
    other.git("commit", "-qam", "on main")
    head = other.git("rev-parse", "HEAD")
    reason = f"the branch main is checked out in another worktree, {left.root}: {way_out}"
    until(lambda: one.status()["waiting-for"] == reason, why=one.status)
    assert reason in one.device.run_here("status").stdout
    assert left.git("rev-parse", "main", "HEAD").split() == [before, before]
    left.git("switch", "-q", "topic/side")
    until(lambda: one.git("rev-parse", "HEAD") == head, why=one.status)
    git_scene.rest()
    assert left.git("rev-parse", "HEAD") == right.git("rev-parse", "HEAD") == topic


def test_one_of_two_agents_is_killed_while_the_other_lets_go_of_what_is_old(git_scene: Scene) -> None:
    (_, other), (left, right) = git_scene.notes, git_scene.side
    right.write("kept", "by the one that is killed\n")
    until(lambda: left.read("kept") != "")
    right.device.end(signal.SIGKILL)
    record("kills survived", 1)
    tidied = other.device.run_here("gc", "--json")
    assert tidied.returncode == 0, tidied.stderr
    right.write("kept", "while nobody looked\n")
    right.device.start()
    until(lambda: left.read("kept") == "while nobody looked\n")
    git_scene.rest()
    assert ["kept"] in right.log()


def test_a_worktree_that_is_removed_leaves_the_others_alone(git_scene: Scene) -> None:
    (one, other), (left, right) = git_scene.notes, git_scene.side
    one.git("worktree", "lock", str(left.root))
    one.git("worktree", "unlock", str(left.root))
    moved = left.root.with_name("moved")
    one.git("worktree", "move", str(left.root), str(moved))
    until(lambda: left.status()["halt"], why=left.status)
    assert left.status()["halt"]["title"] == f"The folder {left.root} is gone"
    right.write("kept", "while it was away\n")
    one.git("worktree", "move", str(moved), str(left.root))
    until(lambda: left.read("kept") == "while it was away\n", why=left.status)
    git_scene.rest()
    states = len(left.log())
    one.git("worktree", "remove", "--force", str(left.root))
    until(lambda: left.status()["halt"], why=left.status)
    one.write("mine", "goes on\n")
    until(lambda: other.read("mine") == "goes on\n")
    equal(*git_scene.notes)
    assert right.read("kept") == "while it was away\n"
    assert right.status()["halt"] is None
    pins = one.git("--git-dir", f"{git_scene.fleet.hub}/autosync/store.git", "for-each-ref", "--format=%(refname)")
    assert sum("/worktrees/side-" in pin and "/keep/" in pin for pin in pins.split()) >= states


# -- hg ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hg_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """As that of git; the laptop's hg is 6.3.2, and its share is not share-safe."""
    with HgFleet(tmp_path_factory.mktemp("shares") / "fleet") as fleet:
        laptop, desktop = fleet.clone_hg(fleet.seed(FILES, hub=False), "laptop", "desktop")
        fleet.share(laptop, "side", "-B", "--config", "format.use-share-safe=0")
        other = fleet.device("other", fleet.share(desktop, "side", "-B"))
        yield started(fleet, laptop, desktop, other, own={"laptop": f"hg: {DEBIAN[0]}"})


def where(copy: Copy) -> str:
    """Return what is checked out: changeset and active bookmark."""
    return copy.hg("log", "-r", ".", "-T", "{node} {activebookmark}")


def test_each_share_is_a_line_of_its_own(hg_scene: Scene) -> None:
    (one, other), (left, right) = hg_scene.notes, hg_scene.side
    one.write("mine", "of notes\n")
    right.write("theirs", "of side\n")
    until(lambda: other.read("mine") == "of notes\n" and left.read("theirs") == "of side\n")
    hg_scene.rest()
    for copies, path in ((hg_scene.notes, "mine"), (hg_scene.side, "theirs")):
        for copy in copies:
            assert {p for paths in copy.log() for p in paths} == {path}


def test_what_is_recorded_through_one_share_is_there_for_the_other(hg_scene: Scene) -> None:
    (one, other), (left, right) = hg_scene.notes, hg_scene.side
    here = where(one)
    left.hg("bookmark", "topic")
    until(lambda: where(right).endswith(" topic"), why=right.status)
    left.hg("commit", "-qA", "-m", "in the share")
    tip = left.hg("log", "-r", ".", "-T", "{node}")
    until(lambda: where(right) == f"{tip} topic", why=right.status)
    hg_scene.rest()
    assert where(one) == where(other) == here  # the store has another changeset, and a bookmark; they stay
    # The main working copy goes to what was recorded through the share, and so does its peer.
    one.write("mine", "onto the tip\n")
    one.hg("update", "-q", tip)
    until(lambda: where(other) == f"{tip} ", why=other.status)
    # One moves the bookmark that the other has active: no working copy is taken anywhere.
    one.hg("bookmark", "-q", "-f", "-r", "0", "topic")
    one.hg("phase", "-q", "--public", tip)
    hg_scene.rest()
    assert {copy.hg("log", "-r", ".", "-T", "{node}") for copy in (*hg_scene.notes, *hg_scene.side)} == {tip}
    left.write("d/x", "goes on\n")
    until(lambda: right.read("d/x") == "goes on\n")
    hg_scene.rest()


def test_a_source_that_is_away_is_waited_for(hg_scene: Scene) -> None:
    (_, other), (left, right) = hg_scene.notes, hg_scene.side
    away = other.root.with_name("away")
    os.rename(other.root, away)
    until(lambda: right.status()["halt"], why=right.status)
    assert right.status()["halt"]["title"] == f"The repository of {right.root}, {other.root}/.hg, is not there"
    assert "Mount or restore it; autosync goes on by itself" in right.status()["halt"]["hint"]
    left.write("d/x", "while it was away\n")
    os.rename(away, other.root)
    until(lambda: right.read("d/x") == "while it was away\n", why=right.status)
    hg_scene.rest()


def test_a_share_that_stands_alone_goes_on(hg_scene: Scene) -> None:
    (one, _), (left, right) = hg_scene.notes, hg_scene.side
    left.hg("unshare")
    left.hg("commit", "-qA", "-m", "on its own")
    tip = left.hg("log", "-r", ".", "-T", "{node}")
    until(lambda: right.hg("log", "-r", ".", "-T", "{node}") == tip, why=right.status)
    equal(*hg_scene.side)
    right.write("a.txt", "two\n")
    right.hg("commit", "-qm", "and back")
    tip = right.hg("log", "-r", ".", "-T", "{node}")
    until(lambda: left.hg("log", "-r", ".", "-T", "{node}") == tip, why=left.status)
    equal(*hg_scene.side)
    assert one.hg("log", "-r", tip, "-T", "{node}", check=False) == ""
    for copy in (one, left, right):
        assert copy.hg("verify", "-q") == ""
