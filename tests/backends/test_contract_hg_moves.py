"""The second half of the contract over hg: what moves snapshots, history and working copies."""

from __future__ import annotations

import pytest
from contract import TestBranchHub, TestCommitting, TestDescribing, TestLanding, TestPeers, TestRounds  # noqa: F401
from contract.hubs import TestHubWithoutSnapshots  # noqa: F401
from contract.takenaway import TestTakenAway  # noqa: F401
from hgfleet import HgFleet


@pytest.fixture
def fleet(hg_fleet: HgFleet) -> HgFleet:
    return hg_fleet
