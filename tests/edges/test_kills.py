"""A kill before or after any file-system call, and another one during the recovery, loses nothing."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosync.apply.rename import Stepwise
from tests.backends.hg_repos import DEBIAN, killed_at
from tests.edges.faults import Kill, Watched
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


@dataclass(slots=True)
class KillAfter:
    """Ends the process right after the call number ``nth`` (from 1) of those called ``name``."""

    name: str
    nth: int

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        del arguments
        result = perform()
        self.nth -= name == self.name
        if not self.nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


@pytest.mark.parametrize(("renames", "most"), [(None, 10_000), (Stepwise, 150)], ids=["kernel", "stepwise"])
def test_applying_survives_a_kill_at_each_call(place: Path, renames: type[Stepwise] | None, most: int) -> None:
    sweep(PlainScene(directory=place, renames=renames), most)


def test_a_stepwise_exchange_survives_a_kill_between_the_link_and_the_unlink(place: Path) -> None:
    scene = PlainScene(directory=place, renames=Stepwise)
    links = undisturbed(scene.calls).count("link")

    def attempt(number: int, link: int) -> str | None:
        root = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(root, KillAfter("link", link)))
        with_offspring(lambda: scene.job(root, Watched()))  # what is brought back it brings back now
        return ended.error[-1500:] or scene.wrong(root) or scene.finish(root)

    record("kills survived", survive(range(1, links + 1), links, attempt))


def test_a_late_save_survives_a_kill_at_each_call_of_its_rescue(place: Path) -> None:
    sweep(LateScene(directory=place), 10_000)


@pytest.mark.parametrize(("job", "most"), JOBS.items(), ids=JOBS)
def test_git_survives_a_kill_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(GitScene(directory=place, name=job), most)


@pytest.mark.parametrize(("job", "most"), HG_JOBS.items(), ids=HG_JOBS)
def test_hg_survives_a_kill_at_each_call(place: Path, job: str, most: int) -> None:
    sweep(HgScene(directory=place, name=job), max(1, most // 2))


@pytest.mark.parametrize(("job", "most"), {"integrate": 6, "commit": 3}.items())
def test_a_job_survives_the_kill_of_its_hg(place: Path, job: str, most: int) -> None:
    """Each hg that the agent starts is killed as it makes its n-th call of a kind; then it gets one that is not."""
    scene = HgScene(directory=place, name=job)
    points = [(call, count) for call in ("rename", "unlink", "write", "symlink") for count in range(1, 25)]

    def attempt(number: int, point: tuple[str, int]) -> str | None:
        root, scene.by = scene.fresh(number), killed_at(*point)
        ended = with_offspring(lambda: scene.job(root, Watched()))
        scene.by = DEBIAN
        return ended.error[-1500:] or scene.wrong(root) or scene.finish(root)

    record("kills of hg tried", survive(points, most, attempt))
