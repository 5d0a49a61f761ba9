"""The first half of the contract over hg, as Debian's users run it and with the Mercurial of our own environment."""

from __future__ import annotations

import contract
import pytest
import test_contract_hg_moves
from contract import TestApplying, TestHistory, TestLooking, TestRecording, TestStaging, TestTrees  # noqa: F401
from hgfleet import HgFleet


@pytest.fixture
def fleet(hg_fleet: HgFleet) -> HgFleet:
    return hg_fleet


def test_both_halves_are_the_whole_contract() -> None:
    assert set(contract.__all__) <= {*globals(), *vars(test_contract_hg_moves)}
