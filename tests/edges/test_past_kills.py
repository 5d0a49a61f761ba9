"""A restore that is killed, or meets a failing disk, leaves each file as it was or is to be, and both in history."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosync.core.model import SnapshotId
from autosync.errors import AutosyncError
from autosync.past.restoring import plan_of
from autosync.past.trail import ROOT
from tests.edges.faults import Around, Fault, Watched, install, rest
from tests.edges.forks import fault_points, kill_points, with_offspring
from tests.edges.past_scene import Files, PastScene
from tests.edges.points import fast_directory, survive, undisturbed
from tests.figures import record

POINTS = 8
"""Kills, and faults, that are tried of all that there could be."""


@dataclass(frozen=True, slots=True)
class Case:
    """A working copy whose state ``now`` is to become ``then`` again."""

    directory: Path
    then: SnapshotId
    now: SnapshotId
    old: Files
    new: Files

    def fresh(self, number: int) -> Path:
        root = self.directory / f"copy-{number}"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.directory / "template", root, symlinks=True)
        return root

    def restore(self, root: Path, around: Around) -> None:
        """Restore with ``around`` about every call; only for a child."""
        scene = PastScene(root, "git", make=False)
        scene.record()
        trail = scene.trail
        plan = plan_of(trail, trail.find(self.then), ROOT)
        install(around)
        try:
            scene.restorer().restore(plan)
        except (AutosyncError, OSError):  # the control socket says so, and the user repeats it
            pass
        finally:
            rest()

    def calls(self) -> list[str]:
        watched = Watched()
        self.restore(self.fresh(0), watched)
        return [name for name, _ in watched.calls]

    def wrong(self, root: Path) -> str | None:
        """Return what is lost or half done after the next start of the agent, ``None`` if nothing is."""
        scene = PastScene(root, "git", make=False)
        try:
            scene.record()
            found = scene.files()
            for path in {*self.old, *self.new, *found}:
                if found.get(path) not in (self.old.get(path), self.new.get(path)):
                    return f"{path!r} is {found.get(path)}"
            for state, files in ((self.now, self.new), (self.then, self.old)):
                if refused := scene.restore(state).refused:
                    return f"refused: {refused}"
                if scene.files() != files:
                    return f"{state} is {scene.files()}"
        finally:
            scene.close()
        return None


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with fast_directory(tmp_path_factory.mktemp("restore")) as directory:
        scene = PastScene(directory / "template", "git")
        scene.put("changed", "old\n")
        scene.put("run", "#!\n", executable=True)
        scene.put("d/moved", "m\n" * 9)
        scene.put("gone/a", "a\n")
        scene.put("place", "a file\n")
        os.symlink("changed", scene.path("link"))
        old, then = scene.files(), scene.record()
        scene.put("changed", "new\n")
        os.chmod(scene.path("run"), 0o644)
        os.rename(scene.path("d/moved"), scene.path("elsewhere"))
        os.unlink(scene.path("gone/a"))
        os.unlink(scene.path("place"))
        scene.put("place/now/a", "folder\n")
        os.unlink(scene.path("link"))
        os.symlink("run", scene.path("link"))
        new, now = scene.files(), scene.record()
        scene.close()
        yield Case(directory, then.id, now.id, old, new)


def test_a_kill_in_the_middle_loses_nothing(case: Case) -> None:
    def attempt(number: int, kill: Around) -> str | None:
        root = case.fresh(number)
        ended = with_offspring(lambda: case.restore(root, kill))
        return ended.error[-1500:] or case.wrong(root)

    record("kills survived", survive(list(kill_points(undisturbed(case.calls))), POINTS, attempt))


def test_a_failing_disk_in_the_middle_loses_nothing(case: Case) -> None:
    def attempt(number: int, fault: Fault) -> str | None:
        root = case.fresh(number)
        ended = with_offspring(lambda: case.restore(root, fault))
        return ended.error[-1500:] or case.wrong(root)

    record("faults injected", survive(list(fault_points(undisturbed(case.calls))), POINTS, attempt))
