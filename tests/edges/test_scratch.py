"""Passing work of an agent that was killed does not stay in the private directory for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.edges.past_scene import PastScene, Vcs


@pytest.mark.parametrize("vcs", ["git", "hg"])
def test_what_a_killed_agent_left_of_a_copy_goes_at_the_next_start(vcs: Vcs, tmp_path: Path) -> None:
    scene = PastScene(tmp_path / "notes", vcs)
    before = set(os.listdir(scene.backend.metadata))
    for name in (b"copy-1", b"merge-2", b"clean-3"):
        os.makedirs(os.path.join(scene.backend.metadata, name, b"inside"))
    scene.performer.open()
    assert len(set(os.listdir(scene.backend.metadata)) - before) == 3  # one that is at work beside it
    scene.close()
    again = PastScene(scene.root, scene.vcs, make=False)
    assert set(os.listdir(again.backend.metadata)) <= before
    again.close()
