"""The contract over hg, as Debian's users run it and with the Mercurial of our own environment."""

from __future__ import annotations

import pytest
from contract import *  # noqa: F403
from contract.hubs import TestHubWithoutSnapshots  # noqa: F401
from hgfleet import HgFleet


@pytest.fixture
def fleet(hg_fleet: HgFleet) -> HgFleet:
    return hg_fleet
