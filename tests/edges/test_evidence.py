"""Who has a file as it is here, as far as the devices have said so themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.answers.evidence import file_evidence
from autosync.confirmations import Confirmations
from autosync.core.model import DeviceId, RelPath, TreeId
from autosync.core.sources import Peer
from tests.edges.past_scene import PastScene

DESK = DeviceId("desk-1")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[PastScene]:
    scene = PastScene(tmp_path / "laptop", "git")
    yield scene
    scene.close()


def has(scene: PastScene, theirs: TreeId | None, name: bytes, *, recorded: bool = True) -> tuple[str, str | None]:
    known = Confirmations()
    known.heard(DESK, theirs, scene.current.tree, said_at=60, now=60)
    peer = Peer(device=DESK, name="desk", tree=theirs)
    (row,) = file_evidence(scene.backend, scene.current, RelPath(name), [peer], known, recorded=recorded)
    assert (row["device"], row["id"]) == ("desk", DESK)
    return row["has"], row["confirmed"]


def test_a_file_or_folder_is_the_same_where_it_is_whatever_else_differs(scene: PastScene) -> None:
    at = "1970-01-01T00:01:00+00:00"
    scene.put("old/a", "a")
    scene.put("b", "b")
    theirs = scene.record().tree
    scene.put("b", "other")
    scene.put("new/c", "c")
    scene.record()
    said = {name: has(scene, theirs, name) for name in (b"old/a", b"old", b"b", b"", b"new/c", b"new")}
    assert said == {
        b"old/a": ("same", at),
        b"old": ("same", at),
        b"b": ("different", at),
        b"": ("different", at),
        b"new/c": ("none", at),
        b"new": ("none", at),
    }


def test_nobody_has_what_is_not_recorded_here(scene: PastScene) -> None:
    scene.put("a", "a")
    tree = scene.record().tree
    assert has(scene, tree, b"a", recorded=False)[0] == "different"
    assert has(scene, tree, b".env", recorded=False)[0] == "none"


def test_what_is_not_here_is_not_known(scene: PastScene) -> None:
    scene.put("a", "a")
    scene.record()
    assert has(scene, None, b"a") == ("unknown", None)
    assert has(scene, TreeId("12" * 20), b"a") == ("unknown", None)
