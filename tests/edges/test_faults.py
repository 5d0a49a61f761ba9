"""Every file-system call fails with everything it can fail with: nothing is lost, and the next attempt arrives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.apply.rename import Stepwise
from tests.edges.faults import Fault, Watched
from tests.edges.forks import alone, fault_points, side_by_side, with_offspring
from tests.edges.plain_scene import PlainScene
from tests.figures import record


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: thousands of working copies are made and thrown away."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="autosync-") as directory:
        yield Path(directory)


def calls_of(scene: PlainScene) -> list[str]:
    """Return the names of the calls of an undisturbed run."""

    def watch() -> list[str]:
        watched = Watched()
        root = scene.fresh(0)
        scene.job(root, watched)
        return [name for name, _ in watched.calls]

    ended = alone(lambda: with_offspring(watch))
    assert not ended.error, ended.error
    assert not ended.result.error, ended.result.error  # type: ignore[attr-defined]
    return ended.result.result  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("renames", [None, Stepwise], ids=["kernel", "stepwise"])
def test_applying_survives_each_fault_at_each_call(fast_path: Path, renames: type[Stepwise] | None) -> None:
    scene = PlainScene(directory=fast_path, renames=renames)
    points = list(fault_points(calls_of(scene)))

    def attempt(number: int, fault: Fault) -> str | None:
        root = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(root, fault))
        return ended.error[-900:] or scene.wrong(root) or scene.finish(root)

    wrong = side_by_side(points, attempt)
    assert not wrong, f"{len(wrong)} of {len(points)}:\n" + "\n".join(wrong[:10])
    record("faults injected", len(points))
