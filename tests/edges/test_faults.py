"""Every file-system call fails with everything it can fail with: nothing is lost, and the next attempt arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from autosync.apply.rename import Stepwise
from tests.edges.faults import Fault
from tests.edges.forks import fault_points, with_offspring
from tests.edges.git_scene import JOBS, GitScene
from tests.edges.hg_scene import JOBS as HG_JOBS
from tests.edges.hg_scene import HgScene
from tests.edges.plain_scene import LateScene, PlainScene
from tests.edges.points import survive, undisturbed
from tests.edges.scene import Scene
from tests.figures import record

pytestmark = pytest.mark.timeout(900)  # thousands of cases


def sweep(scene: PlainScene | Scene, most: int) -> None:
    """Let the scene's job meet the faults."""

    def attempt(number: int, fault: Fault) -> str | None:
        root = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(root, fault))
        return ended.error[-1500:] or scene.wrong(root) or scene.finish(root)

    record("faults injected", survive(list(fault_points(undisturbed(scene.calls))), most, attempt))


@pytest.mark.parametrize(("renames", "most"), [(None, 10_000), (Stepwise, 200)], ids=["kernel", "stepwise"])
def test_applying_survives_each_fault_at_each_call(place: Path, renames: type[Stepwise] | None, most: int) -> None:
    sweep(PlainScene(directory=place, renames=renames), most)


def test_a_late_save_survives_each_fault_at_each_call_of_its_rescue(place: Path) -> None:
    sweep(LateScene(directory=place), 10_000)


@pytest.mark.parametrize(("job", "most"), JOBS.items(), ids=JOBS)
def test_git_survives_a_fault_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(GitScene(directory=place, name=job), most)


@pytest.mark.parametrize(("job", "most"), HG_JOBS.items(), ids=HG_JOBS)
def test_hg_survives_a_fault_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(HgScene(directory=place, name=job), most)
