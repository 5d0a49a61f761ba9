"""A kill before or after any file-system call, and another one during the recovery, loses nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autosync.apply.rename import Stepwise
from tests.edges.faults import Kill
from tests.edges.forks import kill_points, with_offspring
from tests.edges.git_scene import JOBS, GitScene
from tests.edges.hg_scene import JOBS as HG_JOBS
from tests.edges.hg_scene import HgScene
from tests.edges.plain_scene import LateScene, PlainScene
from tests.edges.points import survive, undisturbed
from tests.edges.scene import Scene
from tests.figures import record

pytestmark = pytest.mark.timeout(900)  # thousands of cases


def sweep(scene: PlainScene | Scene, most: int) -> None:
    """Kill the scene's job at its calls, and every third time the recovery too."""
    calls = undisturbed(scene.calls)

    def attempt(number: int, kill: Kill) -> str | None:
        root = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(root, kill))
        found = ended.error[-1500:] or scene.wrong(root)
        if not found and kill.at % 3 == 0:
            again = Kill(random.Random(kill.at).randrange(1, len(calls)), after=kill.after)
            ended = with_offspring(lambda: scene.job(root, again))
            found = ended.error[-1500:] or scene.wrong(root)
        return found or scene.finish(root)

    record("kills survived", survive(list(kill_points(calls)), most, attempt))


@pytest.mark.parametrize(("renames", "most"), [(None, 10_000), (Stepwise, 150)], ids=["kernel", "stepwise"])
def test_applying_survives_a_kill_at_each_call(place: Path, renames: type[Stepwise] | None, most: int) -> None:
    sweep(PlainScene(directory=place, renames=renames), most)


def test_a_late_save_survives_a_kill_at_each_call_of_its_rescue(place: Path) -> None:
    sweep(LateScene(directory=place), 10_000)


@pytest.mark.parametrize(("job", "most"), JOBS.items(), ids=JOBS)
def test_git_survives_a_kill_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(GitScene(directory=place, name=job), most)


@pytest.mark.parametrize(("job", "most"), HG_JOBS.items(), ids=HG_JOBS)
def test_hg_survives_a_kill_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(HgScene(directory=place, name=job), max(1, most // 2))
