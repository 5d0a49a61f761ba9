"""What every backend does: one suite of behaviours that runs over each of them.

A test module gives a fixture ``fleet`` (:class:`contract.fleet.Fleet`) and imports the
classes named here, and of :mod:`contract.hubs` what its hub can do: ``TestSnapshotHub`` or
``TestHubWithoutSnapshots``; one of a backend with files also imports :mod:`contract.takenaway`.
"""

from __future__ import annotations

from contract.applying import TestApplying, TestStaging
from contract.hubs import TestBranchHub
from contract.landing import TestCommitting, TestDescribing, TestLanding
from contract.looking import TestLooking
from contract.peers import TestPeers
from contract.recording import TestRecording
from contract.rounds import TestRounds
from contract.trees import TestHistory, TestTrees

__all__ = [
    "TestApplying",
    "TestBranchHub",
    "TestCommitting",
    "TestDescribing",
    "TestHistory",
    "TestLanding",
    "TestLooking",
    "TestPeers",
    "TestRecording",
    "TestRounds",
    "TestStaging",
    "TestTrees",
]
