"""Every file-system call fails with everything it can fail with: nothing is lost, and the next attempt arrives."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(slots=True)
class At(Fault):
    """Lets the calls ``name`` fail that are for a path with the end ``end``: ``often`` of them, after ``after``.

    An odd ``at`` has the same agent go on when the cause is gone.
    """

    name: str = ""
    end: bytes = b""
    after: bytes = b""
    """The end of the path that a hard link has to have made before."""
    often: int = 1000

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        if name == "link" and isinstance(arguments[1], bytes) and arguments[1].endswith(self.after):
            self.after = b""
        path = arguments[0] if arguments else None
        if not self.after and name == self.name and isinstance(path, bytes) and path.endswith(self.end):
            self.happened += 1
            if self.happened <= self.often:
                raise OSError(self.error, os.strerror(self.error), path)
        return perform()


@dataclass(slots=True)
class Blind(Fault):
    """Lets the first look at what came out fail after the exchange number ``exchange``."""

    exchange: int = 1
    exchanged: int = 0

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        self.exchanged += name == "renameat2"
        path = arguments[0] if arguments else None
        is_slot = isinstance(path, bytes) and re.fullmatch(rb"[0-9]+/[0-9]+", path) is not None
        if name == "stat" and is_slot and self.exchanged == self.exchange and not self.happened:
            self.happened += 1
            raise OSError(self.error, os.strerror(self.error), path)
        return perform()


def meet(scene: Scene, fault: At) -> None:
    root = scene.fresh(0)
    ended = with_offspring(lambda: scene.job(root, fault))
    assert not (ended.error or scene.wrong(root) or scene.finish(root))
    record("faults injected", 1)


@pytest.mark.parametrize("kind", [GitScene, HgScene])
def test_a_directory_that_cannot_be_looked_into_for_once_is_not_taken_for_gone(
    place: Path, kind: type[GitScene | HgScene]
) -> None:
    """What the others have deleted there would be taken for new, later."""
    scene = kind(directory=place, name="integrate")
    meet(scene, At(at=1, error=errno.EACCES, name="lstat", end=b"/copy-0/d", often=1))


@pytest.mark.parametrize(
    "fault",
    [
        At(at=1, error=errno.ENOSPC, name="create", end=b"/autosync/landing-locks.known.new"),
        At(at=1, error=errno.EIO, name="unlink", end=b"/autosync/landing-locks"),
        At(at=1, error=errno.EIO, name="unlink", end=b"/autosync/landing"),
        At(at=1, error=errno.EIO, name="unlink", end=b"/.git/index.lock"),
        At(at=1, error=errno.EMFILE, name="open", after=b"/.git/index.lock"),
        At(at=1, error=errno.EACCES, name="unlink", after=b"/.git/index.lock"),
    ],
    ids=lambda fault: f"{fault.name} {fault.end.decode()}",
)
def test_a_lock_of_ours_that_cannot_be_let_go_of_goes_later(place: Path, fault: At) -> None:
    meet(GitScene(directory=place, name="integrate"), fault)


@pytest.mark.parametrize("at", [1, 2])
def test_what_came_out_and_cannot_be_looked_at_is_kept(place: Path, at: int) -> None:
    """It may be what the user has just saved: neither is it deleted, nor what stands in its place taken for his."""
    scene = GitScene(directory=place, name="integrate")
    for exchange in range(1, 25):
        meet(scene, Blind(at=at, error=errno.EIO, exchange=exchange))
