"""What is renamed costs next to nothing on the way, as a snapshot and as a commit."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.fleet import Fleet, Site, go, pair, rel, send, snap
from gitfleet import GitFleet

from autosync.core.model import Snapshot

LARGE = random.Random(11).randbytes(3 << 20)
LITTLE = 8 << 10
"""Bytes of a stream that says that a file has another name now."""


@pytest.fixture(params=["git", "hg"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    if request.param == "hg":
        yield request.getfixturevalue("hg_fleet")
        return
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    fleet = GitFleet(bytes(tmp_path))
    yield fleet
    fleet.close()


def sent(snapshot: Snapshot, source: Site, target: Site) -> int:
    """Hand a snapshot over as a peer does, and return how many bytes that took."""
    out = io.BytesIO()
    source.backend.serve(snapshot.id, target.backend.haves(), out)
    assert target.backend.receive(snapshot.id, io.BytesIO(out.getvalue())) == snapshot
    return len(out.getvalue())


def test_a_rename(fleet: Fleet) -> None:
    one, two = pair(fleet, {"m": LARGE})
    first = send(snap(one), one, two)
    one.rename("m", "a")
    renamed = snap(one, first, count=2)
    assert sent(renamed, one, two) < LITTLE
    go(two, first, renamed)
    one.commit("renamed")
    committed = snap(one, renamed, count=3)
    assert sent(committed, one, two) < LITTLE
    go(two, renamed, committed)
    assert two.backend.base() == one.backend.base()
    assert two.files()[rel("a")][1] == LARGE
