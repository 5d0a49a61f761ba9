"""What the user let go of or brought back was for once: the next accident is held like the first one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core import events as ev
from autosync.core.brakes import BrakeLimits
from autosync.core.commands import TakeSnapshot
from autosync.core.model import RelPath
from autosync.past.restoring import plan_of
from autosync.past.trail import ROOT
from tests.edges.past_scene import PastScene

FILES = [f"{number}" for number in range(60)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[PastScene]:
    scene = PastScene(tmp_path / "notes", "git")
    save(scene)
    scene.record()
    yield scene
    scene.close()


def save(scene: PastScene) -> None:
    for name in FILES:
        scene.put(name, f"{name}\n")


def delete(scene: PastScene) -> tuple[bool, int]:
    """Delete all files; return whether any of it was taken in, and how many deletions are held."""
    for name in FILES:
        os.unlink(scene.path(name))
    scene.now += 60
    event = scene.performer.local(TakeSnapshot(paths=None, current=scene.current, above=0))
    assert isinstance(event, ev.SnapshotTaken), event
    scene.current = event.snapshot
    return event.changed, len(event.held)


def bring_back(scene: PastScene) -> None:
    """Undo the deletions that are held."""
    trail = scene.trail
    missing = [held.path for held in scene.performer.brakes.held]
    assert scene.restorer().restore(plan_of(trail, trail.current(), ROOT, missing=missing)).refused == {}


def test_after_an_undo_a_second_accident_is_held(scene: PastScene) -> None:
    assert delete(scene) == (False, 60)
    bring_back(scene)
    assert delete(scene) == (False, 60)  # with no look in between
    bring_back(scene)
    scene.record()
    assert delete(scene) == (False, 60)


def test_after_a_restore_that_deleted_and_one_that_brought_it_back_an_accident_is_held(scene: PastScene) -> None:
    state = scene.current
    assert state is not None
    for name in FILES:
        scene.put(f"new/{name}", f"new {name}\n")
    scene.record()
    assert scene.undo().refused == {}
    assert not scene.performer.brakes.held  # the undo deleted as many as an accident would
    assert scene.current is not None
    assert scene.current.tree == state.tree
    assert scene.undo().refused == {}
    for name in FILES:
        os.rename(scene.path(f"new/{name}"), scene.path(f"new/{name}.away"))
    scene.record()
    for name in FILES:
        os.unlink(scene.path(f"new/{name}.away"))
    assert delete(scene) == (False, 120)


@pytest.mark.parametrize("looked", [False, True])
def test_after_a_release_a_second_accident_is_held(scene: PastScene, looked: bool) -> None:
    state = scene.current
    assert state is not None
    assert delete(scene) == (False, 60)
    assert len(scene.performer.release([ROOT])) == 60
    scene.record()
    assert scene.files() == {}
    assert scene.performer.brakes.held == ()
    save(scene)
    if looked:
        scene.record()
    else:  # as another device brings them: what it applies is recorded without a look
        scene.current = state
    assert delete(scene) == (False, 60)


def test_what_was_brought_back_once_is_held_when_it_is_new_again(scene: PastScene) -> None:
    brakes = scene.performer.brakes
    brakes.limits = BrakeLimits(huge_file=1 << 20)
    brakes.released = frozenset([RelPath(b"film")])
    scene.put("film", b"0" * (2 << 20))
    scene.record()
    brakes.released = frozenset()
    os.unlink(scene.path("film"))
    scene.record()
    assert scene.undo().refused == {}
    assert not [held.path for held in brakes.held]
    os.unlink(scene.path("film"))
    scene.record()
    scene.put("film", b"1" * (2 << 20))
    scene.record()
    assert [held.path for held in brakes.held] == [b"film"]
