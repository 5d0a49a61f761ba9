"""What moves working copies, over every hg that is supported, and between the oldest and the newest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import TestDescribing, TestLanding, TestRounds  # noqa: F401
from hg_repos import versions
from hgfleet import HgFleet, Users

FLEETS = {"6.9.5": ("6.9.5", "6.9.5"), "7.2 and 6.3.2": ("7.2", "6.3.2")}
"""The versions of the first working copy and of all others, each its user's and its agent's."""


@pytest.fixture(params=FLEETS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path, users: Users) -> Iterator[HgFleet]:
    directory = tmp_path / "fleet"
    directory.mkdir()
    commands = versions(request.config.cache.mkdir("hg"))
    first, others = (commands[version] for version in FLEETS[request.param])
    fleet = HgFleet(directory, users, {"one": (first, first)}, (others, others))
    fleet.examples = 2
    yield fleet
    fleet.close()
